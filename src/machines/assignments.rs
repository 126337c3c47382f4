//! Which claim has which machine, by a watch of its own: a replica that does not lead has no cluster state.
//!
//! Only what machines may ask for is kept: a few words for each Bound claim, and for a while for each that has ended.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_api::PoolClaim;
use bullpen_plan::claim::assignment::{Assignment, AssignmentChange, Over, change};
use bullpen_plan::operator::watched_namespaces::{Feed, WatchedNamespaces};
use futures::StreamExt as _;
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cluster::claim_watch::{Shown, claims};

/// How long the end of a claim is remembered: longer than a machine takes to ask again, or to end.
const REMEMBERED: Duration = Duration::from_mins(10);
/// With fewer than this, none is looked for that may be forgotten.
const FEW: usize = 1_024;

/// Which claim has a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// None, as far as is known.
    Unknown,
    /// This claim has it.
    Assigned(Arc<Assignment>),
    /// Its claim has ended.
    Over(Over),
    /// The object of its claim is gone. Whether that was a release shows in the member.
    Vanished,
}

/// The claims of all machines; cheap to clone.
#[derive(Clone, Default)]
pub struct Assignments(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// By the use of the member's machine, as [`machine_use`](bullpen_plan::claim::machine_use::machine_use) names it.
    told: HashMap<String, (Holder, Instant)>,
    /// With how many of them those are looked for that may be forgotten.
    looked_through_at: usize,
    /// Who waits for a change, by the same.
    waiting: HashMap<String, watch::Sender<()>>,
}

impl fmt::Debug for Assignments {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.0.lock();
        write!(formatter, "Assignments({}, {} wait)", inner.told.len(), inner.waiting.len())
    }
}

impl Assignments {
    /// Watches the claims of these namespaces, for ever.
    pub async fn keep_watched(&self, client: Client, watched: &WatchedNamespaces) {
        let following = watched.feeds().into_iter().map(|feed| self.follow(client.clone(), feed));
        futures::future::join_all(following).await;
    }

    async fn follow(&self, client: Client, feed: Feed) {
        let mut shown = std::pin::pin!(claims(client, &feed));
        let mut listed = HashSet::new();
        while let Some(next) = shown.next().await {
            match next {
                Shown::ListBegins => listed.clear(),
                Shown::Listed(claim) => {
                    listed.extend(self.take_in(&claim, Instant::now()));
                }
                Shown::ListEnds => self.list_ended(&feed, &std::mem::take(&mut listed), Instant::now()),
                Shown::Changed(claim) => drop(self.take_in(&claim, Instant::now())),
                Shown::Gone(claim) => self.gone(&claim, Instant::now()),
            }
        }
    }

    /// Takes a version of a claim in. Returns the use of its member's machine, if it has one now.
    pub(super) fn take_in(&self, claim: &PoolClaim, now: Instant) -> Option<String> {
        let (member, change) = change(claim)?;
        match change {
            AssignmentChange::Assigned(assignment) => {
                self.0.lock().set(&member, Holder::Assigned(Arc::from(assignment)), now);
                Some(member)
            }
            AssignmentChange::Over(over) => {
                let mut inner = self.0.lock();
                // An ended claim may be years old: only that it ends is news, not that it has ended.
                if matches!(inner.told.get(&member), Some((Holder::Assigned(_) | Holder::Vanished, _))) {
                    inner.set(&member, Holder::Over(over), now);
                }
                None
            }
        }
    }

    fn gone(&self, claim: &PoolClaim, now: Instant) {
        let Some((member, AssignmentChange::Assigned(gone))) = change(claim) else { return };
        let mut inner = self.0.lock();
        let has = |holder: &Holder| matches!(holder, Holder::Assigned(now) if now.claim.uid == gone.claim.uid);
        // A claim of that name that was applied again may have the machine by now.
        if inner.told.get(&member).is_some_and(|(holder, _)| has(holder)) {
            inner.set(&member, Holder::Vanished, now);
        }
    }

    /// What the list of these namespaces did not show is gone.
    fn list_ended(&self, feed: &Feed, listed: &HashSet<String>, now: Instant) {
        let mut inner = self.0.lock();
        let missing: Vec<_> = inner
            .told
            .iter()
            .filter(|(member, (told, _))| {
                let here = |assignment: &Assignment| feed.namespace().is_none_or(|of| of == assignment.claim.namespace);
                matches!(told, Holder::Assigned(assignment) if here(assignment)) && !listed.contains(*member)
            })
            .map(|(member, _)| member.clone())
            .collect();
        for member in missing {
            inner.set(&member, Holder::Vanished, now);
        }
    }

    /// Which claim has this member's machine.
    pub fn holder(&self, member: &str) -> Holder {
        self.0.lock().told.get(member).map_or(Holder::Unknown, |(told, _)| told.clone())
    }

    /// The uids of the claims that have machines.
    pub fn claims(&self) -> HashSet<String> {
        let inner = self.0.lock();
        let assigned = inner.told.values().filter_map(|(told, _)| match told {
            Holder::Assigned(assignment) => Some(assignment.claim.uid.clone()),
            Holder::Unknown | Holder::Over(_) | Holder::Vanished => None,
        });
        assigned.collect()
    }

    /// Records that the claim of this member's machine is over: the member ends.
    pub fn ended(&self, member: &str) {
        self.0.lock().set(member, Holder::Over(Over::released()), Instant::now());
    }

