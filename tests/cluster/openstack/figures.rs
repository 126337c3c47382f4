//! The figures of `docs/operate/openstack.md`.

use std::time::{Duration, Instant};

use serde_json::json;

use super::cloud::{OpenStack, has_ready, operator};
use crate::harness::{Walk, eventually_within};

/// For how long a pool at rest is watched.
const REST: Duration = Duration::from_mins(4);

#[tokio::test]
#[ignore = "it takes minutes, and only prints"]
async fn how_fast_a_pool_is_filled_and_what_it_costs_at_rest() {
    let walk = Walk::begin("openstack-figures").await;
    let cloud = OpenStack::begin(&walk).await;
    let _operator = operator(&walk, &cloud).await;
    cloud.ready_pool(&walk, 1, json!({ "maxSize": 60 })).await;
    let (began, before) = (Instant::now(), cloud.proxy.creates());
    walk.set::<bullpen_api::InstancePool>(crate::harness::objects::POOL, json!({ "targetSize": 21 })).await;
    eventually_within(Duration::from_mins(4), "all creates are accepted", async || {
        let creates = cloud.proxy.creates() - before;
        if creates >= 20 { Ok(()) } else { Err(format!("{creates} creates")) }
    })
    .await;
    println!("20 creates were answered within {:.1} s", began.elapsed().as_secs_f64());
    has_ready(&walk, 21).await;
    println!("20 machines were ready after {:.1} s", began.elapsed().as_secs_f64());
    for round in 0..5 {
        let claimed = Instant::now();
        walk.claim(&format!("job-{round}"), json!({})).await;
        walk.bound(&format!("job-{round}")).await;
        eventually_within(Duration::from_mins(2), "the replacement is ACTIVE", async || {
            let active = cloud.servers().await.iter().filter(|server| server["status"] == "ACTIVE").count();
            if active == 22 + round { Ok(()) } else { Err(format!("{active} ACTIVE")) }
        })
        .await;
        println!("claim to ACTIVE replacement: {:.1} s", claimed.elapsed().as_secs_f64());
    }
    has_ready(&walk, 21).await;
    // Until it lists as seldom as a pool at rest.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let before = cloud.proxy.requests();
    tokio::time::sleep(REST).await;
    let calls = cloud.proxy.requests() - before;
    println!("at rest: {calls} calls in {REST:?} for 26 machines");
}
