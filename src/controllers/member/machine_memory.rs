//! What this process knows of each member's machine and the member does not record: calls begun, strikes, backoffs. A
//! crash may lose it all: a member that is found at start counts as one with a create call begun.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bullpen_api::MemberState;
use bullpen_plan::claim::claim_tag::Served;
use bullpen_plan::member::lifecycle::{Asked, LOOK_EVERY, Machine, PowerCalls, Reset, Strike, Stuck, strike};
use jiff::Timestamp;
use parking_lot::Mutex;

use super::probing::Probing;
use super::tagging::Tagging;
use crate::backoff::{Backoff, Bounds};
use crate::clock;
use crate::cloud::Listing;
use crate::provider::{Instance, InstancePhase, ProviderError};
use crate::state::ObjectKey;

/// Backoff of failed calls for one machine.
const CALLS: Bounds = Bounds { first: Duration::from_millis(500), longest: Duration::from_mins(1) };

/// What this process knows of one machine.
#[derive(Clone, Debug)]
pub struct MachineRecord {
    /// What is known of its create call.
    pub asked: Asked,
    /// When this process wrote the member.
    pub written_at: Option<Timestamp>,
    /// The machine as last shown by a call for it, not by a list.
    pub instance: Option<Arc<Instance>>,
    /// When that call was, whether it showed the machine or none.
    pub looked_at: Option<Timestamp>,
    /// Strikes in a row: typed `NotFound`s that the right account confirmed.
    pub not_founds: u32,
    /// The last `NotFound`, until it is known whether it counts.
    pub struck_at: Option<Timestamp>,
    /// When the machine is asked for again after a `NotFound`.
    pub next_look: Option<Timestamp>,
    /// When the first of these `NotFound`s was asked for.
    pub missing_since: Option<Timestamp>,
    /// Backoff of failed calls for it.
    pub backoff: Backoff,
    /// Backoff of failed creates. Answers to other calls do not end it.
    pub creates: Backoff,
    /// Since when a call that is to buy the machine has no definite answer, if it has none.
    pub unanswered_since: Option<Timestamp>,
    /// When the provider last accepted a terminate call.
    pub terminate_accepted_at: Option<Timestamp>,
    /// When the provider first accepted one.
    pub terminate_first_accepted_at: Option<Timestamp>,
    /// Terminate calls that failed in a row.
    pub terminate_failures: u32,
    /// The error of the last of them.
    pub terminate_error: String,
    /// A stuck end that could not be reported yet, and when to retry.
    pub stuck_unreported: Option<(Stuck, Timestamp)>,
    /// The state of its claim tag.
    pub tagging: Tagging,
    /// The state of its readiness probes.
    pub probing: Probing,
    /// Its reset calls, and after how many uses they were made.
    pub reset: (i32, Reset),
    /// Its stop and start calls, and when the stay on standby was decided that they are of.
    pub power: (Option<Timestamp>, PowerCalls),
    /// When the member's end was decided.
    pub ending_since: Option<Timestamp>,
    /// It was logged that the end of its namespace overrides `spec.hold`.
    pub hold_overridden: bool,
    /// Whether it was logged that a claim in an unwatched namespace keeps the member.
    pub unwatched_logged: bool,
}

impl MachineRecord {
    const fn new(asked: Asked) -> Self {
        Self {
            asked,
            written_at: None,
            instance: None,
            looked_at: None,
            not_founds: 0,
            struck_at: None,
            next_look: None,
            missing_since: None,
            backoff: Backoff::new(),
            creates: Backoff::new(),
            unanswered_since: None,
            terminate_accepted_at: None,
            terminate_first_accepted_at: None,
            terminate_failures: 0,
            terminate_error: String::new(),
            stuck_unreported: None,
            tagging: Tagging::new(),
            probing: Probing::new(),
            reset: (0, Reset::NEW),
            power: (None, PowerCalls::NEW),
            ending_since: None,
            hold_overridden: false,
            unwatched_logged: false,
        }
    }

