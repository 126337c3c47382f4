//! Used machines that end with their claim, or because their reset is refused or not proved.

use bullpen_api::{ClaimPhase, InstancePool, MemberState, PoolClaim, PoolMember};
use bullpen_simcloud::ledger::{Method, State};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde_json::json;

use super::{holds, member_in, pool_of_one, resets, series, uses};
use crate::harness::objects::{POOL, member_of, phase};
use crate::harness::{History, Operator, Walk, eventually};

#[tokio::test]
async fn a_machine_ends_after_its_last_use() {
    let walk = Walk::begin("reuse-max-uses").await;
    let operator = Operator::start(&walk).await;
    pool_of_one(&walk, json!({ "reuse": { "maxUses": 2 } })).await;
    let first = uses(&walk, "first").await;
    assert_eq!(uses(&walk, "second").await, first);
    assert_ne!(holds(&walk, "third").await, first);
    assert!(walk.simcloud.ledger().await.ended(&first));
    assert_eq!(resets(&walk).await, 1);
    walk.has_event("NotReused").await;
    operator.metric_is(&series(&walk, "bullpen_members_not_reused_total", "reason=\"max_uses\""), 1.0).await;
}

#[tokio::test]
async fn a_machine_past_its_age_ends_with_its_claim() {
    let walk = Walk::begin("reuse-max-age").await;
    let operator = Operator::start(&walk).await;
    pool_of_one(&walk, json!({ "reuse": { "maxAgeSeconds": 1 } })).await;
    let machine = holds(&walk, "first").await;
    let launched = walk.simcloud.machine(&machine).await.launch_time;
    eventually("it is a second old", async || {
        let age = Timestamp::now().duration_since(launched);
        if age > SignedDuration::from_secs(2) { Ok(()) } else { Err(format!("{age:?}")) }
    })
    .await;
    walk.delete::<PoolClaim>("first").await;
    assert_ne!(holds(&walk, "second").await, machine);
    operator.metric_is(&series(&walk, "bullpen_members_not_reused_total", "reason=\"max_age\""), 1.0).await;
    assert_eq!(walk.simcloud.ledger().await.calls(Method::Reset), 0);
}

#[tokio::test]
async fn a_refused_reset_ends_the_machine_and_another_is_bought_without_a_breaker() {
    let walk = Walk::begin("reuse-refused").await;
    let operator = Operator::start(&walk).await;
    pool_of_one(&walk, json!({ "provisioning": { "failureThreshold": 1 } })).await;
    let refused = json!({ "on": ["reset"], "fault": { "error": { "class": "Invalid" } } });
    walk.simcloud.break_with(json!({ "calls": [refused] })).await;
    let machine = uses(&walk, "first").await;
    assert_ne!(holds(&walk, "second").await, machine);
    operator.metric_is(&series(&walk, "bullpen_member_resets_total", "result=\"refused\""), 1.0).await;
    let pool: InstancePool = walk.get(POOL).await;
    let failures: Vec<_> = pool.status.expect("a status").launch_configs;
    assert_eq!(failures.iter().map(|config| config.consecutive_failures).sum::<i32>(), 0, "{failures:?}");
    walk.has_event("Errored").await;
    assert!(walk.simcloud.ledger().await.ended(&machine));
}

#[tokio::test]
async fn a_reset_that_is_said_to_be_done_and_is_not_never_brings_the_machine_back() {
    let walk = Walk::begin("reuse-unproved").await;
    let operator = Operator::start(&walk).await;
    pool_of_one(&walk, json!({ "readiness": { "launchTimeoutSeconds": 3 } })).await;
    let mut members = History::<PoolMember>::begin(&walk).await;
    let ignored = json!({ "on": ["reset"], "fault": { "ignored": {} } });
    walk.simcloud.break_with(json!({ "calls": [ignored] })).await;
    walk.claim("first", json!({})).await;
    let first = walk.bound("first").await;
    walk.delete::<PoolClaim>("first").await;
    walk.gone::<PoolMember>(member_of(&first)).await;
    let versions = members.versions().await.into_iter().filter(|member| member.name_any() == member_of(&first));
    let states: Vec<_> = versions.map(|member| member.status.unwrap_or_default()).collect();
    let after: Vec<_> = states.iter().filter(|status| status.uses == 1).map(|status| status.state).collect();
    assert!(after.iter().all(|state| matches!(state, MemberState::Resetting | MemberState::Errored)), "{after:?}");
    assert!(states.iter().any(|status| status.last_error.as_ref().is_some_and(|error| error.class == "ResetTimeout")));
    operator.metric_is(&series(&walk, "bullpen_member_resets_total", "result=\"timed_out\""), 1.0).await;
    walk.pool_has_ready(1).await;
}

#[tokio::test]
async fn a_machine_whose_template_changes_while_it_is_reset_ends_and_another_of_the_new_one_is_bought() {
    let walk = Walk::begin("reuse-template").await;
    let _operator = Operator::start(&walk).await;
    pool_of_one(&walk, json!({})).await;
    let slow = json!({ "on": ["reset"], "fault": { "lingers": {} } });
    walk.simcloud.break_with(json!({ "calls": [slow] })).await;
    let machine = uses(&walk, "first").await;
    member_in(&walk, MemberState::Resetting, 1).await;
    walk.set::<InstancePool>(POOL, json!({ "template": { "userData": "#!/bin/sh\necho new\n" } })).await;
    let second = holds(&walk, "second").await;
    assert_ne!(second, machine);
    assert!(walk.simcloud.user_data(&second).await.is_some_and(|text| text.contains("echo new")));
    walk.ledger_until("the old one is terminated", |ledger| ledger.ended(&machine)).await;
}

#[tokio::test]
async fn the_machine_of_a_lost_claim_and_that_of_a_drained_pool_are_not_reset() {
    let walk = Walk::begin("reuse-lost").await;
    let operator = Operator::start(&walk).await;
    pool_of_one(&walk, json!({})).await;
    let machine = holds(&walk, "first").await;
    walk.simcloud.end(&machine).await;
    let lost = |claim: &PoolClaim| phase(claim) == ClaimPhase::Lost;
    walk.until("first", "is Lost", lost).await;
    let second = holds(&walk, "second").await;
    assert_ne!(second, machine);
    walk.set::<InstancePool>(POOL, json!({ "state": "Draining" })).await;
    walk.pool_until(POOL, "drains", |_| true).await;
    walk.delete::<PoolClaim>("second").await;
    walk.no_machine_left().await;
    operator.metric_is(&series(&walk, "bullpen_members_not_reused_total", "reason=\"pool_ends\""), 1.0).await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.calls(Method::Reset), ledger.reached(State::Resetting)), (0, Vec::new()));
}
