//! Who leads: the algorithm and the numbers of client-go's `leaderelection`, with one thing more. A holder renews only
//! the version that it wrote itself; whatever else has become of the record, it is no longer the holder.
//!
//! When a record expires is judged by when this process saw it change, never by the times in it: clocks of other
//! machines prove nothing.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{Timestamp, TimestampRound, Unit};

/// A moment on the clock that also runs while the machine is suspended, as the time since it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boottime(Duration);

impl Boottime {
    /// The moment so long after the machine was started.
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// Time since the machine was started.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// The moment so much later.
    #[must_use]
    pub const fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// How long a lease is held without a renewal: client-go's `LeaseDuration` of core components.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A holder whose last renewal was sent longer ago acts no more: client-go's `RenewDeadline`.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between two renewals, and the longest time between two looks of a candidate: client-go's `RetryPeriod`.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// How long one request may take.
pub const ATTEMPT_CAP: Duration = Duration::from_secs(6);
/// What a released lease says of its duration, as client-go writes it.
const RELEASED_DURATION: Duration = Duration::from_secs(1);
/// Requests without an answer that are remembered: more than fit into a renew deadline.
const MOST_UNANSWERED: usize = 16;

/// Whether a holder may act: its last accepted renewal was sent less than the renew deadline ago.
pub fn may_act(renewal_sent: Boottime, now: Boottime) -> bool {
    now.since(renewal_sent) < RENEW_DEADLINE
}

/// How long a candidate waits until its next look, of a number from 0 to 1 that chance gave: up to a quarter less than
/// the retry period, so that candidates spread, and never more, because each look that comes late delays a takeover.
pub fn look_pause(chance: f64) -> Duration {
    RETRY_PERIOD.mul_f64(1.0 - 0.25 * chance.clamp(0.0, 1.0))
}

/// What a lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Identity of its holder; empty if it was released.
    pub holder: String,
    /// How long it is held without a renewal.
    pub duration: Duration,
    /// When the holder acquired it, by the holder's clock; to the microsecond, as the API keeps it.
    pub acquired: Option<Timestamp>,
    /// When the holder renewed it last, by the holder's clock; to the microsecond.
    pub renewed: Option<Timestamp>,
    /// How often it went from one holder to another.
    pub transitions: i32,
}

/// A lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its resourceVersion.
    pub version: String,
    /// What it says.
    pub record: LeaseRecord,
}

/// What a candidate does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Write the lease anew: there is none.
    Create(LeaseRecord),
    /// Write this over the version that was seen.
    Take(LeaseRecord),
    /// Somebody holds it. Look again, at the latest at this moment: then it expires.
    Wait(Boottime),
}

/// What a holder is after a renewal that was not accepted, or not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenewalOutcome {
    /// Still the holder, and nothing was renewed.
    StillHeld,
    /// Still the holder: the renewal had been written.
    Renewed,
    /// The record is not as this process wrote it: it is another's, or nobody's.
    Lost,
}

/// One process that stands for the lease: what it has seen of it and what it has written.
#[derive(Clone, Debug)]
pub struct Elector {
    identity: String,
    observed: Option<(Seen, Boottime)>,
    /// The version that this process wrote last.
    own: Option<Seen>,
    /// What this process sent without getting an answer: any of it may have been written.
    unanswered: VecDeque<LeaseRecord>,
    /// Another process of this identity has shown itself: what is held in its name is not this process's.
    has_namesake: bool,
}

impl Elector {
    /// A process that has seen nothing yet. No two that live at a time may have the same identity.
    pub const fn new(identity: String) -> Self {
        Self { identity, observed: None, own: None, unanswered: VecDeque::new(), has_namesake: false }
    }