    /// Records that a call showed the machine.
    pub fn saw(&mut self, instance: Instance, at: Timestamp) {
        self.instance = Some(Arc::new(instance));
        self.looked_at = Some(at);
        self.forget_strikes();
        self.worked();
        self.creates.reset();
        self.unanswered_since = None;
    }

    /// Records that a call that began then failed, which has to be answered before the machine of a Pending member can be
    /// bought.
    pub fn unanswered(&mut self, state: MemberState, began: Timestamp, now: Timestamp) {
        if state == MemberState::Pending {
            self.unanswered_since.get_or_insert(began);
        }
        self.failed(now, None);
    }

    /// Records that a create call begins. Returns what was known of earlier ones.
    pub fn create_begins(&mut self, at: Timestamp) -> Asked {
        self.instance = None;
        self.looked_at = None;
        self.unanswered_since.get_or_insert(at);
        std::mem::replace(&mut self.asked, Asked::Perhaps(at))
    }

    /// Records that a create call failed. `before` is what was known of earlier ones.
    pub fn create_failed(&mut self, error: &ProviderError, before: Asked, now: Timestamp) {
        if error.is_definite_refusal() {
            // This call made no machine; an earlier one without an answer may have.
            self.asked = before;
            if before == Asked::Never {
                self.unanswered_since = None;
            }
        }
        // A rate limit delays all creates of the cloud and is not this member's fault.
        if !matches!(error, ProviderError::RateLimited { .. }) {
            self.creates.failed(CALLS, now);
            // A create without an answer may show its machine only after a while.
            self.failed(now, None);
        }
    }

    /// What this process knows of the calls of the present stay on standby. A stop call of another process may still
    /// arrive, so one that is not known counts as sent when this process began to lead.
    pub fn power_calls(&self, since: Option<Timestamp>, began: Timestamp) -> PowerCalls {
        let (of, calls) = self.power;
        if of == since { calls } else { PowerCalls { unanswered_at: Some(began), ..PowerCalls::NEW } }
    }

    fn forget_strikes(&mut self) {
        self.not_founds = 0;
        self.struck_at = None;
        self.next_look = None;
        self.missing_since = None;
    }

    /// Whether a list that began then is outdated, because a call for this machine came later.
    pub fn outlasts(&self, list_began: Timestamp) -> bool {
        self.looked_at.is_some_and(|looked| list_began <= looked)
    }

    /// A list shows the machine that an older call had shown: the list's copy is used from now on, so that it is stored
    /// once.
    pub fn listed(&mut self, listing: &Listing) {
        if let Some(instance) = &mut self.instance
            && self.looked_at.is_some_and(|looked| looked < listing.began)
            && let Some(listed) = listing.with_id(&instance.id)
        {
            *instance = listed.clone();
        }
    }

    /// Whether a terminate call for a machine that only a call showed was accepted before a list that began then.
    fn ended_before(&self, list_began: Timestamp) -> bool {
        self.instance.is_some() && self.terminate_accepted_at.is_some_and(|accepted| accepted < list_began)
    }

    /// Records that a call showed that there is no machine.
    pub fn found_none(&mut self, at: Timestamp) {
        self.instance = None;
        self.looked_at = Some(at);
        self.missing_since.get_or_insert(at);
        self.worked();
    }

    /// Records that a call for the machine's id did not find it. [`settle_strike`](Self::settle_strike) decides whether
    /// that counts.
    pub fn not_found(&mut self, at: Timestamp) {
        self.found_none(at);
        self.struck_at = Some(at);
        self.next_look = at.checked_add(LOOK_EVERY).ok();
    }

    /// The credentials were confirmed to be the right account's at this moment: the last `NotFound` counts if it came
    /// shortly before.
    pub fn settle_strike(&mut self, account_confirmed_at: Option<Timestamp>) {
        let Some(struck) = self.struck_at else { return };
        match strike(struck, account_confirmed_at) {
            Strike::Counts => {
                self.not_founds = self.not_founds.saturating_add(1);
                self.struck_at = None;
            }
            Strike::Void => self.struck_at = None,
            Strike::Open => {}
        }
    }

