//! Servers that are stopped for the standby tier, and started before one is bought.

use std::time::{Duration, Instant};

use bullpen_api::{InstancePool, MemberState, PoolMember};
use serde_json::json;

use super::cloud::{OpenStack, operator};
use crate::harness::objects::{POOL, machine, machine_of};
use crate::harness::{Walk, eventually_within};

/// Waits until the pool has so many ready and standby members, none in between, and returns the servers of those on standby.
/// That takes longer than a create's grace after an operator was killed.
async fn rests_with(walk: &Walk, ready: usize, standby: usize) -> Vec<String> {
    let patience = Duration::from_mins(5);
    eventually_within(patience, &format!("{ready} members are ready and {standby} on standby"), async || {
        let members = walk.list::<PoolMember>().await;
        let state = |member: &PoolMember| member.status.as_ref().map(|status| status.state).unwrap_or_default();
        let settled: Vec<_> =
            members.iter().filter(|member| member.metadata.deletion_timestamp.is_none()).map(state).collect();
        let count = |wanted| settled.iter().filter(|state| **state == wanted).count();
        let rests = count(MemberState::Ready) + count(MemberState::Standby) + count(MemberState::Claimed);
        if (count(MemberState::Ready), count(MemberState::Standby)) == (ready, standby) && rests == members.len() {
            let stopped = members.iter().filter(|member| state(member) == MemberState::Standby);
            Ok(stopped.filter_map(machine).map(str::to_owned).collect())
        } else {
            Err(format!("{settled:?}"))
        }
    })
    .await
}

async fn status_of(cloud: &OpenStack, id: &str) -> String {
    let servers = cloud.servers().await;
    let server = servers.iter().find(|server| server["id"] == *id).cloned().unwrap_or_default();
    server["status"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_stopped_server_is_started_before_one_is_bought_and_once_by_an_operator_that_dies_at_it() {
    let walk = Walk::begin("openstack-standby").await;
    let cloud = OpenStack::begin(&walk).await;
    let mut operator = operator(&walk, &cloud).await;
    // A third one would have the youngest stopped again.
    cloud.pool(&walk, 1, json!({ "maxSize": 2, "standby": { "size": 1 } })).await;
    let stopped = rests_with(&walk, 1, 1).await;
    assert_eq!(status_of(&cloud, &stopped[0]).await, "SHUTOFF");
    assert_eq!((cloud.proxy.creates(), cloud.proxy.starts()), (2, 0));

    walk.claim("first", json!({})).await;
    walk.bound("first").await;
    let claimed = Instant::now();
    rests_with(&walk, 1, 0).await;
    println!("it was ready {:.1} s after the claim", claimed.elapsed().as_secs_f64());
    assert_eq!(status_of(&cloud, &stopped[0]).await, "ACTIVE");
    assert_eq!((cloud.proxy.creates(), cloud.proxy.starts()), (2, 1));
    walk.claim("second", json!({})).await;
    assert_eq!(machine_of(&walk.bound("second").await), stopped[0], "a claim gets the one that was started");

    // Killed as soon as the start was answered.
    walk.set::<InstancePool>(POOL, json!({ "maxSize": 4 })).await;
    let before = rests_with(&walk, 1, 1).await;
    let (starts, creates) = (cloud.proxy.starts(), cloud.proxy.creates());
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 2 })).await;
    eventually_within(Duration::from_mins(1), "a start was answered", async || {
        if cloud.proxy.starts() > starts { Ok(()) } else { Err(starts.to_string()) }
    })
    .await;
    operator.kill_9();
    operator.start_again().await;
    rests_with(&walk, 2, 0).await;
    assert_eq!(cloud.proxy.creates(), creates, "the tier has no room under maxSize, and the ready one needs none");
    assert_eq!(status_of(&cloud, &before[0]).await, "ACTIVE");
    cloud.is_in_step(&walk).await;

    walk.set::<InstancePool>(POOL, json!({ "state": "Draining" })).await;
    eventually_within(Duration::from_mins(1), "only the claimed servers are left", async || {
        let left = cloud.ids().await.len();
        if left == 2 { Ok(()) } else { Err(format!("{left} servers")) }
    })
    .await;
}

#[tokio::test]
async fn a_hibernated_server_is_suspended_and_resumed_for_a_claim() {
    let walk = Walk::begin("openstack-hibernated").await;
    let cloud = OpenStack::begin(&walk).await;
    let _operator = operator(&walk, &cloud).await;
    cloud.pool(&walk, 1, json!({ "maxSize": 2, "standby": { "size": 1, "mode": "Hibernated" } })).await;
    let suspended = rests_with(&walk, 1, 1).await;
    assert_eq!(status_of(&cloud, &suspended[0]).await, "SUSPENDED");
    let creates = cloud.proxy.creates();
    walk.claim("first", json!({})).await;
    walk.bound("first").await;
    rests_with(&walk, 1, 0).await;
    assert_eq!(status_of(&cloud, &suspended[0]).await, "ACTIVE");
    walk.claim("second", json!({})).await;
    assert_eq!(machine_of(&walk.bound("second").await), suspended[0], "a claim gets the one that was resumed");
    assert_eq!(cloud.proxy.creates(), creates, "none was bought");
}

#[tokio::test]
async fn a_standby_server_that_others_start_and_a_ready_one_that_others_stop_are_replaced() {
    let walk = Walk::begin("openstack-switched").await;
    let cloud = OpenStack::begin(&walk).await;
    let _operator = operator(&walk, &cloud).await;
    cloud.pool(&walk, 1, json!({ "maxSize": 10, "standby": { "size": 1 } })).await;
    let stopped = rests_with(&walk, 1, 1).await;
    let all = cloud.ids().await;
    let running = all.iter().find(|id| **id != stopped[0]).expect("a server that runs");
    cloud.act(&stopped[0], json!({ "os-start": null })).await;
    cloud.act(running, json!({ "os-stop": null })).await;
    eventually_within(Duration::from_mins(2), "both are replaced", async || {
        let now = cloud.ids().await;
        if now.iter().all(|id| !all.contains(id)) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    rests_with(&walk, 1, 1).await;
    cloud.is_in_step(&walk).await;
}
