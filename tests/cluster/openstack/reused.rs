//! Machines that serve several claims, rebuilt between them.

use std::time::{Duration, Instant};

use bullpen_api::{PoolClaim, PoolMember};
use serde_json::json;

use super::cloud::{OpenStack, has_ready, operator};
use crate::harness::objects::{machine_of, member_of};
use crate::harness::{Walk, eventually_within};

#[tokio::test]
async fn a_used_machine_is_rebuilt_and_serves_another_claim() {
    let walk = Walk::begin("openstack-reuse").await;
    let cloud = OpenStack::begin(&walk).await;
    let _operator = operator(&walk, &cloud).await;
    let pool = json!({ "reuse": { "afterReset": "Reimage" }, "template": { "userData": "#!/bin/sh\necho warm\n" } });
    cloud.ready_pool(&walk, 1, pool).await;
    let [only] = &cloud.servers().await[..] else { panic!("one server") };
    let (launched, id) = (only["OS-SRV-USG:launched_at"].clone(), only["id"].as_str().expect("an id").to_owned());
    walk.claim("first", json!({})).await;
    let claim = walk.bound("first").await;
    assert_eq!(machine_of(&claim), id);
    let member = member_of(&claim).to_owned();
    let ended = Instant::now();
    walk.delete::<PoolClaim>("first").await;
    eventually_within(Duration::from_mins(2), "it is ready anew", async || {
        let member: PoolMember = walk.get(&member).await;
        let status = member.status.unwrap_or_default();
        if status.uses == 1 && format!("{:?}", status.state) == "Ready" { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    println!("ready anew {:.1} s after the claim's end", ended.elapsed().as_secs_f64());
    let servers = cloud.servers().await;
    let server = servers.iter().find(|server| server["id"] == *id).expect("it is the same server");
    assert_ne!(server["OS-SRV-USG:launched_at"], launched, "it was launched anew");
    let metadata = &server["metadata"];
    assert_eq!(metadata["bullpen.dev:reset-step"], "2", "{metadata}");
    assert!(metadata["bullpen.dev:reset"].as_str().is_some_and(|token| token.ends_with(".1")), "{metadata}");
    assert!(metadata["bullpen.dev:member-uid"].is_string(), "a rebuild replaces all metadata: {metadata}");
    has_ready(&walk, 1).await;
    cloud.is_in_step(&walk).await;
}
