//! A day of a real load, many times as fast, from a pool that sizes itself: `make play-trace TRACE=FILE`.

use std::time::Duration;

use bullpen_api::InstancePool;
use bullpen_simulate::{Arrival, Boot, HOUR, Micros, from_csv};
use kube::Api;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::simulated::{Played, play, simulate};
use crate::harness::objects::{LAUNCH_CONFIG, POOL};
use crate::harness::{Operator, Walk};

/// How long machines of the trace boot, in milliseconds; by 20 % more or less.
const BOOT_MILLISECONDS: i64 = 90_000;
/// The target while too little is known. It is of no trace.
const TARGET: i32 = 20;
/// Largest number of machines, those of claims included.
const MOST: i32 = 4_000;

/// A number that the environment gives.
fn setting(name: &str, otherwise: i64) -> i64 {
    let given = std::env::var(name).ok().filter(|given| !given.is_empty());
    given.map_or(otherwise, |given| given.parse().unwrap_or_else(|_| panic!("{name} is a number, not {given:?}")))
}

/// The claims of the first hours of the trace, so many times as fast.
fn trace(hours: i64, speed: i64) -> Vec<Arrival> {
    let path = std::env::var("TRACE").ok().filter(|path| !path.is_empty()).expect("TRACE names a CSV file");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("TRACE {path}: {error}"));
    let all = from_csv(&text).unwrap_or_else(|error| panic!("TRACE {path}: {error}"));
    let faster = |micros: Micros| micros / speed;
    let first = all.arrivals.into_iter().filter(|claim| claim.at < hours * HOUR);
    first.map(|claim| Arrival { at: faster(claim.at), holds: faster(claim.holds) }).collect()
}

#[tokio::test]
#[ignore = "takes as long as the trace does: make play-trace TRACE=FILE"]
async fn a_day_of_a_trace_is_served_by_a_pool_that_sizes_itself() {
    let (hours, speed) = (setting("HOURS", 24), setting("SPEED", 60));
    let trace = trace(hours, speed);
    let walk = Walk::begin("day").await;
    let operator = Operator::start(&walk).await;
    let boot = i32::try_from(BOOT_MILLISECONDS / speed).expect("a few seconds");
    let config = walk
        .launch_config(LAUNCH_CONFIG, json!({ "simulated": { "bootMilliseconds": boot, "bootJitterPercent": 20 } }))
        .await;
    let pool = json!({ "targetSize": TARGET, "maxSize": MOST, "scaleDownDelaySeconds": 1,
        "autosize": { "mode": "Auto", "windowSeconds": 1 },
        "provisioning": { "maxConcurrentCreates": 1_000, "failureThreshold": 100 } });
    walk.pool(POOL, pool).await;
    let pool = walk.pool_has_ready(TARGET).await;

    let rows = tokio::spawn(say_hourly(walk.api(), Duration::from_micros((HOUR / speed).unsigned_abs())));
    // Fails if a claim is not served.
    let played = play(&walk, &operator, &trace).await;
    rows.abort();
    say(&trace, &played, speed, "played");
    let boot = Boot::Around { seconds: f64::from(boot) / 1_000.0, percent: 20.0 };
    // A size that changes orders machines, too, so which one a claim ordered is not known, nor how long that took. A write is most of it.
    let played = Played { reaction: played.write, ..played };
    let outcome = simulate(&pool, config, boot, &trace, &played);
    let simulated = Played {
        hits: f64::from(u32::try_from(outcome.claims.hits).expect("few claims")),
        idle: outcome.hours.idle * 3_600.0,
        bought: outcome.machines.bought,
        ..played
    };
    say(&trace, &simulated, speed, "simulated");

    walk.delete::<InstancePool>(POOL).await;
    walk.ledger_until("has none left", |ledger| ledger.living().is_empty()).await;
}

/// Prints what the pool has at each hour of the trace, which is this long.
async fn say_hourly(pools: Api<InstancePool>, hour: Duration) {
    let mut ticks = interval(hour);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for number in 0.. {
        ticks.tick().await;
        let status = pools.get_status(POOL).await.ok().and_then(|pool| pool.status).unwrap_or_default();
        let target = status.effective_target.map(|target| format!("{} ({:?})", target.size, target.source));
        eprintln!(
            "hour {number}: target {}, recommended {:?}, members {:?}",
            target.unwrap_or_default(),
            status.recommended_target,
            status.members
        );
    }
}

fn say(trace: &[Arrival], played: &Played, speed: i64, how: &str) {
    let number = |count: usize| f64::from(u32::try_from(count).expect("few claims"));
    #[expect(clippy::cast_precision_loss, reason = "a speed is a small number")]
    let hours = played.idle / 3_600.0 * speed as f64;
    eprintln!(
        "{how}: {} claims, {:.2} % misses, {hours:.0} idle hours of the trace, {} machines bought; a write took {:?}, a notice {:?}",
        trace.len(),
        100.0 - 100.0 * played.hits / number(trace.len()),
        played.bought,
        played.write,
        played.notice
    );
}
