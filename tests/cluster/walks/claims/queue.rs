//! Who is served first, who is not served at all, and what those who wait are told.

use std::collections::BTreeMap;
use std::time::Duration;

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, PoolClaim, QueuePlace};
use futures::future::join_all;
use kube::ResourceExt as _;
use serde_json::json;
use tokio::time::sleep;

use crate::harness::objects::{POOL, condition, phase};
use crate::harness::{Operator, PATIENCE, Walk, eventually, eventually_within};

/// Longer than it takes until a claim is told why it waits.
const TOLD: Duration = Duration::from_secs(3);

/// The place of a claim in its queue.
pub(crate) fn place(claim: &PoolClaim) -> QueuePlace {
    claim.status.as_ref().and_then(|status| status.queue.clone()).unwrap_or_default()
}

/// Waits until a claim says this, and gives it.
pub(crate) async fn says(walk: &Walk, name: &str, words: &str) -> PoolClaim {
    let holds = |claim: &PoolClaim| condition(claim, "Bound").2.contains(words);
    walk.until(name, &format!("says {words:?}"), holds).await
}

/// A pool with one ready member and room for no more, paused, so that claims can be made in any order.
async fn paused_pool_of_one(walk: &Walk, claims: serde_json::Value) {
    walk.ready_pool(1, json!({ "maxSize": 1, "claims": claims })).await;
    walk.set::<InstancePool>(POOL, json!({ "state": "Paused" })).await;
    walk.pool_until(POOL, "is known to be paused", |_| true).await;
}

#[tokio::test]
async fn a_claim_of_a_higher_priority_is_served_first() {
    let walk = Walk::begin("priority").await;
    let _operator = Operator::start(&walk).await;
    paused_pool_of_one(&walk, json!({})).await;
    walk.claim("low", json!({ "priority": -5 })).await;
    walk.claim("usual", json!({})).await;
    walk.claim("high", json!({ "priority": 50 })).await;
    says(&walk, "high", "is paused").await;
    walk.set::<InstancePool>(POOL, json!({ "state": "Active" })).await;
    walk.bound("high").await;
    let usual = says(&walk, "usual", "position 1 of 2").await;
    assert_eq!(place(&usual).position, Some(1));
    says(&walk, "low", "position 2 of 2").await;

    // A priority may be changed while the claim waits.
    walk.set::<PoolClaim>("low", json!({ "priority": 9 })).await;
    walk.delete::<PoolClaim>("high").await;
    walk.bound("low").await;
    assert_eq!(phase(&walk.get("usual").await), ClaimPhase::Pending);
}

#[tokio::test]
async fn a_pool_caps_the_priority_of_claims() {
    let walk = Walk::begin("priority-cap").await;
    let _operator = Operator::start(&walk).await;
    paused_pool_of_one(&walk, json!({ "maxPriority": 0 })).await;
    walk.claim("first", json!({})).await;
    walk.claim("pushing", json!({ "priority": 1_000 })).await;
    says(&walk, "pushing", "is paused").await;
    walk.set::<InstancePool>(POOL, json!({ "state": "Active" })).await;
    walk.bound("first").await;
    says(&walk, "pushing", "position 1 of 1").await;
}