    /// Drops a `NotFound` from before this moment, which may be another account's.
    pub fn doubt_absence_before(&mut self, moment: Timestamp) {
        if self.missing_since.is_some_and(|since| since < moment) {
            self.forget_strikes();
            if self.instance.is_none() {
                self.looked_at = None;
            }
        }
    }

    /// Records that a terminate call was accepted.
    pub fn terminate_accepted(&mut self, at: Timestamp) {
        self.worked();
        self.terminate_failures = 0;
        self.terminate_accepted_at = Some(at);
        self.terminate_first_accepted_at.get_or_insert(at);
    }

    /// Records that a terminate call failed.
    pub fn terminate_failed(&mut self, at: Timestamp, asked_for: Option<Duration>, error: String) {
        self.failed(at, asked_for);
        self.terminate_failures = self.terminate_failures.saturating_add(1);
        self.terminate_error = error;
    }

    /// Records that a call was answered.
    pub const fn worked(&mut self) {
        self.backoff.reset();
    }

    /// Records that a call failed: the next one waits for a growing delay, or for as long as the cloud asked.
    pub fn failed(&mut self, now: Timestamp, asked_for: Option<Duration>) {
        match asked_for {
            Some(delay) => self.backoff.failed_for(delay, now),
            None => drop(self.backoff.failed(CALLS, now)),
        }
    }
}

/// The records of all members, by uid. They are boxed because a map allocates room for many more than it stores.
#[derive(Clone, Debug)]
pub struct Machines {
    records: Arc<Mutex<HashMap<String, Box<MachineRecord>>>>,
    waiting_for_list: Arc<Mutex<HashSet<ObjectKey>>>,
    started: Timestamp,
}

impl Machines {
    /// An empty memory. A member that this process did not write may have been asked for until the term `started`.
    pub fn new(started: Timestamp) -> Self {
        Self { records: Arc::default(), waiting_for_list: Arc::default(), started }
    }

    /// Records that this process wrote the member and has begun no call for it.
    pub fn written(&self, uid: &str) {
        let new = || MachineRecord { written_at: Some(clock::now()), ..MachineRecord::new(Asked::Never) };
        self.records.lock().entry(uid.to_owned()).or_insert_with(|| Box::new(new()));
    }

    /// Runs `change` on the record of a member, which is created if there is none.
    pub fn with<T>(&self, uid: &str, change: impl FnOnce(&mut MachineRecord) -> T) -> T {
        let mut records = self.records.lock();
        change(
            records.entry(uid.to_owned()).or_insert_with(|| Box::new(MachineRecord::new(Asked::Perhaps(self.started)))),
        )
    }

    /// Runs `change` on the record of a member if there is one.
    pub fn with_known(&self, uid: &str, change: impl FnOnce(&mut MachineRecord)) {
        if let Some(record) = self.records.lock().get_mut(uid) {
            change(record);
        }
    }

    /// Remembers that the last list is older than the last call for this member's machine: the member needs a pass
    /// after the next list.
    pub fn needs_next_list(&self, member: ObjectKey) {
        self.waiting_for_list.lock().insert(member);
    }

    /// Takes the members that need a pass now that there is a new list.
    pub fn take_waiting_for_list(&self) -> HashSet<ObjectKey> {
        std::mem::take(&mut self.waiting_for_list.lock())
    }

    /// Since when a call that is to buy the machine of this member has no definite answer, if it has none.
    pub fn unanswered_since(&self, uid: &str) -> Option<Timestamp> {
        self.records.lock().get(uid)?.unanswered_since
    }

    /// Drops the record of a member that is gone.
    pub fn forget(&self, uid: &str) {
        self.records.lock().remove(uid);
    }
}

/// The machine as last shown, by a list or by a call for it, whichever is younger.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Whether it exists and in which phase it is.
    pub machine: Machine,
    /// The instance, if one was shown.
    pub instance: Option<Arc<Instance>>,
}

