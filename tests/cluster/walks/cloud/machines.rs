//! Machines that do not come up, vanish, or cannot be asked about.

use bullpen_api::{ClaimPhase, LaunchConfig, MemberState, PoolClaim, PoolMember, RecordedError};
use bullpen_simcloud::ledger::Method;
use kube::ResourceExt as _;
use serde_json::json;

use crate::harness::objects::{POOL, condition, machine, machine_of, member_of, phase};
use crate::harness::{Forwarder, History, Operator, Walk, eventually};

#[tokio::test]
async fn a_machine_that_does_not_boot_in_time_is_given_up_and_replaced() {
    let walk = Walk::begin("launch-timeout").await;
    let _operator = Operator::start(&walk).await;
    let mut members: History<PoolMember> = History::begin(&walk).await;
    walk.launch_config("sim", json!({ "simulated": { "bootMilliseconds": 3_600_000 } })).await;
    walk.pool(POOL, json!({ "targetSize": 1, "readiness": { "launchTimeoutSeconds": 2 } })).await;
    let error = first_error(&mut members).await;
    assert_eq!(error.class, "LaunchTimeout", "{error:?}");

    walk.set::<LaunchConfig>("sim", json!({ "simulated": { "bootMilliseconds": 200 } })).await;
    walk.pool_until(POOL, "has a machine that boots", |status| {
        status.members.is_some_and(|members| (members.ready, members.total) == (1, 1))
    })
    .await;
    let ledger = walk.simcloud.ledger().await;
    assert!(ledger.bought() >= 2);
    assert_eq!(ledger.living().len(), 1, "what did not boot is terminated");
}

#[tokio::test]
async fn a_machine_that_boots_but_does_not_become_ready_in_time_is_given_up() {
    let walk = Walk::begin_in("warming-timeout", &["--status-check-milliseconds", "3600000"]).await;
    let _operator = Operator::start(&walk).await;
    let mut members: History<PoolMember> = History::begin(&walk).await;
    walk.launch_config("sim", json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 1, "readiness": { "warmingTimeoutSeconds": 2 } })).await;
    let error = first_error(&mut members).await;
    assert_eq!(error.class, "WarmingTimeout", "{error:?}");
    walk.ledger_until("its machine is terminated", |ledger| ledger.bought() > ledger.living().len()).await;
}

/// Waits until a member is Errored, and gives why.
async fn first_error(members: &mut History<PoolMember>) -> RecordedError {
    eventually("a member is Errored", async || {
        let versions = members.versions().await;
        let states: Vec<MemberState> = versions.iter().filter_map(|it| Some(it.status.as_ref()?.state)).collect();
        let mut statuses = versions.into_iter().filter_map(|member| member.status);
        let errored = statuses.find(|status| status.state == MemberState::Errored);
        errored.and_then(|status| status.last_error).ok_or_else(|| format!("{states:?}"))
    })
    .await
}

#[tokio::test]
async fn an_unclaimed_machine_that_ends_behind_our_back_is_replaced() {
    let walk = Walk::begin("vanished").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    let member = walk.list::<PoolMember>().await.remove(0);
    walk.simcloud.end(machine(&member).expect("a machine")).await;
    walk.gone::<PoolMember>(&member.name_any()).await;
    walk.pool_until(POOL, "is whole again", |status| {
        status.members.is_some_and(|members| (members.ready, members.total) == (2, 2))
    })
    .await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 3);
}

#[tokio::test]
async fn a_claim_whose_machine_ends_behind_our_back_is_lost_and_makes_room() {
    let walk = Walk::begin("lost").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "maxSize": 2 })).await;
    walk.claim("lost", json!({})).await;
    let held = walk.bound("lost").await;
    walk.claim("second", json!({})).await;
    walk.bound("second").await;
    walk.claim("third", json!({})).await;
    walk.pool_until(POOL, "has no room for a third", |status| {
        status.members.is_some_and(|members| members.claimed == 2) && status.waiting_claims == 1
    })
    .await;

    walk.simcloud.end(machine_of(&held)).await;
    let lost = walk.until("lost", "is Lost", |claim: &PoolClaim| phase(claim) == ClaimPhase::Lost).await;
    assert_eq!(member_of(&lost), member_of(&held), "it still tells what it had");
    assert_eq!(condition(&lost, "Bound").0, "False");
    walk.gone::<PoolMember>(member_of(&held)).await;
    walk.bound("third").await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 3);
}

#[tokio::test]
async fn a_cloud_that_does_not_answer_kills_nothing_and_things_go_on_when_it_does() {
    let walk = Walk::begin("cut-off").await;
    let way = Forwarder::to(walk.simcloud.address()).await;
    let operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({ "simulated": { "endpoint": format!("http://{}", way.address()) } })).await;
    walk.pool(POOL, json!({ "targetSize": 2 })).await;
    walk.pool_has_ready(2).await;

    way.cut();
    let mark = walk.simcloud.ledger().await.last();
    walk.claim("build-1", json!({})).await;
    let held = walk.bound("build-1").await;
    walk.claim("build-2", json!({})).await;
    walk.bound("build-2").await;
    walk.claim("build-3", json!({})).await;
    walk.delete::<PoolClaim>("build-1").await;
    let says = |claim: &PoolClaim| condition(claim, "Bound").1 == "NoReadyMembers";
    walk.until("build-3", "says that no member is ready", says).await;
    let unanswered = r#"{provider="simulated",operation="list",outcome="transient"}"#;
    operator.metric_reaches(&format!("bullpen_provider_call_duration_seconds_count{unanswered}"), 3.0).await;
    walk.until("sim", "says that its cloud does not answer", |config: &LaunchConfig| {
        condition(config, "Available").0 == "False"
    })
    .await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!(ledger.since(mark).calls(Method::Create), 0, "it was cut off");
    assert_eq!(ledger.living().len(), 2, "and nothing died of it");
    assert!(walk.get::<PoolMember>(member_of(&held)).await.metadata.deletion_timestamp.is_some());
    assert_eq!(phase(&walk.get("build-2").await), ClaimPhase::Bound);

    way.mend();
    walk.gone::<PoolMember>(member_of(&held)).await;
    walk.bound("build-3").await;
    walk.pool_until(POOL, "is whole again", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (2, 2, 4))
    })
    .await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!(ledger.living().len(), 4);
    assert!(ledger.tokens_that_bought_twice().is_empty());
}