    /// Waits for changes of this member's claim from now on.
    pub fn wait(&self, member: &str) -> Waiting {
        let mut inner = self.0.lock();
        let changes = inner.waiting.entry(member.to_owned()).or_insert_with(|| watch::channel(()).0).subscribe();
        Waiting { of: self.clone(), member: member.to_owned(), changes: Some(changes) }
    }
}

impl Inner {
    fn set(&mut self, member: &str, told: Holder, now: Instant) {
        if self.told.get(member).is_some_and(|(before, _)| *before == told) {
            return;
        }
        self.told.insert(member.to_owned(), (told, now));
        if let Some(waiting) = self.waiting.get(member) {
            waiting.send_replace(());
        }
        if self.told.len() >= self.looked_through_at.max(FEW) {
            let stays = |told: &Holder| matches!(told, Holder::Assigned(_));
            self.told.retain(|_, (told, at)| stays(told) || now.duration_since(*at) < REMEMBERED);
            self.looked_through_at = 2 * self.told.len();
        }
    }
}

/// One who waits for changes of a member's claim.
#[derive(Debug)]
pub struct Waiting {
    of: Assignments,
    member: String,
    /// Always there until it is dropped.
    changes: Option<watch::Receiver<()>>,
}

impl Waiting {
    /// Waits for the next change since the last call.
    pub async fn changed(&mut self) {
        let changed = match &mut self.changes {
            Some(changes) => changes.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            // It has no sender any more, which cannot be while it waits.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.changes.take());
        let mut inner = self.of.0.lock();
        if inner.waiting.get(&self.member).is_some_and(|changes| changes.receiver_count() == 0) {
            inner.waiting.remove(&self.member);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(name: &str, phase: &str, member: &str) -> PoolClaim {
        serde_json::from_value(json!({
            "metadata": { "namespace": "ci", "name": name, "uid": name },
            "spec": { "poolRef": { "name": "linux" } },
            "status": { "phase": phase, "memberRef": { "namespace": "ci", "name": member, "uid": member } },
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_machine_that_waits_is_told_of_its_claim_and_of_its_end_and_of_nobody_elses() {
        let (assignments, now) = (Assignments::default(), Instant::now());
        let (mut mine, mut other) = (assignments.wait("m-1"), assignments.wait("m-2"));
        assert_eq!(assignments.take_in(&claim("a", "Bound", "m-1"), now).as_deref(), Some("m-1"));
        mine.changed().await;
        let Holder::Assigned(told) = assignments.holder("m-1") else { panic!("{assignments:?}") };
        assert_eq!(told.claim.name, "a");
        assignments.take_in(&claim("a", "Expired", "m-1"), now);
        mine.changed().await;
        assert!(matches!(assignments.holder("m-1"), Holder::Over(Over { reason: "Expired", .. })));
        assert!(tokio::time::timeout(Duration::from_millis(20), other.changed()).await.is_err());
        assert_eq!(assignments.holder("m-2"), Holder::Unknown);
        drop((mine, other));
        assert!(assignments.0.lock().waiting.is_empty());
    }

    #[test]
    fn a_claim_that_is_gone_or_missing_in_a_list_leaves_it_open_what_that_means() {
        let (assignments, now) = (Assignments::default(), Instant::now());
        for (name, member) in [("a", "m-1"), ("b", "m-2"), ("c", "m-3")] {
            assignments.take_in(&claim(name, "Bound", member), now);
        }
        assignments.gone(&claim("former", "Bound", "m-1"), now);
        assert!(matches!(assignments.holder("m-1"), Holder::Assigned(_)), "another claim has it by now");
        assignments.gone(&claim("a", "Bound", "m-1"), now);
        let elsewhere = WatchedNamespaces::of(["elsewhere".to_owned()]).feeds().remove(0);
        assignments.list_ended(&elsewhere, &HashSet::new(), now);
        assert!(matches!(assignments.holder("m-2"), Holder::Assigned(_)), "another list says nothing of it");
        assignments.list_ended(&Feed::Everywhere, &["m-3".to_owned()].into(), now);
        assert_eq!([assignments.holder("m-1"), assignments.holder("m-2")], [Holder::Vanished, Holder::Vanished]);
        assert!(matches!(assignments.holder("m-3"), Holder::Assigned(_)));
        assignments.take_in(&claim("d", "Expired", "m-9"), now);
        assert_eq!(assignments.holder("m-9"), Holder::Unknown, "it ended before anybody here knew it");
    }

    #[test]
    fn ends_are_forgotten_after_a_while_and_claims_are_not() {
        let (assignments, now) = (Assignments::default(), Instant::now());
        assignments.take_in(&claim("kept", "Bound", "m-0"), now);
        let later = now + REMEMBERED;
        for number in 1..10_000 {
            let (name, member) = (format!("c-{number}"), format!("m-{number}"));
            assignments.take_in(&claim(&name, "Bound", &member), now);
            assignments.take_in(&claim(&name, "Expired", &member), if number < 5_000 { now } else { later });
        }
        for number in 10_000..30_000 {
            assignments.take_in(&claim("b", "Bound", &format!("m-{number}")), later);
        }
        let inner = assignments.0.lock();
        assert!(inner.told.contains_key("m-0") && inner.told.contains_key("m-9999") && !inner.told.contains_key("m-1"));
        assert_eq!(inner.told.len(), 1 + 5_000 + 20_000);
    }
}
