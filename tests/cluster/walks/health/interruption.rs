//! Machines that their cloud has announced to take away.

use bullpen_api::{ClaimPhase, LaunchConfig, MemberState, PoolClaim, PoolMember};
use kube::ResourceExt as _;
use serde_json::json;

use crate::harness::objects::{LAUNCH_CONFIG, POOL, condition, machine, machine_of, member_of, phase};
use crate::harness::{Operator, Walk, eventually};

/// A ready Spot pool of this size.
async fn spot_pool(walk: &Walk, size: i32, claims: serde_json::Value) {
    walk.launch_config(LAUNCH_CONFIG, json!({ "market": "Spot" })).await;
    let spec = json!({ "targetSize": size, "maxSize": 12, "lifecycleClass": "Spot", "claims": claims });
    walk.pool(POOL, spec).await;
    walk.pool_has_ready(size).await;
}

#[tokio::test]
async fn announced_machines_are_replaced_before_they_go_given_to_nobody_and_no_failures_of_their_image() {
    let walk = Walk::begin("announced").await;
    let operator = Operator::start(&walk).await;
    spot_pool(&walk, 3, json!({})).await;
    let announced: Vec<String> =
        walk.list::<PoolMember>().await.iter().filter_map(|member| machine(member).map(str::to_owned)).collect();
    assert_eq!(announced.len(), 3);
    let minutes = json!({ "interrupted": { "notice": {}, "milliseconds": 120_000 } });
    for id in &announced {
        walk.simcloud.strike(id, minutes.clone()).await;
    }
    let ready = |member: &PoolMember| member.status.as_ref().is_some_and(|status| status.state == MemberState::Ready);
    eventually("three others are ready", async || {
        let members = walk.list::<PoolMember>().await;
        let others = members.iter().filter(|member| ready(member)).filter_map(|member| machine(member));
        let others = others.filter(|id| !announced.iter().any(|known| known == id)).count();
        if others == 3 { Ok(()) } else { Err(format!("{others} are")) }
    })
    .await;
    let ledger =
        walk.ledger_until("the announced ones are terminated", |ledger| announced.iter().all(|id| ledger.ended(id)));
    assert_eq!(ledger.await.bought(), 6, "each was replaced once");
    walk.claim("mine", json!({})).await;
    let claim = walk.bound("mine").await;
    assert!(!announced.iter().any(|id| id == machine_of(&claim)), "it got one that stays");

    let pool = walk.pool_until(POOL, "counts no failure", |status| {
        status.launch_configs.iter().all(|config| config.consecutive_failures == 0)
    });
    pool.await;
    let config = walk.get::<LaunchConfig>(LAUNCH_CONFIG).await.status.unwrap_or_default();
    assert_eq!(config.recent_errors, [], "it is no error of the launch config");
    let series = |name: &str, labels: &str| format!("{name}{{namespace=\"{}\",{labels}}}", walk.namespace);
    let failures = series("bullpen_member_failures_total", "launch_config=\"sim\",class=\"interrupted\"");
    operator.metric_is(&failures, 3.0).await;
    operator.metric_is(&series("bullpen_interruption_notices_total", "pool=\"ci\""), 3.0).await;
}

#[tokio::test]
async fn a_claim_says_at_once_when_its_machine_is_taken_away_and_afterwards_that_this_was_the_reason() {
    let walk = Walk::begin("taken-away").await;
    let mut operator = Operator::start(&walk).await;
    spot_pool(&walk, 1, json!({})).await;
    walk.claim("mine", json!({})).await;
    let claim = walk.bound("mine").await;
    let id = machine_of(&claim).to_owned();
    walk.simcloud.strike(&id, json!({ "interrupted": { "notice": {}, "milliseconds": 25_000 } })).await;
    let time = walk.simcloud.machine(&id).await.interruption_time.expect("a notice");
    let told = walk
        .until("mine", "says that its machine is taken away", |claim: &PoolClaim| {
            condition(claim, "Interrupted").0 == "True"
        })
        .await;
    let (_, reason, message) = condition(&told, "Interrupted");
    assert_eq!((phase(&told), reason.as_str()), (ClaimPhase::Bound, "SpotInterruption"));
    assert!(message.contains(&format!("{time:.0}")) && message.ends_with("it is a Spot machine"), "{message}");
    walk.has_event("SpotInterruption").await;
    let member: PoolMember = walk.get(member_of(&told)).await;
    assert_eq!(condition(&member, "Interrupted").0, "True");
    assert!(!walk.simcloud.ledger().await.ended(&id), "it is left to its claim until then");
    operator.kill_9();
    operator.start_again().await;

    let lost = walk.until("mine", "has ended", |claim: &PoolClaim| phase(claim) == ClaimPhase::Lost).await;
    let (_, reason, message) = condition(&lost, "Bound");
    assert_eq!(reason, "Interrupted");
    assert!(message.contains("is gone: the cloud has announced"), "{message}");
    walk.gone::<PoolMember>(&member.name_any()).await;
}

#[tokio::test]
async fn a_pool_may_release_claims_whose_machine_is_taken_away_also_for_maintenance() {
    let walk = Walk::begin("released").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "claims": { "onInterrupt": "Release" } })).await;
    walk.claim("mine", json!({})).await;
    let claim = walk.bound("mine").await;
    let id = machine_of(&claim).to_owned();
    let hours = json!({ "interrupted": { "milliseconds": 7_200_000, "reason": "Maintenance" } });
    walk.simcloud.strike(&id, hours).await;
    let lost = walk.until("mine", "has ended", |claim: &PoolClaim| phase(claim) == ClaimPhase::Lost).await;
    let (_, reason, message) = condition(&lost, "Stalled");
    assert_eq!(reason, "Interrupted");
    assert!(message.contains("claims.onInterrupt") && message.ends_with("for maintenance"), "{message}");
    walk.ledger_until("its machine is terminated", |ledger| ledger.ended(&id)).await;
    walk.gone::<PoolMember>(member_of(&claim)).await;
    walk.has_event("Interrupted").await;
}
