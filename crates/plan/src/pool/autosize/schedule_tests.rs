//! Sizes beside schedules: what a schedule serves is no reason for machines at other times.

use serde_json::json;

use super::forecaster::Goal;
use super::sizer::{Advice, Sizer};

const BEGIN: i64 = 1_767_225_600_000;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// A goal of a pool with these schedules.
fn goal(schedules: serde_json::Value) -> Goal {
    let schedules: Vec<bullpen_api::PoolSchedule> = serde_json::from_value(schedules).unwrap();
    Goal { hits: 0.99, window: 120.0, creates: None, most: 10_000, schedules: schedules.into() }
}

/// A batch of 300 claims at 02:00 of each day, and else a claim every five minutes, with machines that take four minutes. Returns the
/// sizer, and the largest size that it found between 12:00 and 24:00 of the last day.
fn nights(goal: Goal, days: i64) -> (Sizer, i32) {
    let (mut sizer, mut largest) = (Sizer::new(goal), 0);
    (0..3).for_each(|_| sizer.took(240 * SECOND));
    sizer.learn_with_measured_lead();
    for second in (0..days * DAY / SECOND).step_by(10) {
        let of_day = second % (DAY / SECOND);
        let batch = if (7_200..7_230).contains(&of_day) { 100 } else { 0 };
        sizer.observe(BEGIN + second * SECOND, batch + u32::from(second % 300 == 0));
        if second > (days * DAY - DAY / 2) / SECOND
            && let Advice::Size { size, .. } = sizer.advice()
        {
            largest = largest.max(size);
        }
    }
    (sizer, largest)
}

#[test]
fn a_batch_that_a_schedule_serves_keeps_no_machines_for_the_rest_of_the_day() {
    let night = json!([{ "name": "night", "cron": "50 1 * * *", "durationSeconds": 1_200, "targetSize": 320 }]);
    let (sizer, largest) = nights(goal(night.clone()), 3);
    assert!(largest < 60, "{largest}");
    let mut restored = Sizer::restore(&sizer.record(), goal(night)).unwrap();
    restored.observe(BEGIN + 3 * DAY, 0);
    assert!(matches!(restored.advice(), Advice::Size { size: ..60, .. }), "{:?}", restored.advice());
    // Without it, or where it comes too late, somebody has to have the machines.
    let late = json!([{ "name": "late", "cron": "5 2 * * *", "durationSeconds": 900, "targetSize": 320 }]);
    for other in [json!([]), late] {
        let (_, largest) = nights(goal(other), 3);
        assert!(largest > 200, "{largest}");
    }
}
