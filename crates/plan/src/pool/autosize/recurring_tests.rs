//! Batches that come by the clock: known when they came twice, expected from then on, and no reason for machines at other times.

use bullpen_api::InstancePool;
use serde_json::json;

use super::follow::condition;
use super::forecaster::Goal;
use super::learning::Learning;
use super::sizer::{Advice, MOST_TEXT, Sizer};

/// A Thursday.
const BEGIN: i64 = 1_767_225_600_000;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

fn goal() -> Goal {
    Goal { hits: 0.99, window: 120.0, creates: None, most: 10_000, schedules: std::sync::Arc::default() }
}

/// A sizer of machines that take four minutes.
fn sizer() -> Sizer {
    let mut sizer = Sizer::new(goal());
    (0..3).for_each(|_| sizer.took(240 * SECOND));
    sizer.learn_with_measured_lead();
    sizer
}

/// Plays these seconds: 300 claims at 02:00 of each day, and else one every five minutes. `look` sees the sizer every ten seconds.
fn nights(sizer: &mut Sizer, seconds: std::ops::Range<i64>, mut look: impl FnMut(i64, &Sizer)) {
    for second in seconds.step_by(10) {
        let of_day = second % (DAY / SECOND);
        let batch = if (7_200..7_230).contains(&of_day) { 100 } else { 0 };
        sizer.observe(BEGIN + second * SECOND, batch + u32::from(second % 300 == 0));
        if sizer.is_to_learn(&goal()) {
            sizer.learn_for(goal());
        }
        look(second, sizer);
    }
}

fn size(sizer: &Sizer) -> i32 {
    match sizer.advice() {
        Advice::Size { size, .. } => size,
        Advice::TooLittle { .. } => -1,
    }
}

#[test]
fn a_batch_of_each_night_is_expected_from_the_third_on_and_keeps_no_machines_by_day() {
    let (mut sizer, mut largest_by_day, mut before) = (sizer(), 0, vec![]);
    nights(&mut sizer, 0..5 * 86_400, |second, sizer| {
        let (day, of_day) = (second / 86_400, second % 86_400);
        if day > 0 && of_day > 4 * 3_600 {
            largest_by_day = largest_by_day.max(size(sizer));
        }
        if day > 1 && of_day == 7_190 {
            before.push(size(sizer));
        }
    });
    assert!(largest_by_day < 40, "{largest_by_day}");
    assert!(before.iter().all(|size| (300..360).contains(size)), "{before:?}");
}

#[test]
fn what_is_expected_survives_a_restart_of_a_pool_whose_record_has_no_room_for_the_nights() {
    let mut sizer = sizer();
    nights(&mut sizer, 0..3 * 86_400, |_, _| {});
    // A busy day, of which the record has the last hours only.
    for second in (3 * 86_400..4 * 86_400).step_by(7) {
        sizer.observe(BEGIN + second * SECOND, 1);
    }
    let record = sizer.record();
    assert!(record.len() <= MOST_TEXT && record.lines().count() == 4, "{}", record.len());
    let mut restored = Sizer::restore(&record, goal()).unwrap();
    restored.resume(BEGIN + 4 * DAY + 60 * SECOND);
    nights(&mut restored, 4 * 86_400 + 70..4 * 86_400 + 7_200, |_, _| {});
    let Advice::Size { size, burst: Some((machines, ..)), .. } = restored.advice() else {
        panic!("{:?}", restored.advice())
    };
    assert!((300..340).contains(&machines) && size >= machines, "{machines} of {size}");
    let series =
        |record: &str| record.lines().last().map(|bursts| bursts.split(" single").next().unwrap_or("").to_owned());
    assert_eq!(series(&Sizer::restore(&record, goal()).unwrap().record()), series(&record), "nothing of it is lost");
}

#[test]
fn a_record_of_a_version_that_knew_no_bursts_is_read() {
    let mut sizer = sizer();
    nights(&mut sizer, 0..2 * 86_400, |_, _| {});
    let record = sizer.record();
    let older: Vec<&str> = record.lines().take(3).collect();
    let mut restored = Sizer::restore(&older.join("\n"), goal()).unwrap();
    // Its claims are known, so its bursts are found again, and keep no machines by day.
    assert!(size(&restored) < 40, "{}", size(&restored));
    nights(&mut restored, 2 * 86_400..2 * 86_400 + 7_200, |_, _| {});
    assert!(size(&restored) >= 300, "{}", size(&restored));
    assert!(Sizer::restore(&format!("{}\nsomething else", older.join("\n")), goal()).is_none());
}

#[test]
fn the_condition_says_for_which_burst_machines_are_kept() {
    let pool: InstancePool = serde_json::from_value(json!({
        "metadata": { "name": "ci" }, "status": {},
        "spec": { "targetSize": 5, "maxSize": 900, "launchConfigs": [{ "name": "a" }], "autosize": { "mode": "Auto" } },
    }))
    .unwrap();
    let mut sizer = sizer();
    nights(&mut sizer, 0..2 * 86_400 + 7_200, |_, _| {});
    let message = condition(&pool.spec, &sizer.advice()).unwrap().message;
    assert!(message.contains(" of them for a burst that comes about 02:00 UTC each day"), "{message}");
}

#[test]
fn a_series_that_was_found_is_learnt_by_a_lesson_and_not_within_a_pass() {
    let pool: InstancePool = serde_json::from_value(json!({
        "metadata": { "name": "ci" }, "status": {},
        "spec": { "targetSize": 5, "maxSize": 900, "launchConfigs": [{ "name": "a" }],
            "autosize": { "mode": "Auto", "windowSeconds": 120 } },
    }))
    .unwrap();
    let at = |second: i64| jiff::Timestamp::from_millisecond(BEGIN + second * SECOND).unwrap();
    let mut learning = Learning::default();
    learning.learnt(sizer(), at(0));
    let mut lessons = vec![];
    for second in (0..2 * 86_400).step_by(10) {
        let of_day = second % 86_400;
        let batch = if (7_200..7_230).contains(&of_day) { 100 } else { 0 };
        (0..batch + i32::from(second % 300 == 0)).for_each(|_| learning.claim_came());
        learning.look(&pool, &[], at(second));
        if let Some(lesson) = learning.lesson(&pool, None) {
            lessons.push(second);
            learning.learnt(lesson.learn(at(second)), at(second));
        }
    }
    // The first one is for the pool's own goal.
    let after_the_second_night = 86_400 + 7_200..86_400 + 7_200 + 1_200;
    assert!(lessons.len() == 2 && after_the_second_night.contains(&lessons[1]), "{lessons:?}");
}

#[test]
fn a_burst_that_came_once_does_not_let_a_steady_rate_buy_its_machines_again_and_again() {
    let mut sizer = Sizer::new(goal());
    (0..3).for_each(|_| sizer.took(90 * SECOND));
    sizer.learn_with_measured_lead();
    let (mut state, mut turns, mut up, mut before) = (5_u64, 0, true, 0);
    for second in (0..20 * 3_600).step_by(5) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // 20 claims an hour, each in its own slot.
        let claims = u32::from((state >> 33) % 36 == 0) + if second == 2 * 3_600 { 400 } else { 0 };
        sizer.observe(BEGIN + second * SECOND, claims);
        let size = size(&sizer);
        if second > 3 * 3_600 && size != before {
            turns += i32::from((size > before) != up);
            up = size > before;
        }
        before = size;
    }
    assert!(turns <= 2 * 17, "{turns} changes of direction in 17 hours");
}