#[tokio::test]
async fn a_namespace_holds_no_more_than_its_quota_and_its_other_claims_say_why() {
    let walk = Walk::begin("quota-of-namespace").await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(4, json!({ "claims": { "perNamespace": 2 } })).await;
    let names: Vec<String> = (0..5).map(|number| format!("build-{number}")).collect();
    join_all(names.iter().map(|name| walk.claim(name, json!({})))).await;
    let bound = async || {
        let claims = walk.list::<PoolClaim>().await;
        claims.iter().filter(|claim| phase(claim) == ClaimPhase::Bound).map(PoolClaim::name_any).collect::<Vec<_>>()
    };
    let first = eventually("two claims are bound", async || {
        let bound = bound().await;
        if bound.len() == 2 { Ok(bound) } else { Err(format!("{bound:?}")) }
    })
    .await;
    let waiting: Vec<&String> = names.iter().filter(|name| !first.contains(name)).collect();
    for name in &waiting {
        let words = "may hold 2 members of pool ci at once: 2 are held";
        let claim = says(&walk, name, words).await;
        assert_eq!(condition(&claim, "Bound").1, "NamespaceQuotaReached");
        let (position, reason) = (place(&claim).position, place(&claim).reason);
        assert_eq!((position, reason.as_str()), (None, "NamespaceQuotaReached"));
    }
    // Nothing is bought for them, and a claim that does not wait fails at once.
    walk.pool_until(POOL, "counts none of them as demand", |status| {
        status.waiting_claims == 0 && status.members.is_some_and(|members| (members.ready, members.total) == (4, 6))
    })
    .await;
    walk.claim("impatient", json!({ "whenEmpty": "Fail" })).await;
    let failed = |claim: &PoolClaim| phase(claim) == ClaimPhase::Failed;
    let impatient = walk.until("impatient", "is Failed", failed).await;
    assert_eq!(condition(&impatient, "Bound").1, "NamespaceQuotaReached");

    for _ in 0..2 {
        operator.kill_9();
        operator.start_again().await;
        operator.is_ready().await;
        sleep(TOLD).await;
        assert_eq!(bound().await, first, "a start of the operator forgets nobody");
    }
    walk.delete::<PoolClaim>(&first[0]).await;
    eventually("the next claim of the namespace is bound", async || {
        let bound = bound().await;
        let next = bound.iter().filter(|name| !first.contains(name)).count();
        if (bound.len(), next) == (2, 1) { Ok(()) } else { Err(format!("{bound:?}")) }
    })
    .await;
}

#[tokio::test]
async fn waiting_claims_say_their_position_and_what_they_wait_for() {
    let walk = Walk::begin("position").await;
    let operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({ "simulated": { "bootMilliseconds": 20_000 } })).await;
    walk.pool(POOL, json!({ "targetSize": 1 })).await;
    walk.pool_has_ready(1).await;
    for name in ["first", "second", "third"] {
        walk.claim(name, json!({})).await;
    }
    walk.bound("first").await;
    // One for the target, and one for each that waits.
    let second = says(&walk, "second", "position 1 of 2; 3 machines warming, the next in about ").await;
    let (status, reason, message) = condition(&second, "Bound");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NoReadyMembers"), "{message}");
    assert!(message.ends_with(" s"), "{message}");
    assert_eq!(place(&second), QueuePlace { position: Some(1), reason: "MachinesWarming".into(), pool: None });
    says(&walk, "third", "position 2 of 2; 3 machines warming, the next in about ").await;
    for name in ["second", "third"] {
        let bound = walk.bound(name).await;
        assert_eq!(bound.status.and_then(|status| status.queue), None, "{name} has no place any more");
    }
    let series = format!(r#"bullpen_claim_bind_duration_seconds_count{{namespace="{}",pool="ci"}}"#, walk.namespace);
    operator.metric_is(&series, 3.0).await;
    // Only the first one did not wait for a machine.
    let series = format!(r#"bullpen_claim_pairing_duration_seconds_count{{namespace="{}",pool="ci"}}"#, walk.namespace);
    operator.metric_is(&series, 1.0).await;
}

#[tokio::test]
async fn a_pool_at_max_size_says_so_to_its_waiting_claims() {
    let walk = Walk::begin("at-max").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "maxSize": 1 })).await;
    walk.claim("held", json!({})).await;
    walk.bound("held").await;
    walk.claim("waiting", json!({})).await;
    let waiting = says(&walk, "waiting", "position 1 of 1; pool at maxSize 1").await;
    assert_eq!(place(&waiting), QueuePlace { position: Some(1), reason: "AtMaxSize".into(), pool: None });
    walk.claim("fails-later", json!({ "waitTimeoutSeconds": 3 })).await;
    let failed = |claim: &PoolClaim| phase(claim) == ClaimPhase::Failed;
    let failed = walk.until("fails-later", "is Failed", failed).await;
    assert_eq!(condition(&failed, "Bound").1, "NoReadyMembers");
    assert_eq!(failed.status.and_then(|status| status.queue), None, "who failed has no place any more");
}

