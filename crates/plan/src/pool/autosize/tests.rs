use bullpen_api::{InstancePool, InstancePoolSpec};
use proptest::prelude::*;
use serde_json::json;

use super::follow::{condition, followed, recommended};
use super::forecaster::{Forecaster, Goal};
use super::learning::Learning;
use super::sizer::{Advice, MOST_TEXT, Sizer};
use crate::CreateRate;
use crate::pool::view::{CountedMember, Power, Standing};

/// Milliseconds since 1970 at which every test begins.
const BEGIN: i64 = 1_767_225_600_000;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;

fn goal(hits: f64) -> Goal {
    Goal { hits, window: 60.0, creates: None, most: 10_000, schedules: std::sync::Arc::default() }
}

/// Times of claims at a steady rate, independent of each other, by a seed; in milliseconds from 0 on.
fn steady(hourly: f64, hours: i64, seed: u64) -> Vec<i64> {
    let (mut state, mut at, mut all) = (seed, 0.0, Vec::new());
    loop {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (state >> 11) as f64 / (1_u64 << 53) as f64;
        at += -(1.0 - share).ln() * HOUR as f64 / hourly;
        if at >= (hours * HOUR) as f64 {
            return all;
        }
        all.push(at as i64);
    }
}

/// A forecaster that has seen these claims, for machines that take 90 s.
fn seen(claims: &[i64], until: i64, goal: Goal) -> Forecaster {
    let mut forecaster = Forecaster::new(90_000.0, goal);
    forecaster.advance(BEGIN);
    for at in claims {
        forecaster.observe(BEGIN + at, 1);
    }
    forecaster.advance(BEGIN + until);
    forecaster
}

/// When burst `number` comes, of those that come `apart` milliseconds from each other in the mean, but not by the clock.
const fn irregular(number: i64, apart: i64) -> i64 {
    number * apart + ((number * 2_654_435_761) & 0xffff_ffff) * (apart / 10 * 8) / (1 << 32)
}

#[test]
fn a_steady_rate_needs_what_the_distribution_of_poisson_says() {
    // 6 claims come in a lead time; 12 machines are enough for 99 % of them, and 14 for 99.9 %.
    let forecaster = seen(&steady(240.0, 24, 1), 24 * HOUR, goal(0.99));
    assert!((10..=21).contains(&forecaster.size()), "{}", forecaster.size());
    assert!((forecaster.hourly() / 240.0 - 1.0).abs() < 0.3, "{}", forecaster.hourly());
}

#[test]
fn where_creates_wait_for_their_turn_the_size_covers_what_comes_until_they_had_it() {
    // About twice an hour a hundred claims come, and two minutes later a hundred more.
    let pairs = (0..96).flat_map(|pair| [irregular(pair, HOUR / 2), irregular(pair, HOUR / 2) + 120 * SECOND]);
    // It is looked at between the last two.
    let claims: Vec<i64> = pairs.take(191).flat_map(|burst| (0..100).map(move |claim| burst + claim * 10)).collect();
    let size = |per_second: Option<f64>| {
        let creates = per_second.map(|per_second| CreateRate { per_second, at_once: 5 });
        seen(&claims, irregular(95, HOUR / 2) + 100 * SECOND, Goal { creates, ..goal(0.99) }).size()
    };
    let (at_once, fast, slow) = (size(None), size(Some(200.0)), size(Some(0.5)));
    assert!((95..150).contains(&at_once), "those of the first burst are replaced by then: {at_once}");
    assert_eq!(fast, at_once);
    assert!((180..=240).contains(&slow), "of the first burst only 15 are launched half a minute later: {slow}");
}

#[test]
fn bursts_that_stopped_leave_no_machines_once_it_is_quiet_for_longer_than_ever_between_them() {
    let bursts = (1..9).map(|burst| irregular(burst, HOUR));
    let claims: Vec<i64> = bursts.flat_map(|burst| (0..100).map(move |claim| burst + claim * 10)).collect();
    let size = |hours: i64| seen(&claims, hours * HOUR, goal(0.99)).size();
    assert!(size(9) >= 100, "the next one is expected: {}", size(9));
    // An hour and 48 minutes is the longest pause there may be, and the fall takes a window.
    assert_eq!([size(13), size(30)], [0, 0]);
}

