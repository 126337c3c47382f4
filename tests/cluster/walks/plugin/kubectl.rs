//! What a person at a terminal sees and does.

use std::fs;

use bullpen_api::{LaunchConfig, PoolMember};
use kube::ResourceExt as _;
use serde_json::json;

use crate::harness::objects::{POOL, condition, member_of};
use crate::harness::{Operator, Walk};

/// The first line of a table and the line of an object, as words.
fn table<'a>(output: &'a str, name: &str) -> (Vec<&'a str>, Vec<&'a str>) {
    let words = |line: &'a str| line.split_whitespace().collect();
    let row = output.lines().find(|line| line.split_whitespace().next() == Some(name));
    let header = output.lines().next().unwrap_or_default();
    (words(header), words(row.unwrap_or_else(|| panic!("no {name} in:\n{output}"))))
}

#[tokio::test]
async fn kubectl_shows_pools_members_and_claims_in_useful_columns() {
    let walk = Walk::begin("columns").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("build-1", json!({ "acquiredFor": "pipeline-7", "ttlSeconds": 3600 })).await;
    let claim = walk.bound("build-1").await;
    walk.pool_until(POOL, "has replaced it", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed) == (2, 1))
    })
    .await;
    let member: PoolMember = walk.get(member_of(&claim)).await;
    let instance = member.status.as_ref().and_then(|status| status.instance.clone()).expect("an instance");
    let address = instance.addresses[0].address.as_str();

    let output = walk.kubectl(&["get", "ipool,pm,pclaim,lc"]).await;
    assert!(
        output.contains("instancepool.bullpen.dev/ci") && output.contains("poolclaim.bullpen.dev/build-1"),
        "{output}"
    );
    let output = walk.kubectl(&["get", "ipool"]).await;
    let (header, row) = table(&output, POOL);
    assert_eq!(header, ["NAME", "STATE", "TARGET", "READY", "WARMING", "CLAIMED", "WAITING", "MAX", "REASON", "AGE"]);
    assert_eq!(row[..9], ["ci", "Active", "2", "2", "0", "1", "0", "20", "MinSizeReached"]);

    let output = walk.kubectl(&["get", "pm", "-l", "bullpen.dev/pool=ci"]).await;
    let (header, row) = table(&output, &member.name_any());
    assert_eq!(header, ["NAME", "POOL", "STATE", "CLAIM", "INSTANCE", "ADDRESS", "ZONE", "AGE", "DELETING"]);
    assert_eq!(row[1..7], ["ci", "Claimed", "build-1", instance.id.as_str(), address, "r1-a"]);

    let output = walk.kubectl(&["get", "pclaim"]).await;
    let (header, row) = table(&output, "build-1");
    assert_eq!(header, ["NAME", "POOL", "PHASE", "MEMBER", "ADDRESS", "AGE"]);
    assert_eq!(row[..5], ["build-1", "ci", "Bound", member_of(&claim), address]);
    let output = walk.kubectl(&["get", "pclaim", "-o", "wide"]).await;
    let (header, row) = table(&output, "build-1");
    assert_eq!((header[6..].to_vec(), row[8]), (vec!["REASON", "SERVED-BY", "FOR", "EXPIRES"], "pipeline-7"));
    let expires = claim.status.and_then(|status| status.expires_at).expect("it asked for an end");
    assert!(row[9].starts_with(&format!("{:.3}", expires.0)[..23]), "{} is not {}", row[9], expires.0);

    walk.until("sim", "says that its cloud answered", |config: &LaunchConfig| {
        condition(config, "Available").0 == "True"
    })
    .await;
    let output = walk.kubectl(&["get", "lc"]).await;
    let (header, row) = table(&output, "sim");
    assert_eq!(
        header,
        ["NAME", "REGION", "ZONE", "MARKET", "TYPE", "AVAILABLE", "PAUSED", "WEIGHT", "INSTANCES", "AGE"]
    );
    assert_eq!(row[..8], ["sim", "r1", "r1-a", "OnDemand", "small", "True", "false", "100"]);

    let output = walk.kubectl(&["get", "bullpen", "-o", "name"]).await;
    assert_eq!(output.lines().count(), 6, "a pool, a launch config, three members and a claim:\n{output}");
}

