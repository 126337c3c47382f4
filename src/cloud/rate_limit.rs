//! How often a cloud may be called: token buckets for each kind of call, and delays after a rate limit error. There is
//! one for each account and region.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use bullpen_plan::launch::refusals::RateDelay;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::clock;
use crate::provider::{CallRate, Provider, ProviderError};
use crate::telemetry::labels::ProviderOperation;

/// The call rates of one account in one region.
#[derive(Debug)]
pub struct RateLimit {
    buckets: HashMap<ProviderOperation, DefaultDirectRateLimiter>,
    delays: Mutex<HashMap<ProviderOperation, RateDelay>>,
}

impl RateLimit {
    /// The rates of this provider.
    pub fn of(provider: &dyn Provider) -> Self {
        let rates = provider.call_rates();
        let bucket = |operation: &ProviderOperation| {
            let rate = match operation {
                ProviderOperation::Create => rates.create,
                ProviderOperation::List => rates.list,
                ProviderOperation::Terminate | ProviderOperation::Reset | ProviderOperation::Stop => rates.terminate,
                ProviderOperation::Start => rates.start,
                ProviderOperation::Tag => rates.tag,
                ProviderOperation::Find
                | ProviderOperation::Get
                | ProviderOperation::Identity
                | ProviderOperation::Image
                | ProviderOperation::Price => rates.read,
            };
            (*operation, limiter(rate))
        };
        Self { buckets: ProviderOperation::ALL.iter().map(bucket).collect(), delays: Mutex::default() }
    }

    /// Until when this kind of call is delayed because of a rate limit of the cloud.
    pub fn delayed_until(&self, operation: ProviderOperation, now: Timestamp) -> Option<Timestamp> {
        self.delays.lock().get(&operation).map(|delay| delay.until).filter(|until| *until > now)
    }

    /// The same, also after that time if no such call has succeeded since.
    pub fn limited_until(&self, operation: ProviderOperation) -> Option<Timestamp> {
        self.delays.lock().get(&operation).map(|delay| delay.until)
    }

    /// Waits until a call of this kind may begin.
    pub async fn admit(&self, operation: ProviderOperation) {
        while let Some(until) = self.delayed_until(operation, clock::now()) {
            let left = until.duration_since(clock::now());
            tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
        }
        if let Some(bucket) = self.buckets.get(&operation) {
            bucket.until_ready().await;
        }
    }

    /// Records the answer to a call that began at `began`.
    pub fn answered(&self, operation: ProviderOperation, began: Timestamp, error: Option<&ProviderError>) {
        let mut delays = self.delays.lock();
        match error {
            Some(ProviderError::RateLimited { retry_after, .. }) => {
                let asked = retry_after.and_then(|after| SignedDuration::try_from(after).ok());
                let delay = RateDelay::after(delays.get(&operation), asked, began, clock::now());
                delays.insert(operation, delay);
            }
            None => {
                // A success of a call from before the delay proves nothing, so a delay that is not over stays.
                delays.retain(|delayed, delay| *delayed != operation || delay.until > clock::now());
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
    fn a_rate_limit_delays_only_its_own_kind_of_call() {
        let (pace, now) = (pace(), Timestamp::now());
        pace.answered(ProviderOperation::Create, now, Some(&limited(60)));
        for operation in ProviderOperation::ALL {
            assert_eq!(pace.delayed_until(*operation, now).is_some(), *operation == ProviderOperation::Create);
        }
    }

    #[test]
    fn a_late_success_does_not_end_a_pause() {
        let (pace, now) = (pace(), Timestamp::now());
        pace.answered(ProviderOperation::Create, now, Some(&limited(60)));
        pace.answered(ProviderOperation::Create, now, None);
        assert!(pace.delayed_until(ProviderOperation::Create, now).is_some());
    }

    #[test]
    fn a_bucket_lets_its_burst_through_and_no_more() {
        let pace = pace();
        let bucket = &pace.buckets[&ProviderOperation::List];
        let through = (0..1_000).take_while(|_| bucket.check().is_ok()).count();
        assert!((20..40).contains(&through), "{through}");
    }
}