    /// Its identity.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// A candidate has read the lease.
    ///
    /// A lease that this process wrote itself is taken at once, and so is one in its name that it finds when it starts:
    /// the process before it held it. If that one is renewed all the same, there are two of the name, and this one
    /// waits like any other candidate.
    pub fn look(&mut self, seen: Option<Seen>, now: Boottime, clock: Timestamp) -> Next {
        let Some(seen) = seen else {
            self.observed = None;
            return Next::Create(self.fresh(0, clock));
        };
        let in_my_name = seen.record.holder == self.identity;
        let by_me = in_my_name && self.wrote(&seen);
        let changed = self.observed.as_ref().is_none_or(|(before, _)| before.version != seen.version);
        if changed {
            let was_in_my_name =
                self.observed.as_ref().is_some_and(|(before, _)| before.record.holder == self.identity);
            if in_my_name && !by_me && was_in_my_name {
                self.has_namesake = true;
            }
            self.observed = Some((seen.clone(), now));
        }
        let observed_at = self.observed.as_ref().map_or(now, |(_, at)| *at);
        let expires = observed_at.after(seen.record.duration);
        if by_me || (in_my_name && !self.has_namesake) {
            return Next::Take(LeaseRecord { renewed: Some(micros(clock)), duration: LEASE_DURATION, ..seen.record });
        }
        if seen.record.holder.is_empty() || now >= expires {
            return Next::Take(self.fresh(seen.record.transitions.saturating_add(1), clock));
        }
        Next::Wait(expires)
    }

    /// What a holder writes next, and over which version. `None` before it holds anything.
    pub fn renewal(&self, clock: Timestamp) -> Option<Seen> {
        let own = self.own.as_ref()?;
        Some(Seen {
            version: own.version.clone(),
            record: LeaseRecord { renewed: Some(micros(clock)), ..own.record.clone() },
        })
    }

    /// What a holder writes to give the lease up, and over which version, as client-go writes it.
    pub fn release(&self, clock: Timestamp) -> Option<Seen> {
        let own = self.own.as_ref()?;
        let now = Some(micros(clock));
        let record = LeaseRecord {
            holder: String::new(),
            duration: RELEASED_DURATION,
            acquired: now,
            renewed: now,
            transitions: own.record.transitions,
        };
        Some(Seen { version: own.version.clone(), record })
    }

    /// This is about to be sent: without an answer, nobody knows whether it was written.
    pub fn sends(&mut self, record: LeaseRecord) {
        self.unanswered.push_back(record);
        if self.unanswered.len() > MOST_UNANSWERED {
            self.unanswered.pop_front();
        }
    }

    /// What was sent last was accepted as this version.
    pub fn accepted(&mut self, written: Seen, now: Boottime) {
        self.unanswered.clear();
        self.observed = Some((written.clone(), now));
        self.own = Some(written);
    }

    /// A holder has read the lease after a renewal that was refused or not answered.
    pub fn examine(&mut self, seen: Option<Seen>, now: Boottime) -> RenewalOutcome {
        let Some(seen) = seen else {
            self.own = None;
            return RenewalOutcome::Lost;
        };
        if self.own.as_ref().is_some_and(|own| own.version == seen.version) {
            return RenewalOutcome::StillHeld;
        }
        if self.wrote(&seen) {
            // The others may still be written after this one, but each only over an older version: never.
            self.accepted(seen, now);
            return RenewalOutcome::Renewed;
        }
        if seen.record.holder == self.identity {
            self.has_namesake = true;
        }
        self.observed = Some((seen, now));
        self.own = None;
        RenewalOutcome::Lost
    }

    /// Whether this process wrote what was seen: the version is the one of an answer, or the text is one that it sent.
    fn wrote(&self, seen: &Seen) -> bool {
        self.own.as_ref().is_some_and(|own| own.version == seen.version) || self.unanswered.contains(&seen.record)
    }

    fn fresh(&self, transitions: i32, clock: Timestamp) -> LeaseRecord {
        let now = Some(micros(clock));
        LeaseRecord {
            holder: self.identity.clone(),
            duration: LEASE_DURATION,
            acquired: now,
            renewed: now,
            transitions,
        }
    }
}

/// The API keeps microseconds.
fn micros(moment: Timestamp) -> Timestamp {
    moment.round(TimestampRound::new().smallest(Unit::Microsecond)).unwrap_or(moment)
}

#[cfg(test)]
mod tests;