impl Sighting {
    /// What the machine shows of the claims that it served.
    pub fn served(&self) -> Served<'_> {
        self.instance.as_ref().map(|instance| instance.served()).unwrap_or_default()
    }
}

/// Combines what the last list and the last call for it showed of a member's machine.
///
/// `id` is the machine's id if it is known. A list that does not show the machine counts only if it began after
/// `known_since`, when the provider first answered for it; a list that shows it always counts.
pub fn sighting(
    record: &MachineRecord,
    listing: Option<&Listing>,
    uid: &str,
    id: Option<&str>,
    known_since: Option<Timestamp>,
) -> Sighting {
    let listed =
        listing.and_then(|listing| (!record.outlasts(listing.began)).then(|| (listing.began, listing.find(uid, id))));
    match listed {
        Some((began, Some(instance))) => shown(instance, began),
        Some((began, None)) if id.is_some() && known_since.is_some_and(|since| began > since) => {
            // A list may omit a machine that lives, so only calls for it count as strikes.
            Sighting { machine: Machine::Missing { at: began, not_founds: record.not_founds }, instance: None }
        }
        // Only a call showed it, before its end was accepted. No list can show that it is gone, so it must be asked for
        // again.
        Some((began, None)) if record.ended_before(began) => Sighting { machine: Machine::Unknown, instance: None },
        _ => match (&record.instance, record.looked_at) {
            (Some(instance), Some(at)) => shown(instance.clone(), at),
            (None, Some(at)) => {
                Sighting { machine: Machine::Missing { at, not_founds: record.not_founds }, instance: None }
            }
            (_, None) => Sighting { machine: Machine::Unknown, instance: None },
        },
    }
}

