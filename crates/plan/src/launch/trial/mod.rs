//! The failure ladder of one launch config in one pool: what its members prove, and how many may be bought next.

use std::collections::HashSet;

use bullpen_api::{ErrorClass, LaunchConfigInUse, RecordedError, micro_time};
use jiff::Timestamp;

use super::breaker::{Breaker, Phase, Rules};
use super::ramp::in_flight_limit;

/// The classes of `lastError` that count as a failure of the launch config (`docs/adr/0004-failure-ladder.md`).
/// Refusals such as Quota and Capacity do not count, because they prove nothing about the machine.
pub const FAILURES: [ErrorClass; 5] = [
    ErrorClass::LaunchTimeout,
    ErrorClass::WarmingTimeout,
    ErrorClass::InstanceGone,
    ErrorClass::ReportedBroken,
    ErrorClass::Invalid,
];

/// What a member of the current template hash proves about the launch config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberProof {
    /// Nothing yet: it is Pending or Warming.
    InFlight,
    /// It became ready at this time, whatever its state is now.
    Ready(Timestamp),
    /// It failed and was never ready. The uid makes it count once.
    Failed(String, RecordedError),
}

/// What a member came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It became ready at this time.
    Ready(Timestamp),
    /// The member with this uid failed and was never ready.
    Failed(&'a str, &'a RecordedError),
}

impl Outcome<'_> {
    const fn at(&self) -> Timestamp {
        match self {
            Self::Ready(at) => *at,
            Self::Failed(_, error) => error.time.0,
        }
    }
}

/// What is known of one launch config in one pool, for one template hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// The template hash.
    pub hash: String,
    /// The breaker.
    pub breaker: Breaker,
    /// Members that became ready since the last failure, as seen by this process.
    streak: i64,
    last_ready: Option<Timestamp>,
    ever_ready: i64,
    in_flight: i64,
}

impl Trial {
    /// The trial of `hash`, with its breaker from the pool's status. Another hash starts a new trial, so that a fixed
    /// image is bought at once.
    pub fn begin(hash: &str, recorded: Option<&LaunchConfigInUse>) -> Self {
        let breaker = recorded.filter(|entry| entry.template_hash == hash).map(|entry| Breaker {
            failures: entry.consecutive_failures,
            open_until: entry.open_until.as_ref().map(|time| time.0),
            last: entry.last_failure.clone(),
        });
        Self { hash: hash.to_owned(), breaker: breaker.unwrap_or_default(), ..Self::default() }
    }

    /// Adds what the members prove by now. `counted` has the uids of failed members that were counted before. Returns
    /// the uids of the newly counted ones; the pool's status must be written before these members are deleted.
    pub fn observe(&mut self, proofs: &[MemberProof], counted: &HashSet<String>, rules: Rules<'_>) -> Vec<String> {
        let mut events: Vec<Outcome<'_>> = Vec::new();
        let (mut ready, mut in_flight) = (0, 0);
        for proof in proofs {
            match proof {
                MemberProof::InFlight => in_flight += 1,
                MemberProof::Ready(at) => {
                    ready += 1;
                    events.push(Outcome::Ready(*at));
                }
                MemberProof::Failed(uid, error) if !counted.contains(uid) => events.push(Outcome::Failed(uid, error)),
                MemberProof::Failed(..) => {}
            }
        }
        events.sort_by_key(Outcome::at);
        let failed = |event: &Outcome<'_>| match event {
            Outcome::Failed(uid, _) => Some((*uid).to_owned()),
            Outcome::Ready(_) => None,
        };
        let failures = events.iter().filter_map(failed).collect();
        self.learn(&events, rules);
        self.present(ready, in_flight);
        failures
    }

    /// Adds what members newly proved, the earliest first. One that became ready may come again, one that failed must not.
    pub fn learn(&mut self, outcomes: &[Outcome<'_>], rules: Rules<'_>) {
        let seen = self.last_ready;
        for outcome in outcomes {
            match outcome {
                Outcome::Failed(_, error) => {
                    self.breaker.failed(error, rules);
                    self.streak = 0;
                }
                Outcome::Ready(at) => {
                    self.breaker.ready(*at);
                    if seen.is_none_or(|seen| *at > seen) {
                        self.streak += 1;
                        self.last_ready = self.last_ready.max(Some(*at));
                    }
                }
            }
        }
    }

    /// Sets how many members there are that became ready, whatever they are now, and how many are Pending or Warming.
    pub const fn present(&mut self, ever_ready: i64, in_flight: i64) {
        (self.ever_ready, self.in_flight) = (ever_ready, in_flight);
    }

    /// How many more members may be bought now, by ramp and breaker.
    pub fn allowance(&self, threshold: i32, now: Timestamp) -> Allowance {
        let phase = self.breaker.phase(threshold, now);
        let until = match phase {
            Phase::Open(until) => Some(until),
            Phase::Closed | Phase::HalfOpen => None,
        };
        // While it is open, return what will be allowed at its end, so that the caller waits for that.
        let next = if until.is_some() { Phase::HalfOpen } else { phase };
        let limit = in_flight_limit(threshold, self.breaker.failures, self.ever_ready.max(self.streak), next);
        let more = Some((limit - self.in_flight).max(0));
        match next {
            Phase::Closed => Allowance { room: None, ramp: more, until },
            Phase::HalfOpen | Phase::Open(_) => Allowance { room: more, ramp: None, until },
        }
    }

    /// The entry in the pool's status.
    pub fn recorded(&self, launch_config: &str) -> LaunchConfigInUse {
        LaunchConfigInUse {
            name: launch_config.to_owned(),
            template_hash: self.hash.clone(),
            consecutive_failures: self.breaker.failures,
            open_until: self.breaker.open_until.map(micro_time),
            last_failure: self.breaker.last.clone(),
            standby: None,
        }
    }
}

/// How many more members ramp and breaker allow; see [`LaunchConfigView`](crate::launch::placement::LaunchConfigView).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Limit after the breaker opened; other launch configs get the rest.
    pub room: Option<i64>,
    /// Limit by the ramp while the breaker is closed.
    pub ramp: Option<i64>,
    /// None before this time.
    pub until: Option<Timestamp>,
}

#[cfg(test)]
mod tests;
