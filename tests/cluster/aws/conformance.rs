//! `bullpen conformance` against EC2: moto with its faults mended keeps the promises of the provider, and moto as it is
//! breaks those of the token and the start.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::process::Command;

use super::cloud::{Ec2, REGION, TYPE, credentials};
use crate::harness::{BULLPEN, PATIENCE, Walk};

/// Runs the checks with a launch config of this EC2 and image, or one that is there. Returns the exit code, what became of
/// each check, and the report.
async fn checked(walk: &Walk, ec2: &Ec2, image: Option<&str>) -> (Option<i32>, BTreeMap<String, String>, String) {
    let zone = format!("{REGION}a");
    let (subnet, found) = ec2.surroundings(&zone).await;
    let config = json!({
        "apiVersion": "bullpen.dev/v1alpha1", "kind": "LaunchConfig", "metadata": { "name": "m5" },
        "spec": { "region": REGION, "zone": zone, "instanceType": TYPE, "image": image.unwrap_or(&found),
            "aws": { "endpoint": ec2.endpoint, "subnetId": subnet, "hibernation": image.is_some() } },
    });
    let file = walk.folder().join("launch-config.json");
    std::fs::write(&file, config.to_string()).expect("written");
    let mut command = Command::new(BULLPEN);
    command.args(["conformance", "--output", "json", "--timeout", "30", "--launch-config"]).arg(file);
    let run = command.envs(credentials()).kill_on_drop(true).output();
    let output = tokio::time::timeout(4 * PATIENCE, run).await.expect("it ends in time").expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Value = serde_json::from_str(&text).expect("a report");
    let outcome = |check: &Value| {
        let text = |field: &str| check[field].as_str().expect("a text").to_owned();
        let seconds = check["seconds"].as_f64().expect("a number");
        println!("{:<8} {:<18} {:>8.3} s  {}", text("outcome"), text("check"), seconds, text("seen"));
        (text("check"), text("outcome"))
    };
    (output.status.code(), report["checks"].as_array().expect("checks").iter().map(outcome).collect(), text)
}

fn with(outcome: &str, checks: &BTreeMap<String, String>) -> Vec<String> {
    checks.iter().filter(|(_, became)| *became == outcome).map(|(check, _)| check.clone()).collect()
}

#[tokio::test]
async fn ec2_keeps_the_promises_of_a_provider() {
    let walk = Walk::begin("aws-conformance").await;
    let ec2 = Ec2::start(&walk, &[]).await;
    let source = ec2.stranger("source", &[]).await;
    ec2.new_image(&source, "ci-1").await;
    let (code, checks, text) = checked(&walk, &ec2, Some("name:self/ci-*")).await;
    assert_eq!((code, with("failed", &checks)), (Some(0), Vec::new()), "{text}");
    assert_eq!(with("skipped", &checks), ["user-data"], "{text}");
    assert_eq!(ec2.all_living().await, Vec::<String>::new());
}

#[tokio::test]
async fn moto_as_it_is_buys_again_for_a_token_and_does_not_date_a_start_and_is_found_out() {
    let walk = Walk::begin("aws-unmended").await;
    let ec2 = Ec2::start_unmended(&walk).await;
    let (code, checks, text) = checked(&walk, &ec2, None).await;
    assert_eq!(code, Some(1), "{text}");
    let failed = with("failed", &checks);
    for check in ["retry", "other-body", "start"] {
        assert!(failed.contains(&check.to_owned()), "{check}: {failed:?}\n{text}");
    }
    assert_eq!(ec2.all_living().await, Vec::<String>::new());
}
