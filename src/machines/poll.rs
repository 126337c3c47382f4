//! Tells machines whose job they are: each asks, and is answered when a claim gets it or ends, or after a while.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_api::{EventAction, MemberState, Reason};
use bullpen_plan::claim::assignment::{Assignment, Over, answer};
use bullpen_plan::claim::machine_use::machine_use;
use hyper::body::Bytes;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, Semaphore};

use super::assignments::{Assignments, Holder};
use crate::clock;
use crate::cluster::events::Events;
use crate::cluster::reads;
use crate::cluster::writes::reports::{Read, Reports};
use crate::state::ObjectKey;
use crate::telemetry::Metrics;

/// How long a request waits for news. Proxies cut off what is silent for a minute.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Most requests that wait at a time.
pub const MOST_WAITING: usize = 12_000;
/// How long a member counts as there after it was read. An operator's caches are not there while it does not lead, and
/// thousands of machines ask all the time.
const THERE_FOR: Duration = Duration::from_mins(10);
/// Time until the second look at a member whose claim is gone; it doubles with each look.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Reads of the API server under way at a time. All claims may vanish at once, with their definition.
const MOST_READS: usize = 4;
/// Most answers with an input that are kept. With more, those of claims that have ended are dropped first.
const MOST_ANSWERS: usize = 1_024;

/// What a machine is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// A claim has it: the assignment as JSON, which may hold a secret.
    Assigned(Bytes),
    /// Its claim has ended.
    Over(Over),
    /// Nothing new.
    Nothing,
    /// There is no such machine.
    Missing,
    /// The claim's input cannot be handed over, for this reason.
    NoInput(String),
    /// Too many wait already.
    Busy,
}

/// What a look at the member shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It is there.
    There,
    /// Its machine ends, or was reset for another claim.
    Ends,
    /// It is gone, or another one.
    Missing,
    /// The API server did not answer.
    Unproved,
}

/// The answers with an input, by the uid of the claim. They are secret.
type Answers = HashMap<String, Arc<InputAnswer>>;

/// The answer for a claim with an input.
#[derive(Default)]
struct InputAnswer {
    made: OnceCell<Bytes>,
    /// What was last said of why there is none.
    said: Mutex<String>,
}

/// Answers polls.
pub struct Polls {
    assignments: Assignments,
    reports: Reports,
    client: Client,
    events: Events,
    metrics: Metrics,
    waiting: Semaphore,
    reads: Semaphore,
    answers: Mutex<Answers>,
    /// When each use of a machine was last seen to be there.
    there: Mutex<HashMap<String, Instant>>,
}

impl fmt::Debug for Polls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Polls").field("assignments", &self.assignments).finish_non_exhaustive()
    }
}

impl Polls {
    /// Nobody has asked yet.
    pub fn new(assignments: Assignments, reports: Reports, client: Client, events: Events, metrics: Metrics) -> Self {
        let (waiting, reads) = (Semaphore::new(MOST_WAITING), Semaphore::new(MOST_READS));
        let (answers, there) = Default::default();
        Self { assignments, reports, client, events, metrics, waiting, reads, answers, there }
    }

    /// Waits for news of the claim of this use of a member's machine, by the member's uid and `status.uses`, which already
    /// knows of the claim with the uid `known`.
    pub async fn poll(&self, member: &ObjectKey, of: (&str, i32), known: Option<&str>) -> Polled {
        let Ok(_place) = self.waiting.try_acquire() else { return Polled::Busy };
        let news = tokio::time::timeout(PATIENCE, self.news(member, of, known)).await;
        news.unwrap_or(Polled::Nothing)
    }

    async fn news(&self, member: &ObjectKey, of: (&str, i32), known: Option<&str>) -> Polled {
        let machine = machine_use(of.0, of.1);
        let mut waiting = self.assignments.wait(&machine);
        let (mut asked_before, mut look_again) = (false, LOOK_AGAIN);
        loop {
            match self.assignments.holder(&machine) {
                Holder::Assigned(assignment) if known != Some(&assignment.claim.uid) => {
                    let polled = self.hand_out(&assignment).await;
                    if asked_before && matches!(polled, Polled::Assigned(_)) {
                        self.record_told(&assignment);
                    }
                    return polled;
                }
                Holder::Assigned(_) => waiting.changed().await,
                Holder::Over(over) => return Polled::Over(over),
                // This process may have begun after the claim ended.
                Holder::Unknown if known.is_none() => match self.there(member, of, &machine).await {
                    Look::There | Look::Unproved => {
                        asked_before = true;
                        waiting.changed().await;
                    }
                    Look::Ends => return Polled::Over(Over::released()),
                    Look::Missing => return Polled::Missing,
                },
                Holder::Unknown | Holder::Vanished => match self.look(member, of).await {
                    // A claim that went with its definition is no release: the machine works on.
                    Look::There | Look::Unproved => {
                        let _ = tokio::time::timeout(look_again, waiting.changed()).await;
                        look_again *= 2;
                    }
                    Look::Ends | Look::Missing => {
                        self.assignments.ended(&machine);
                        return Polled::Over(Over::released());
                    }
                },
            }
        }
    }

