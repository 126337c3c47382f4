//! The circuit breaker of one launch config in one pool: failures in a row open it, so that a broken image does not buy
//! machines without end (`docs/adr/0004-failure-ladder.md`). A success is a member that became Ready.
//!
//! All of its state is in the pool's status, so that a crash does not close it. It never stays open for good: after
//! each pause one member is tried.

use bullpen_api::RecordedError;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

/// The longest pause, unless `cooldownSeconds` is longer.
pub const LONGEST_COOLDOWN: SignedDuration = SignedDuration::from_hours(1);

/// The settings of a breaker, from the pool's spec.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// `provisioning.failureThreshold`.
    pub threshold: i32,
    /// `provisioning.cooldownSeconds`.
    pub cooldown: SignedDuration,
    /// Identifies this breaker. It seeds the jitter, so that breakers that opened together do not all probe together.
    pub seed: &'a str,
}

/// The breaker of one launch config in one pool, for one template hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row: members that failed before they were ever ready.
    pub failures: i32,
    /// Nothing is bought before this time.
    pub open_until: Option<Timestamp>,
    /// The last failure.
    pub last: Option<RecordedError>,
}

/// How many members a breaker allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// As many as the ramp allows.
    Closed,
    /// One member at a time.
    HalfOpen,
    /// None before this time.
    Open(Timestamp),
}

impl Breaker {
    /// Records that a member failed before it was ever ready.
    ///
    /// A failure while the breaker is open is ignored: that member was bought before it opened and proves nothing new.
    pub fn failed(&mut self, error: &RecordedError, rules: Rules<'_>) {
        let at = error.time.0;
        if self.failures >= rules.threshold && self.open_until.is_some_and(|until| at < until) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.last = Some(error.clone());
        if self.failures >= rules.threshold {
            let pause = cooldown(rules, self.failures - rules.threshold);
            self.open_until = Some(at.checked_add(pause).unwrap_or(Timestamp::MAX));
        }
    }

    /// Records that a member became ready. If that was before the last failure, it proves nothing.
    pub fn ready(&mut self, at: Timestamp) {
        if self.last.as_ref().is_some_and(|last| at > last.time.0) {
            *self = Self::default();
        }
    }

    /// The phase at this time.
    pub fn phase(&self, threshold: i32, now: Timestamp) -> Phase {
        match self.open_until {
            _ if self.failures < threshold => Phase::Closed,
            Some(until) if now < until => Phase::Open(until),
            _ => Phase::HalfOpen,
        }
    }

    /// Whether it has opened and no member became ready since.
    pub const fn has_opened(&self, threshold: i32) -> bool {
        self.failures >= threshold
    }
}

/// The pause after it opened `again` times before: doubled each time, with a jitter of ±10 % from a hash.
fn cooldown(rules: Rules<'_>, again: i32) -> SignedDuration {
    let longest = LONGEST_COOLDOWN.max(rules.cooldown);
    let doublings = again.clamp(0, 16);
    let pause = rules.cooldown.saturating_mul(1 << doublings).min(longest);
    let digest = Sha256::digest(format!("{}/{again}", rules.seed));
    let permille = i32::from(u16::from_be_bytes([digest[0], digest[1]])) % 201 - 100;
    pause.saturating_add(pause.saturating_mul(permille) / 1_000)
}

#[cfg(test)]
mod tests {
    use bullpen_api::micro_time;
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules<'static> = Rules { threshold: 3, cooldown: SignedDuration::from_secs(60), seed: "pool/a" };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn failure(seconds: i64) -> RecordedError {
        RecordedError { class: "WarmingTimeout".into(), message: "too late".into(), time: micro_time(at(seconds)) }
    }

    fn failed(seconds: &[i64]) -> Breaker {
        let mut breaker = Breaker::default();
        for second in seconds {
            breaker.failed(&failure(*second), RULES);
        }
        breaker
    }

    fn pause(breaker: &Breaker, since: i64) -> SignedDuration {
        breaker.open_until.unwrap().duration_since(at(since))
    }

    #[test]
    fn it_opens_at_the_threshold_and_not_before() {
        assert_eq!(failed(&[1, 2]).phase(3, at(2)), Phase::Closed);
        let open = failed(&[1, 2, 3]);
        assert!(matches!(open.phase(3, at(3)), Phase::Open(_)));
        assert!((54..=66).contains(&pause(&open, 3).as_secs()), "{open:?}");
    }

    #[test]
    fn it_is_half_open_when_its_time_has_passed_and_closed_when_a_member_is_ready() {
        let mut breaker = failed(&[1, 2, 3]);
        assert_eq!(breaker.phase(3, at(100)), Phase::HalfOpen);
        breaker.ready(at(101));
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn a_member_that_was_ready_before_the_last_failure_does_not_close_it() {
        let mut breaker = failed(&[1, 2, 3]);
        breaker.ready(at(3));
        assert_eq!(breaker.failures, 3);
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_up_to_an_hour() {
        let mut breaker = failed(&[1, 2, 3]);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let second = breaker.open_until.unwrap().duration_since(at(0)).as_secs() + 1;
            breaker.failed(&failure(second), RULES);
            pauses.push(pause(&breaker, second).as_secs());
        }
        for (n, pause) in pauses.iter().enumerate() {
            let plain = (60_i64 << (n + 1)).min(3_600);
            assert!((plain * 9 / 10..=plain * 11 / 10).contains(pause), "{n}: {pauses:?}");
        }
    }

    #[test]
    fn members_bought_before_it_opened_do_not_open_it_longer() {
        // Fifty members in flight fail together with the first three.
        let opened = failed(&[1, 2, 3]);
        let many: Vec<i64> = [1, 2, 3].into_iter().chain(std::iter::repeat_n(5, 47)).collect();
        assert_eq!(failed(&many), opened);
    }

    #[test]
    fn a_cooldown_longer_than_an_hour_is_not_shortened() {
        let rules = Rules { threshold: 1, cooldown: SignedDuration::from_hours(10), ..RULES };
        let mut breaker = Breaker::default();
        breaker.failed(&failure(0), rules);
        assert!(pause(&breaker, 0) >= SignedDuration::from_hours(9));
    }

    proptest! {
        #[test]
        fn it_never_stays_open_for_good(seconds in proptest::collection::vec(0..100_000_i64, 0..60), threshold in 1..10_i32) {
            let rules = Rules { threshold, ..RULES };
            let mut seconds = seconds;
            seconds.sort_unstable();
            let mut breaker = Breaker::default();
            for second in &seconds {
                breaker.failed(&failure(*second), rules);
            }
            let last = seconds.last().copied().unwrap_or(0);
            // At most an hour and a tenth after the last failure, a member is tried again.
            prop_assert!(!matches!(breaker.phase(threshold, at(last + 3_961)), Phase::Open(_)));
        }
    }
}