#[test]
fn a_pool_that_nobody_claims_from_comes_to_nothing() {
    let forecaster = seen(&steady(240.0, 4, 1), 30 * HOUR, goal(0.99));
    assert_eq!(forecaster.size(), 0);
}

#[test]
fn a_step_in_demand_is_answered_within_one_boot_and_one_window() {
    let before = steady(20.0, 24, 2);
    let calm = seen(&before, 24 * HOUR, goal(0.99)).size();
    let after = steady(600.0, 1, 3);
    // 15 claims come in a lead time from now on.
    let boot_and_window = (90 + 60) * SECOND;
    let claims: Vec<i64> = before.iter().copied().chain(after.iter().map(|at| at + 24 * HOUR)).collect();
    let until = 24 * HOUR + boot_and_window;
    let came: Vec<i64> = claims.into_iter().filter(|at| *at < until).collect();
    let stepped = seen(&came, until, goal(0.99)).size();
    assert!(calm < 15 && stepped >= 15, "{calm} and {stepped}");
}

#[test]
fn a_burst_that_comes_every_day_at_the_same_hour_is_expected_on_the_next_days() {
    let (mut claims, days) = (steady(6.0, 24 * 6, 4), 6);
    for day in 0..days {
        claims.extend(steady(900.0, 1, 5 + day).iter().map(|at| at + (day as i64 * 24 + 9) * HOUR));
    }
    claims.sort_unstable();
    let size = |hour: i64, minute: i64| {
        let until = (5 * 24 + hour) * HOUR + minute * 60 * SECOND;
        let came: Vec<i64> = claims.iter().copied().filter(|at| *at < until).collect();
        seen(&came, until, goal(0.99)).size()
    };
    let (night, morning) = (size(4, 0), size(9, 0));
    assert!(morning > night, "{night} at night, {morning} as it begins");
}

fn pool(fields: serde_json::Value) -> InstancePoolSpec {
    let mut spec = json!({ "targetSize": 5, "minSize": 2, "maxSize": 9, "launchConfigs": [{ "name": "a" }],
        "autosize": { "mode": "Auto" } });
    if let (Some(spec), serde_json::Value::Object(fields)) = (spec.as_object_mut(), fields) {
        spec.extend(fields);
    }
    serde_json::from_value(spec).unwrap()
}

fn size(size: i32, learning: bool) -> Advice {
    Advice::Size { size, learning, hourly: 41.0, lead: 95.0, burst: None }
}

#[test]
fn what_was_found_is_said_in_words() {
    let said = |spec: &InstancePoolSpec, advice: &Advice| {
        let value = condition(spec, advice).unwrap();
        (value.holds, value.reason.as_str(), value.message)
    };
    let auto = pool(json!({}));
    let (holds, reason, message) = said(&auto, &size(6, false));
    assert_eq!((holds, reason), (true, "SizeFollowed"));
    assert_eq!(message, "41 claims an hour, boot 95 s: 6 keeps 99 %");
    let (holds, reason, _) = said(&pool(json!({ "autosize": {} })), &size(6, false));
    assert_eq!((holds, reason), (false, "SizeRecommended"), "it is recommended by default");
    let (_, _, message) = said(&auto, &size(20, false));
    assert!(message.ends_with("20 keeps 99 %; maxSize makes it 9, which misses more"), "{message}");
    let (_, _, message) = said(&auto, &size(0, false));
    assert!(message.ends_with("; minSize makes it 2"), "{message}");
    let (_, reason, message) = said(&auto, &Advice::TooLittle { claims: 3, seconds: 60.0 });
    assert_eq!(reason, "TooLittleKnown");
    assert!(message.starts_with("too little is known yet") && message.ends_with("; targetSize 5 applies"), "{message}");
    assert_eq!(condition(&pool(json!({ "autosize": { "mode": "Off" } })), &size(6, false)), None);
}

