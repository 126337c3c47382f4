//! What learns of bursts by the clock, with passes, clocks, records and loads that nobody would choose.

use bullpen_api::InstancePoolSpec;
use proptest::prelude::*;
use serde_json::json;

use super::follow::{condition, goal, recommended};
use super::forecaster::Goal;
use super::forecaster::recurring::Recurring;
use super::sizer::{Advice, MOST_TEXT, Sizer};
use crate::CreateRate;

/// A Thursday.
const BEGIN: i64 = 1_767_225_600_000;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

fn spec(least: i32, most: i32, hits: i32, window: i32) -> InstancePoolSpec {
    serde_json::from_value(
        json!({ "targetSize": 5, "minSize": least, "maxSize": most, "launchConfigs": [{ "name": "a" }],
        "autosize": { "mode": "Auto", "hitRatePercent": hits, "windowSeconds": window } }),
    )
    .unwrap()
}

fn sizer(goal: Goal, lead: i64) -> Sizer {
    let mut sizer = Sizer::new(goal);
    (0..3).for_each(|_| sizer.took(lead));
    sizer.learn_with_measured_lead();
    sizer
}

/// 300 claims at 02:00, and one every five minutes, within these milliseconds since the begin.
fn nights(from: i64, until: i64) -> u32 {
    let each = |every: i64, first: i64| {
        u32::try_from((until - first).div_euclid(every) - (from - first).div_euclid(every)).unwrap_or(0)
    };
    each(300 * SECOND, 0) + 300 * each(DAY, 2 * HOUR)
}

/// Passes that come every so many milliseconds.
fn pass(sizer: &mut Sizer, from: i64, until: i64, every: i64, mut look: impl FnMut(i64, &Sizer)) {
    let mut at = from;
    while at < until {
        let before = at;
        at += every;
        sizer.observe(BEGIN + at, nights(before, at));
        let goal = sizer.goal().clone();
        if sizer.is_to_learn(&goal) {
            sizer.learn_for(goal);
        }
        look(at, sizer);
    }
}

fn expected(sizer: &Sizer) -> i32 {
    match sizer.advice() {
        Advice::Size { burst: Some((machines, ..)), .. } => machines,
        _ => 0,
    }
}

