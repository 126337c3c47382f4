//! The success rate of a launch config, which scales its weight. One failure does not switch a region off.
//!
//! Successes and failures fade with the same half-life, so time alone never changes the rate.

use jiff::{SignedDuration, Timestamp};

/// Half-life of a success or failure. What is an hour old counts a quarter, so the window is about an hour.
pub const HALF_LIFE: SignedDuration = SignedDuration::from_mins(30);
/// The lowest success rate, in percent, so that a region that works again is noticed.
pub const FLOOR: i32 = 5;
/// The past always weighs at least this many members, so that one failure after a quiet week counts as one in five.
const LEAST_EVIDENCE: f64 = 4.0;
/// The past never weighs more than this many members, so that the few tries of an outage lower the weight although many
/// members became ready before it: by fifteen tries in an hour to 35 percent, by those of two hours to 10. Of a launch config of which
/// one in ten fails, the rate then stays within some 5 percent of 90.
const MOST_EVIDENCE: f64 = 20.0;

/// How often members of one launch config become ready.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessRate {
    rate: f64,
    evidence: f64,
    at: Timestamp,
}

impl SuccessRate {
    /// Starts from the weight in the launch config's status, in percent; 100 if there is none.
    pub fn begin(percent: Option<i32>, now: Timestamp) -> Self {
        let rate = f64::from(percent.unwrap_or(100).clamp(0, 100)) / 100.0;
        Self { rate, evidence: LEAST_EVIDENCE, at: now }
    }

    /// Records that a member became ready.
    pub fn succeeded(&mut self, now: Timestamp) {
        self.add(1.0, now);
    }

    /// Records that a member failed before it was ready, or that its machine could not be bought.
    pub fn failed(&mut self, now: Timestamp) {
        self.add(0.0, now);
    }

    fn add(&mut self, outcome: f64, now: Timestamp) {
        let passed = now.duration_since(self.at).as_secs_f64().max(0.0);
        let faded = self.evidence * 0.5_f64.powf(passed / HALF_LIFE.as_secs_f64());
        let before = faded.clamp(LEAST_EVIDENCE, MOST_EVIDENCE);
        self.rate = self.rate.mul_add(before, outcome) / (before + 1.0);
        self.evidence = before + 1.0;
        self.at = self.at.max(now);
    }

    /// The success rate in percent, rounded to 5, never below [`FLOOR`].
    pub fn percent(&self) -> i32 {
        let fives = (self.rate.clamp(0.0, 1.0) * 20.0).round() as i32;
        (fives * 5).max(FLOOR)
    }
}

/// The weight in a placement: the pool's weight, 0 to 100, times the success rate in percent.
pub fn effective(configured: i32, percent: i32) -> i32 {
    configured.max(0).saturating_mul(percent.max(FLOOR))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::launch::placement::{Candidate, LaunchConfigView, place};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn fresh() -> SuccessRate {
        SuccessRate::begin(None, at(0))
    }

    #[test]
    fn one_error_in_an_hour_does_not_switch_a_launch_config_off() {
        let mut record = fresh();
        for minute in 0..30 {
            record.succeeded(at(minute * 60));
        }
        record.failed(at(1_800));
        assert_eq!(record.percent(), 95);
        let mut quiet = fresh();
        quiet.failed(at(7 * 86_400));
        assert_eq!(quiet.percent(), 80, "nor after a quiet week");
    }

    #[test]
    fn when_all_fail_alike_all_keep_a_share() {
        let mut record = fresh();
        for minute in 0..600 {
            record.failed(at(minute * 60));
        }
        assert_eq!(record.percent(), FLOOR);
        let weight = effective(100, record.percent());
        let config = |name| Candidate {
            view: LaunchConfigView { weight, ..LaunchConfigView::unlimited(name) },
            slots: None,
            comes_up: true,
        };
        let placed = place(&[config("a"), config("b")], 10, 0, at(0)).launch_configs;
        assert_eq!(placed.iter().filter(|name| *name == "a").count(), 5, "and none gets all of the load");
    }

    #[test]
    fn a_region_that_works_again_gets_its_share_back_step_by_step() {
        let mut record = SuccessRate::begin(Some(5), at(0));
        let mut seen = vec![record.percent()];
        for second in 0..20 {
            record.succeeded(at(second));
            seen.push(record.percent());
        }
        assert!(seen.is_sorted() && seen[1] < 50 && seen[20] > 80, "{seen:?}");
    }

    #[test]
    fn the_lowest_weight_of_a_failing_launch_config_is_not_zero() {
        assert!(effective(1, 0) > 0);
        assert_eq!(effective(0, 100), 0);
    }

    proptest! {
        #[test]
        fn the_rate_stays_between_the_floor_and_all(outcomes in proptest::collection::vec((any::<bool>(), 0..1_000_000_i64), 0..50)) {
            let mut record = fresh();
            for (good, second) in outcomes {
                if good { record.succeeded(at(second)) } else { record.failed(at(second)) }
                prop_assert!((FLOOR..=100).contains(&record.percent()) && record.percent() % 5 == 0);
            }
        }

        #[test]
        fn a_rate_that_is_read_back_from_the_status_is_the_same(percent in 1..=20_i32) {
            prop_assert_eq!(SuccessRate::begin(Some(percent * 5), at(0)).percent(), percent * 5);
        }
    }
}
