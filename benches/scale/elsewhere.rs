//! Claims on a small pool of their own, at a steady rate: how long each takes until its user sees it Bound.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, PoolClaim};
use bullpen_bench_common::of;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Claims a second: few enough that the API server has time for each.
const RATE: u32 = 10;
/// From Bound to the claim's deletion.
const HELD: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_mins(1);
/// Watches end by themselves after this, which is longer than one measurement.
const WATCH_SECONDS: u32 = 290;

/// Claims that somebody waits for, by name.
type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Instant>>>>;

/// Times until Bound, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Half of the claims are bound sooner.
    pub median: f64,
    /// All but one in a hundred are bound sooner.
    pub p99: f64,
}

/// Makes claims on a pool of this namespace for so long. Each counts from the moment at which it was due.
pub async fn measure(client: &Client, namespace: &str, pool: &str, run: &str, seconds: u32) -> Times {
    let claims: Api<PoolClaim> = Api::namespaced(client.clone(), namespace);
    let waiting = Waiting::default();
    let version = claims.list(&ListParams::default().limit(1)).await.expect("a list").metadata.resource_version;
    let mut watching = JoinSet::new();
    watching.spawn(watch(claims.clone(), version.expect("a version"), waiting.clone()));
    let began = Instant::now();
    let count = RATE * seconds;
    let mut took: Vec<f64> = stream::iter(0..count)
        .map(|number| {
            let (claims, waiting) = (claims.clone(), waiting.clone());
            let (name, due) = (format!("{run}-{number}"), began + Duration::from_secs(1) * number / RATE);
            async move {
                tokio::time::sleep_until(due.into()).await;
                one(&claims, &waiting, &name, pool, due).await
            }
        })
        .buffer_unordered(count as usize)
        .collect()
        .await;
    took.sort_by(f64::total_cmp);
    let at = |percent: usize| took[(took.len() * percent).div_ceil(100).max(1) - 1];
    Times { median: at(50), p99: at(99) }
}

async fn one(claims: &Api<PoolClaim>, waiting: &Waiting, name: &str, pool: &str, due: Instant) -> f64 {
    let (sender, bound) = oneshot::channel();
    waiting.lock().insert(name.to_owned(), sender);
    let claim = json!({ "metadata": { "name": name }, "spec": { "poolRef": { "name": pool } } });
    claims.create(&PostParams::default(), &of(claim)).await.expect("a claim");
    let bound = tokio::time::timeout(PATIENCE, bound).await.expect("the claim is bound").expect("the watch lives");
    tokio::time::sleep(HELD).await;
    claims.delete(name, &DeleteParams::default()).await.expect("the claim is deleted");
    bound.duration_since(due).as_secs_f64() * 1_000.0
}

async fn watch(claims: Api<PoolClaim>, mut version: String, waiting: Waiting) {
    loop {
        let parameters = WatchParams::default().timeout(WATCH_SECONDS);
        let Ok(events) = claims.watch(&parameters, &version).await else { continue };
        let mut events = std::pin::pin!(events);
        // An API server under load may end a watch: continue from the last version.
        while let Ok(Some(event)) = events.try_next().await {
            let claim = match event {
                WatchEvent::Added(claim) | WatchEvent::Modified(claim) | WatchEvent::Deleted(claim) => claim,
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(error) => panic!("the watch lost its place: {error}"),
            };
            version = claim.resource_version().unwrap_or(version);
            if claim.status.as_ref().is_some_and(|status| status.phase == ClaimPhase::Bound)
                && let Some(waits) = waiting.lock().remove(&claim.name_any())
            {
                let _ = waits.send(Instant::now());
            }
        }
    }
}
