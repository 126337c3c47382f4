use bullpen_plan::pool::autosize::forecaster::Goal;
use bullpen_plan::pool::autosize::sizer::Sizer;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::known::{Given, Known, Recorded, known};
use super::report;
use super::sizes::{Played, Size, play};

/// Milliseconds since 1970 at which the pool begins to learn.
const BEGIN: i64 = 1_767_225_600_000;
const HOUR: i64 = 3_600_000;

/// A pool with these fields in its spec and its status.
fn pool(spec: &Value, status: &Value) -> Value {
    let mut whole = json!({ "targetSize": 12, "minSize": 1, "maxSize": 200, "launchConfigs": [{ "name": "lc" }],
        "autosize": { "mode": "Recommend" } });
    if let (Some(whole), Value::Object(more)) = (whole.as_object_mut(), spec.clone()) {
        whole.extend(more);
    }
    json!({ "metadata": { "name": "ci", "namespace": "team" }, "spec": whole, "status": status })
}

fn given(pool: Value) -> Given {
    let config = json!({
        "metadata": { "name": "lc" },
        "spec": { "region": "r", "zone": "z", "instanceType": "t", "image": "i", "hourlyPrice": "0.5",
            "simulated": { "endpoint": "http://c" } },
    });
    Given {
        pool: serde_json::from_value(pool).unwrap(),
        launch_configs: vec![serde_json::from_value(config).unwrap()],
        members: Vec::new(),
        claims: Vec::new(),
        recorded: Recorded::Learnt,
        starts_at: None,
        hold_seconds: Some(300.0),
        boot_seconds: None,
        goal_percent: None,
        hourly_price: None,
        now: jiff::Timestamp::from_millisecond(BEGIN + 30 * HOUR).unwrap(),
    }
}

/// What a pool has learnt in so many hours in which a claim came every so many seconds, and two at once each ten times.
fn learnt(hours: i64, every: i64) -> String {
    let mut sizer = Sizer::new(Goal {
        hits: 0.99,
        window: 120.0,
        creates: None,
        most: 10_000,
        schedules: std::sync::Arc::default(),
    });
    for seconds in [85, 90, 95] {
        sizer.ready_after(seconds * 1_000);
    }
    sizer.observe(BEGIN, 0);
    for number in 1..=hours * 3_600 / every {
        sizer.observe(BEGIN + number * every * 1_000, if number % 10 == 0 { 2 } else { 1 });
    }
    sizer.record()
}

fn advised(given: Given) -> (Known, Played) {
    let known = known(given).unwrap();
    let played = play(&known, 2).unwrap();
    (known, played)
}

#[test]
fn the_cheapest_size_that_keeps_the_goal_is_found_and_the_command_that_sets_it_is_said() {
    let status = json!({ "learnt": learnt(6, 30), "recommendedTarget": 6 });
    let (known, played) = advised(given(pool(&json!({}), &status)));
    let Some(Size::Fixed(best)) = played.cheapest else { panic!("{:?}", played.cheapest) };
    // Three claims come in a boot, and at most four.
    assert!((3..=6).contains(&best), "{best}");
    let text = report::text(&known, &played);
    assert!(
        text.starts_with("pool ci: 792 claims in 5h59m until 24h ago, as autosize has learnt them (status.learnt)\n"),
        "{text}"
    );
    assert!(text.contains("machines are ready after 90.0 s in the mean: as the last 3 of the pool were"), "{text}");
    let line =
        |note: &str| text.lines().find(|line| line.ends_with(note)).unwrap_or_else(|| panic!("no {note}:\n{text}"));
    assert!(line("   now").starts_with("12 "));
    assert!(line("recommended at present").starts_with("6 ") || best == 6);
    assert!(line("cheapest with 99 %").starts_with(&format!("{best} ")));
    assert!(text.contains("\nAuto "), "{text}");
    let next = format!("Next: targetSize {best} instead of targetSize 12 keeps 99 % and saves ");
    assert!(text.contains(&next), "{text}");
    let command = format!(
        "  kubectl --namespace team patch instancepool ci --type merge --patch '{{\"spec\":{{\"targetSize\":{best}}}}}'"
    );
    assert!(text.ends_with(&command), "{text}");
    let document = report::document(&known, &played);
    assert_eq!((&document["cheapest"], &document["now"], &document["claims"]), (&json!(best), &json!(12), &json!(792)));
    assert_eq!(document["sizes"].as_array().map(Vec::len), Some(played.rows.len()));
}

