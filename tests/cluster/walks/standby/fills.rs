//! The standby tier is filled after the ready one, and started before anything is bought.

use bullpen_api::{InstancePool, PoolClaim, PoolState};
use bullpen_simcloud::ledger::{Method, State};
use bullpen_simcloud::wire::Phase;
use serde_json::json;

use super::{pool, rests_with};
use crate::harness::objects::{POOL, condition, machine, machine_of};
use crate::harness::{Operator, Walk};

#[tokio::test]
async fn standby_members_are_filled_after_the_ready_ones_and_started_before_one_is_bought() {
    let walk = Walk::begin("standby").await;
    let operator = Operator::start(&walk).await;
    pool(&walk, 2, json!({})).await;
    let stopped = rests_with(&walk, 1, 2).await;
    for member in &stopped {
        let id = machine(member).expect("a machine");
        assert_eq!(walk.simcloud.machine(id).await.phase, Phase::Stopped);
        assert_eq!(condition(member, "Ready").1, "Standby");
    }
    walk.pool_until(POOL, "counts them", |status| status.members.is_some_and(|all| (all.ready, all.standby) == (1, 2)))
        .await;
    let filled = walk.until(POOL, "says so", |pool: &InstancePool| condition(pool, "StandbyFilled").0 == "True").await;
    assert_eq!(condition(&filled, "StandbyFilled").1, "StandbyComplete");
    let series = format!("bullpen_pool_members{{namespace=\"{}\",pool=\"{POOL}\",state=\"standby\"}}", walk.namespace);
    operator.metric_is(&series, 2.0).await;
    let name = stopped[0].metadata.name.clone().expect("a name");
    let why = walk.plugin_says(&["why", &format!("member/{name}")]).await;
    assert!(why.contains("its machine is stopped"), "{why}");

    walk.claim("first", json!({})).await;
    walk.bound("first").await;
    rests_with(&walk, 1, 2).await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.reached(State::Starting).len(), ledger.bought()), (1, 4), "one was bought for the tier");
    walk.claim("second", json!({})).await;
    let second = walk.bound("second").await;
    assert_eq!(walk.simcloud.machine(machine_of(&second)).await.phase, Phase::Running);
    assert!(ledger.living().len() <= 10);
}

#[tokio::test]
async fn a_hibernated_member_goes_on_where_it_was_also_when_the_mode_has_changed() {
    let walk = Walk::begin("standby-hibernated").await;
    let _operator = Operator::start(&walk).await;
    pool(&walk, 1, json!({ "standby": { "size": 1, "mode": "Hibernated" } })).await;
    let hibernated = rests_with(&walk, 1, 1).await;
    let id = machine(&hibernated[0]).expect("a machine").to_owned();
    let shown = walk.simcloud.machine(&id).await;
    assert_eq!((shown.phase, shown.hibernated), (Phase::Stopped, true));
    let (_, reason, message) = condition(&hibernated[0], "Ready");
    assert_eq!((reason.as_str(), message.contains("hibernated")), ("Standby", true), "{message}");

    walk.set::<InstancePool>(POOL, json!({ "targetSize": 2, "maxSize": 2, "standby": { "mode": "Stopped" } })).await;
    rests_with(&walk, 2, 0).await;
    let shown = walk.simcloud.machine(&id).await;
    assert_eq!((shown.phase, shown.hibernated), (Phase::Running, true), "it goes on, as it was stopped");
    assert_eq!(walk.simcloud.ledger().await.bought(), 2);
    walk.set::<InstancePool>(POOL, json!({ "maxSize": 3 })).await;
    let stopped = rests_with(&walk, 2, 1).await;
    let shown = walk.simcloud.machine(machine(&stopped[0]).expect("a machine")).await;
    assert_eq!((shown.phase, shown.hibernated), (Phase::Stopped, false), "the tier is filled in the new mode");
}

#[tokio::test]
async fn a_draining_pool_ends_its_standby_members() {
    let walk = Walk::begin("standby-drains").await;
    let _operator = Operator::start(&walk).await;
    pool(&walk, 2, json!({})).await;
    rests_with(&walk, 1, 2).await;
    walk.set::<InstancePool>(POOL, json!({ "state": PoolState::Draining })).await;
    walk.no_machine_left().await;
}

#[tokio::test]
async fn a_surplus_is_stopped_instead_of_ended_and_a_removed_tier_ends() {
    let walk = Walk::begin("standby-surplus").await;
    let _operator = Operator::start(&walk).await;
    pool(&walk, 2, json!({ "targetSize": 3, "standby": null })).await;
    rests_with(&walk, 3, 0).await;
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 1, "standby": { "size": 2 } })).await;
    rests_with(&walk, 1, 2).await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.bought(), ledger.calls(Method::Terminate)), (3, 0));
    walk.set::<InstancePool>(POOL, json!({ "standby": null })).await;
    rests_with(&walk, 1, 0).await;
    let gone = |pool: &InstancePool| {
        let conditions = &pool.status.as_ref().expect("a status").conditions;
        conditions.iter().all(|condition| condition.type_ != "StandbyFilled")
    };
    walk.until(POOL, "says nothing of a tier", gone).await;
}

#[tokio::test]
async fn standby_members_of_an_older_template_are_replaced_after_the_ready_ones() {
    let walk = Walk::begin("standby-rollout").await;
    let _operator = Operator::start(&walk).await;
    pool(&walk, 2, json!({})).await;
    let before = rests_with(&walk, 1, 2).await;
    walk.set::<InstancePool>(POOL, json!({ "template": { "userData": "#!/bin/sh\ntrue\n" } })).await;
    walk.ledger_until("all are replaced", |ledger| ledger.calls(Method::Terminate) >= 3).await;
    let after = rests_with(&walk, 1, 2).await;
    assert!(after.iter().all(|new| before.iter().all(|old| old.metadata.uid != new.metadata.uid)));
    assert!(after.iter().all(|new| new.spec.template_hash != before[0].spec.template_hash));
}

#[tokio::test]
async fn a_pool_whose_machines_cannot_be_stopped_says_so_and_buys_none_for_the_tier() {
    let walk = Walk::begin("standby-spot").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({ "market": "Spot" })).await;
    let spec = json!({ "targetSize": 1, "maxSize": 10, "standby": { "size": 2 }, "lifecycleClass": "Spot" });
    walk.pool(POOL, spec).await;
    let pool = walk
        .until(POOL, "says so", |pool: &InstancePool| condition(pool, "StandbyFilled").1 == "ProviderCannotStop")
        .await;
    assert!(condition(&pool, "StandbyFilled").2.contains("spec.standby"));
    rests_with(&walk, 1, 0).await;
    walk.claim("first", json!({})).await;
    walk.bound("first").await;
    rests_with(&walk, 1, 0).await;
    walk.delete::<PoolClaim>("first").await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.bought(), ledger.calls(Method::Stop)), (2, 0));
}
