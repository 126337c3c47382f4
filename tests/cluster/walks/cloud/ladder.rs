//! What a pool does when machines do not come up, and when its cloud refuses.

use std::time::Duration;

use bullpen_api::{InstancePool, LaunchConfig, LaunchConfigInUse, PoolClaim};
use bullpen_simcloud::ledger::Method;
use serde_json::{Value, json};

use crate::harness::objects::{POOL, condition, machine_of};
use crate::harness::{Operator, Walk, eventually_within};

/// Replaces the faults of the walk's cloud.
async fn faults(walk: &Walk, set: Value) {
    let url = format!("http://{}/v1/faults", walk.simcloud.address());
    let answer = reqwest::Client::new().put(url).body(set.to_string()).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
}

/// Waits until a condition of the pool `ci` has this status and reason, and gives its message.
async fn pool_says(walk: &Walk, type_: &str, status: &str, reason: &str) -> String {
    let says = |pool: &InstancePool| {
        let (is, why, _) = condition(pool, type_);
        (is.as_str(), why.as_str()) == (status, reason)
    };
    let pool = walk.until(POOL, &format!("says {type_}={status} ({reason})"), says).await;
    condition(&pool, type_).2
}

async fn launch_config_says(walk: &Walk, name: &str, type_: &str, status: &str, reason: &str) -> LaunchConfig {
    let says = |config: &LaunchConfig| {
        let (is, why, _) = condition(config, type_);
        (is.as_str(), why.as_str()) == (status, reason)
    };
    walk.until(name, &format!("says {type_}={status} ({reason})"), says).await
}

fn in_use(pool: &InstancePool) -> LaunchConfigInUse {
    let status = pool.status.as_ref();
    status.and_then(|status| status.launch_configs.first()).cloned().unwrap_or_default()
}

/// Waits until the metric of the closed state is this. One that was just started has none before its first pass.
async fn breaker_is_closed(operator: &Operator, walk: &Walk, value: f64) {
    let labels = format!(r#"namespace="{}",pool="ci",launch_config="sim",state="closed""#, walk.namespace);
    let series = format!("bullpen_breaker_state{{{labels}}}");
    operator.metric_is(&series, value).await;
}

/// Five machines to learn that an image is broken, then one after each pause, twice as long each
/// time. An operator that is killed again and again buys no more.
#[tokio::test]
async fn a_broken_image_costs_few_machines_over_crashes_and_the_pool_heals_when_it_is_mended() {
    let walk = Walk::begin("broken-image").await;
    faults(&walk, json!({ "machines": [{ "where": { "images": ["img-1"] }, "fault": { "neverReady": {} } }] })).await;
    let mut operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({})).await;
    let spec = json!({
        "targetSize": 50,
        "maxSize": 100,
        "readiness": { "warmingTimeoutSeconds": 1 },
        "provisioning": { "failureThreshold": 5, "cooldownSeconds": 2 },
    });
    walk.pool(POOL, spec).await;
    // Killed while the first ones warm, while the breaker is open, and after each probe.
    walk.ledger_until("the first machines are bought", |ledger| ledger.bought() >= 3).await;
    operator.kill_9();
    operator.start_again().await;
    for failures in [5, 6, 7] {
        let failed = |pool: &InstancePool| in_use(pool).consecutive_failures >= failures;
        let pool = walk.until(POOL, &format!("counts {failures} failures"), failed).await;
        assert!(in_use(&pool).open_until.is_some(), "{:?}", in_use(&pool));
        operator.kill_9();
        operator.start_again().await;
    }
    let why = pool_says(&walk, "ProvisioningHealthy", "False", "BreakerOpen").await;
    assert!(why.contains("launch config sim: breaker open after 7 failures, next try "), "{why}");
    assert!(why.contains("last: WarmingTimeout: the machine was not ready"), "{why}");
    let bought = walk.simcloud.ledger().await.bought();
    assert!(bought <= 7, "five, and one after each of two pauses, but {bought} were bought");
    breaker_is_closed(&operator, &walk, 0.0).await;
    walk.has_event("BreakerOpened").await;

    walk.set::<LaunchConfig>("sim", json!({ "image": "img-2" })).await;
    let pool = walk.pool_has_ready(50).await;
    assert_eq!((in_use(&pool).consecutive_failures, in_use(&pool).open_until), (0, None));
    pool_says(&walk, "ProvisioningHealthy", "True", "CreatesAccepted").await;
    breaker_is_closed(&operator, &walk, 1.0).await;
}