#[test]
fn a_size_that_keeps_the_goal_for_as_little_stays() {
    let status = json!({ "learnt": learnt(6, 30) });
    let best = advised(given(pool(&json!({}), &status))).1.cheapest;
    let Some(Size::Fixed(best)) = best else { panic!("{best:?}") };
    let (known, played) = advised(given(pool(&json!({ "targetSize": best }), &status)));
    let text = report::text(&known, &played);
    assert!(text.contains(&format!("\nNothing to change: targetSize {best} keeps 99 %")), "{text}");
    let (known, played) = advised(given(pool(&json!({ "targetSize": 12, "minSize": 12 }), &status)));
    let text = report::text(&known, &played);
    assert!(text.ends_with("only a lower spec.minSize allows a smaller one."), "{text}");
}

#[test]
fn a_max_size_that_leaves_no_room_is_named() {
    let (known, played) =
        advised(given(pool(&json!({ "targetSize": 3, "maxSize": 4 }), &json!({ "learnt": learnt(6, 30) }))));
    assert_eq!(played.cheapest, None);
    let text = report::text(&known, &played);
    assert!(text.contains("Next: no size up to maxSize 4 keeps 99 %; the best has "), "{text}");
    assert_eq!(report::document(&known, &played)["cheapest"], Value::Null);
}

#[test]
fn a_max_size_that_an_assumed_hold_fills_is_no_reason_to_raise_it() {
    let mut bare = given(pool(&json!({ "targetSize": 3, "maxSize": 20 }), &json!({ "learnt": learnt(6, 30) })));
    bare.hold_seconds = None;
    let (known, played) = advised(bare);
    assert_eq!(played.cheapest, None);
    let text = report::text(&known, &played);
    assert!(text.contains("Next: give --hold-seconds.") && !text.contains("Raise spec.maxSize"), "{text}");
}

#[test]
fn an_assumption_is_no_reason_to_buy_more() {
    let mut short = given(pool(&json!({ "targetSize": 1, "maxSize": 60 }), &json!({ "learnt": learnt(6, 30) })));
    short.hold_seconds = None;
    let (known, played) = advised(short);
    assert!(matches!(played.cheapest, Some(Size::Fixed(2..))), "{:?}", played.cheapest);
    let text = report::text(&known, &played);
    assert!(text.contains("\nNext: give --hold-seconds. By what is assumed, targetSize "), "{text}");
    assert!(text.ends_with("an assumption is no reason to buy more."), "no command:\n{text}");
    assert_eq!(report::document(&known, &played)["assumed"], json!(["--hold-seconds"]));
    let lines: Vec<String> = (0..300).map(|number| format!("{},60000", number * 30_000)).collect();
    let text = format!("arrival_ms,duration_ms\n{}\n", lines.join("\n"));
    let recorded = Recorded::Trace { file: "week.csv".to_owned(), text };
    let spec = json!({ "targetSize": 0, "minSize": 0, "autosize": { "mode": "Off" } });
    let (known, played) = advised(Given { recorded, hold_seconds: None, ..given(pool(&spec, &json!({}))) });
    let text = report::text(&known, &played);
    assert!(text.contains("\nNext: give --boot-seconds. By what is assumed"), "{text}");
}

#[test]
fn what_autosize_recommends_is_named_as_that_of_the_pools_own_claims_where_others_are_played() {
    let lines: Vec<String> = (0..300).map(|number| format!("{},60000", number * 30_000)).collect();
    let text = format!("arrival_ms,duration_ms\n{}\n", lines.join("\n"));
    let recorded = Recorded::Trace { file: "week.csv".to_owned(), text };
    let own = || given(pool(&json!({}), &json!({ "learnt": learnt(6, 30), "recommendedTarget": 6 })));
    let told = |given| {
        let (known, played) = advised(given);
        report::text(&known, &played)
    };
    let other = told(Given { recorded, hold_seconds: None, boot_seconds: Some(60.0), ..own() });
    assert!(other.contains("recommended at present for the pool's own claims"), "{other}");
    let own = told(own());
    assert!(own.contains("recommended at present") && !own.contains("own claims"), "{own}");
}

