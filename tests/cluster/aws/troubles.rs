//! EC2 that refuses, loses answers and hangs, and an operator that dies: nothing is bought twice, nothing is left.

use bullpen_api::LaunchConfig;
use serde_json::{Value, json};

use super::cloud::{Ec2, operator};
use crate::harness::Walk;
use crate::harness::objects::condition;

pub(crate) fn rule(operation: &str, times: u32, effect: &Value) -> Value {
    let mut rule = json!({ "service": "ec2", "operation": operation, "times": times });
    rule.as_object_mut().expect("an object").extend(effect.as_object().expect("an object").clone());
    rule
}

pub(crate) fn refused(code: &str) -> Value {
    json!({ "error": { "code": code } })
}

#[tokio::test]
async fn answers_that_are_lost_buy_each_machine_once() {
    let walk = Walk::begin("aws-lost").await;
    let ec2 = Ec2::start(&walk, &[]).await.behind_a_proxy(&walk).await;
    ec2.break_with(json!([
        rule("RunInstances", 3, &json!({ "response": { "abort_frac": 0.0 } })),
        rule("RunInstances", 2, &json!({ "reset": true })),
        rule("TerminateInstances", 1, &json!({ "response": { "abort_frac": 0.0 } })),
        rule("DescribeInstances", 2, &json!({ "response": { "truncate_frac": 0.5 } })),
    ]))
    .await;
    let _operator = operator(&walk, &[]).await;
    ec2.ready_pool(&walk, 4, json!({})).await;
    ec2.is_in_step(&walk).await;
    assert_eq!(ec2.machines(&walk).await.len(), 4);
}

#[tokio::test]
async fn each_refusal_is_told_by_its_kind() {
    let walk = Walk::begin("aws-refused").await;
    let ec2 = Ec2::start(&walk, &[]).await.behind_a_proxy(&walk).await;
    let _operator = operator(&walk, &[]).await;
    // Each has a type of its own, so that none is held back for another's reason; the quota, which is the account's,
    // comes last.
    for (code, of_type, told, reason) in [
        ("InsufficientInstanceCapacity", "m5.large", "CapacityAvailable", "NoCapacity"),
        ("UnauthorizedOperation", "c5.large", "Available", "Unauthorized"),
        ("InvalidParameterValue", "r5.large", "Available", "InvalidRequest"),
        ("VcpuLimitExceeded", "t3.large", "CapacityAvailable", "QuotaReached"),
    ] {
        let name = code.to_lowercase();
        ec2.break_with(json!([rule("RunInstances", 1000, &refused(code))])).await;
        ec2.launch_config(&walk, &name, json!({ "instanceType": of_type })).await;
        walk.pool(&format!("of-{name}"), json!({ "targetSize": 1, "launchConfigs": [{ "name": name }] })).await;
        walk.until(&name, &format!("says {told}=False for {reason}"), |config: &LaunchConfig| {
            let seen = condition(config, told);
            (seen.0.as_str(), seen.1.as_str()) == ("False", reason) && seen.2.contains(code)
        })
        .await;
    }
    assert_eq!(ec2.machines(&walk).await, []);
}

#[tokio::test]
async fn a_throttled_account_fills_its_pool_in_the_end() {
    let walk = Walk::begin("aws-throttled").await;
    let ec2 = Ec2::start(&walk, &[]).await.behind_a_proxy(&walk).await;
    ec2.break_with(json!([
        rule("RunInstances", 2, &refused("RequestLimitExceeded")),
        rule("DescribeInstances", 2, &refused("RequestLimitExceeded")),
    ]))
    .await;
    let _operator = operator(&walk, &[]).await;
    ec2.ready_pool(&walk, 2, json!({})).await;
    ec2.is_in_step(&walk).await;
}
