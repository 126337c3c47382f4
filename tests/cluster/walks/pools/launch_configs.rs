//! Which launch config buys a pool's machines, and what a pool says when none may.

use bullpen_api::{InstancePool, LaunchConfig, MemberCounts};
use bullpen_simcloud::wire::Market;
use serde_json::json;

use crate::harness::objects::{POOL, condition};
use crate::harness::{Operator, Walk};

#[tokio::test]
async fn a_pool_whose_launch_config_is_missing_says_so_and_heals_when_it_comes() {
    let walk = Walk::begin("missing-config").await;
    let _operator = Operator::start(&walk).await;
    walk.pool(POOL, json!({ "targetSize": 2 })).await;
    let stalled = walk
        .until(POOL, "says that there is no launch config", |pool: &InstancePool| {
            condition(pool, "Stalled").0 == "True"
        })
        .await;
    let (status, reason, message) = condition(&stalled, "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "LaunchConfigNotFound"));
    assert!(message.contains("no launch config sim"), "{message}");
    walk.claim("early", json!({})).await;

    walk.launch_config("sim", json!({})).await;
    let pool = walk.pool_has_ready(2).await;
    assert_eq!((condition(&pool, "Ready").0, condition(&pool, "Stalled").0), ("True".into(), "False".into()));
    walk.bound("early").await;
    let config = walk
        .until("sim", "says that its cloud answered", |config: &LaunchConfig| {
            condition(config, "Available").0 == "True"
        })
        .await;
    assert_eq!(config.status.map(|status| status.observed_generation), Some(1));
}

#[tokio::test]
async fn two_launch_configs_share_the_machines_by_weight() {
    let walk = Walk::begin("weights").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("a", json!({ "zone": "r1-a" })).await;
    walk.launch_config("b", json!({ "zone": "r1-b" })).await;
    walk.launch_config("c", json!({ "zone": "r1-c" })).await;
    let configs = json!([{ "name": "a", "weight": 75 }, { "name": "b", "weight": 25 }, { "name": "c", "weight": 0 }]);
    walk.pool(POOL, json!({ "targetSize": 8, "launchConfigs": configs })).await;
    walk.pool_has_ready(8).await;
    let ledger = walk.simcloud.ledger().await;
    let of = |zone: &str| ledger.bought_as(|machine| machine.zone == zone);
    assert_eq!((of("r1-a"), of("r1-b"), of("r1-c")), (6, 2, 0));
}

#[tokio::test]
async fn no_launch_config_gets_more_members_than_its_caps_allow() {
    let walk = Walk::begin("caps").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("a", json!({ "zone": "r1-a" })).await;
    walk.launch_config("b", json!({ "zone": "r1-b", "maxInstances": 3 })).await;
    let configs = json!([{ "name": "a", "maxInstances": 1 }, { "name": "b" }]);
    walk.pool(POOL, json!({ "targetSize": 2, "launchConfigs": configs })).await;
    walk.pool_has_ready(2).await;
    // The cap of a launch config is over all pools: the other pool finds what the first one left.
    walk.pool("other", json!({ "targetSize": 4, "launchConfigs": [{ "name": "b" }] })).await;
    let full = MemberCounts { ready: 2, total: 2, ..MemberCounts::default() };
    let other = walk
        .pool_until("other", "has all that the cap leaves", |status| {
            status.members == Some(full) && status.deficit == 2
        })
        .await;
    let (status, reason, message) = condition(&other, "CapacityAvailable");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "LaunchConfigsAtMaxInstances"));
    assert_eq!(message, "launch config b: maxInstances allows 3 members over all pools");
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 5 })).await;
    walk.pool_until(POOL, "has all that the caps leave", |status| status.members == Some(full) && status.deficit == 3)
        .await;
    let ledger = walk.simcloud.ledger().await;
    let of = |zone: &str| ledger.bought_as(|machine| machine.zone == zone);
    assert_eq!((of("r1-a"), of("r1-b")), (1, 3));

    walk.set::<LaunchConfig>("b", json!({ "maxInstances": null })).await;
    let pool = walk.pool_has_ready(5).await;
    assert_eq!(condition(&pool, "CapacityAvailable").0, "True");

    walk.set::<LaunchConfig>("a", json!({ "paused": true })).await;
    walk.set::<InstancePool>(POOL, json!({ "launchConfigs": [{ "name": "a" }, { "name": "b", "weight": 0 }] })).await;
    let off = |pool: &InstancePool| condition(pool, "ProvisioningHealthy").1 == "LaunchConfigsOff";
    let pool = walk.until(POOL, "says that nothing is bought", off).await;
    let words = "no machine is bought: launch config a is paused, launch config b has weight 0";
    assert_eq!(condition(&pool, "ProvisioningHealthy").2, words);
}

#[tokio::test]
async fn an_ephemeral_pool_buys_no_spot_machine_and_says_so() {
    let walk = Walk::begin("spot").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("spot", json!({ "market": "Spot" })).await;
    walk.launch_config("sim", json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 3, "launchConfigs": [{ "name": "spot" }, { "name": "sim" }] })).await;
    let pool = walk.pool_has_ready(3).await;
    let (status, reason, message) = condition(&pool, "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "SpotInEphemeralPool"));
    assert!(message.contains("launch config spot"), "{message}");
    let spot = async || walk.simcloud.ledger().await.bought_as(|machine| machine.market == Market::Spot);
    assert_eq!(spot().await, 0);

    walk.pool("cheap", json!({ "lifecycleClass": "Spot", "launchConfigs": [{ "name": "spot" }] })).await;
    walk.pool_until("cheap", "is ready", |status| status.members.is_some_and(|members| members.ready == 2)).await;
    assert_eq!(spot().await, 2, "a Spot pool does");
}