#[test]
fn only_auto_is_followed_and_the_target_is_a_floor_while_it_learns() {
    assert_eq!(followed(&pool(json!({ "autosize": {} })), &size(6, false)), None);
    assert_eq!(followed(&pool(json!({})), &size(3, false)), Some(3));
    assert_eq!(followed(&pool(json!({})), &size(3, true)), Some(5));
    assert_eq!(followed(&pool(json!({})), &Advice::TooLittle { claims: 0, seconds: 0.0 }), None);
}

#[test]
fn too_little_is_known_until_claims_time_and_machines_were_seen() {
    let mut sizer = Sizer::new(goal(0.99));
    let knows = |sizer: &Sizer| matches!(sizer.advice(), Advice::Size { .. });
    for minute in 0..90 {
        sizer.observe(BEGIN + minute * 60 * SECOND, 1);
    }
    assert!(!knows(&sizer), "no machine became ready");
    for _ in 0..3 {
        sizer.ready_after(90_000);
    }
    assert!(knows(&sizer));
    assert!(!knows(&Sizer::new(goal(0.99))));
}

#[test]
fn what_was_learnt_comes_again_from_the_record() {
    let mut sizer = Sizer::new(goal(0.99));
    for _ in 0..10 {
        sizer.ready_after(40_000);
    }
    for at in steady(120.0, 30, 7) {
        sizer.observe(BEGIN + at, 1);
    }
    sizer.observe(BEGIN + 30 * HOUR, 0);
    let record = sizer.record();
    assert!(record.len() <= MOST_TEXT);
    let again = Sizer::restore(&record, goal(0.99)).unwrap();
    assert_eq!(again.claims(), sizer.claims());
    let size_of = |sizer: &Sizer| match sizer.advice() {
        Advice::Size { size, .. } => size,
        Advice::TooLittle { .. } => 0,
    };
    assert!(
        size_of(&sizer) >= 4 && (size_of(&again) - size_of(&sizer)).abs() <= 3,
        "{} {}",
        size_of(&sizer),
        size_of(&again)
    );
    assert!(Sizer::restore("nonsense", goal(0.99)).is_none());
}

#[test]
fn what_was_learnt_is_to_be_written_until_the_status_has_it() {
    let at = |seconds: i64| jiff::Timestamp::from_millisecond(BEGIN + seconds * SECOND).unwrap();
    let mut pool: InstancePool =
        serde_json::from_value(json!({ "metadata": { "name": "ci" }, "spec": pool(json!({})), "status": {} })).unwrap();
    let mut learning = Learning::default();
    let sizer = learning.lesson(&pool, None).unwrap().learn(at(0));
    learning.learnt(sizer, at(0));
    learning.claim_came();
    let mut record = |pool: &InstancePool, seconds: i64| learning.look(pool, &[], at(seconds)).unwrap().record;
    assert_eq!(record(&pool, 1), None, "it is not due");
    let first = record(&pool, 700);
    assert!(first.is_some());
    // That pass wrote no status.
    assert_eq!(record(&pool, 701), first);
    pool.status.as_mut().unwrap().learnt = first;
    assert_eq!(record(&pool, 702), None);
}

#[test]
fn the_first_size_is_written_with_what_it_was_learnt_from() {
    let at = |seconds: i64| jiff::Timestamp::from_millisecond(BEGIN + seconds * SECOND).unwrap();
    let mut pool: InstancePool =
        serde_json::from_value(json!({ "metadata": { "name": "ci" }, "spec": pool(json!({})), "status": {} })).unwrap();
    let mut learning = Learning::default();
    let mut sizer = learning.lesson(&pool, None).unwrap().learn(at(0));
    (0..3).for_each(|_| sizer.took(20_000));
    sizer.learn_with_measured_lead();
    learning.learnt(sizer, at(0));
    let second = (1..10_000).find(|second| {
        if second % 20 == 0 {
            learning.claim_came();
        }
        let finding = learning.look(&pool, &[], at(*second)).unwrap();
        let found = matches!(finding.advice, Advice::Size { .. });
        if found {
            pool.status.as_mut().unwrap().learnt.clone_from(&finding.record);
        }
        found
    });
    let next = Learning::default().lesson(&pool, None).unwrap().learn(at(second.unwrap() + 1));
    assert!(matches!(next.advice(), Advice::Size { .. }), "{:?}", next.advice());
}

