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
        let mut events: Vec<(Timestamp, Option<(&String, &RecordedError)>)> = Vec::new();
        (self.ever_ready, self.in_flight) = (0, 0);
        for proof in proofs {
            match proof {
                MemberProof::InFlight => self.in_flight += 1,
                MemberProof::Ready(at) => {
                    self.ever_ready += 1;
                    events.push((*at, None));
                }
                MemberProof::Failed(uid, error) if !counted.contains(uid) => {
                    events.push((error.time.0, Some((uid, error))));
                }
                MemberProof::Failed(..) => {}
            }
        }
        events.sort_by_key(|(at, _)| *at);
        let mut failures = Vec::new();
        let seen = self.last_ready;
        for (at, failed) in events {
            if let Some((uid, error)) = failed {
                self.breaker.failed(error, rules);
                self.streak = 0;
                failures.push(uid.clone());
                continue;
            }
            self.breaker.ready(at);
            if seen.is_none_or(|seen| at > seen) {
                self.streak += 1;
                self.last_ready = self.last_ready.max(Some(at));
            }
        }
        failures
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
