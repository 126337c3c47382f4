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

/// A batch of 300 claims at another hour of each of three days (02:00, 05:00 and 09:00), and else a claim every five minutes, with
/// machines that take four minutes. Returns the sizer, and the largest size that it found between 12:00 and 24:00 of the last day.
fn batches(goal: Goal) -> (Sizer, i32) {
    let (mut sizer, mut largest) = (Sizer::new(goal), 0);
    (0..3).for_each(|_| sizer.took(240 * SECOND));
    sizer.learn_with_measured_lead();
    let begins = [2 * HOUR, DAY + 5 * HOUR, 2 * DAY + 9 * HOUR];
    for at in (0..DAYS * DAY).step_by(10_000) {
        let is_batch = begins.iter().any(|begin| (*begin..begin + 30 * SECOND).contains(&at));
        let batch = if is_batch { 100 } else { 0 };
        sizer.observe(BEGIN + at, batch + u32::from(at % (300 * SECOND) == 0));
        if at > DAYS * DAY - DAY / 2
            && let Advice::Size { size, .. } = sizer.advice()
        {
            largest = largest.max(size);
        }
    }
    (sizer, largest)
}

const DAYS: i64 = 3;

#[test]
fn a_schedule_that_is_larger_than_needed_asks_for_no_more_at_other_times() {
    // A claim each minute of all days, with a schedule by day that has more machines than these need.
    let in_the_mean = |schedules: serde_json::Value| {
        let mut sizer = Sizer::new(goal(schedules));
        (0..3).for_each(|_| sizer.took(240 * SECOND));
        sizer.learn_with_measured_lead();
        let (mut draw, mut found) = (1_u64, Vec::new());
        for at in (0..2 * DAYS * DAY).step_by(10_000) {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sizer.observe(BEGIN + at, u32::from((draw >> 33).is_multiple_of(6)));
            if at > DAYS * DAY
                && !(6 * HOUR..20 * HOUR).contains(&(at % DAY))
                && let Advice::Size { size, .. } = sizer.advice()
            {
                found.push(size);
            }
        }
        f64::from(found.iter().sum::<i32>()) / found.len() as f64
    };
    let without = in_the_mean(json!([]));
    let by_day = json!([{ "name": "day", "cron": "0 8 * * *", "durationSeconds": 36_000, "targetSize": 8 }]);
    let with = in_the_mean(by_day);
    assert!(with < without + 0.5, "{with} with it, {without} without it");
}

/// Schedules of so many minutes before these batches, with so many machines.
fn schedules(minutes: i64, size: i64) -> serde_json::Value {
    let begins = [("1", 2 * 60), ("2", 5 * 60), ("3", 9 * 60)];
    let schedule = |(day, begin): (&str, i64)| {
        let at = begin - minutes;
        let cron = format!("{} {} {day} 1 *", at % 60, at / 60);
        json!({ "name": format!("day-{day}"), "cron": cron, "durationSeconds": 1_200, "targetSize": size })
    };
    begins.map(schedule).to_vec().into()
}

#[test]
fn a_batch_that_a_schedule_serves_keeps_no_machines_for_the_rest_of_the_day() {
    // With as many machines as the batch needs, and with fewer than it needs beside what else comes.
    for size in [320, 290] {
        let (sizer, largest) = batches(goal(schedules(10, size)));
        assert!(largest < 60, "{largest} with {size}");
        let mut restored = Sizer::restore(&sizer.record(), goal(schedules(10, size))).unwrap();
        restored.observe(BEGIN + DAYS * DAY, 0);
        assert!(matches!(restored.advice(), Advice::Size { size: ..60, .. }), "{:?}", restored.advice());
    }
    // Without it, or where it comes too late, somebody has to have the machines.
    for other in [json!([]), schedules(-5, 320)] {
        let (_, largest) = batches(goal(other));
        assert!(largest > 200, "{largest}");
    }
}
