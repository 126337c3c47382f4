//! How long a claim takes on a warm pool, as its user sees it.

use std::pin::pin;
use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, PoolClaim};
use futures::TryStreamExt as _;
use kube::ResourceExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde_json::json;

use crate::harness::objects::phase;
use crate::harness::{Operator, Walk};

const CLAIMS: usize = 100;

/// Far above what it takes on two busy cores in a debug build, far below a cold boot.
const BOUND_WITHIN: Duration = Duration::from_secs(1);

#[tokio::test]
async fn claims_on_a_warm_pool_are_bound_in_milliseconds() {
    let walk = Walk::begin("latency").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(40, json!({ "maxSize": 200 })).await;
    let claims = walk.api::<PoolClaim>();
    let version = claims.list(&ListParams::default()).await.expect("a list").metadata.resource_version;
    let events = claims.watch(&WatchParams::default(), &version.expect("a version")).await.expect("a watch");
    let mut events = pin!(events);

    let mut took = Vec::new();
    for number in 0..CLAIMS {
        let name = format!("build-{number}");
        let began = Instant::now();
        walk.claim(&name, json!({})).await;
        loop {
            match events.try_next().await.expect("an event") {
                Some(WatchEvent::Modified(claim)) if claim.name_any() == name && phase(&claim) == ClaimPhase::Bound => {
                    break;
                }
                Some(_) => {}
                None => panic!("the server ended the watch"),
            }
        }
        took.push(began.elapsed());
    }
    took.sort();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    eprintln!("claim to Bound as its user sees it: p50 {:?}, p90 {:?}, p99 {:?}", at(50), at(90), at(99));
    assert!(at(50) < BOUND_WITHIN, "{took:?}");
}
