//! From a pool to its machines and back, on OpenStack.

use std::time::Instant;

use bullpen_api::{InstancePool, PoolClaim, PoolMember};
use kube::ResourceExt as _;
use serde_json::json;

use super::cloud::{OpenStack, has_ready, operator};
use crate::harness::objects::{POOL, machine_of};
use crate::harness::{Walk, eventually_within};

#[tokio::test]
async fn a_pool_is_filled_claimed_from_and_drained() {
    let walk = Walk::begin("openstack-pool").await;
    let cloud = OpenStack::begin(&walk).await;
    let operator = operator(&walk, &cloud).await;
    let began = Instant::now();
    cloud.pool(&walk, 3, json!({ "template": { "tags": { "team": "web" } } })).await;
    has_ready(&walk, 3).await;
    println!("3 machines ready after {:.1} s", began.elapsed().as_secs_f64());
    cloud.is_in_step(&walk).await;
    for server in cloud.servers().await {
        let metadata = &server["metadata"];
        assert_eq!(metadata["team"], "web", "{metadata}");
        let uid = metadata["bullpen.dev:member-uid"].as_str().expect("the member's uid");
        assert!(server["name"].as_str().is_some_and(|name| name.ends_with(uid)), "{server}");
    }

    walk.claim("job", json!({})).await;
    let claim = walk.bound("job").await;
    let claimed = Instant::now();
    let (id, uid) = (machine_of(&claim).to_owned(), claim.uid().expect("a uid"));
    eventually_within(std::time::Duration::from_mins(2), "the replacement is bought", async || {
        let servers = cloud.ids().await.len();
        if servers == 4 { Ok(()) } else { Err(format!("{servers} servers")) }
    })
    .await;
    has_ready(&walk, 3).await;
    println!("the replacement was ready {:.1} s after the claim", claimed.elapsed().as_secs_f64());
    crate::harness::eventually("the server has the tag of its claim", async || {
        let servers = cloud.servers().await;
        let server = servers.iter().find(|server| server["id"] == *id).cloned().unwrap_or_default();
        if server["metadata"]["bullpen.dev:claim"] == *uid { Ok(()) } else { Err(server["metadata"].to_string()) }
    })
    .await;
    walk.delete::<PoolClaim>("job").await;
    let ended = Instant::now();
    eventually_within(std::time::Duration::from_mins(1), "its server and its member are gone", async || {
        let (ids, members) = (cloud.ids().await, walk.list::<PoolMember>().await.len());
        if !ids.contains(&id) && members == 3 { Ok(()) } else { Err(format!("{ids:?}, {members} members")) }
    })
    .await;
    println!("gone {:.1} s after the claim's end", ended.elapsed().as_secs_f64());

    walk.set::<InstancePool>(POOL, json!({ "state": "Draining" })).await;
    cloud.is_empty().await;
    walk.none_left::<PoolMember>().await;
    assert!(!operator.logs().any(|log| log.contains("not-to-be-logged")), "the password is in the log");
}

#[tokio::test]
async fn an_image_by_name_is_resolved_and_a_machine_that_somebody_ends_is_replaced() {
    let walk = Walk::begin("openstack-image").await;
    let cloud = OpenStack::begin(&walk).await;
    let _operator = operator(&walk, &cloud).await;
    cloud.launch_config(&walk, "by-name", json!({ "image": "name:ci-2" })).await;
    walk.pool(POOL, json!({ "targetSize": 2, "launchConfigs": [{ "name": "by-name" }] })).await;
    has_ready(&walk, 2).await;
    let servers = cloud.servers().await;
    assert!(servers.iter().all(|server| server["image"]["id"] == cloud.told["images"]["ci-2"]), "{servers:?}");
    let ids = cloud.ids().await;
    cloud.delete(&ids[0]).await;
    cloud.act(&ids[1], json!({ "os-stop": null })).await;
    eventually_within(std::time::Duration::from_mins(2), "both are replaced", async || {
        let now = cloud.ids().await;
        if now.len() == 2 && now.iter().all(|id| !ids.contains(id)) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    has_ready(&walk, 2).await;
    cloud.is_in_step(&walk).await;
}