fn shown(instance: Arc<Instance>, at: Timestamp) -> Sighting {
    let machine = match instance.phase {
        InstancePhase::Pending => Machine::Booting { at },
        InstancePhase::Running => Machine::Running { at, since: instance.last_start(), ready: instance.ready },
        InstancePhase::Stopping => Machine::Stopped { at, done: false },
        InstancePhase::Stopped => Machine::Stopped { at, done: true },
        InstancePhase::ShuttingDown => Machine::Ending,
        InstancePhase::Terminated => Machine::Terminated,
    };
    Sighting { machine, instance: Some(instance) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn booting(launch_time: Timestamp) -> Instance {
        Instance {
            id: "i-1".to_owned(),
            token: None,
            region: "r1".to_owned(),
            zone: "r1-a".to_owned(),
            instance_type: "small".to_owned(),
            image: "img-1".to_owned(),
            phase: InstancePhase::Pending,
            ready: false,
            addresses: Box::default(),
            launch_time,
            boot_time: None,
            start_time: None,
            interruption: None,
            reset: None,
            fault: None,
            tags: crate::provider::OwnTags::default(),
        }
    }

    #[test]
    fn a_machine_in_a_younger_list_is_stored_once_and_an_older_list_changes_nothing() {
        let moment = |second| Timestamp::from_second(second).unwrap();
        let running = || Instance { phase: InstancePhase::Running, ready: true, ..booting(moment(2)) };
        let mut record = MachineRecord::new(Asked::Never);
        record.listed(&Listing::new(moment(4), vec![running()], None));
        assert_eq!(record.instance, None, "no call has shown it");
        record.saw(booting(moment(2)), moment(5));
        record.listed(&Listing::new(moment(5), vec![running()], None));
        assert_eq!(record.instance.as_ref().unwrap().phase, InstancePhase::Pending);
        let younger = Listing::new(moment(6), vec![running()], None);
        record.listed(&younger);
        assert!(Arc::ptr_eq(record.instance.as_ref().unwrap(), younger.with_id("i-1").unwrap()));
        let same = Listing::new(moment(7), vec![running()], Some(&younger));
        assert!(Arc::ptr_eq(same.with_id("i-1").unwrap(), younger.with_id("i-1").unwrap()));
        record.listed(&Listing::new(moment(8), Vec::new(), Some(&same)));
        assert!(record.instance.is_some(), "a list may omit a machine that lives");
    }

    #[test]
    fn an_answer_to_another_call_does_not_hasten_the_next_create() {
        let moment = |second| Timestamp::from_second(second).unwrap();
        let mut record = MachineRecord::new(Asked::Never);
        let lost = ProviderError::transient("no answer");
        for second in [10, 20, 30, 40] {
            let before = record.create_begins(moment(second));
            record.create_failed(&lost, before, moment(second + 1));
            record.found_none(moment(second + 2));
        }
        assert_eq!((record.backoff.failures(), record.creates.failures()), (0, 4));
        assert_eq!((record.asked, record.unanswered_since), (Asked::Perhaps(moment(40)), Some(moment(10))));
        record.saw(booting(moment(50)), moment(51));
        assert_eq!((record.creates.failures(), record.unanswered_since), (0, None));
    }

    #[test]
    fn a_definite_refusal_is_an_answer_but_leaves_an_earlier_create_in_doubt() {
        let moment = |second| Timestamp::from_second(second).unwrap();
        let mut record = MachineRecord::new(Asked::Never);
        let limited = ProviderError::RateLimited { message: String::new(), retry_after: None };
        let before = record.create_begins(moment(10));
        record.create_failed(&limited, before, moment(11));
        assert_eq!((record.asked, record.unanswered_since, record.creates.failures()), (Asked::Never, None, 0));
        let before = record.create_begins(moment(20));
        record.create_failed(&ProviderError::transient("no answer"), before, moment(21));
        let before = record.create_begins(moment(30));
        record.create_failed(&limited, before, moment(31));
        assert_eq!((record.asked, record.unanswered_since), (Asked::Perhaps(moment(20)), Some(moment(20))));
    }

    #[test]
    fn a_list_is_outdated_when_a_call_for_the_machine_came_after_it_began() {
        let moment = |second| Timestamp::from_second(second).unwrap();
        let mut record = MachineRecord::new(Asked::Never);
        assert!(!record.outlasts(moment(5)), "no call has looked yet");
        record.found_none(moment(7));
        assert!(record.outlasts(moment(5)) && record.outlasts(moment(7)));
        assert!(!record.outlasts(moment(8)));
    }

    #[test]
    fn credentials_that_were_swapped_and_restored_before_an_identity_check_prove_nothing() {
        let moment = |second| Timestamp::from_second(second).unwrap();
        let mut record = MachineRecord::new(Asked::Never);
        for second in [10, 11, 12] {
            record.not_found(moment(second));
            record.settle_strike(Some(moment(5)));
            assert_eq!(
                (record.not_founds, record.struck_at),
                (0, Some(moment(second))),
                "the account was not confirmed"
            );
        }
        record.settle_strike(Some(moment(15)));
        assert_eq!((record.not_founds, record.struck_at), (0, None));
        for second in [20, 22, 24] {
            record.not_found(moment(second));
            record.settle_strike(Some(moment(second + 1)));
        }
        assert_eq!(record.not_founds, 3);
        record.doubt_absence_before(moment(21));
        assert_eq!(record.not_founds, 0);
    }

    #[test]
    fn a_machine_that_only_a_call_showed_is_asked_for_anew_when_no_list_shows_it_after_its_end_was_accepted() {
        let moment = |second| Timestamp::from_second(second).unwrap();
        let mut record = MachineRecord::new(Asked::Perhaps(moment(1)));
        record.saw(booting(moment(2)), moment(5));
        let seen = |record: &MachineRecord, began| {
            let listing = Listing::new(moment(began), Vec::new(), None);
            sighting(record, Some(&listing), "uid", None, None).machine
        };
        assert_eq!(seen(&record, 9), Machine::Booting { at: moment(5) }, "a list may show a new machine late");
        record.terminate_accepted(moment(10));
        assert_eq!(seen(&record, 9), Machine::Booting { at: moment(5) }, "the list is older than its end");
        assert_eq!(seen(&record, 11), Machine::Unknown);
        record.found_none(moment(12));
        assert_eq!(seen(&record, 13), Machine::Missing { at: moment(12), not_founds: 0 });
    }
}
