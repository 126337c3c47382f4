//! The clock of the operator's computer is wrong, or is set while the operator runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, PoolClaim};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::time::sleep;

use crate::harness::objects::phase;
use crate::harness::{Operator, Walk, eventually};

/// How long the claims of these walks wait.
const WAIT: Duration = Duration::from_secs(15);
/// How late two busy cores may be.
const SLACK: Duration = Duration::from_secs(20);

/// The library of libfaketime. It fakes the wall clock of a program, and here leaves the others alone.
fn library() -> PathBuf {
    let architectures = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let places = architectures.map(|name| Path::new("/usr/lib").join(name).join("faketime/libfaketime.so.1"));
    let found = places.iter().find(|place| place.exists());
    found.cloned().expect("libfaketime is missing: run tools/faketime.sh")
}

/// Starts an operator whose wall clock is faked by these variables, and waits until it listens.
async fn operator(walk: &Walk, clock: &[(&str, &str)]) -> Operator {
    let library = library().display().to_string();
    Operator::start_with_variables(walk, &[&faked(&library)[..], clock].concat()).await
}

const fn faked(library: &str) -> [(&str, &str); 2] {
    [("LD_PRELOAD", library), ("DONT_FAKE_MONOTONIC", "1")]
}

fn is_near(moment: Timestamp, what: &str) {
    let off = Timestamp::now().duration_since(moment);
    assert!(off.abs() < SignedDuration::from_secs(60), "{what} is {moment}, which is {off:#} off");
}

/// A claim on a paused pool waits as long as it says, and a claim on another one is bound with the right times.
async fn times_are_right(walk: &Walk, meanwhile: impl AsyncFnOnce()) {
    walk.ready_pool(1, json!({})).await;
    walk.pool("paused", json!({ "state": "Paused", "targetSize": 0 })).await;
    let made = Instant::now();
    let spec = json!({ "poolRef": { "name": "paused" }, "waitTimeoutSeconds": WAIT.as_secs() });
    walk.claim("waits", spec).await;
    walk.claim("held", json!({ "ttlSeconds": 300 })).await;
    let held = walk.bound("held").await;
    let status = held.status.clone().expect("a status");
    let bound_at = status.bound_at.expect("it was bound").0;
    is_near(bound_at, "boundAt");
    let created = held.metadata.creation_timestamp.as_ref().expect("it was created").0;
    assert!(bound_at >= created, "bound at {bound_at}, created at {created}");
    is_near(
        status.expires_at.expect("it has a ttl").0.saturating_sub(SignedDuration::from_secs(300)).expect("a time"),
        "the begin of its ttl",
    );
    meanwhile().await;
    let over = |claim: &PoolClaim| phase(claim) == ClaimPhase::Failed;
    let waited = walk.until("waits", "has waited as long as it says", over).await;
    let took = made.elapsed();
    assert!(took + Duration::from_secs(2) >= WAIT && took < WAIT + SLACK, "it waited for {took:?}");
    is_near(waited.status.and_then(|status| status.finished_at).expect("it has ended").0, "finishedAt");
    assert_eq!(phase(&walk.get("held").await), ClaimPhase::Bound);
}

async fn notices_the_skew(operator: &mut Operator, words: &str) {
    operator.says(words).await;
    eventually("its health shows the skew", async || {
        let said = operator.endpoint("/readyz").await;
        if said.contains("[!]clock:") && said.ends_with("ok\n") { Ok(()) } else { Err(said) }
    })
    .await;
}

#[tokio::test]
async fn under_a_clock_that_is_two_minutes_ahead_every_wait_takes_as_long_as_it_says() {
    let walk = Walk::begin("clock-ahead").await;
    let mut operator = operator(&walk, &[("FAKETIME", "+120s")]).await;
    notices_the_skew(&mut operator, "120 s ahead of the API server's").await;
    assert!(operator.metric_reaches("bullpen_clock_skew_seconds", 118.0).await < 122.0);
    times_are_right(&walk, async || {}).await;
}

#[tokio::test]
async fn under_a_clock_that_is_two_minutes_behind_every_wait_takes_as_long_as_it_says() {
    let walk = Walk::begin("clock-behind").await;
    let mut operator = operator(&walk, &[("FAKETIME", "-120s")]).await;
    notices_the_skew(&mut operator, "120 s behind the API server's").await;
    times_are_right(&walk, async || {}).await;
}

#[tokio::test]
async fn a_clock_that_is_set_by_an_hour_and_back_while_claims_wait_changes_no_deadline() {
    let walk = Walk::begin("clock-steps").await;
    let file = walk.folder().join("clock");
    fs::write(&file, "+0s").expect("written");
    let path = file.display().to_string();
    let mut operator = operator(&walk, &[("FAKETIME_TIMESTAMP_FILE", &path), ("FAKETIME_NO_CACHE", "1")]).await;
    times_are_right(&walk, async || {
        for set in ["+3600s", "-3600s"] {
            fs::write(&file, set).expect("written");
            sleep(Duration::from_secs(3)).await;
        }
    })
    .await;
    // It is said once for as long as it lasts.
    notices_the_skew(&mut operator, "3600 s ahead of the API server's").await;
}

#[tokio::test]
async fn a_standby_whose_clock_is_an_hour_ahead_ends_nothing_early_when_it_takes_over() {
    let walk = Walk::begin("clock-standby").await;
    let mut first = Operator::start(&walk).await;
    first.comes_to_lead().await;
    let library = library().display().to_string();
    let clock = [&faked(&library)[..], &[("FAKETIME", "+3600s")]].concat();
    let standby = Operator::start_beside_with_variables(&walk, "ahead", &clock).await;
    standby.is_ready().await;
    walk.ready_pool(2, json!({ "claims": { "maxHoldSeconds": 600 } })).await;
    walk.pool("paused", json!({ "state": "Paused", "targetSize": 0 })).await;
    walk.claim("held", json!({ "ttlSeconds": 300 })).await;
    let expires = walk.bound("held").await.status.and_then(|status| status.expires_at).expect("it has a ttl");
    walk.claim("waits", json!({ "poolRef": { "name": "paused" }, "waitTimeoutSeconds": 300 })).await;
    assert!(!standby.leads_now().await);

    first.kill_9();
    standby.comes_to_lead().await;
    // It serves, and has judged every claim by then.
    walk.claim("next", json!({})).await;
    is_near(walk.bound("next").await.status.and_then(|status| status.bound_at).expect("it was bound").0, "boundAt");
    let held: PoolClaim = walk.get("held").await;
    assert_eq!(phase(&held), ClaimPhase::Bound);
    assert_eq!(held.status.and_then(|status| status.expires_at), Some(expires));
    assert_eq!(phase(&walk.get("waits").await), ClaimPhase::Pending);
}
