//! What a person hears of trouble: an operator that does not run, a cloud that is down, a name that is mistyped.

use std::time::{Duration, Instant};

use bullpen_api::{LaunchConfig, PoolClaim};
use serde_json::json;

use crate::harness::objects::{POOL, condition};
use crate::harness::{Operator, Walk, eventually};

/// In a second, on two busy cores.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn that_no_operator_runs_is_said_soon_wherever_somebody_waits_or_looks() {
    let walk = Walk::begin("plugin-nobody").await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let lease = walk.try_lease().await.expect("the lease").metadata;
    let absent = format!("no operator has renewed lease {}/{} for ", lease.namespace.unwrap(), lease.name.unwrap());
    let pools = walk.plugin_says(&["pools", "-o", "wide"]).await;
    assert!(!pools.contains("no operator"), "one runs:\n{pools}");
    let well = walk.plugin_says(&["why", POOL]).await;
    assert!(well.starts_with("pool/ci: all is well\n"), "{well}");

    operator.stop().await;
    eventually("its lease is old", async || {
        let pools = walk.plugin_says(&["pools", "-o", "wide"]).await;
        if pools.contains(&absent) { Ok(()) } else { Err(pools) }
    })
    .await;
    let story = walk.plugin_says(&["why", POOL]).await;
    assert!(story.starts_with(&format!("pool/ci: {absent}")) && !story.contains("all is well"), "{story}");
    assert!(walk.plugin_says(&["top"]).await.contains(&absent));

    let begun = Instant::now();
    let mut claim = walk.start_plugin(&["claim", POOL, "--name", "build", "--", "true"]);
    claim.says(&format!("warning: {absent}")).await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(claim.is_running(), "an operator may come back: {}", claim.output());
    let story = walk.plugin_says(&["why", "claim/build"]).await;
    assert!(story.contains(&absent), "{story}");
    for waiting in
        [&["replenish", POOL, "--wait", "--timeout", "3s"][..], &["drain", POOL, "--wait", "--timeout", "3s"]]
    {
        let answer = walk.plugin(waiting).await;
        assert_eq!(answer.code, Some(1), "{waiting:?}: {answer:?}");
        assert!(answer.stderr.contains(&format!("warning: {absent}")), "{waiting:?}: {answer:?}");
    }
    let answer = walk.plugin(&["resume", POOL]).await;
    assert!(answer.stderr.contains(&format!("warning: {absent}")), "{answer:?}");

    operator.start_again().await;
    assert_eq!(claim.exit_code().await, Some(0), "{}", claim.output());
    walk.none_left::<PoolClaim>().await;
    let pools = walk.plugin_says(&["pools", "-o", "wide"]).await;
    assert!(!pools.contains("no operator"), "{pools}");
}

#[tokio::test]
async fn a_cloud_that_is_down_and_a_mistyped_launch_config_are_told_where_people_look() {
    let walk = Walk::begin("plugin-trouble").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    walk.simcloud
        .break_with(json!({ "calls": [{ "on": ["list"], "fault": { "error": { "class": "Transient" } } }] }))
        .await;
    let config = walk
        .until("sim", "says that its cloud is down", |config: &LaunchConfig| {
            condition(config, "Available").0 == "False"
        })
        .await;
    let message = condition(&config, "Available").2;
    let told = format!("launch config sim: {message}");
    let story = walk.plugin_says(&["why", POOL]).await;
    assert!(story.starts_with(&format!("pool/ci: {told}\n")), "{story}");
    assert_eq!(story.matches(&message).count(), 1, "once is enough:\n{story}");
    assert!(walk.plugin_says(&["pools", "-o", "wide"]).await.contains(&told));
    assert!(walk.plugin_says(&["top"]).await.contains(&told));
    walk.simcloud.mend().await;

    walk.pool("typo", json!({ "launchConfigs": [{ "name": "smi" }] })).await;
    assert_eq!(walk.has_event("LaunchConfigNotFound").await, 1);
    let table = walk.kubectl(&["get", "ipool", "typo"]).await;
    assert!(table.contains("LaunchConfigNotFound"), "without -o wide:\n{table}");
    let story = walk.plugin_says(&["why", "pool/typo"]).await;
    assert_eq!(story.matches("there is no launch config smi").count(), 1, "once is enough:\n{story}");
}