#[test]
fn another_lead_time_is_learnt_by_a_lesson_and_not_within_a_pass() {
    let at = |seconds: i64| jiff::Timestamp::from_millisecond(BEGIN + seconds * SECOND).unwrap();
    let pool: InstancePool =
        serde_json::from_value(json!({ "metadata": { "name": "ci" }, "spec": pool(json!({})), "status": {} })).unwrap();
    let mut learning = Learning::default();
    let sizer = learning.lesson(&pool, None).unwrap().learn(at(0));
    learning.learnt(sizer, at(0));
    let member = |number: i64| CountedMember {
        uid: format!("m{number}"),
        standing: Standing::Ready,
        launch_config: "a".into(),
        // Its create waited for its turn.
        created: at(number - 20),
        launched: Some(at(number)),
        ready_since: Some(at(number + 30)),
        outdated: false,
        hold: false,
        unanswered_since: None,
        billing: None,
        launch_config_ends: false,
        power: Power::default(),
    };
    let members: Vec<_> = (1..=3).map(member).collect();
    learning.claim_came();
    let before = learning.look(&pool, &[], at(1)).unwrap().look_again_at;
    let pass = learning.look(&pool, &members, at(40)).unwrap().look_again_at;
    let pause = |look: Option<jiff::Timestamp>, seconds: i64| look.unwrap().duration_since(at(seconds));
    assert_eq!(pause(before, 1), pause(pass, 40), "the pass knows the lead time of before");
    let sizer = learning.lesson(&pool, None).unwrap().learn(at(41));
    assert!((sizer.lead_milliseconds() - 30_600).abs() < 2 && sizer.claims() == 1, "{}", sizer.lead_milliseconds());
    learning.learnt(sizer, at(41));
    assert!(learning.lesson(&pool, None).is_none());
    assert!(pause(learning.look(&pool, &members, at(42)).unwrap().look_again_at, 42) < pause(pass, 40));
}

#[test]
fn machines_of_a_burst_of_which_the_fastest_are_ready_first_are_no_other_lead_time() {
    let mut sizer = Sizer::new(goal(0.99));
    let mut learnt = vec![];
    for burst in 0..20 {
        let begin = BEGIN + burst * HOUR / 4;
        sizer.observe(begin, 200);
        for machine in 0..200 {
            let took = 70_000 + machine * 200;
            sizer.observe(begin + took, 0);
            sizer.took(took);
            if sizer.has_other_lead() {
                sizer.learn_with_measured_lead();
                learnt.push(sizer.lead_milliseconds() / SECOND);
            }
        }
    }
    assert!(learnt.len() <= 6 && learnt.is_sorted() && learnt.last() > Some(&100), "it only grew: {learnt:?}");
    // Faster machines are learnt, once that has lasted.
    for machine in 0..200 {
        sizer.observe(BEGIN + 6 * HOUR + machine * 10 * SECOND, 1);
        sizer.took(30_000);
        if sizer.has_other_lead() {
            sizer.learn_with_measured_lead();
        }
    }
    assert_eq!(sizer.lead_milliseconds(), 30_600);
}

#[test]
fn times_of_machines_that_go_up_and_down_take_a_hundredth_of_a_core_at_most() {
    let (mut sizer, mut learnt, mut slots) = (Sizer::new(goal(0.99)), 0, 0);
    for second in 0..HOUR / 4 / SECOND {
        sizer.observe(BEGIN + second * SECOND, 1);
        let takes = if second / 64 % 2 == 0 { 1_000 } else { 3_000 };
        sizer.took(takes);
        if sizer.has_other_lead() {
            sizer.learn_with_measured_lead();
            (learnt, slots) = (learnt + 1, slots + second * SECOND * 19 / sizer.lead_milliseconds());
        }
    }
    // A slot takes 20 µs.
    assert!(learnt > 3 && slots * 20 <= HOUR / 4 / 100 * 1_000, "{learnt} times, {slots} slots");
}

