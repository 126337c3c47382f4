//! How long what failed is left alone.

use std::time::Duration;

use jiff::Timestamp;

use super::failure::Failure;

/// The backoff of what fails for the first time.
pub const FIRST_BACKOFF: Duration = Duration::from_millis(200);
/// The longest.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// How soon a key is looked at again that was left alone because this process did not lead.
pub const NOT_LEADING: Duration = Duration::from_secs(1);

/// The delay after `failures` earlier failures: doubled each time, capped, and up to a quarter longer by chance, so
/// that what failed together does not come back together.
pub fn backoff(first: Duration, longest: Duration, failures: u32) -> Duration {
    let doubled = first.saturating_mul(1 << failures.min(16)).min(longest);
    doubled + doubled.mul_f64(rand::random::<f64>() / 4.0)
}

/// When what failed is tried again.
#[derive(Debug, Default)]
pub struct Retry {
    failures: u32,
    not_before: Option<Timestamp>,
}

impl Retry {
    /// The moment before which it is not tried again, if that is still to come.
    pub fn not_before(&self, now: Timestamp) -> Option<Timestamp> {
        self.not_before.filter(|moment| *moment > now)
    }

    /// It worked.
    pub fn worked(&mut self) {
        *self = Self::default();
    }

    /// How often it has failed now, and how long it is left alone.
    pub fn failed(&mut self, failure: &Failure, now: Timestamp) -> (u32, Duration) {
        // No trouble: this process leads again, or another does.
        let delay = if matches!(failure, Failure::NotLeading(_)) {
            NOT_LEADING
        } else {
            let delay = backoff(FIRST_BACKOFF, LONGEST_BACKOFF, self.failures);
            self.failures += 1;
            delay
        };
        self.not_before = now.checked_add(delay).ok();
        (self.failures, delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_cap() {
        let longest = Duration::from_secs(30);
        assert!(backoff(FIRST_BACKOFF, longest, 0) < Duration::from_millis(251));
        assert!(backoff(FIRST_BACKOFF, longest, 40) <= longest.mul_f64(1.25));
    }
}
