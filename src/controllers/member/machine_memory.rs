//! What this process knows of each member's machine beyond what the member records: calls begun, strikes, backoffs.
//! All of it may be lost with the process: a member found at start is taken as asked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bullpen_plan::member::lifecycle::{Asked, LOOK_EVERY, Machine, Strike, Stuck, strike};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::backoff::{Backoff, Bounds};
use crate::cloud::Listing;
use crate::provider::{Instance, InstancePhase};
use crate::state::ObjectKey;

/// Between calls for one machine that fail.
const CALLS: Bounds = Bounds { first: Duration::from_millis(500), longest: Duration::from_mins(1) };

/// How far this process is with tagging a machine with its claim.
#[derive(Clone, Debug)]
pub struct Tagging {
    /// The uid of the claim that it has surely been tagged with.
    pub done: Option<String>,
    /// A call is under way.
    pub busy: bool,
    /// Calls that failed.
    pub backoff: Backoff,
}

impl Tagging {
    const fn new() -> Self {
        Self { done: None, busy: false, backoff: Backoff::new() }
    }
}

/// One machine as this process knows it.
#[derive(Clone, Debug)]
pub struct MachineRecord {
    /// What is known of its create call.
    pub asked: Asked,
    /// The machine as a call for it, not a list, last showed it.
    pub instance: Option<Arc<Instance>>,
    /// When that was; or when a call for it last showed none.
    pub looked_at: Option<Timestamp>,
    /// Typed NotFounds in a row that count.
    pub not_founds: u32,
    /// The last one, while it is not known whether it counts.
    pub struck_at: Option<Timestamp>,
    /// When the machine is asked for again after it.
    pub next_look: Option<Timestamp>,
    /// When the first of them was asked for.
    pub missing_since: Option<Timestamp>,
    /// Calls for it that failed.
    pub backoff: Backoff,
    /// When the provider last accepted a terminate call.
    pub terminate_accepted_at: Option<Timestamp>,
    /// When it first did.
    pub terminate_first_accepted_at: Option<Timestamp>,
    /// Terminate calls that failed in a row.
    pub terminate_failures: u32,
    /// What the cloud said to the last of them.
    pub terminate_words: String,
    /// What could not be written down of an end that does not come, and until when it is not tried again.
    pub stuck_unsaid: Option<(Stuck, Timestamp)>,
    /// The claim that the machine was tagged with by this process.
    pub tagging: Tagging,
    /// When the member's end was decided.
    pub ending_since: Option<Timestamp>,
    /// Whether it was said that the end of its namespace overrides a hold on it.
    pub hold_overridden: bool,
    /// Whether it was said that the member is held by a claim in a namespace that is not watched.
    pub unwatched_told: bool,
}

impl MachineRecord {
    const fn new(asked: Asked) -> Self {
        Self {
            asked,
            instance: None,
            looked_at: None,
            not_founds: 0,
            struck_at: None,
            next_look: None,
            missing_since: None,
            backoff: Backoff::new(),
            terminate_accepted_at: None,
            terminate_first_accepted_at: None,
            terminate_failures: 0,
            terminate_words: String::new(),
            stuck_unsaid: None,
            tagging: Tagging::new(),
            ending_since: None,
            hold_overridden: false,
            unwatched_told: false,
        }
    }

    /// A call showed the machine.
    pub fn saw(&mut self, instance: Instance, at: Timestamp) {
        self.instance = Some(Arc::new(instance));
        self.looked_at = Some(at);
        self.forget_strikes();
        self.worked();
    }

    fn forget_strikes(&mut self) {
        self.not_founds = 0;
        self.struck_at = None;
        self.next_look = None;
        self.missing_since = None;
    }

    /// Whether a list that began then is passed over, because a call of its own looked at the machine since.
    pub fn outlasts(&self, list_began: Timestamp) -> bool {
        self.looked_at.is_some_and(|looked| list_began <= looked)
    }

    /// A later list shows the machine that a call had shown: its word is the younger one, and held once for both.
    pub fn listed(&mut self, listing: &Listing) {
        if let Some(instance) = &mut self.instance
            && self.looked_at.is_some_and(|looked| looked < listing.began)
            && let Some(listed) = listing.with_id(&instance.id)
        {
            *instance = listed.clone();
        }
    }

    /// Whether the end of a machine that a call showed was accepted before a list that began then.
    fn ended_before(&self, list_began: Timestamp) -> bool {
        self.instance.is_some() && self.terminate_accepted_at.is_some_and(|accepted| accepted < list_began)
    }

    /// A call showed that there is none.
    pub fn saw_none(&mut self, at: Timestamp) {
        self.instance = None;
        self.looked_at = Some(at);
        self.missing_since.get_or_insert(at);
        self.worked();
    }

    /// A call for the machine's id did not find it. Whether that counts is known by [`settle_strike`](Self::settle_strike).
    pub fn struck(&mut self, at: Timestamp) {
        self.saw_none(at);
        self.struck_at = Some(at);
        self.next_look = at.checked_add(LOOK_EVERY).ok();
    }

    /// The right account's credentials were confirmed at this moment: the last `NotFound` counts if that was soon after it.
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

    /// What was not found before this moment may have been looked for in another account.
    pub fn doubt_absence_before(&mut self, moment: Timestamp) {
        if self.missing_since.is_some_and(|since| since < moment) {
            self.forget_strikes();
            if self.instance.is_none() {
                self.looked_at = None;
            }
        }
    }

