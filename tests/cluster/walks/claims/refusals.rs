//! Claims while the API server refuses the operator's writes.

use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, PoolClaim};
use bullpen_plan::operator::permissions::Place;
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::json;
use tokio::time::sleep;

use crate::harness::objects::{condition, phase};
use crate::harness::{Scoped, Walk};

/// How long the permission is missing, and how soon the next claim is bound after that.
const FIVE_SECONDS: Duration = Duration::from_secs(5);

fn is_about(rule: &PolicyRule, resource: &str) -> bool {
    rule.resources.as_ref().is_some_and(|resources| resources.iter().any(|other| other == resource))
}

#[tokio::test]
async fn after_five_seconds_without_a_permission_the_next_claim_is_bound_within_five_seconds_and_buys_nothing() {
    let walk = Walk::begin("refusals").await;
    let scoped = Scoped::begin(&walk).await;
    scoped.grant(&walk.namespace, Place::Watched).await;
    let operator = scoped.operator(&walk, &[&walk.namespace]).await;
    walk.ready_pool(8, json!({ "maxSize": 8 })).await;

    scoped.grant_but(&walk.namespace, Place::Watched, |rule| !is_about(rule, "poolmembers/status")).await;
    scoped.may(&walk, "update", "poolmembers/status", false).await;
    for name in ["early-1", "early-2"] {
        walk.claim(name, json!({})).await;
    }
    sleep(FIVE_SECONDS).await;
    let early: PoolClaim = walk.get("early-1").await;
    let refused = r#"bullpen_api_writes_total{kind="PoolMember",verb="update_status",outcome="error"}"#;
    let tries = operator.metric_reaches(refused, 1.0).await;

    scoped.grant(&walk.namespace, Place::Watched).await;
    scoped.may(&walk, "update", "poolmembers/status", true).await;
    let began = Instant::now();
    walk.claim("next", json!({})).await;
    walk.bound("next").await;
    eprintln!("Bound {:?} after the permission was back", began.elapsed());
    assert!(began.elapsed() < FIVE_SECONDS, "{:?}", began.elapsed());
    for name in ["early-1", "early-2"] {
        walk.bound(name).await;
    }
    assert!(began.elapsed() < FIVE_SECONDS, "those that were refused: {:?}", began.elapsed());
    assert_eq!(walk.simcloud.ledger().await.bought(), 8, "they have machines that were there");

    let (_, reason, message) = condition(&early, "Bound");
    assert_eq!((phase(&early), reason.as_str()), (ClaimPhase::Pending, "BindingNotAccepted"), "{message}");
    assert!(message.contains("poolmembers"), "it says what is refused: {message}");
    // After 0 s, 0.2 s, 0.6 s, 1.4 s, 3 s for each claim: at every event it would be hundreds.
    assert!(tries <= 14.0, "{tries} writes were tried");
}
