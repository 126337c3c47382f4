//! The failure ladder of one launch config in one pool: what its members prove, and what may be bought next.

use std::collections::HashSet;

use bullpen_api::{ErrorClass, LaunchConfigInUse, RecordedError, micro_time};
use jiff::Timestamp;

use super::breaker::{Breaker, Phase, Rules};
use super::ramp::in_flight_limit;

/// A failed member is one of the launch config only by these classes of `lastError` (`docs/adr/0004-failure-ladder.md`).
/// Refusals that have holds of their own, such as Quota and Capacity, prove nothing of the machine.
pub const FAILURES: [ErrorClass; 4] =
    [ErrorClass::LaunchTimeout, ErrorClass::WarmingTimeout, ErrorClass::InstanceGone, ErrorClass::Invalid];

/// What a member of the present template hash proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberProof {
    /// Nothing yet: it is pending or warming.
    InFlight,
    /// It became ready at this moment, whatever it is now.
    Ready(Timestamp),
    /// It failed and was never ready; its uid, so that it counts once.
    Failed(String, RecordedError),
}

/// What is known of one launch config in one pool, for one template hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// The template hash that all of this is about.
    pub hash: String,
    /// The breaker.
    pub breaker: Breaker,
    /// Members that became ready since the last failure, as far as this process saw them.
    streak: i64,
    last_ready: Option<Timestamp>,
    ever_ready: i64,
    in_flight: i64,
}

impl Trial {
    /// The trial of `hash`, with what the pool's status remembers of it. Another hash is another trial: a mended image
    /// is bought at once.
    pub fn begin(hash: &str, recorded: Option<&LaunchConfigInUse>) -> Self {
        let breaker = recorded.filter(|entry| entry.template_hash == hash).map(|entry| Breaker {
            failures: entry.consecutive_failures,
            open_until: entry.open_until.as_ref().map(|time| time.0),
            last: entry.last_failure.clone(),
        });
        Self { hash: hash.to_owned(), breaker: breaker.unwrap_or_default(), ..Self::default() }
    }

    /// Takes in what the members prove by now. `counted` has the failed members that were taken in before; the uids
    /// of those that are new come back, and are to be in the pool's status before their members are deleted.
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
        // While it is open, what would be allowed next: so that its end is waited for.
        let next = if until.is_some() { Phase::HalfOpen } else { phase };
        let limit = in_flight_limit(threshold, self.breaker.failures, self.ever_ready.max(self.streak), next);
        let more = Some((limit - self.in_flight).max(0));
        match next {
            Phase::Closed => Allowance { room: None, ramp: more, until },
            Phase::HalfOpen | Phase::Open(_) => Allowance { room: more, ramp: None, until },
        }
    }

    /// What the pool's status says of it.
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

/// What ramp and breaker allow; see [`LaunchConfigView`](crate::launch::placement::LaunchConfigView).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// While the breaker has opened: so many more, and others take the rest.
    pub room: Option<i64>,
    /// While it has not: so many more for now.
    pub ramp: Option<i64>,
    /// None before this moment.
    pub until: Option<Timestamp>,
}

#[cfg(test)]
mod tests;