#[test]
fn quiet_time_before_a_restart_was_watched_also_when_it_is_learnt_again() {
    let mut sizer = Sizer::new(goal(0.99));
    for _ in 0..3 {
        sizer.ready_after(90_000);
    }
    sizer.observe(BEGIN, 0);
    for minute in 1..=30 {
        sizer.observe(BEGIN + minute * 60 * SECOND, 1);
    }
    // Ten hours without a claim, a restart, and one more claim.
    sizer.observe(BEGIN + 10 * HOUR, 0);
    sizer.resume(BEGIN + 11 * HOUR);
    sizer.observe(BEGIN + 11 * HOUR + 60 * SECOND, 1);
    let again = Sizer::restore(&sizer.record(), goal(0.99)).unwrap();
    assert!(matches!(again.advice(), Advice::Size { .. }), "ten hours are enough to know: {:?}", again.advice());
}

/// How often machines can be bought: at once, or so many a second, of which the least is below some of the demand.
fn any_rate() -> impl Strategy<Value = Option<CreateRate>> {
    let rate = |per_second: f64| Some(CreateRate { per_second, at_once: 5 });
    prop_oneof![Just(None), Just(rate(0.5)), Just(rate(2.0)), Just(rate(200.0))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn it_is_never_above_max_size_and_never_below_min_size(
        found in 0..20_000_i32, learning in any::<bool>(), (target, max) in (0..50_i32, 0..50_i32), min in 0..50_i32,
    ) {
        let spec = pool(json!({ "targetSize": target, "maxSize": max, "minSize": min.min(target) }));
        let size = recommended(&spec, &size(found, learning)).unwrap();
        prop_assert!(size <= max && size >= min.min(target).min(max));
    }

    #[test]
    fn a_higher_hit_rate_needs_no_fewer_machines(hourly in 5.0..4_000.0_f64, creates in any_rate(), seed in any::<u64>()) {
        let claims = steady(hourly, 8, seed);
        let forecaster = seen(&claims, 8 * HOUR, Goal { creates, ..goal(0.99) });
        let sizes = forecaster.sizes().unwrap();
        prop_assert!(sizes.is_sorted(), "{:?}", sizes);
    }

    #[test]
    fn a_steady_rate_changes_its_direction_at_most_twice_an_hour(
        hourly in prop_oneof![1.0..40.0_f64, 40.0..4_000.0], creates in any_rate(), seed in any::<u64>(),
    ) {
        let claims = steady(hourly, 16, seed);
        let mut forecaster = Forecaster::new(90_000.0, Goal { creates, ..goal(0.99) });
        forecaster.advance(BEGIN);
        let (mut turns, mut up, mut before) = (0, true, 0);
        let mut next = claims.iter().peekable();
        for at in (0..16 * HOUR).step_by(5_000) {
            while let Some(claim) = next.next_if(|claim| **claim <= at) {
                forecaster.observe(BEGIN + claim, 1);
            }
            forecaster.advance(BEGIN + at);
            let size = forecaster.size();
            if size != before {
                // The first four hours are for learning.
                if at > 4 * HOUR && (size > before) != up {
                    turns += 1;
                }
                (up, before) = (size > before, size);
            }
        }
        prop_assert!(turns <= 2 * 12, "{} changes of direction in twelve hours", turns);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What comes of a record that can be read can be written and read again.
    #[test]
    fn no_record_makes_it_panic(
        ready in "([0-9]{1,9} ?){0,4}",
        hour in "(-|[0-9]{1,11})",
        tick in prop_oneof![Just(0x1000_i64), 1..0x3_6ee8_i64],
        (begins, length) in (0..0x7fff_ffff_i64, 0..0xfff_i64),
        words in "( -?[0-9a-f]{1,3}([*+][0-9a-f]{1,6})?){0,6}",
    ) {
        let season = vec![hour; 168].join(" ");
        let (begins, until) = (begins, begins + length);
        let text = format!("{ready}\n{season}\nbullpen-arrivals-1 {tick:x} {begins:x} {until:x}{words}");
        if let Some(sizer) = Sizer::restore(&text, goal(0.99)) {
            prop_assert!(Sizer::restore(&sizer.record(), goal(0.99)).is_some(), "{} and {}", text, sizer.record());
        }
    }
}

/// A record with this last line, of machines that are ready after so many milliseconds.
fn record(ready: &str, history: &str) -> String {
    format!("{ready}\n{}\n{history}", vec!["-"; 168].join(" "))
}

/// A pool with this record in its status.
fn pool_that_learnt(record: &str) -> InstancePool {
    serde_json::from_value(json!({
        "metadata": { "name": "linux", "namespace": "ci", "uid": "p" },
        "spec": { "targetSize": 3, "maxSize": 9, "launchConfigs": [{ "name": "sim" }], "autosize": { "mode": "Auto" } },
        "status": { "learnt": record },
    }))
    .unwrap()
}

#[test]
fn a_record_that_somebody_has_edited_makes_no_panic_and_stops_no_learning() {
    let now = jiff::Timestamp::from_millisecond(BEGIN).unwrap();
    let ticks = BEGIN / 4_096;
    for history in [
        "bullpen-arrivals-1 36ee80 200000000000 200000000000".to_owned(),
        format!("bullpen-arrivals-1 1000 {:x} {ticks:x} 0*ffffffff 1*ffffffff 1*ffffffff", ticks - 9),
        format!("bullpen-arrivals-1 1000 {:x} {ticks:x} -0+3ffffffffffff", ticks - 9),
        format!("bullpen-arrivals-1 1000 {ticks:x} {:x} 9*5", ticks + 20_000),
    ] {
        for ready in ["", "4294967295 4294967295 4294967295"] {
            let pool = pool_that_learnt(&record(ready, &history));
            let mut learning = Learning::default();
            learning.learnt(learning.clone().lesson(&pool, None).expect("a lesson").learn(now), now);
            for minute in 0..100 {
                learning.claim_came();
                let at = jiff::Timestamp::from_millisecond(BEGIN + minute * 60 * SECOND).unwrap();
                let finding = learning.look(&pool, &[], at).expect("a finding");
                assert!(finding.look_again_at.is_some_and(|again| again > at));
                let watched = match finding.advice {
                    Advice::TooLittle { seconds, .. } => seconds,
                    Advice::Size { .. } => f64::MAX,
                };
                assert!(minute < 50 || watched > 2_000.0, "{ready} {history}: {watched}");
            }
        }
    }
}

#[test]
fn a_clock_that_jumps_neither_hangs_the_operator_nor_stops_what_is_learnt() {
    let mut sizer = Sizer::new(goal(0.99));
    for _ in 0..3 {
        sizer.ready_after(90 * SECOND);
    }
    let (day, week) = (24 * HOUR, 7 * 24 * HOUR);
    let mut play = |from: i64, hours: i64| {
        for minute in 0..hours * 60 {
            sizer.observe(BEGIN + from + minute * 60 * SECOND, 4);
        }
        sizer.advice()
    };
    let size = |advice: &Advice| match advice {
        Advice::Size { size, .. } => *size,
        Advice::TooLittle { .. } => -1,
    };
    let before = size(&play(0, 24));
    assert!(before >= 6, "{before}");
    // Played slot by slot, a century would take hours.
    let mut ahead = sizer.clone();
    ahead.observe(BEGIN + day + 36_525 * day, 4);
    assert!(size(&ahead.advice()) <= before);
    // The clock is a week ahead for a minute, then right again.
    sizer.observe(BEGIN + day + week, 4);
    let mut quiet = sizer;
    for minute in 1..4 * 60 {
        quiet.observe(BEGIN + day + minute * 60 * SECOND, 0);
    }
    let after = size(&quiet.advice());
    assert!((0..before).contains(&after), "nobody claims any more, but {after} of {before}");
}
