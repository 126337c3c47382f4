//! Leader election: the algorithm and timings of client-go's `leaderelection`, with one addition. A holder renews only
//! the version of the lease that it wrote itself; after any other change it is no longer the holder.
//!
//! A lease expires by when this process saw it change, never by the times in it, because clocks of other machines may
//! differ.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{Timestamp, TimestampRound, Unit};

/// A time on the clock that also runs while the computer is suspended (`CLOCK_BOOTTIME`): the time since its boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boottime(Duration);

impl Boottime {
    /// The time `since_start` after the boot.
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// The time since the boot.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// The time `time` later.
    #[must_use]
    pub const fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// How long a lease is valid without a renewal: client-go's `LeaseDuration` of core components.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A holder whose last accepted renewal was sent longer ago stops acting: client-go's `RenewDeadline`.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two renewals, and the longest time between two reads of a candidate: client-go's `RetryPeriod`.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// How long one request may take.
pub const ATTEMPT_CAP: Duration = Duration::from_secs(6);
/// The duration in a released lease, as client-go writes it.
const RELEASED_DURATION: Duration = Duration::from_secs(1);
/// How many unanswered requests are stored: more than fit into a renew deadline.
const MOST_UNANSWERED: usize = 16;

/// Whether a holder may act: its last accepted renewal was sent less than the renew deadline ago.
pub fn may_act(renewal_sent: Boottime, now: Boottime) -> bool {
    now.since(renewal_sent) < RENEW_DEADLINE
}

/// How long a candidate waits until its next read. `chance` is a random number from 0 to 1: the pause is up to a
/// quarter shorter than the retry period, so that candidates spread, and never longer, because that would delay a
/// takeover.
pub fn look_pause(chance: f64) -> Duration {
    RETRY_PERIOD.mul_f64(1.0 - 0.25 * chance.clamp(0.0, 1.0))
}

/// The content of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Identity of its holder; empty if it was released.
    pub holder: String,
    /// How long it is valid without a renewal.
    pub duration: Duration,
    /// When the holder acquired it, by the holder's clock, in microseconds as in the API.
    pub acquired: Option<Timestamp>,
    /// When the holder last renewed it, by the holder's clock, in microseconds.
    pub renewed: Option<Timestamp>,
    /// How often the holder changed.
    pub transitions: i32,
}

/// A lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its resourceVersion.
    pub version: String,
    /// Its content.
    pub record: LeaseRecord,
}

/// What a candidate does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Create the lease: it does not exist.
    Create(LeaseRecord),
    /// Replace the version that was seen.
    Take(LeaseRecord),
    /// Another process holds it. Read it again at this time at the latest, when it expires.
    Wait(Boottime),
}

/// The state of a holder after a renewal that was refused or not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenewalOutcome {
    /// It is still the holder, and the renewal was not written.
    StillHeld,
    /// It is still the holder, and the renewal was written.
    Renewed,
    /// It is not the holder: another process changed, released or deleted the lease.
    Lost,
}

/// One process in the election: what it has seen of the lease and what it has written.
#[derive(Clone, Debug)]
pub struct Elector {
    identity: String,
    observed: Option<(Seen, Boottime)>,
    /// The version that this process wrote last.
    own: Option<Seen>,
    /// Requests without an answer: each of them may have been written.
    unanswered: VecDeque<LeaseRecord>,
    /// Whether another process with this identity was noticed. Then a lease with this identity is not this process's.
    has_namesake: bool,
}

impl Elector {
    /// A process that has not read the lease yet. Identities must be unique among running processes.
    pub const fn new(identity: String) -> Self {
        Self { identity, observed: None, own: None, unanswered: VecDeque::new(), has_namesake: false }
    }

    /// Its identity.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Decides what a candidate does after reading the lease.
    ///
    /// A lease that this process wrote itself is taken at once, and so is one with its identity that it finds at the
    /// start: the process before a restart held it. If that lease is renewed nevertheless, another process has the same
    /// identity, and this one waits like any other candidate.
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

    /// The next renewal, and the version to replace. `None` if this process does not hold the lease.
    pub fn renewal(&self, clock: Timestamp) -> Option<Seen> {
        let own = self.own.as_ref()?;
        Some(Seen {
            version: own.version.clone(),
            record: LeaseRecord { renewed: Some(micros(clock)), ..own.record.clone() },
        })
    }

    /// The write that releases the lease, as client-go does, and the version to replace. `None` if this process does
    /// not hold it.
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

    /// Records a request that is about to be sent. Without an answer it may or may not have been written.
    pub fn record_request(&mut self, record: LeaseRecord) {
        self.unanswered.push_back(record);
        if self.unanswered.len() > MOST_UNANSWERED {
            self.unanswered.pop_front();
        }
    }

    /// Records that the last request was accepted as this version.
    pub fn accepted(&mut self, written: Seen, now: Boottime) {
        self.unanswered.clear();
        self.observed = Some((written.clone(), now));
        self.own = Some(written);
    }

    /// Decides what a holder is after it read the lease, because a renewal was refused or not answered.
    pub fn examine(&mut self, seen: Option<Seen>, now: Boottime) -> RenewalOutcome {
        let Some(seen) = seen else {
            self.own = None;
            return RenewalOutcome::Lost;
        };
        if self.own.as_ref().is_some_and(|own| own.version == seen.version) {
            return RenewalOutcome::StillHeld;
        }
        if self.wrote(&seen) {
            // The other requests cannot be written any more: each replaces an older version.
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

    /// Whether this process wrote this lease: its version was in a response, or its content was in a request.
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

/// Rounds to microseconds, the precision of the API.
fn micros(moment: Timestamp) -> Timestamp {
    moment.round(TimestampRound::new().smallest(Unit::Microsecond)).unwrap_or(moment)
}

#[cfg(test)]
mod tests;