#[test]
fn hours_on_standby_have_a_column_where_the_pool_has_such_a_tier() {
    let told = |spec: &Value| {
        let (known, played) = advised(given(pool(spec, &json!({ "learnt": learnt(6, 30) }))));
        report::text(&known, &played)
    };
    assert!(!told(&json!({})).contains("STOPPED H"));
    let text = told(&json!({ "standby": { "size": 3 } }));
    let head = text.lines().find(|line| line.starts_with("SIZE ")).unwrap();
    let place = head.find("STOPPED H").unwrap_or_else(|| panic!("{text}"));
    let row = text.lines().find(|line| line.contains("cheapest with")).unwrap();
    let hours: f64 = row[place..].split_whitespace().next().unwrap().parse().unwrap();
    assert!(hours > 0.0, "{text}");
}

#[test]
fn auto_is_left_out_where_it_would_take_minutes_to_play() {
    let claims: Vec<String> = (0..200).map(|number| format!("{},60000", number * HOUR)).collect();
    let recorded = Recorded::Trace {
        file: "week.csv".to_owned(),
        text: format!("arrival_ms,duration_ms\n{}\n", claims.join("\n")),
    };
    let brief = given(pool(&json!({}), &json!({})));
    let (known, played) = advised(Given { recorded, boot_seconds: Some(5.0), hold_seconds: None, ..brief });
    assert!(played.row(Size::Auto).is_none() && played.cheapest.is_some());
    let text = report::text(&known, &played);
    assert!(text.contains("note: Auto is left out: with boots of 5.0 s"), "{text}");
}

#[test]
fn a_pool_that_knows_too_little_is_told_what_to_do() {
    let refused = |given: Given| known(given).err().unwrap();
    let off = refused(given(pool(&json!({ "autosize": { "mode": "Off" } }), &json!({}))));
    assert!(off.contains("set spec.autosize.mode to Recommend, which changes no size"), "{off}");
    let fresh = refused(given(pool(&json!({}), &json!({}))));
    assert!(fresh.contains("at most once in ten minutes") && fresh.contains("ask again later"), "{fresh}");
    let few = refused(given(pool(&json!({}), &json!({ "learnt": learnt(1, 1_200) }))));
    assert!(few.starts_with("3 claims in 60m are too little to advise from: it takes 20 claims"), "{few}");
    let other = refused(given(pool(&json!({}), &json!({ "learnt": "of another version" }))));
    assert!(other.starts_with("status.learnt: was written by another version; or give recorded claims"), "{other}");
}

#[test]
fn what_is_assumed_is_said_and_how_it_is_measured() {
    let mut bare = given(pool(&json!({ "autosize": { "mode": "Auto" } }), &json!({ "learnt": learnt(6, 30) })));
    bare.hold_seconds = None;
    bare.launch_configs[0].spec.hourly_price = None;
    let (known, played) = advised(bare);
    assert_eq!((played.own, known.prices.is_none()), (Size::Auto, true));
    let text = report::text(&known, &played);
    assert!(text.contains("claims hold a machine for 10m in the mean: assumed"), "{text}");
    assert!(
        text.contains("note: how long claims hold machines is not known") && text.contains("--hold-seconds"),
        "{text}"
    );
    assert!(
        text.contains("note: no costs: set spec.hourlyPrice of launch config lc") && !text.contains("COST"),
        "{text}"
    );
    assert!(text.contains("note: hours and costs are for a week, and 5h59m are less"), "{text}");
}

#[test]
fn machines_that_warm_for_longer_than_a_launch_may_take_do_not_fail() {
    // They were ready after 85 to 95 s.
    let spec = json!({ "readiness": { "launchTimeoutSeconds": 60, "warmingTimeoutSeconds": 600 } });
    let (_, played) = advised(given(pool(&spec, &json!({ "learnt": learnt(6, 30) }))));
    assert!(played.cheapest.is_some() && played.rows.iter().all(|row| row.outcome.machines.failed == 0));
}

#[test]
fn the_goal_of_the_pool_is_said_as_the_pool_has_it() {
    // 55 hundredths times 100 is a little more than 55 as a float.
    let spec = json!({ "autosize": { "mode": "Auto", "hitRatePercent": 55 } });
    let (known, played) = advised(given(pool(&spec, &json!({ "learnt": learnt(6, 30) }))));
    let text = report::text(&known, &played);
    assert!(text.contains("cheapest with 55 %") && !text.contains("55.0"), "{text}");
    assert!(!text.contains("now for"), "{text}");
}