    fn record_told(&self, assignment: &Assignment) {
        let bound = assignment.bound_at.as_ref().map(|at| clock::now().duration_since(at.0));
        if let Some(after) = bound {
            self.metrics.machine_told(Duration::try_from(after).unwrap_or_default());
        }
    }

    /// Whether the member is there, by a look that may be some minutes old.
    async fn there(&self, member: &ObjectKey, of: (&str, i32), machine: &str) -> Look {
        let now = Instant::now();
        if self.there.lock().get(machine).is_some_and(|seen| now.duration_since(*seen) < THERE_FOR) {
            return Look::There;
        }
        let look = self.look(member, of).await;
        if look == Look::There {
            let mut there = self.there.lock();
            if there.len() >= 2 * MOST_WAITING {
                there.retain(|_, seen| now.duration_since(*seen) < THERE_FOR);
            }
            there.insert(machine.to_owned(), now);
        }
        look
    }

    async fn look(&self, member: &ObjectKey, (uid, uses): (&str, i32)) -> Look {
        let Ok(_turn) = self.reads.acquire().await else { return Look::Unproved };
        match self.reports.read(member).await {
            Read::Member(member) if member.metadata.uid.as_deref() != Some(uid) => Look::Missing,
            Read::Member(member) => {
                let status = member.status.as_ref();
                let errored = status.is_some_and(|status| status.state == MemberState::Errored);
                let reset = status.map_or(0, |status| status.uses) != uses;
                let ends = member.metadata.deletion_timestamp.is_some() || errored || reset;
                if ends { Look::Ends } else { Look::There }
            }
            Read::Missing => Look::Missing,
            Read::Unproved => Look::Unproved,
        }
    }

    /// The assignment with the claim's input, which is read once.
    async fn hand_out(&self, assignment: &Assignment) -> Polled {
        let Some(secret) = &assignment.input_secret else {
            return Polled::Assigned(Bytes::from(answer(assignment, None)));
        };
        let claim = &assignment.claim;
        let kept = self.kept(&claim.uid);
        match kept.made.get_or_try_init(|| self.with_input(assignment, secret)).await {
            Ok(answer) => Polled::Assigned(answer.clone()),
            Err(why) => {
                // The machine asks every few seconds.
                if std::mem::replace(&mut *kept.said.lock(), why.clone()) != why {
                    self.say(assignment, &why);
                }
                Polled::NoInput(why)
            }
        }
    }

    async fn with_input(&self, assignment: &Assignment, secret: &str) -> Result<Bytes, String> {
        let _turn = self.reads.acquire().await.map_err(|error| error.to_string())?;
        let input = reads::input::read(&self.client, &assignment.claim.namespace, secret).await?;
        Ok(Bytes::from(answer(assignment, Some(&input))))
    }

    /// Where the answer for a claim with an input is kept: as long as it has its machine, and then for a while.
    fn kept(&self, claim: &str) -> Arc<InputAnswer> {
        let mut answers = self.answers.lock();
        if answers.len() >= MOST_ANSWERS && !answers.contains_key(claim) {
            let bound = self.assignments.claims();
            answers.retain(|claim, _| bound.contains(claim));
        }
        answers.entry(claim.to_owned()).or_default().clone()
    }

    fn say(&self, assignment: &Assignment, why: &str) {
        let claim = &assignment.claim;
        let reference = ObjectReference {
            api_version: Some("bullpen.dev/v1alpha1".to_owned()),
            kind: Some("PoolClaim".to_owned()),
            namespace: Some(claim.namespace.clone()),
            name: Some(claim.name.clone()),
            uid: Some(claim.uid.clone()),
            ..ObjectReference::default()
        };
        let note = format!("its machine waits for its input: {why}");
        self.events.warn_about(reference, Reason::InputNotRead, EventAction::Observe, note);
    }
}
