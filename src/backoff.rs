//! The one backoff of the operator: growing delays after failures, with jitter and a reset.

use std::time::Duration;

use jiff::Timestamp;

/// The shortest and the longest delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The delay after the first failure. It doubles with each further one.
    pub first: Duration,
    /// The delay grows up to this.
    pub longest: Duration,
}

/// Counts failures in a row, and until when not to retry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
    until: Option<Timestamp>,
}

impl Backoff {
    /// No failures, no delay.
    pub const fn new() -> Self {
        Self { failures: 0, until: None }
    }

    /// Failures in a row.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Until when not to retry, even if that moment has passed.
    pub const fn not_before(&self) -> Option<Timestamp> {
        self.until
    }

    /// Until when not to retry, if that moment is still to come.
    pub fn pending(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.filter(|until| *until > now)
    }

    /// It worked: the next failure counts as the first.
    pub const fn reset(&mut self) {
        *self = Self::new();
    }

    /// Records a failure and returns the delay. It doubles each time, plus up to a quarter at random, so that what
    /// failed together is not retried together.
    pub fn failed(&mut self, bounds: Bounds, now: Timestamp) -> Duration {
        let doubled = bounds.first.saturating_mul(1 << self.failures.min(16)).min(bounds.longest);
        let delay = doubled + doubled.mul_f64(rand::random::<f64>() / 4.0);
        self.failed_for(delay, now);
        delay
    }

    /// Records a failure with the delay that the other side asked for.
    pub fn failed_for(&mut self, delay: Duration, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.rest(delay, now);
    }

    /// Sets a delay without counting a failure.
    pub fn rest(&mut self, delay: Duration, now: Timestamp) {
        self.until = Some(now.checked_add(delay).unwrap_or(Timestamp::MAX));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { first: Duration::from_millis(200), longest: Duration::from_secs(30) };

    #[test]
    fn the_delay_begins_at_the_first_grows_to_the_longest_and_begins_again_after_a_reset() {
        let (mut backoff, now) = (Backoff::new(), Timestamp::UNIX_EPOCH);
        assert!(backoff.failed(BOUNDS, now) <= BOUNDS.first.mul_f64(1.25));
        for _ in 0..40 {
            backoff.failed(BOUNDS, now);
        }
        let last = backoff.failed(BOUNDS, now);
        assert!(last >= BOUNDS.longest && last <= BOUNDS.longest.mul_f64(1.25), "{last:?}");
        assert_eq!(backoff.not_before(), now.checked_add(last).ok());
        assert_eq!(backoff.pending(now.checked_add(last).unwrap()), None);
        backoff.reset();
        assert_eq!((backoff.failures(), backoff.not_before()), (0, None));
        assert!(backoff.failed(BOUNDS, now) <= BOUNDS.first.mul_f64(1.25));
    }

    #[test]
    fn a_rest_counts_as_no_failure() {
        let (mut backoff, now) = (Backoff::new(), Timestamp::UNIX_EPOCH);
        backoff.rest(Duration::from_secs(1), now);
        assert_eq!(backoff.failures(), 0);
        assert!(backoff.pending(now).is_some());
    }

    proptest! {
        #[test]
        fn no_delay_is_outside_of_its_bounds_or_panics(first in 0_u64..u64::MAX, longest in 0_u64..1 << 40, failures in 0..40, at in i64::MIN..i64::MAX) {
            let bounds = Bounds { first: Duration::from_millis(first), longest: Duration::from_millis(longest) };
            let now = Timestamp::from_second(at % 200_000_000_000).unwrap();
            let mut backoff = Backoff::new();
            for _ in 0..failures {
                prop_assert!(backoff.failed(bounds, now) <= bounds.longest.mul_f64(1.25) + Duration::from_millis(1));
            }
            prop_assert_eq!(backoff.failures(), u32::try_from(failures).unwrap());
        }
    }
}