#[tokio::test]
async fn kubectl_applies_waits_and_scales_as_it_does_with_other_kinds() {
    let walk = Walk::begin("kubectl").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({})).await;
    let pool = json!({
        "apiVersion": "bullpen.dev/v1alpha1",
        "kind": "InstancePool",
        "metadata": { "name": POOL },
        "spec": { "targetSize": 2, "maxSize": 20, "minSize": 2, "launchConfigs": [{ "name": "sim" }] },
    });
    let claim = json!({
        "apiVersion": "bullpen.dev/v1alpha1",
        "kind": "PoolClaim",
        "metadata": { "name": "build-1" },
        "spec": { "poolRef": { "name": POOL } },
    });
    let manifest = walk.folder().join("manifest.json");
    fs::write(&manifest, json!({ "apiVersion": "v1", "kind": "List", "items": [pool, claim] }).to_string())
        .expect("written");
    let manifest = manifest.display().to_string();
    for flags in [&[][..], &["--server-side"], &["--server-side"]] {
        let output = walk.kubectl(&[&["apply", "-f", &manifest], flags].concat()).await;
        assert!(!output.to_lowercase().contains("warning"), "{output}");
    }
    walk.kubectl(&["wait", "--for=condition=Bound", "pclaim/build-1", "--timeout=60s"]).await;
    walk.kubectl(&["wait", "--for=jsonpath={.status.phase}=Bound", "pclaim/build-1", "--timeout=60s"]).await;
    walk.kubectl(&["wait", "--for=condition=Ready", "ipool/ci", "--timeout=60s"]).await;
    let output = walk.kubectl(&["scale", "ipool/ci", "--replicas=8"]).await;
    assert!(output.contains("scaled"), "{output}");
    walk.pool_has_ready(8).await;
    let scale = walk.kubectl(&["get", "ipool/ci", "--subresource=scale", "-o", "json"]).await;
    let scale: serde_json::Value = serde_json::from_str(&scale).expect("JSON");
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(8), &json!(8)));
    assert_eq!(scale["status"]["selector"], "bullpen.dev/pool=ci");
    let (scaled, output) = walk.try_kubectl(&["scale", "ipool/ci", "--replicas=21"]).await;
    assert!(!scaled && output.contains("targetSize must not be above maxSize"), "{output}");
}

#[tokio::test]
async fn kubectl_explains_every_field_of_the_specs() {
    let walk = Walk::begin("explain").await;
    for (path, words) in [
        ("ipool.spec", vec!["targetSize", "unclaimed members wanted", "maxSize", "Hard limit", "launchConfigs"]),
        ("ipool.spec.state", vec!["Paused (buys nothing, serves no claims)"]),
        ("pclaim.spec", vec!["whenEmpty", "Wait (the default) or Fail", "waitTimeoutSeconds", "acquiredFor"]),
        ("lc.spec", vec!["region", "Immutable", "instanceType", "simulated"]),
        ("pm.status", vec!["claimRef", "The claim that has the member"]),
    ] {
        let output = walk.kubectl(&["explain", path]).await;
        // It breaks lines in the middle of sentences.
        let text = output.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in words {
            assert!(text.contains(words), "{words:?} is not in what it says of {path}:\n{output}");
        }
        assert!(!output.contains('`'), "{output}");
        assert!(!text.contains("<no description>"), "{path}:\n{output}");
    }
}

#[tokio::test]
async fn the_example_of_a_claim_is_served_as_it_stands_and_applying_it_again_changes_nothing() {
    let walk = Walk::begin("example").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/nightly-claim.yaml");
    walk.kubectl(&["apply", "--validate=strict", "-f", file]).await;
    let claim = walk.bound("nightly").await;
    let status = claim.status.clone().expect("a status");
    let held = status.expires_at.expect("an end").0.duration_since(status.bound_at.expect("bound").0);
    assert_eq!(Some(held.as_secs()), claim.spec.ttl_seconds.map(i64::from));
    walk.kubectl(&["get", "secret", "nightly-binding"]).await;
    let again = walk.kubectl(&["apply", "--validate=strict", "-f", file]).await;
    assert!(again.contains("unchanged"), "{again}");
}
