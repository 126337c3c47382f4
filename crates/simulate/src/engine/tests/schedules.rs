use super::*;
use crate::time::STARTS_AT;

/// How many claims each batch has.
const BATCH: usize = 40;

/// A batch at each of these hours since the beginning, a claim a second, each of which holds its machine for a minute.
fn batches(hours: &[i64]) -> Vec<Arrival> {
    let of = |hour: &i64| {
        let begin = hour * HOUR;
        (0..BATCH as i64).map(move |number| Arrival { at: begin + number * SECOND, holds: 60 * SECOND })
    };
    hours.iter().flat_map(of).collect()
}

/// At two in the night, four times.
fn nights() -> Vec<Arrival> {
    batches(&[2, 26, 50, 74])
}

/// A pool of this size with a schedule for a batch at two: from ten minutes before it until 20 minutes after its begin.
fn scheduled(target: i32, more: Value) -> Setup {
    let mut schedule = json!({ "name": "batch", "cron": "50 1 * * *", "durationSeconds": 1_800, "targetSize": BATCH });
    if let (Some(schedule), Value::Object(more)) = (schedule.as_object_mut(), more) {
        schedule.extend(more);
    }
    setup(pool(target, json!({ "schedules": [schedule] })))
}

#[test]
fn a_schedule_that_begins_before_a_batch_serves_it_and_without_it_the_batch_waits() {
    let (with, without) = (scheduled(0, json!({})), setup(pool(0, json!({}))));
    let (served, late) = (play(&with, &nights()), play(&without, &nights()));
    assert_eq!((served.claims.hits, late.claims.hits), (4 * BATCH, 0));
    assert_eq!(served, play(&with, &nights()));
}

#[test]
fn machines_are_bought_when_a_schedule_begins_and_not_when_something_else_happens() {
    // They boot in 90 s, and a pool in which nothing changes gets a pass at 01:55 and 02:00.
    let close = scheduled(0, json!({ "cron": "58 1 * * *", "durationSeconds": 300 }));
    assert_eq!(play(&close, &nights()).claims.hits, 4 * BATCH);
}

#[test]
fn machines_that_a_schedule_asked_for_go_after_its_end() {
    let mut setup = scheduled(0, json!({}));
    setup.lasts = Some(4 * 24 * HOUR);
    let outcome = play(&setup, &nights());
    // It is on for half an hour, and a surplus goes after 30 s.
    let most = (4 * BATCH) as f64 * (30.5 / 60.0);
    assert!((0.6 * most..most).contains(&outcome.hours.idle), "{:?}", outcome.hours);
    assert_eq!(outcome.machines.at_end, 0);
    setup.pool.target_size = BATCH as i32;
    assert!(play(&setup, &nights()).hours.idle > 10.0 * most, "a pool of that size has them all day");
}

#[test]
fn a_schedule_goes_by_the_clock_of_its_time_zone_also_when_that_changes_within_the_trace() {
    // At eight in Berlin, where the clock is set forward in the third night.
    let mornings = batches(&[7, 31, 54, 78]);
    let at = |cron: &str, zone: &str| {
        let mut setup = scheduled(0, json!({ "cron": cron, "timeZone": zone }));
        setup.starts_at = "2026-03-27T00:00:00Z".parse().unwrap();
        play(&setup, &mornings).claims.hits
    };
    assert_eq!(at("50 7 * * *", "Europe/Berlin"), 4 * BATCH);
    assert_eq!(at("50 6 * * *", "Etc/UTC"), 2 * BATCH);
}

#[test]
fn when_the_trace_begins_decides_what_its_schedules_serve() {
    let hits = |starts_at: &str| {
        let setup = Setup { starts_at: starts_at.parse().unwrap(), ..scheduled(0, json!({ "cron": "50 1 * * 6,0" })) };
        play(&setup, &nights()).claims.hits
    };
    // A Thursday: the third and the fourth night are those of the weekend. And a Saturday.
    assert_eq!([hits("2026-01-01T00:00:00Z"), hits("2026-01-03T00:00:00Z")], [2 * BATCH; 2]);
    assert_eq!(hits("2026-01-01T01:00:00Z"), 0);
    assert_eq!(STARTS_AT.to_string(), "2026-01-01T00:00:00Z");
}

#[test]
fn a_schedule_that_began_before_the_trace_is_on_when_it_begins() {
    let mut setup = scheduled(0, json!({ "cron": "0 22 * * *", "durationSeconds": 14_400 }));
    setup.lasts = Some(3 * HOUR);
    assert_eq!(play(&setup, &batches(&[0])).claims.hits, BATCH);
}

#[test]
fn a_schedule_is_a_floor_and_max_size_bounds_it() {
    let above = setup(pool(BATCH as i32 + 5, json!({})));
    let with_floor = scheduled(BATCH as i32 + 5, json!({}));
    assert_eq!(play(&above, &nights()), play(&with_floor, &nights()));
    let mut bounded = scheduled(0, json!({}));
    bounded.pool.max_size = 30;
    assert_eq!(play(&bounded, &nights()).claims.hits, 4 * 30);
}

#[test]
fn policies_for_comparison_know_no_schedules() {
    for policy in [Policy::Loop { every: 60 * SECOND }, Policy::Estimator { every: 10 * SECOND }, Policy::Clairvoyant] {
        let play = |setup: Setup| play(&Setup { policy, ..setup }, &nights());
        assert_eq!(play(scheduled(1, json!({}))), play(setup(pool(1, json!({})))), "{policy:?}");
    }
}

#[test]
fn autosize_beside_a_schedule_keeps_no_machines_all_day_for_the_batch_that_the_schedule_serves() {
    // A batch of 80 at two, three times, and some 20 an hour else. Long boots are played with few looks.
    let mut trace: Vec<_> = batches(&[2, 26, 50]).repeat(2);
    trace.extend(poisson(20.0, 60.0, 1_440, 3));
    trace.sort_by_key(|claim| claim.at);
    let play = |mut setup: Setup| {
        setup.pool.autosize = serde_json::from_value(json!({ "mode": "Auto" })).ok();
        setup.cloud.boot = Boot::Around { seconds: 240.0, percent: 0.0 };
        play(&setup, &trace)
    };
    let alone = play(setup(pool(4, json!({}))));
    let helped = play(scheduled(4, json!({ "targetSize": 90 })));
    let misses = |outcome: &Outcome| outcome.claims.arrived - outcome.claims.hits;
    assert!(misses(&helped) < 10 && misses(&alone) > 50, "{:?} and {:?}", helped.claims, alone.claims);
    assert!(3.0 * helped.hours.idle < alone.hours.idle, "{:?} and {:?}", helped.hours, alone.hours);
}

#[test]
fn a_schedule_or_a_start_that_cannot_be_played_is_refused_by_name() {
    let refused = |setup: &Setup| run(setup, &nights(), |_| {}).unwrap_err();
    let wrong = scheduled(0, json!({ "timeZone": "Mars", "cron": "50 25 * * *" }));
    let error = refused(&wrong);
    let lines: Vec<&str> = error.lines().collect();
    assert!(lines[0].starts_with("spec.schedules[name=batch].cron: \"50 25 * * *\" has hour 25"), "{error}");
    assert!(lines[1].starts_with("spec.schedules[name=batch].timeZone: \"Mars\" is no name"), "{error}");
    let early = Setup { starts_at: jiff::Timestamp::MIN, ..scheduled(0, json!({})) };
    let error = refused(&early);
    assert!(error.starts_with("the start of the trace is -") && error.contains("a trace begins between"), "{error}");
}