#[test]
fn a_pool_that_follows_autosize_for_less_is_told_to_raise_its_goal() {
    let spec = json!({ "autosize": { "mode": "Auto", "hitRatePercent": 55 }, "minSize": 0, "maxSize": 12 });
    let mut other = given(pool(&spec, &json!({ "learnt": learnt(6, 30) })));
    other.goal_percent = Some(60.0);
    let (known, mut played) = advised(other);
    assert!(report::text(&known, &played).contains("   now for 55 %"));
    played.cheapest = Some(Size::Auto);
    let text = report::text(&known, &played);
    assert!(text.contains("Next: autosize.hitRatePercent 60 instead of 55 keeps 60 %."), "{text}");
    assert!(text.ends_with(r#"--patch '{"spec":{"autosize":{"hitRatePercent":60}}}'"#), "{text}");
}

#[test]
fn claims_that_are_there_show_how_long_they_hold_their_machines() {
    let now = BEGIN + 30 * HOUR;
    let claim = |pool: &str, began: i64, ended: Option<i64>| {
        let time = |at: i64| jiff::Timestamp::from_millisecond(at).unwrap().to_string();
        let mut status = json!({ "phase": "Bound", "boundAt": time(now - began) });
        if let Some(ended) = ended {
            status["phase"] = json!("Released");
            status["finishedAt"] = json!(time(now - ended));
        }
        let metadata = json!({ "name": "c", "namespace": "team" });
        serde_json::from_value(
            json!({ "metadata": metadata, "spec": { "poolRef": { "name": pool } }, "status": status }),
        )
    };
    let told = |claims: Vec<Result<_, serde_json::Error>>| {
        let mut given = given(pool(&json!({}), &json!({ "learnt": learnt(6, 30) })));
        given.hold_seconds = None;
        given.claims = claims.into_iter().map(Result::unwrap).collect();
        known(given).unwrap().sources[2].clone()
    };
    let held: Vec<_> = (0..6).map(|_| claim("ci", 60_000, None)).chain([claim("other", 9_000, None)]).collect();
    assert_eq!(
        told(held),
        "claims hold a machine for 60.0 s in the mean: as long as the 6 claims that hold one now have had it"
    );
    let ended: Vec<_> = (0..5).map(|_| claim("ci", 90_000, Some(50_000))).collect();
    assert_eq!(
        told(ended),
        "claims hold a machine for 40.0 s in the mean: as the 5 claims that have ended and are still there"
    );
}

#[test]
fn a_trace_says_how_long_its_claims_hold_machines() {
    let lines: Vec<String> = (0..300).map(|number| format!("{},60000", number * 30_000)).collect();
    let mut given = given(pool(&json!({ "autosize": { "mode": "Off" } }), &json!({})));
    given.recorded =
        Recorded::Trace { file: "week.csv".into(), text: format!("arrival_ms,duration_ms\n{}\n", lines.join("\n")) };
    given.boot_seconds = Some(60.0);
    let (known, played) = advised(given);
    assert_eq!(known.sources.len(), 2, "{:?}", known.sources);
    assert!(known.sources[0].starts_with("300 claims in 149m, of week.csv"), "{:?}", known.sources);
    assert!(matches!(played.cheapest, Some(Size::Fixed(2..=4))), "{:?}", played.cheapest);
}

/// What a pool has learnt in six hours from midnight on with a claim every two minutes, 40 more at once at two, and perhaps an hour
/// before it in which nobody counted.
fn learnt_with_batch(gap: bool) -> String {
    let mut sizer = Sizer::new(Goal {
        hits: 0.99,
        window: 120.0,
        creates: None,
        most: 10_000,
        schedules: std::sync::Arc::default(),
    });
    for seconds in [85, 90, 95] {
        sizer.ready_after(seconds * 1_000);
    }
    sizer.observe(BEGIN, 0);
    for number in 1..=180 {
        let at = number * 120_000;
        let is_off = gap && (1_800_000..5_400_000).contains(&at);
        if gap && at == 5_400_000 {
            sizer.resume(BEGIN + at - 120_000);
        }
        if !is_off {
            sizer.observe(BEGIN + at, if at == 2 * HOUR { 41 } else { 1 });
        }
    }
    sizer.record()
}

/// From ten to two until twenty past two.
fn batch_schedule() -> Value {
    json!([{ "name": "batch", "cron": "50 1 * * *", "durationSeconds": 1_800, "targetSize": 45 }])
}

#[test]
fn what_a_schedule_serves_at_the_time_when_it_was_learnt_needs_no_size_at_other_times() {
    let cheapest = |spec: &Value| {
        let (known, played) = advised(given(pool(spec, &json!({ "learnt": learnt_with_batch(false) }))));
        // Times of a record are rounded to 4 s.
        assert!((known.starts_at.as_millisecond() - BEGIN).abs() < 10_000, "{}", known.starts_at);
        assert_eq!(report::document(&known, &played)["startsAt"], json!(known.starts_at));
        let Some(Size::Fixed(size)) = played.cheapest else { panic!("{:?}", played.cheapest) };
        (size, known.notes)
    };
    let (without, _) = cheapest(&json!({}));
    let (with, notes) = cheapest(&json!({ "schedules": batch_schedule() }));
    assert!(without > 30 && with < 6, "{without} and {with}");
    assert!(!notes.iter().any(|note| note.contains("schedules")), "{notes:?}");
}

#[test]
fn a_time_in_which_nobody_counted_moves_no_claims_on_the_clock_and_is_said() {
    // Schedules go by the clock, and so do the bursts that autosize expects.
    for spec in [json!({ "schedules": batch_schedule() }), json!({})] {
        let known = known(given(pool(&spec, &json!({ "learnt": learnt_with_batch(true) })))).unwrap();
        let batch = known.claims.chunk_by(|one, other| one.at == other.at).max_by_key(|claims| claims.len());
        assert_eq!(batch.map(|claims| claims[0].at / 60_000_000), Some(120), "minutes after midnight");
        let said =
            "in which no operator counted are played without claims, because schedules and bursts go by the clock";
        assert!(known.notes.iter().any(|note| note.ends_with(said)), "{:?}", known.notes);
    }
}

#[test]
fn a_trace_that_does_not_say_when_it_began_is_assumed_to_begin_with_the_year_where_schedules_ask_for_it() {
    let lines: Vec<String> = (0..300).map(|number| format!("{},60000", number * 30_000)).collect();
    let text = format!("arrival_ms,duration_ms\n{}\n", lines.join("\n"));
    let known_of = |spec: &Value, starts_at: Option<&str>| {
        let recorded = Recorded::Trace { file: "week.csv".to_owned(), text: text.clone() };
        let starts_at = starts_at.map(|at| at.parse().unwrap());
        known(Given { recorded, starts_at, boot_seconds: Some(60.0), ..given(pool(spec, &json!({}))) }).unwrap()
    };
    let note = "schedules go by the clock, and the trace does not say when it began: 2026-01-01T00:00:00Z, a Thursday, is assumed; \
                give it with --starts-at";
    let with = json!({ "schedules": batch_schedule() });
    assert!(known_of(&with, None).notes.iter().any(|said| said == note), "{:?}", known_of(&with, None).notes);
    let told = known_of(&with, Some("2026-03-28T00:00:00Z"));
    assert!(!told.notes.iter().any(|said| said == note) && told.starts_at.to_string() == "2026-03-28T00:00:00Z");
    assert!(!known_of(&json!({}), None).notes.iter().any(|said| said == note));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn what_is_advised_keeps_the_goal_within_the_limits_and_no_row_that_does_is_cheaper(
        every in 20..200_i64, target in 1..20_i32, room in 0..30_i32, goal in 60..99_i32,
    ) {
        let spec = json!({ "targetSize": target, "minSize": 1, "maxSize": target + room });
        let mut given = given(pool(&spec, &json!({ "learnt": learnt(4, every) })));
        given.goal_percent = Some(f64::from(goal));
        let (_, played) = advised(given);
        let good = played.rows.iter().filter(|row| row.hit_percent() >= f64::from(goal));
        let least = good.map(super::sizes::Row::price).fold(f64::INFINITY, f64::min);
        match played.cheapest.and_then(|size| played.row(size)) {
            Some(row) => {
                prop_assert!(row.hit_percent() >= f64::from(goal) && row.price() <= least);
                if let Size::Fixed(size) = row.size {
                    prop_assert!((1..=target + room).contains(&size));
                }
            }
            None => prop_assert!(least.is_infinite()),
        }
        prop_assert!(played.row(played.own).is_some());
    }
}
