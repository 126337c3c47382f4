//! How many members of one launch config and template may be in flight at a time (`docs/adr/0004-failure-ladder.md`),
//! so that one long queue does not start a thousand machines at once.

use super::breaker::Phase;

/// How many members may be Pending or Warming.
///
/// Before a first member was ready, at most `threshold` minus `failures` may be in flight, so that at most `threshold`
/// machines are bought to learn that none becomes ready. Each member that was ready (`proven`) allows one more, so a
/// pool whose machines work doubles with each boot. A half-open breaker allows one.
pub fn in_flight_limit(threshold: i32, failures: i32, proven: i64, phase: Phase) -> i64 {
    match phase {
        Phase::Closed => i64::from((threshold - failures).max(1)).saturating_add(proven.max(0)),
        Phase::HalfOpen => 1,
        Phase::Open(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn an_unproven_pool_starts_with_the_threshold_and_doubles_with_each_boot() {
        let (mut ready, mut boots) = (0, 0);
        while ready < 1_336 {
            ready += in_flight_limit(5, 0, ready, Phase::Closed);
            boots += 1;
        }
        assert_eq!((in_flight_limit(5, 0, 0, Phase::Closed), boots), (5, 9));
    }

    #[test]
    fn a_member_that_failed_is_not_bought_again_before_the_breaker_has_opened() {
        for failures in 0..5 {
            let in_flight = in_flight_limit(5, failures, 0, Phase::Closed);
            assert_eq!(in_flight + i64::from(failures), 5);
        }
    }

    #[test]
    fn a_half_open_breaker_allows_one_member_at_a_time() {
        assert_eq!(in_flight_limit(5, 5, 1_000, Phase::HalfOpen), 1);
        assert_eq!(in_flight_limit(5, 5, 1_000, Phase::Open(Timestamp::MAX)), 0);
    }
}
