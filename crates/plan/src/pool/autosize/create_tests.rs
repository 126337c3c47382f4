//! A pool whose creates wait for their turn: more demand than its cloud has turns for, and launch configs that come and go.

use bullpen_api::InstancePool;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::forecaster::{Forecaster, Goal};
use super::learning::Learning;
use super::sizer::Sizer;
use crate::CreateRate;

/// Milliseconds since 1970 at which every test begins.
const BEGIN: i64 = 1_767_225_600_000;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;

fn rate(per_second: f64) -> CreateRate {
    CreateRate { per_second, at_once: 5 }
}

fn goal(creates: Option<CreateRate>) -> Goal {
    Goal { hits: 0.99, window: 60.0, creates, most: 200, schedules: std::sync::Arc::default() }
}

/// A claim a minute for half a day, and then ten a second for an hour, which is more than any pool can have of two creates a second.
fn overloaded(creates: Option<CreateRate>) -> Forecaster {
    let mut forecaster = Forecaster::new(90_000.0, goal(creates));
    forecaster.advance(BEGIN);
    (0..12 * 60).for_each(|minute| forecaster.observe(BEGIN + minute * 60 * SECOND, 1));
    (0..3_600).for_each(|second| forecaster.observe(BEGIN + 12 * HOUR + second * SECOND, 10));
    forecaster
}

#[test]
fn more_demand_than_a_cloud_has_turns_for_is_forgotten_as_soon_as_other_demand_is() {
    let after = |creates: Option<CreateRate>| {
        let mut forecaster = overloaded(creates);
        let during = forecaster.size();
        let from = BEGIN + 13 * HOUR;
        (0..3 * 60).for_each(|minute| forecaster.observe(from + minute * 60 * SECOND, 1));
        (during, forecaster.size())
    };
    let ((at_once, falls), (waits, falls_too)) = (after(None), after(Some(rate(2.0))));
    assert!(waits >= 200 && at_once >= 200, "all that maxSize allows: {waits}, {at_once}");
    assert!(falls < at_once && falls_too <= falls * 3 / 2, "{falls} and {falls_too}");
}

#[test]
fn creates_have_their_turn_also_while_nobody_watches() {
    let after = |creates: Option<CreateRate>| {
        let mut forecaster = overloaded(creates);
        forecaster.skip(BEGIN + 23 * HOUR);
        forecaster.backlog()
    };
    assert_eq!(overloaded(Some(rate(2.0))).backlog(), 200);
    assert_eq!((after(None), after(Some(rate(2.0)))), (0, 0));
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millisecond(BEGIN + second * SECOND).unwrap()
}

/// A pool that follows what it learnt, and what that is after four busy hours, which are more than its status keeps.
fn pool_that_learnt() -> (InstancePool, Learning, Sizer) {
    let pool: InstancePool = serde_json::from_value(json!({
        "metadata": { "name": "ci" }, "status": {},
        "spec": { "targetSize": 5, "maxSize": 200, "launchConfigs": [{ "name": "a" }], "autosize": { "mode": "Auto" } },
    }))
    .unwrap();
    let mut learning = Learning::default();
    let mut sizer = learning.lesson(&pool, Some(rate(2.0))).unwrap().learn(at(0));
    (0..3).for_each(|_| sizer.ready_after(88_000));
    for second in (0..14_400).step_by(5) {
        sizer.observe(BEGIN + second * SECOND, 1_000);
    }
    learning.learnt(sizer.clone(), at(14_400));
    (pool, learning, sizer)
}

#[test]
fn launch_configs_that_come_and_go_take_a_hundredth_of_a_core_at_most_and_cost_nothing_that_is_known() {
    let (pool, mut learning, sizer) = pool_that_learnt();
    let (mut lessons, mut slots) = (0, 0);
    for second in 14_400..14_400 + 120 {
        let creates = Some(rate(if second % 2 == 0 { 2.0 } else { 4.0 }));
        if let Some(lesson) = learning.lesson(&pool, creates) {
            let learnt = lesson.learn(at(second));
            assert_eq!(learnt.goal().creates, creates);
            assert_eq!(learnt.claims(), sizer.claims(), "nothing is forgotten");
            learning.learnt(learnt, at(second));
            (lessons, slots) = (lessons + 1, slots + second * SECOND * 19 / sizer.lead_milliseconds());
        }
        learning.look(&pool, &[], at(second));
    }
    // A slot takes 20 µs.
    assert!((2..=20).contains(&lessons) && slots * 20 <= 120 * 10_000 + 20 * 3_200, "{lessons} times, {slots} slots");
    assert!(learning.lesson(&pool, None).is_none(), "nothing can be bought, and what was known of them holds");
    let mut other = pool;
    other.spec.autosize.as_mut().unwrap().hit_rate_percent = 90;
    assert!(learning.lesson(&other, None).is_some(), "what is asked for is learnt at once");
}

#[test]
fn a_clock_that_was_ahead_does_not_keep_a_lead_time_from_falling() {
    let mut sizer = Sizer::new(goal(None));
    (0..3).for_each(|_| sizer.ready_after(88_000));
    sizer.observe(BEGIN, 1);
    sizer.observe(BEGIN + 7 * 24 * HOUR, 1);
    // It takes a few machines until the mean falls.
    (0..64).for_each(|_| sizer.took(30_000));
    for second in 1..600 {
        sizer.observe(BEGIN + second * SECOND, 1);
        sizer.took(30_000);
    }
    assert!(sizer.has_other_lead(), "{}", sizer.lead_milliseconds());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]

    #[test]
    fn a_cloud_with_more_turns_needs_no_larger_pool(burst in 10..150_u32, apart in 60..180_i64) {
        let size = |creates: Option<CreateRate>| {
            // maxSize has room for all of them.
            let mut forecaster = Forecaster::new(90_000.0, Goal { most: 2_000, ..goal(creates) });
            forecaster.advance(BEGIN);
            // Twice an hour a burst, and another one before all machines of the first were bought.
            for pair in 0..24 {
                let begin = BEGIN + pair * HOUR / 2;
                forecaster.observe(begin, burst);
                forecaster.observe(begin + apart * SECOND, burst);
            }
            forecaster.advance(BEGIN + 12 * HOUR);
            forecaster.size()
        };
        let (slow, fast, at_once) = (size(Some(rate(0.5))), size(Some(rate(200.0))), size(None));
        prop_assert!(fast == at_once && at_once <= slow, "{} {} {}", slow, fast, at_once);
    }
}