#[tokio::test]
async fn a_type_without_capacity_leaves_the_other_launch_config_buying() {
    let walk = Walk::begin("capacity").await;
    let capacity = json!({ "error": { "class": "Capacity", "scope": "Type" } });
    faults(
        &walk,
        json!({ "calls": [{ "on": ["create"], "where": { "instanceTypes": ["small"] }, "fault": capacity }] }),
    )
    .await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("a", json!({ "instanceType": "small" })).await;
    walk.launch_config("b", json!({ "instanceType": "large" })).await;
    walk.pool(POOL, json!({ "targetSize": 8, "launchConfigs": [{ "name": "a" }, { "name": "b" }] })).await;
    walk.pool_has_ready(8).await;
    pool_says(&walk, "CapacityAvailable", "True", "OthersHaveCapacity").await;
    let lacking = launch_config_says(&walk, "a", "CapacityAvailable", "False", "NoCapacity").await;
    let status = lacking.status.expect("a status");
    assert!(status.unavailable_until.is_some());
    assert!(status.weight < Some(100), "{:?}", status.weight);
    assert_eq!(status.last_error.expect("an error").class, "Capacity");
    assert_eq!((status.recent_errors.len(), status.recent_errors[0].class.as_str()), (1, "Capacity"));
    launch_config_says(&walk, "b", "CapacityAvailable", "True", "NoLack").await;
    // At a glance: the sick one has less weight, a time until which it buys nothing, and the error.
    let table = walk.kubectl(&["get", "lc", "-o", "wide"]).await;
    let row = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    let until = status.unavailable_until.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
    assert!(row("a ").contains(" Capacity ") && row("a ").contains(&until[..16]), "{table}");
    assert!(row("b ").contains(" 100 ") && !row("b ").contains("Capacity "), "{table}");
    let ledger = walk.simcloud.ledger().await;
    assert_eq!(ledger.bought(), 8);
    // Those that were asked for before the first answer came; no capacity is no failure of the machine.
    let refused = ledger.calls(Method::Create) - 8;
    assert!((1..=5).contains(&refused), "{refused}");
    let pool = walk.get::<InstancePool>(POOL).await;
    assert_eq!(in_use(&pool).consecutive_failures, 0);
}

#[tokio::test]
async fn a_quota_pauses_creates_until_a_machine_of_ours_ended() {
    let walk = Walk::begin("quota").await;
    faults(&walk, json!({ "limits": [{ "machines": 3 }] })).await;
    let mut operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 5 })).await;
    walk.pool_has_ready(3).await;
    let why = pool_says(&walk, "CapacityAvailable", "False", "QuotaReached").await;
    assert!(why.contains("launch config sim: Quota: "), "{why}");
    launch_config_says(&walk, "sim", "CapacityAvailable", "False", "QuotaReached").await;
    walk.claim("held", json!({})).await;
    let held = walk.bound("held").await;
    // A start of the operator is no reason to ask again.
    let mark = walk.simcloud.ledger().await.last();
    operator.kill_9();
    operator.start_again().await;
    operator.is_ready().await;
    walk.pool_until(POOL, "has two ready and one claimed", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (2, 1, 3))
    })
    .await;
    assert_eq!(walk.simcloud.ledger().await.since(mark).calls(Method::Create), 0);

    walk.delete::<PoolClaim>("held").await;
    // Half a minute: by its timer alone the next try would come a minute after the refusal.
    eventually_within(Duration::from_secs(30), "its place is taken", async || {
        let status = walk.get::<InstancePool>(POOL).await.status.unwrap_or_default();
        let ready = status.members.unwrap_or_default().ready;
        if ready == 3 { Ok(()) } else { Err(format!("{ready} ready")) }
    })
    .await;
    let ledger = walk.simcloud.ledger().await;
    assert!(ledger.ended(machine_of(&held)));
    assert_eq!((ledger.bought(), ledger.living().len()), (4, 3));
}

