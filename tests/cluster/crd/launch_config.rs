//! Which launch configs the server accepts.

use serde_json::{Value, json};

use super::sandbox::{
    Case, Sandbox, assert_each_refused, assert_each_required, assert_refused, manifest, with, without,
};

fn launch_config() -> Value {
    manifest(
        "LaunchConfig",
        &json!({
            "region": "sim-1",
            "zone": "sim-1a",
            "instanceType": "small",
            "image": "debian-13",
            "simulated": {"endpoint": "http://127.0.0.1:7070"},
        }),
    )
}

#[tokio::test]
async fn a_plain_launch_config_is_accepted_and_gets_the_defaults() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&launch_config()).await;
    assert_eq!(created["spec"]["market"], "OnDemand");
    assert_eq!(created["spec"]["paused"], false);
    assert_eq!(
        created["spec"]["simulated"],
        json!({"endpoint": "http://127.0.0.1:7070", "bootMilliseconds": 3000, "bootJitterPercent": 20})
    );
    assert_eq!(created["status"], json!({"observedGeneration": -1}));
    assert_eq!(sandbox.get(&created).await["status"], json!({"observedGeneration": -1}));
}

#[tokio::test]
async fn a_name_of_48_characters_is_accepted_and_a_longer_one_refused() {
    let sandbox = Sandbox::new().await;
    let named = |length| with(&launch_config(), "/metadata", json!({"name": "l".repeat(length)}));
    sandbox.created(&named(48)).await;
    let answer = sandbox.create(&named(49)).await;
    assert_refused("a name of 49", answer, &["metadata.name", "name of a launch config", "at most 48 characters"]);
}

#[tokio::test]
async fn a_bad_launch_config_is_refused_with_a_message_that_names_the_field() {
    let sandbox = Sandbox::new().await;
    let endpoint = "spec.simulated.endpoint";
    let cases: &[Case] = &[
        ("an empty region", "/spec/region", json!(""), &["spec.region", "at least 1 chars long"]),
        ("a long region", "/spec/region", json!("r".repeat(64)), &["spec.region", "may not be more than 63"]),
        ("an empty zone", "/spec/zone", json!(""), &["spec.zone", "at least 1 chars long"]),
        ("an unknown market", "/spec/market", json!("Free"), &["spec.market", "\"OnDemand\", \"Spot\""]),
        ("an empty type", "/spec/instanceType", json!(""), &["spec.instanceType", "at least 1 chars long"]),
        ("a long image", "/spec/image", json!("i".repeat(254)), &["spec.image", "may not be more than 253"]),
        (
            "maxInstances negative",
            "/spec/maxInstances",
            json!(-1),
            &["spec.maxInstances", "greater than or equal to 0"],
        ),
        ("paused as text", "/spec/paused", json!("yes"), &["spec.paused", "boolean"]),
        ("an unknown field", "/spec/instanceSize", json!("small"), &["unknown field", "spec.instanceSize"]),
        ("an unknown provider", "/spec/azure", json!({}), &["unknown field", "spec.azure"]),
        ("a null provider", "/spec/simulated", json!(null), &["exactly one provider block", "simulated"]),
        ("no endpoint", "/spec/simulated", json!({}), &[endpoint, "Required value"]),
        ("no URL", "/spec/simulated/endpoint", json!("127.0.0.1:7070"), &[endpoint, "should match", "^http://"]),
        ("a path", "/spec/simulated/endpoint", json!("http://cloud/v1"), &[endpoint, "should match", "^http://"]),
        (
            "bootMilliseconds negative",
            "/spec/simulated/bootMilliseconds",
            json!(-1),
            &["spec.simulated.bootMilliseconds", "greater than or equal to 0"],
        ),
        (
            "bootJitterPercent 101",
            "/spec/simulated/bootJitterPercent",
            json!(101),
            &["spec.simulated.bootJitterPercent", "less than or equal to 100"],
        ),
    ];
    assert_each_refused(&sandbox, &launch_config(), cases).await;
    assert_each_required(&sandbox, &launch_config(), &["region", "zone", "instanceType", "image"]).await;
    let no_provider = sandbox.create(&without(&launch_config(), "/spec/simulated")).await;
    assert_refused("without a provider block", no_provider, &["spec", "exactly one provider block", "simulated"]);
}

#[tokio::test]
async fn what_names_the_cloud_of_a_machine_is_immutable() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&launch_config()).await;
    let moved = sandbox.replace(&with(&created, "/spec/region", json!("sim-2"))).await;
    assert_refused("region changed", moved, &["spec.region", "region is immutable"]);
    let moved = sandbox.replace(&with(&created, "/spec/simulated/endpoint", json!("http://127.0.0.1:7071"))).await;
    assert_refused("endpoint changed", moved, &["spec.simulated.endpoint", "endpoint is immutable"]);
    let bare = sandbox.replace(&without(&created, "/spec/simulated")).await;
    assert_refused("provider block taken away", bare, &["exactly one provider block"]);
}

#[tokio::test]
async fn everything_else_of_a_launch_config_can_be_changed() {
    let sandbox = Sandbox::new().await;
    let mut current = sandbox.created(&launch_config()).await;
    for (pointer, value) in [
        ("/spec/zone", json!("sim-1b")),
        ("/spec/market", json!("Spot")),
        ("/spec/instanceType", json!("large")),
        ("/spec/image", json!("debian-14")),
        ("/spec/maxInstances", json!(3)),
        ("/spec/paused", json!(true)),
        ("/spec/simulated/bootMilliseconds", json!(10)),
        ("/spec/simulated/bootJitterPercent", json!(0)),
    ] {
        let answer = sandbox.replace(&with(&current, pointer, value)).await;
        current = answer.unwrap_or_else(|error| panic!("{pointer}: {error}"));
    }
}
