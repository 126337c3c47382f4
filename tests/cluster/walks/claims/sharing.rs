//! No pool's claims hold up those of another: bindings, and what claims are told.

use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, PoolClaim, PoolMember};
use bullpen_plan::operator::permissions::Place;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

use crate::harness::objects::{LAUNCH_CONFIG, POOL, phase};
use crate::harness::{HangingWebhook, Operator, Scoped, Walk, eventually};

/// More claims than bindings are written at a time.
const STUCK: usize = 40;
/// How long a claim of another pool may take, whatever is stuck; on a busy machine three times as long as the slowest
/// before anything was.
const NOT_HELD_UP: Duration = Duration::from_secs(1);
/// How soon a claim that does not wait is Failed.
const FAILED_WITHIN: Duration = Duration::from_secs(3);

/// Creates many claims, named by number.
async fn many_claims(walk: &Walk, name: &str, many: usize, spec: &Value) {
    stream::iter(0..many)
        .for_each_concurrent(32, async |number| drop(walk.claim(&format!("{name}-{number}"), spec.clone()).await))
        .await;
}

/// Creates five claims on the other pool, one after the other, and returns how long the slowest took to be Bound.
async fn claims_of_the_other_pool_take(walk: &Walk, when: &str) -> Duration {
    let mut took = Vec::new();
    for number in 0..5 {
        let (name, began) = (format!("{when}-{number}"), Instant::now());
        walk.claim(&name, json!({ "poolRef": { "name": "other" } })).await;
        walk.bound(&name).await;
        took.push(began.elapsed());
    }
    eprintln!("{when}: the claims of the other pool took {took:?}");
    took.into_iter().max().unwrap_or_default()
}

async fn two_pools(walk: &Walk, claims: Value) {
    walk.launch_config(LAUNCH_CONFIG, json!({})).await;
    let size = i32::try_from(STUCK).expect("a small number");
    walk.pool("other", json!({ "targetSize": 5 })).await;
    walk.pool(POOL, json!({ "targetSize": size, "maxSize": size, "claims": claims })).await;
    walk.pool_has_ready(size).await;
    walk.pool_until("other", "is ready", |status| status.members.is_some_and(|members| members.ready == 5)).await;
}

#[tokio::test]
async fn claims_whose_secret_meets_a_hanging_webhook_hold_up_no_claim_of_another_pool() {
    let walk = Walk::begin("hanging-webhook").await;
    let _operator = Operator::start(&walk).await;
    two_pools(&walk, json!({})).await;
    let before = claims_of_the_other_pool_take(&walk, "before").await;
    let webhook = HangingWebhook::for_secrets(&walk).await;
    let asked_before = webhook.asked();
    many_claims(&walk, "stuck", STUCK, &json!({ "binding": "Secret" })).await;
    eventually("some of them hang", async || {
        let asked = webhook.asked() - asked_before;
        if asked >= 5 { Ok(()) } else { Err(format!("{asked} do")) }
    })
    .await;
    // As many as there are places for bindings have got that far.
    eventually("32 members are taken for them", async || {
        let members = walk.list::<PoolMember>().await;
        let taken = |member: &PoolMember| member.status.as_ref().is_some_and(|status| status.claim_ref.is_some());
        let taken = members.into_iter().filter(taken).count();
        if taken >= 32 { Ok(()) } else { Err(format!("{taken} are")) }
    })
    .await;
    let took = claims_of_the_other_pool_take(&walk, "meanwhile").await;
    assert!(took < NOT_HELD_UP.max(before * 3), "{took:?}, and {before:?} before");
    let stuck = walk.list::<PoolClaim>().await.into_iter().filter(|claim| phase(claim) == ClaimPhase::Pending).count();
    assert_eq!(stuck, STUCK, "they hung all that time");
    webhook.remove(&walk).await;
    for number in [0, STUCK - 1] {
        walk.bound(&format!("stuck-{number}")).await;
    }
}

#[tokio::test]
async fn claims_that_cannot_be_read_hold_up_no_claim_of_another_pool() {
    let red = Walk::begin("unreadable-red").await;
    let scoped = Scoped::begin(&red).await;
    let blue = Walk::begin("unreadable-blue").await;
    for walk in [&red, &blue] {
        scoped.grant(&walk.namespace, Place::Watched).await;
    }
    let operator = scoped.operator(&red, &[&red.namespace, &blue.namespace]).await;
    two_pools(&red, json!({ "allowedNamespaces": { "from": "All" } })).await;
    let before = claims_of_the_other_pool_take(&red, "before").await;
    // What is watched already goes on: only requests are refused.
    let is_of_claims = |rule: &PolicyRule| {
        let resources = rule.resources.iter().flatten();
        resources.into_iter().any(|resource| resource.starts_with("poolclaims"))
    };
    scoped.grant_but(&blue.namespace, Place::Watched, |rule| !is_of_claims(rule)).await;
    scoped.may(&blue, "get", "poolclaims", false).await;
    scoped.may(&blue, "update", "poolclaims/status", false).await;
    many_claims(&blue, "stuck", STUCK, &json!({ "poolRef": { "name": POOL, "namespace": red.namespace } })).await;
    let refused = r#"bullpen_api_writes_total{kind="PoolClaim",verb="update_status",outcome="error"}"#;
    // Each of them was tried.
    operator.metric_reaches(refused, 40.0).await;
    let took = claims_of_the_other_pool_take(&red, "meanwhile").await;
    assert!(took < NOT_HELD_UP.max(before * 3), "{took:?}, and {before:?} before");
    scoped.grant(&blue.namespace, Place::Watched).await;
    for number in [0, STUCK - 1] {
        blue.bound(&format!("stuck-{number}")).await;
    }
}

#[tokio::test]
async fn with_a_thousand_claims_waiting_a_claim_that_does_not_wait_is_failed_within_three_seconds() {
    let walk = Walk::begin("thousand-waiting").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config(LAUNCH_CONFIG, json!({})).await;
    for pool in [POOL, "other"] {
        walk.pool(pool, json!({ "targetSize": 0, "maxSize": 0 })).await;
        walk.pool_until(pool, "is known", |_| true).await;
    }
    many_claims(&walk, "waits", 1_000, &json!({})).await;
    for (name, spec) in [
        ("fails", json!({ "whenEmpty": "Fail" })),
        ("times-out", json!({ "waitTimeoutSeconds": 1 })),
        ("fails-elsewhere", json!({ "whenEmpty": "Fail", "poolRef": { "name": "other" } })),
    ] {
        let began = Instant::now();
        walk.claim(name, spec).await;
        walk.until(name, "is Failed", |claim: &PoolClaim| phase(claim) == ClaimPhase::Failed).await;
        eprintln!("{name}: Failed after {:?}", began.elapsed());
        assert!(began.elapsed() < FAILED_WITHIN, "{name}: {:?}", began.elapsed());
    }
}
