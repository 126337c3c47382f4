//! How often a cloud is called: token buckets by kind of call, and pauses when the cloud says that it was
//! too often. One of these is one account in one region.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use bullpen_plan::launch::refusals::RateDelay;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::provider::{CallRate, Provider, ProviderError};
use crate::telemetry::labels::ProviderOperation;

/// The pace of one account in one region.
#[derive(Debug)]
pub struct RateLimit {
    buckets: HashMap<ProviderOperation, DefaultDirectRateLimiter>,
    refusals: Mutex<HashMap<ProviderOperation, RateDelay>>,
}

impl RateLimit {
    /// The pace that this provider is to be called at.
    pub fn of(provider: &dyn Provider) -> Self {
        let rates = provider.call_rates();
        let bucket = |operation: &ProviderOperation| {
            let rate = match operation {
                ProviderOperation::Create => rates.create,
                ProviderOperation::List => rates.list,
                ProviderOperation::Terminate => rates.terminate,
                ProviderOperation::Tag => rates.tag,
                ProviderOperation::Find | ProviderOperation::Get | ProviderOperation::Identity => rates.read,
            };
            (*operation, limiter(rate))
        };
        Self { buckets: ProviderOperation::ALL.iter().map(bucket).collect(), refusals: Mutex::default() }
    }

    /// Until when this kind of call is held back because the cloud said that there were too many.
    pub fn held_until(&self, operation: ProviderOperation, now: Timestamp) -> Option<Timestamp> {
        self.refusals.lock().get(&operation).map(|hold| hold.until).filter(|until| *until > now)
    }

    /// Until when it is or was held back, as long as no such call was answered well since.
    pub fn limited_until(&self, operation: ProviderOperation) -> Option<Timestamp> {
        self.refusals.lock().get(&operation).map(|hold| hold.until)
    }

    /// Waits until a call of this kind may begin.
    pub async fn admit(&self, operation: ProviderOperation) {
        while let Some(until) = self.held_until(operation, Timestamp::now()) {
            let left = until.duration_since(Timestamp::now());
            tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
        }
        if let Some(bucket) = self.buckets.get(&operation) {
            bucket.until_ready().await;
        }
    }

    /// Takes in the answer to a call that began at `began`.
    pub fn answered(&self, operation: ProviderOperation, began: Timestamp, error: Option<&ProviderError>) {
        let mut holds = self.refusals.lock();
        match error {
            Some(ProviderError::RateLimited { retry_after, .. }) => {
                let asked = retry_after.and_then(|after| SignedDuration::try_from(after).ok());
                let hold = RateDelay::after(holds.get(&operation), asked, began, Timestamp::now());
                holds.insert(operation, hold);
            }
            None => {
                // One that began before the pause proves nothing about the time after it.
                holds.retain(|held, hold| *held != operation || hold.until > Timestamp::now());
            }
            Some(_) => {}
        }
    }
}

fn limiter(rate: CallRate) -> DefaultDirectRateLimiter {
    let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    RateLimiter::direct(Quota::per_second(at_least_one(rate.per_second)).allow_burst(at_least_one(rate.burst)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::SimulatedProvider;

    fn pace() -> RateLimit {
        RateLimit::of(&SimulatedProvider::new("http://127.0.0.1:1", "r1").unwrap())
    }

    fn limited(seconds: u64) -> ProviderError {
        ProviderError::RateLimited { message: String::new(), retry_after: Some(Duration::from_secs(seconds)) }
    }

    #[test]
    fn a_rate_limit_holds_back_its_own_kind_of_call_only() {
        let (pace, now) = (pace(), Timestamp::now());
        pace.answered(ProviderOperation::Create, now, Some(&limited(60)));
        for operation in ProviderOperation::ALL {
            assert_eq!(pace.held_until(*operation, now).is_some(), *operation == ProviderOperation::Create);
        }
    }

    #[test]
    fn a_late_success_does_not_end_a_pause() {
        let (pace, now) = (pace(), Timestamp::now());
        pace.answered(ProviderOperation::Create, now, Some(&limited(60)));
        pace.answered(ProviderOperation::Create, now, None);
        assert!(pace.held_until(ProviderOperation::Create, now).is_some());
    }

    #[test]
    fn a_bucket_lets_its_burst_through_and_no_more() {
        let pace = pace();
        let bucket = &pace.buckets[&ProviderOperation::List];
        let through = (0..1_000).take_while(|_| bucket.check().is_ok()).count();
        assert!((20..40).contains(&through), "{through}");
    }
}
