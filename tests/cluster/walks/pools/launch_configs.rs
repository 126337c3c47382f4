//! Which launch config buys a pool's machines, and what a pool says when none may.

use bullpen_api::{InstancePool, LaunchConfig, MemberCounts};
use bullpen_simcloud::ledger::Method;
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

#[tokio::test]
async fn a_cloud_without_launch_configs_is_not_called_any_more() {
    let walk = Walk::begin("closed").await;
    let (_operator, other) = (Operator::start(&walk).await, Walk::begin("clock").await);
    let regions: Vec<String> = (1..=20).map(|number| format!("r{number}")).collect();
    for region in &regions {
        walk.launch_config(region, json!({ "region": region })).await;
    }
    let elsewhere = format!("http://{}", other.simcloud.address());
    walk.launch_config("stays", json!({ "simulated": { "endpoint": elsewhere } })).await;
    for name in regions.iter().map(String::as_str).chain(["stays"]) {
        walk.until(name, "has a cloud that answers", |config: &LaunchConfig| {
            condition(config, "Available").0 == "True"
        })
        .await;
    }
    for region in &regions {
        walk.delete::<LaunchConfig>(region).await;
    }
    for region in &regions {
        walk.gone::<LaunchConfig>(region).await;
    }
    // What had begun when the last one went is answered by the time that another cloud is listed again.
    other.simcloud.is_called(Method::List, 1).await;
    let last = walk.simcloud.ledger().await.last();
    // Lists of an idle cloud are 10 s apart: each of the twenty would have come at least once.
    other.simcloud.is_called(Method::List, 2).await;
    let since = walk.simcloud.ledger().await.since(last);
    assert_eq!((since.calls(Method::List), since.calls(Method::Identity)), (0, 0));
}

#[tokio::test]
async fn an_endpoint_that_is_not_allowed_is_refused_in_a_condition_until_a_flag_allows_it() {
    let walk = Walk::begin("elsewhere").await;
    let mut operator = Operator::start(&walk).await;
    // This machine under an address that is not known to be this machine's alone.
    let port = walk.simcloud.address().rsplit_once(':').expect("a port").1;
    let endpoint = format!("http://0.0.0.0:{port}");
    walk.launch_config("sim", json!({ "simulated": { "endpoint": endpoint } })).await;
    walk.pool(POOL, json!({ "targetSize": 1 })).await;
    let refused = walk
        .until("sim", "says that it may not be called", |config: &LaunchConfig| {
            condition(config, "Available").1 == "EndpointNotAllowed"
        })
        .await;
    let message = condition(&refused, "Available").2;
    assert!(message.contains(&endpoint) && message.contains("--simulated-endpoints"), "{message}");
    walk.until(POOL, "says why it has no machine", |pool: &InstancePool| condition(pool, "Stalled").0 == "True").await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!(ledger.calls(Method::List) + ledger.calls(Method::Identity), 0);
    operator.stop().await;
    let _operator = Operator::start_with(&walk, &[("--simulated-endpoints", &endpoint)]).await;
    walk.pool_has_ready(1).await;
}