#[tokio::test]
async fn an_open_breaker_is_told_to_the_claims_that_wait_for_its_machines() {
    let walk = Walk::begin("told-of-breaker").await;
    let never = json!({ "machines": [{ "where": { "images": ["img-1"] }, "fault": { "neverReady": {} } }] });
    walk.simcloud.put_faults(&never).await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({})).await;
    let spec = json!({
        "readiness": { "warmingTimeoutSeconds": 1 },
        "provisioning": { "failureThreshold": 2, "cooldownSeconds": 600 },
    });
    walk.pool(POOL, spec).await;
    walk.pool_until(POOL, "has an open breaker", |status| {
        status.launch_configs.iter().any(|config| config.open_until.is_some())
    })
    .await;
    walk.claim("waiting", json!({})).await;
    let waiting = says(&walk, "waiting", "breaker open after 2 failures: the machine was not ready").await;
    assert_eq!(place(&waiting).reason, "BreakerOpen");

    walk.set::<LaunchConfig>("sim", json!({ "image": "img-2" })).await;
    walk.bound("waiting").await;
}

#[tokio::test]
async fn what_claims_do_by_default_when_nothing_is_ready_is_the_pools_to_say() {
    let walk = Walk::begin("when-empty").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 0, "claims": { "whenEmpty": "Fail" } })).await;
    walk.pool_until(POOL, "is known", |_| true).await;
    walk.claim("silent", json!({})).await;
    let failed = |claim: &PoolClaim| phase(claim) == ClaimPhase::Failed;
    let silent = walk.until("silent", "is Failed", failed).await;
    assert_eq!(condition(&silent, "Bound").2, "no member of pool ci is ready: target 0, ready 0, warming 0");
    walk.claim("patient", json!({ "whenEmpty": "Wait" })).await;
    walk.bound("patient").await;
}

#[tokio::test]
async fn two_hundred_waiting_claims_are_told_why_without_a_storm() {
    let walk = Walk::begin("crowd").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "maxSize": 1 })).await;
    walk.claim("held", json!({})).await;
    walk.bound("held").await;
    let mut audit = walk.audit();
    let names: Vec<String> = (0..200).map(|number| format!("waits-{number}")).collect();
    let began = std::time::Instant::now();
    join_all(names.iter().map(|name| walk.claim(name, json!({ "priority": 1 })))).await;
    eventually("everybody was told", async || {
        let claims = walk.list::<PoolClaim>().await;
        let silent = claims.iter().filter(|claim| condition::<PoolClaim>(claim, "Bound").1.is_empty()).count();
        if silent == 0 { Ok(()) } else { Err(format!("{silent} were not")) }
    })
    .await;
    let told_in = began.elapsed();
    // The queue moves on, again and again.
    for _ in 0..5 {
        let claims = walk.list::<PoolClaim>().await;
        let holder = claims.iter().find(|claim| phase(claim) == ClaimPhase::Bound).expect("one holds it").name_any();
        walk.delete::<PoolClaim>(&holder).await;
        eventually("another claim is bound", async || {
            let claims = walk.list::<PoolClaim>().await;
            let bound = |claim: &&PoolClaim| phase(claim) == ClaimPhase::Bound && claim.name_any() != holder;
            claims.iter().find(bound).map(drop).ok_or_else(|| "none is".to_owned())
        })
        .await;
    }
    eventually_within(2 * PATIENCE, "the first ten know their places", async || {
        let claims = walk.list::<PoolClaim>().await;
        let first = |claim: &PoolClaim| place(claim).position.filter(|position| *position <= 10);
        let mut places: Vec<i32> = claims.iter().filter_map(first).collect();
        places.sort_unstable();
        if places == (1..=10).collect::<Vec<_>>() { Ok(()) } else { Err(format!("{places:?}")) }
    })
    .await;
    let mut of_each: BTreeMap<String, usize> = BTreeMap::new();
    for write in audit.writes().iter().filter(|write| write.resource() == "poolclaims") {
        let line = write.to_string();
        let name = line.split_whitespace().rev().nth(2).unwrap_or_default().to_owned();
        *of_each.entry(name).or_default() += 1;
    }
    let (all, most) = (of_each.values().sum::<usize>(), of_each.values().max().copied().unwrap_or(0));
    let in_all = began.elapsed();
    eprintln!("200 claims told in {told_in:?}; {all} writes in {in_all:?}, at most {most} of one claim");
    assert!(most <= 4, "{of_each:?}");
    assert!(all <= 320, "{all} writes");
    audit.assert_none_refused();
}
