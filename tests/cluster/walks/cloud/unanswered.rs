//! One place that fails or does not answer, beside one that works: the pool is served by the one that works.

use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, PoolClaim};
use bullpen_simcloud::ledger::{Fault, Method, What};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::objects::{POOL, condition, phase};
use crate::harness::{Operator, Simcloud, Walk, eventually_within};

/// Claims that come at once, and ready members when they come.
const CLAIMS: usize = 45;
const READY: i32 = 20;
/// Within this time every claim is Bound.
const SERVED_WITHIN: Duration = Duration::from_secs(30);
/// For so long the creates that the bad place is asked for are counted.
const WATCHED: Duration = Duration::from_secs(30);

/// Waits until all claims are Bound.
async fn all_bound(walk: &Walk) {
    eventually_within(SERVED_WITHIN, "all claims are Bound", async || {
        let claims = walk.list::<PoolClaim>().await;
        let bound = claims.iter().filter(|claim| phase(claim) == ClaimPhase::Bound).count();
        if bound == CLAIMS { Ok(()) } else { Err(format!("{bound} are")) }
    })
    .await;
}

async fn claims_come(walk: &Walk) {
    for n in 0..CLAIMS {
        walk.claim(&format!("claim-{n}"), json!({})).await;
    }
}

/// How many creates hit a fault in each ten seconds from `began`.
async fn asked_in_tens(cloud: &Simcloud, began: Timestamp) -> [usize; 3] {
    let mut tens = [0; 3];
    for entry in cloud.ledger().await.into_entries() {
        let create = matches!(&entry.what, What::Fault(Fault { method: Some(Method::Create), .. }));
        let ten = usize::try_from(entry.time.duration_since(began).as_secs() / 10);
        if let (true, Ok(ten)) = (create, ten)
            && ten < tens.len()
        {
            tens[ten] += 1;
        }
    }
    tens
}

/// Two zones share the pool, and the good one has too few machines for all that is wanted, so that the bad one is needed all
/// the time. From some moment on, creates there meet `fault`; then the claims come. They are served all the same, and the bad
/// zone is asked at most once a second, and less and less often, until it works again.
async fn one_zone_does_not_starve_the_other(walk: &Walk, fault: Value, outage: impl AsyncFnOnce()) {
    let _operator = Operator::start(walk).await;
    walk.launch_config("a", json!({ "zone": "r1-a", "maxInstances": 50 })).await;
    walk.launch_config("b", json!({ "zone": "r1-b" })).await;
    let configs = json!([{ "name": "a" }, { "name": "b" }]);
    walk.pool(POOL, json!({ "targetSize": READY, "maxSize": 100, "launchConfigs": configs })).await;
    walk.pool_has_ready(READY).await;
    let calls = json!([{ "on": ["create"], "where": { "zones": ["r1-b"] }, "fault": fault }]);
    walk.simcloud.break_with(json!({ "calls": calls })).await;
    let (began, timer) = (Timestamp::now(), Instant::now());
    claims_come(walk).await;
    all_bound(walk).await;
    let served = timer.elapsed();
    outage().await;
    eventually_within(WATCHED * 2, "the time to watch is over", async || {
        let left = WATCHED.checked_sub(timer.elapsed()).filter(|left| !left.is_zero());
        left.map_or(Ok(()), |left| Err(format!("{left:?} left")))
    })
    .await;
    let tens = asked_in_tens(&walk.simcloud, began).await;
    println!("served in {served:?}, creates in each ten seconds: {tens:?}");
    assert!(tens[0] <= 10 && tens[1] <= 3 && tens[2] <= 2, "{tens:?}");

    walk.simcloud.mend().await;
    walk.pool_has_ready(READY).await;
    for name in ["a", "b"] {
        walk.until(name, "is available", |config: &LaunchConfig| condition(config, "Available").0 == "True").await;
    }
}

#[tokio::test]
async fn claims_are_served_while_creates_in_one_zone_fail() {
    let walk = Walk::begin("one-fails").await;
    let outage = async || {
        let silent = |config: &LaunchConfig| condition(config, "Available").1 == "CloudDoesNotAnswer";
        walk.until("b", "says that creates get no answer", silent).await;
        let refused = |pool: &InstancePool| condition(pool, "ProvisioningHealthy").1 == "CreateRefused";
        let pool = walk.until(POOL, "says so too", refused).await;
        let message = condition(&pool, "ProvisioningHealthy").2;
        assert!(message.starts_with("launch config b: Transient: "), "{message}");
        let config = walk.get::<LaunchConfig>("a").await;
        assert_eq!(condition(&config, "Available").0, "True", "the other one is not in doubt");
    };
    one_zone_does_not_starve_the_other(&walk, json!({ "error": { "class": "Transient" } }), outage).await;
}

#[tokio::test]
async fn claims_are_served_while_creates_in_one_zone_hang() {
    let walk = Walk::begin("one-hangs").await;
    one_zone_does_not_starve_the_other(&walk, json!({ "hang": { "milliseconds": 120_000 } }), async || {}).await;
}

#[tokio::test]
async fn claims_are_served_while_the_whole_cloud_of_one_launch_config_hangs() {
    let walk = Walk::begin("cloud-hangs").await;
    let _operator = Operator::start(&walk).await;
    let folder = walk.folder().join("other");
    std::fs::create_dir_all(&folder).expect("a folder for the other cloud's log");
    let other = Simcloud::start(&folder, &[]).await;
    walk.launch_config("a", json!({})).await;
    let simulated = json!({ "endpoint": format!("http://{}", other.address()) });
    walk.launch_config("b", json!({ "simulated": simulated })).await;
    let configs = json!([{ "name": "a" }, { "name": "b" }]);
    walk.pool(POOL, json!({ "targetSize": READY, "maxSize": 100, "launchConfigs": configs })).await;
    walk.pool_has_ready(READY).await;
    other.break_with(json!({ "calls": [{ "fault": { "hang": { "milliseconds": 120_000 } } }] })).await;
    let timer = Instant::now();
    claims_come(&walk).await;
    all_bound(&walk).await;
    println!("served in {:?}", timer.elapsed());
}
