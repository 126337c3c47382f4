//! How long a claim takes on a warm pool, as its user sees it.

use std::pin::pin;
use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, PoolClaim};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde_json::json;

use crate::harness::objects::phase;
use crate::harness::{Operator, Walk};

const CLAIMS: usize = 100;

/// From the create to the sight of Bound there are three writes and two events of watches. Each write of a custom
/// resource takes about twice as long as that of a ConfigMap, and the operator is a debug build.
const MOST_BARE_WRITES: u32 = 12;

/// The time below which this part of all claims, or writes, stayed.
fn at(percent: usize, took: &mut [Duration]) -> Duration {
    took.sort();
    took[(took.len() * percent / 100).min(took.len() - 1)]
}

#[tokio::test]
async fn claims_on_a_warm_pool_are_bound_in_a_few_times_what_a_bare_write_takes() {
    let walk = Walk::begin("latency").await;
    let operator = Operator::start(&walk).await;
    walk.ready_pool(40, json!({ "maxSize": 200 })).await;
    let claims = walk.api::<PoolClaim>();
    let version = claims.list(&ListParams::default()).await.expect("a list").metadata.resource_version;
    let events = claims.watch(&WatchParams::default(), &version.expect("a version")).await.expect("a watch");
    let mut events = pin!(events);

    let (mut took, mut bare) = (Vec::new(), Vec::new());
    for number in 0..CLAIMS {
        // A bare write before each claim meets the same load of the machine.
        let name = format!("build-{number}");
        let began = Instant::now();
        walk.create::<ConfigMap>(json!({ "metadata": { "name": name } })).await;
        bare.push(began.elapsed());
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
    let [p50, p90, p99] = [50, 90, 99].map(|percent| at(percent, &mut took));
    let write = at(50, &mut bare);
    eprintln!("claim to Bound as its user sees it: p50 {p50:?}, p90 {p90:?}, p99 {p99:?}; a bare write: p50 {write:?}");
    assert!(p50 < write * MOST_BARE_WRITES, "{p50:?} is not within {MOST_BARE_WRITES} bare writes of {write:?}");

    // Each was paired by the first pass after it came.
    let series = |of: &str| {
        format!(r#"bullpen_claim_pairing_duration_seconds_{of}{{namespace="{}",pool="ci"}}"#, walk.namespace)
    };
    let counted = operator.metric_reaches(&series("count"), 1.0).await;
    let sum = operator.metric_reaches(&series("sum"), 0.0).await;
    eprintln!(
        "from a claim's event to its compare-and-swap: {:.2} ms on average of {counted}",
        sum * 1_000.0 / counted
    );
}