#[tokio::test]
async fn a_rate_limit_holds_back_creates_and_nothing_else() {
    let walk = Walk::begin("rate-limit").await;
    let operator = Operator::start(&walk).await;
    walk.ready_pool(3, json!({})).await;
    let limited = json!({ "error": { "class": "RateLimited", "retryAfterMilliseconds": 6_000 } });
    faults(&walk, json!({ "calls": [{ "on": ["create"], "fault": limited }] })).await;
    let mark = walk.simcloud.ledger().await.last();
    walk.claim("held", json!({})).await;
    let held = walk.bound("held").await;
    let why = pool_says(&walk, "ProvisioningHealthy", "False", "CreateRefused").await;
    assert!(why.contains("RateLimited"), "{why}");
    faults(&walk, json!({})).await;
    walk.delete::<PoolClaim>("held").await;
    let ledger = walk.ledger_until("what ends is terminated", |ledger| ledger.ended(machine_of(&held))).await;
    assert_eq!(ledger.since(mark).calls(Method::Create), 1, "no create before its time");
    assert_eq!(ledger.living().len(), 2, "and no other machine ends");

    walk.pool_has_ready(3).await;
    pool_says(&walk, "ProvisioningHealthy", "True", "CreatesAccepted").await;
    let limited = r#"outcome="rate_limited"}"#;
    let creates =
        format!(r#"bullpen_instance_creates_total{{namespace="{}",launch_config="sim",{limited}"#, walk.namespace);
    operator.metric_is(&creates, 1.0).await;
}

#[tokio::test]
async fn credentials_that_do_not_do_are_told_and_tried_again() {
    let walk = Walk::begin("auth").await;
    let auth = json!({ "error": { "class": "Auth" } });
    faults(&walk, json!({ "calls": [{ "on": ["create"], "fault": auth }] })).await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 2 })).await;
    launch_config_says(&walk, "sim", "Available", "False", "Unauthorized").await;
    let why = pool_says(&walk, "ProvisioningHealthy", "False", "CreateRefused").await;
    assert!(why.contains("launch config sim: Auth: "), "{why}");
    assert!(walk.simcloud.ledger().await.calls(Method::Create) <= 4);
    faults(&walk, json!({})).await;
    walk.pool_has_ready(2).await;
    launch_config_says(&walk, "sim", "Available", "True", "CloudAnswers").await;
    pool_says(&walk, "ProvisioningHealthy", "True", "CreatesAccepted").await;
}

#[tokio::test]
async fn a_paused_launch_config_buys_nothing_and_goes_on_when_it_is_resumed() {
    let walk = Walk::begin("paused-config").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({ "paused": true })).await;
    walk.pool(POOL, json!({ "targetSize": 2 })).await;
    let paused = launch_config_says(&walk, "sim", "Paused", "True", "PausedBySpec").await;
    assert_eq!(paused.status.and_then(|status| status.weight), Some(0));
    pool_says(&walk, "ProvisioningHealthy", "False", "LaunchConfigsPaused").await;
    assert_eq!(walk.simcloud.ledger().await.calls(Method::Create), 0);

    walk.set::<LaunchConfig>("sim", json!({ "paused": false })).await;
    walk.pool_has_ready(2).await;
    pool_says(&walk, "ProvisioningHealthy", "True", "CreatesAccepted").await;
    walk.set::<LaunchConfig>("sim", json!({ "paused": true })).await;
    pool_says(&walk, "ProvisioningHealthy", "False", "LaunchConfigsPaused").await;
    walk.claim("held", json!({})).await;
    walk.bound("held").await;
    walk.pool_until(POOL, "lacks one", |status| status.deficit == 1).await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.bought(), ledger.living().len()), (2, 2), "members that are there live on");

    walk.set::<LaunchConfig>("sim", json!({ "paused": false })).await;
    walk.pool_has_ready(2).await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 3);
}
