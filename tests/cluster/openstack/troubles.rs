//! OpenStack that loses answers, refuses and fails, and an operator that dies: nothing is bought twice, nothing is left.

use std::time::{Duration, Instant};

use bullpen_api::{InstancePool, LaunchConfig, PoolMember};
use serde_json::json;

use super::cloud::{HUGE, OpenStack, has_ready, operator, operator_with};
use crate::harness::objects::{POOL, condition};
use crate::harness::{Walk, eventually_within};

#[tokio::test]
async fn a_create_whose_answer_is_lost_buys_one_machine() {
    let walk = Walk::begin("openstack-lost").await;
    let cloud = OpenStack::begin(&walk).await;
    let _operator = operator(&walk, &cloud).await;
    cloud.proxy.lose_creates(2);
    cloud.ready_pool(&walk, 2, json!({})).await;
    cloud.is_in_step(&walk).await;
    assert_eq!(cloud.proxy.creates(), 2, "no create was sent twice");
}

#[tokio::test]
async fn of_two_machines_of_one_create_the_one_without_a_member_ends_at_once() {
    let walk = Walk::begin("openstack-twice").await;
    let cloud = OpenStack::begin(&walk).await;
    // With the usual grace of the sweep, which is longer than this waits.
    let _operator = operator_with(&walk, &cloud, &[]).await;
    cloud.proxy.double_creates(2);
    cloud.ready_pool(&walk, 2, json!({})).await;
    let began = Instant::now();
    cloud.is_in_step(&walk).await;
    println!("{:.1} s after the pool was ready", began.elapsed().as_secs_f64());
    assert_eq!(cloud.ids().await.len(), 2);
}

#[tokio::test]
async fn a_quota_and_a_lack_of_hosts_are_told_by_their_kinds() {
    let walk = Walk::begin("openstack-refused").await;
    let cloud = OpenStack::begin(&walk).await;
    let _operator = operator(&walk, &cloud).await;
    cloud.launch_config(&walk, "huge", json!({ "instanceType": HUGE })).await;
    walk.pool("of-huge", json!({ "targetSize": 1, "launchConfigs": [{ "name": "huge" }] })).await;
    let says = |reason: &'static str, part: &'static str| {
        move |config: &LaunchConfig| {
            let seen = condition(config, "CapacityAvailable");
            (seen.0.as_str(), seen.1.as_str()) == ("False", reason) && seen.2.contains(part)
        }
    };
    walk.until("huge", "says that there is no host", says("NoCapacity", "No valid host")).await;
    walk.delete::<InstancePool>("of-huge").await;
    cloud.is_empty().await;
    cloud.quota(1).await;
    cloud.launch_config(&walk, "small", json!({})).await;
    walk.pool("of-small", json!({ "targetSize": 2, "launchConfigs": [{ "name": "small" }] })).await;
    walk.until("small", "says that the quota is reached", says("QuotaReached", "1 of 1 instances")).await;
}

#[tokio::test]
async fn credentials_change_in_their_secret_and_services_restart_without_a_loss() {
    let walk = Walk::begin("openstack-restarts").await;
    let mut cloud = OpenStack::begin(&walk).await;
    let mut operator = operator(&walk, &cloud).await;
    cloud.ready_pool(&walk, 2, json!({})).await;
    let before = cloud.ids().await;
    // The old password and all tokens of it are refused from here on.
    cloud.change_password("another-that-is-not-to-be-logged").await;
    cloud.write_secret(&walk).await;
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 3 })).await;
    has_ready(&walk, 3).await;
    cloud.proxy.cut(Some(&cloud.identity_address()));
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 4 })).await;
    cloud.kill("nova");
    tokio::time::sleep(Duration::from_secs(5)).await;
    cloud.proxy.cut(None);
    has_ready(&walk, 4).await;
    let after = cloud.ids().await;
    assert!(before.iter().all(|id| after.contains(id)), "a machine was replaced: {before:?}, {after:?}");
    cloud.is_in_step(&walk).await;
    assert!(operator.is_running());
    assert!(!operator.logs().any(|log| log.contains("not-to-be-logged")), "a password is in the log");
}

/// How often the operator is killed.
fn kills() -> usize {
    std::env::var("BULLPEN_OPENSTACK_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

#[tokio::test]
async fn an_operator_that_is_killed_after_a_create_finds_its_machine() {
    killed(kills()).await;
}

/// Kills the operator so often, each time when a create was sent.
pub(crate) async fn killed(times: usize) {
    let walk = Walk::begin("openstack-killed").await;
    let cloud = OpenStack::begin(&walk).await;
    let mut operator = operator(&walk, &cloud).await;
    cloud.ready_pool(&walk, 1, json!({ "maxSize": 100 })).await;
    for round in 1..=times {
        let before = cloud.proxy.creates();
        walk.set::<InstancePool>(POOL, json!({ "targetSize": 1 + round })).await;
        eventually_within(Duration::from_mins(3), "a create was sent", async || {
            let creates = cloud.proxy.creates();
            if creates > before { Ok(()) } else { Err(format!("{creates}")) }
        })
        .await;
        operator.kill_9();
        operator.start_again().await;
        has_ready(&walk, i32::try_from(1 + round).expect("few")).await;
        cloud.is_in_step(&walk).await;
        assert_eq!(cloud.ids().await.len(), 1 + round, "one machine for each create");
    }
    walk.delete::<InstancePool>(POOL).await;
    walk.none_left::<PoolMember>().await;
    cloud.is_empty().await;
}
