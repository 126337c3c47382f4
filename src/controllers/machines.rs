//! What this process knows of each member's machine beyond what the member records: calls begun, strikes, backoffs.
//! All of it may be lost with the process: a member found at start is taken as asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::clouds::Listing;
use super::queue::backoff;
use crate::plan::lifecycle::{Asked, Machine};
use crate::provider::{Instance, InstancePhase};

const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);

/// One machine as this process knows it.
#[derive(Clone, Debug)]
pub struct MachineRecord {
    /// What is known of its create call.
    pub asked: Asked,
    /// The machine as a call for it, not a list, last showed it.
    pub instance: Option<Instance>,
    /// When that was; or when a call for it last showed none.
    pub looked_at: Option<Timestamp>,
    /// Typed NotFounds in a row.
    pub not_founds: u32,
    /// Failed calls in a row.
    pub failures: u32,
    /// No call for it before this moment.
    pub not_before: Option<Timestamp>,
    /// When the provider last accepted a terminate call.
    pub terminate_accepted_at: Option<Timestamp>,
    /// When the member's end was decided.
    pub ending_since: Option<Timestamp>,
    /// Whether it was said that the end of its namespace overrides a hold on it.
    pub hold_overridden: bool,
}

impl MachineRecord {
    const fn new(asked: Asked) -> Self {
        Self {
            asked,
            instance: None,
            looked_at: None,
            not_founds: 0,
            failures: 0,
            not_before: None,
            terminate_accepted_at: None,
            ending_since: None,
            hold_overridden: false,
        }
    }

    /// A call showed the machine.
    pub fn saw(&mut self, instance: Instance, at: Timestamp) {
        self.instance = Some(instance);
        self.looked_at = Some(at);
        self.not_founds = 0;
        self.worked();
    }

    /// A call showed that there is none.
    pub fn saw_none(&mut self, at: Timestamp) {
        self.instance = None;
        self.looked_at = Some(at);
        self.not_founds += 1;
        self.worked();
    }

    /// A call was answered.
    pub const fn worked(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    /// A call failed: the next one waits, longer each time, or for as long as the cloud asked.
    pub fn failed(&mut self, now: Timestamp, asked_for: Option<Duration>) {
        let delay = asked_for.unwrap_or_else(|| backoff(FIRST_BACKOFF, LONGEST_BACKOFF, self.failures));
        self.failures += 1;
        self.not_before = now.checked_add(delay).ok();
    }
}

/// The records of all members, by uid.
#[derive(Clone, Debug, Default)]
pub struct Machines(Arc<Mutex<HashMap<String, MachineRecord>>>);

impl Machines {
    /// This process wrote the member, and has begun no call for it.
    pub fn written(&self, uid: &str) {
        self.0.lock().entry(uid.to_owned()).or_insert_with(|| MachineRecord::new(Asked::Never));
    }

    /// Changes the record of a member; one that this process did not write may have been asked for until `started`.
    pub fn with<T>(&self, uid: &str, started: Timestamp, change: impl FnOnce(&mut MachineRecord) -> T) -> T {
        let mut records = self.0.lock();
        change(records.entry(uid.to_owned()).or_insert_with(|| MachineRecord::new(Asked::Perhaps(started))))
    }

    /// The member is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

/// The machine as it was last shown, by a list or by a call of its own, whichever is younger.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Where it is.
    pub machine: Machine,
    /// The instance, if one was shown.
    pub instance: Option<Instance>,
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
    let listed = listing.and_then(|listing| {
        let younger = record.looked_at.is_none_or(|looked| listing.began > looked);
        younger.then(|| (listing.began, listing.find(uid, id)))
    });
    match listed {
        Some((began, Some(instance))) => shown(instance, began),
        Some((began, None)) if id.is_some() && known_since.is_some_and(|since| began > since) => {
            // A list may omit a machine that lives; only calls for it count as strikes.
            Sighting { machine: Machine::Missing { at: began, not_founds: record.not_founds }, instance: None }
        }
        _ => match (&record.instance, record.looked_at) {
            (Some(instance), Some(at)) => shown(instance.clone(), at),
            (None, Some(at)) => {
                Sighting { machine: Machine::Missing { at, not_founds: record.not_founds }, instance: None }
            }
            (_, None) => Sighting { machine: Machine::Unknown, instance: None },
        },
    }
}

fn shown(instance: Instance, at: Timestamp) -> Sighting {
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
