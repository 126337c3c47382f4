//! How often machines may call. Only requests with a right token are counted, so that nobody without one can use up what
//! the machines have.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Most requests at once, and for each second: of one machine for one route.
const OF_ONE: Rate = Rate { burst: 10, per_second: 1 };
/// The same, of all machines together. A request costs the API server a read and a write at most.
const OF_ALL: Rate = Rate { burst: 400, per_second: 200 };
/// Most buckets. Those that are full again are dropped when there are more.
const MOST: usize = 50_000;

#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    per_second: u32,
}

/// What is left of a rate, as the time at which it will be full again.
#[derive(Clone, Copy, Debug)]
struct Bucket(Instant);

impl Rate {
    const fn cost(self) -> Duration {
        Duration::from_nanos(1_000_000_000 / self.per_second as u64)
    }

    /// Takes one from the bucket, or says how long to wait.
    fn take(self, bucket: &mut Bucket, now: Instant) -> Result<(), Duration> {
        let full = bucket.0.max(now) + self.cost();
        let wait = full.duration_since(now).saturating_sub(self.cost() * self.burst);
        if !wait.is_zero() {
            return Err(wait);
        }
        bucket.0 = full;
        Ok(())
    }
}

/// The rates.
#[derive(Debug)]
pub struct Limits {
    all: Bucket,
    each: HashMap<(String, &'static str), Bucket>,
}

impl Limits {
    /// Nothing was asked for yet.
    pub fn new(now: Instant) -> Self {
        Self { all: Bucket(now), each: HashMap::new() }
    }

    fn make_room(&mut self, now: Instant) -> Result<(), Duration> {
        if self.each.len() >= MOST {
            self.each.retain(|_, bucket| bucket.0 > now);
            // All of these have called within seconds, which as many machines as that do not do.
            if self.each.len() >= MOST {
                return Err(OF_ONE.cost());
            }
        }
        Ok(())
    }

    /// Counts a request of this machine that waits for news, or is a heartbeat. It costs the API server next to nothing, and thousands of
    /// machines do so all the time.
    ///
    /// # Errors
    /// How long to wait before the next one.
    pub fn admit_poll(&mut self, uid: &str, route: &'static str, now: Instant) -> Result<(), Duration> {
        self.make_room(now)?;
        OF_ONE.take(self.each.entry((uid.to_owned(), route)).or_insert(Bucket(now)), now)
    }

    /// Counts a request of the machine of this member for this route.
    ///
    /// # Errors
    /// How long to wait before the next one.
    pub fn admit(&mut self, uid: &str, route: &'static str, now: Instant) -> Result<(), Duration> {
        self.make_room(now)?;
        OF_ONE.take(self.each.entry((uid.to_owned(), route)).or_insert(Bucket(now)), now)?;
        OF_ALL.take(&mut self.all, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_may_call_ten_times_at_once_and_then_once_a_second_for_each_route() {
        let now = Instant::now();
        let mut limits = Limits::new(now);
        for _ in 0..10 {
            assert_eq!(limits.admit("u-1", "progress", now), Ok(()));
        }
        assert_eq!(limits.admit("u-1", "progress", now), Err(Duration::from_secs(1)));
        assert_eq!(limits.admit("u-1", "ready", now), Ok(()), "progress does not keep it from being ready");
        assert_eq!(limits.admit("u-2", "progress", now), Ok(()), "nor another machine");
        let later = now + Duration::from_secs(2);
        assert_eq!((0..3).filter(|_| limits.admit("u-1", "progress", later).is_ok()).count(), 2);
    }

    #[test]
    fn all_machines_together_are_limited_too() {
        let now = Instant::now();
        let mut limits = Limits::new(now);
        let admitted = (0..1_000).filter(|number| limits.admit(&format!("u-{number}"), "ready", now).is_ok()).count();
        assert_eq!(admitted, 400);
        let later = now + Duration::from_secs(1);
        let admitted = (0..1_000).filter(|number| limits.admit(&format!("v-{number}"), "ready", later).is_ok()).count();
        assert_eq!(admitted, 200);
    }
}