/// A line of bursts that somebody has edited.
fn hostile() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        "[0-9a-f]{1,9}",
        "[0-9a-f]{1,4}",
        Just("6955d520".to_owned()),
        Just("15180".to_owned()),
        Just("e10".to_owned()),
        Just("7fffffffffffffff".to_owned()),
        Just("-1".to_owned()),
        Just("NaN".to_owned()),
        Just("80000000".to_owned())
    ];
    let burst = (number.clone(), number.clone(), number, "!?").prop_map(|(a, b, c, held)| format!("{a}+{b}*{c}{held}"));
    let word = prop_oneof![1 => "(hour|day|week|single)", 6 => burst];
    proptest::collection::vec(word, 0..60).prop_map(|words| format!("bullpen-bursts-1 {}", words.join(" ")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whatever_a_record_says_of_bursts_the_size_stays_within_its_bounds(line in hostile(), cut in 0..4_000_usize) {
        let spec = spec(0, 50, 99, 60);
        let goal = goal(&spec, None).unwrap();
        let mut sizer = sizer(goal.clone(), 240 * SECOND);
        for minute in 0..240 {
            sizer.observe(BEGIN + minute * 60 * SECOND, 1);
        }
        let record = format!("{}\n{line}", sizer.record());
        let record = record.get(..record.len().saturating_sub(cut % 40)).unwrap_or("");
        if let Some(mut restored) = Sizer::restore(record, goal) {
            for minute in 0..120 {
                restored.observe(BEGIN + 4 * HOUR + minute * 60 * SECOND, u32::from(minute % 2 == 0));
                let size = recommended(&spec, &restored.advice());
                prop_assert!(size.is_none_or(|size| (0..=50).contains(&size)), "{size:?}");
                prop_assert!(condition(&spec, &restored.advice()).is_some());
            }
            prop_assert!(restored.record().len() <= MOST_TEXT);
        }
    }

    #[test]
    fn a_line_of_bursts_that_is_read_is_written_and_read_again_the_same(line in hostile()) {
        if let Some(read) = Recurring::read(&line) {
            let written = read.write();
            prop_assert!(written.len() <= 4_096);
            prop_assert_eq!(Recurring::read(&written).map(|again| again.write()), Some(written));
        }
    }
}

#[test]
fn passes_that_come_seldom_or_often_and_any_goal_keep_the_size_within_its_bounds_and_expect_the_batch() {
    let creates = Some(CreateRate { per_second: 2.0, at_once: 5 });
    for (lead, every, hits, window, least, most, creates) in [
        (900, 60_000, 99, 60, 0, 1_000, None),
        (1_200, 45_000, 50, 0, 0, 1_000, creates),
        (240, 97_300, 99, 3_600, 3, 1_000, creates),
        (900, 70_000, 1, 86_400, 0, 100, None),
        (3_600, 61_000, 99, 1, 2, 0, None),
    ] {
        let spec = spec(least, most, hits, window);
        let mut sizer = sizer(goal(&spec, creates).unwrap(), lead * SECOND);
        let mut before = 0;
        pass(&mut sizer, 0, 2 * DAY + 2 * HOUR, every, |at, sizer| {
            let size = recommended(&spec, &sizer.advice());
            assert!(size.is_none_or(|size| size <= most && size >= least.min(most)), "{size:?}");
            if at <= 2 * DAY + 2 * HOUR - SECOND {
                before = expected(sizer);
            }
        });
        assert!(before >= 300.min(most), "{before} of machines that take {lead} s");
    }
}

#[test]
fn who_restores_a_record_decides_as_who_wrote_it() {
    let goal = goal(&spec(0, 1_000, 99, 60), None).unwrap();
    let mut sizer = sizer(goal.clone(), 900 * SECOND);
    pass(&mut sizer, 0, 3 * DAY + HOUR, 60 * SECOND, |_, _| {});
    let mut restored = Sizer::restore(&sizer.record(), goal).unwrap();
    let (mut of, mut of_restored) = (vec![], vec![]);
    pass(&mut sizer, 3 * DAY + HOUR, 4 * DAY + 3 * HOUR, 60 * SECOND, |_, sizer| of.push(expected(sizer)));
    pass(&mut restored, 3 * DAY + HOUR, 4 * DAY + 3 * HOUR, 60 * SECOND, |_, sizer| of_restored.push(expected(sizer)));
    let differ = of.iter().zip(&of_restored).filter(|(one, other)| one.abs_diff(**other) > 1).count();
    // The last pass before a restart is in no slot that has ended.
    assert!(differ <= 2 && of.iter().max() > Some(&300), "{differ} of {}", of.len());
}

#[test]
fn a_batch_is_expected_again_after_nobody_watched_or_the_clock_was_set() {
    for (what, set) in [("three hours back", -3 * HOUR), ("a year ahead", 365 * DAY)] {
        let goal = goal(&spec(0, 1_000, 99, 60), None).unwrap();
        let mut sizer = sizer(goal, 900 * SECOND);
        pass(&mut sizer, 0, 2 * DAY + 4 * HOUR, 60 * SECOND, |_, _| {});
        pass(&mut sizer, 2 * DAY + 4 * HOUR + set, 2 * DAY + 4 * HOUR + set + HOUR / 2, 60 * SECOND, |_, _| {});
        pass(&mut sizer, 2 * DAY + 5 * HOUR, 3 * DAY + HOUR, 60 * SECOND, |_, _| {});
        let mut most = 0;
        pass(&mut sizer, 3 * DAY + HOUR, 3 * DAY + 2 * HOUR - 60 * SECOND, 60 * SECOND, |_, sizer| {
            most = most.max(expected(sizer));
        });
        assert!(most >= 300, "{what}: {most}");
    }
}

#[test]
fn a_batch_is_expected_after_the_operator_was_down_around_it() {
    for (hours, nights) in [(3, 0), (48, 1)] {
        let goal = goal(&spec(0, 1_000, 99, 60), None).unwrap();
        let mut sizer = sizer(goal.clone(), 900 * SECOND);
        pass(&mut sizer, 0, 3 * DAY + HOUR, 60 * SECOND, |_, _| {});
        let up = 3 * DAY + HOUR + hours * HOUR;
        let mut restored = Sizer::restore(&sizer.record(), goal).unwrap();
        restored.resume(BEGIN + up);
        // After a longer time it has to come once first.
        let next = ((up - 2 * HOUR).div_euclid(DAY) + 1 + nights) * DAY + 2 * HOUR;
        pass(&mut restored, up, next - 60 * SECOND, 60 * SECOND, |_, _| {});
        assert!(expected(&restored) >= 300, "{hours} h: {}", expected(&restored));
    }
}

#[test]
fn a_batch_that_stopped_is_expected_no_more_after_three_nights() {
    let goal = goal(&spec(0, 1_000, 99, 60), None).unwrap();
    let mut sizer = sizer(goal, 900 * SECOND);
    pass(&mut sizer, 0, 8 * DAY, 60 * SECOND, |_, _| {});
    let mut held = vec![];
    for minute in 8 * 1_440..13 * 1_440 {
        sizer.observe(BEGIN + minute * 60 * SECOND, u32::from(minute % 5 == 0));
        if expected(&sizer) > 0 && held.last() != Some(&(minute / 1_440)) {
            held.push(minute / 1_440);
        }
    }
    assert_eq!(held, [8, 9, 10]);
}