    /// A terminate call was accepted.
    pub fn terminate_accepted(&mut self, at: Timestamp) {
        self.worked();
        self.terminate_failures = 0;
        self.terminate_accepted_at = Some(at);
        self.terminate_first_accepted_at.get_or_insert(at);
    }

    /// A terminate call failed.
    pub fn terminate_failed(&mut self, at: Timestamp, asked_for: Option<Duration>, words: String) {
        self.failed(at, asked_for);
        self.terminate_failures = self.terminate_failures.saturating_add(1);
        self.terminate_words = words;
    }

    /// A call was answered.
    pub const fn worked(&mut self) {
        self.backoff.reset();
    }

    /// A call failed: the next one waits, longer each time, or for as long as the cloud asked.
    pub fn failed(&mut self, now: Timestamp, asked_for: Option<Duration>) {
        match asked_for {
            Some(delay) => self.backoff.failed_for(delay, now),
            None => drop(self.backoff.failed(CALLS, now)),
        }
    }
}

/// The records of all members, by uid. In boxes: a map has places for many more than it holds.
#[derive(Clone, Debug)]
pub struct Machines {
    records: Arc<Mutex<HashMap<String, Box<MachineRecord>>>>,
    overtaken: Arc<Mutex<HashSet<ObjectKey>>>,
    started: Timestamp,
}

impl Machines {
    /// Nothing is known yet. A member that this process did not write may have been asked for until the term `started`.
    pub fn new(started: Timestamp) -> Self {
        Self { records: Arc::default(), overtaken: Arc::default(), started }
    }

    /// This process wrote the member, and has begun no call for it.
    pub fn written(&self, uid: &str) {
        self.records.lock().entry(uid.to_owned()).or_insert_with(|| Box::new(MachineRecord::new(Asked::Never)));
    }

    /// Looks at the record of a member, or changes it.
    pub fn with<T>(&self, uid: &str, change: impl FnOnce(&mut MachineRecord) -> T) -> T {
        let mut records = self.records.lock();
        change(
            records.entry(uid.to_owned()).or_insert_with(|| Box::new(MachineRecord::new(Asked::Perhaps(self.started)))),
        )
    }

    /// Changes the record of a member if there still is one.
    pub fn with_known(&self, uid: &str, change: impl FnOnce(&mut MachineRecord)) {
        if let Some(record) = self.records.lock().get_mut(uid) {
            change(record);
        }
    }

    /// The last list is older than the last call for this member's machine: it is to be looked at after the next one.
    pub fn overtook(&self, member: ObjectKey) {
        self.overtaken.lock().insert(member);
    }

    /// The members to look at now that there is another list.
    pub fn overtaken(&self) -> HashSet<ObjectKey> {
        std::mem::take(&mut self.overtaken.lock())
    }

    /// The member is gone.
    pub fn forget(&self, uid: &str) {
        self.records.lock().remove(uid);
    }
}

/// The machine as it was last shown, by a list or by a call of its own, whichever is younger.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Where it is.
    pub machine: Machine,
    /// The instance, if one was shown.
    pub instance: Option<Arc<Instance>>,
}

impl Sighting {
    /// The uid of the claim that the machine was given, by its tags.
    pub fn claim(&self) -> Option<&str> {
        self.instance.as_ref()?.tags.claim.as_deref()
    }
}

/// Puts together what the last list and the last call of its own showed of a member's machine.
///
/// `id` is the machine's id if it is known. A list that does not show a machine counts only if it began after
/// `known_since`, when the provider first answered for it; one that shows it always counts.
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
            // A list may omit a machine that lives; only calls for it count as strikes.
            Sighting { machine: Machine::Missing { at: began, not_founds: record.not_founds }, instance: None }
        }
        // Only a call of its own ever showed it, and that was before its end was asked for: whether it is there has to be
        // asked anew, for no list will say that it is not.
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
        InstancePhase::Running => {
            Machine::Running { at, since: instance.boot_time.unwrap_or(instance.launch_time), ready: instance.ready }
        }
        InstancePhase::ShuttingDown | InstancePhase::Stopped => Machine::Ending,
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
            tags: crate::provider::OwnTags::default(),
        }
    }

    #[test]
    fn what_a_younger_list_shows_is_held_once_and_an_older_one_changes_nothing() {
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
    fn a_list_is_passed_over_when_a_call_has_looked_since_it_began() {
        let moment = |second| Timestamp::from_second(second).unwrap();
        let mut record = MachineRecord::new(Asked::Never);
        assert!(!record.outlasts(moment(5)), "no call has looked yet");
        record.saw_none(moment(7));
        assert!(record.outlasts(moment(5)) && record.outlasts(moment(7)));
        assert!(!record.outlasts(moment(8)));
    }

    #[test]
    fn credentials_of_another_account_that_were_put_back_before_anybody_asked_prove_nothing() {
        let moment = |second| Timestamp::from_second(second).unwrap();
        let mut record = MachineRecord::new(Asked::Never);
        for second in [10, 11, 12] {
            record.struck(moment(second));
            record.settle_strike(Some(moment(5)));
            assert_eq!(
                (record.not_founds, record.struck_at),
                (0, Some(moment(second))),
                "whose word it is is not known"
            );
        }
        record.settle_strike(Some(moment(15)));
        assert_eq!((record.not_founds, record.struck_at), (0, None));
        for second in [20, 22, 24] {
            record.struck(moment(second));
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
        record.saw_none(moment(12));
        assert_eq!(seen(&record, 13), Machine::Missing { at: moment(12), not_founds: 0 });
    }
}
