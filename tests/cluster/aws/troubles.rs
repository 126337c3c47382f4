//! EC2 that refuses, loses answers and hangs, and an operator that dies: nothing is bought twice, nothing is left.

use bullpen_api::LaunchConfig;
use serde_json::{Value, json};

use super::cloud::{Ec2, operator};
use crate::harness::Walk;
use crate::harness::objects::condition;

fn rule(operation: &str, times: u32, effect: &Value) -> Value {
    let mut rule = json!({ "service": "ec2", "operation": operation, "times": times });
    rule.as_object_mut().expect("an object").extend(effect.as_object().expect("an object").clone());
    rule
}

fn refused(code: &str) -> Value {
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
async fn each_refusal_is_told_by_its_kind_and_ends_by_itself() {
    let walk = Walk::begin("aws-refused").await;
    let ec2 = Ec2::start(&walk, &[]).await.behind_a_proxy(&walk).await;
    let _operator = operator(&walk, &[]).await;
    for (code, reason) in [
        ("InsufficientInstanceCapacity", "InsufficientCapacity"),
        ("VcpuLimitExceeded", "QuotaExceeded"),
        ("UnauthorizedOperation", "AuthFailed"),
    ] {
        let name = code.to_lowercase();
        ec2.break_with(json!([rule("RunInstances", 1000, &refused(code))])).await;
        ec2.launch_config(&walk, &name, json!({})).await;
        let pool = json!({ "targetSize": 1, "launchConfigs": [{ "name": name }] });
        walk.pool(&format!("of-{name}"), pool).await;
        let config: LaunchConfig = walk
            .until(&name, "tells the code", |config: &LaunchConfig| {
                let error = config.status.as_ref().and_then(|status| status.last_error.as_ref());
                error.is_some_and(|error| format!("{error:?}").contains(code))
            })
            .await;
        println!("{code}: {:?} {:?} {reason}", condition(&config, "Available"), config.status.unwrap().last_error);
    }
    ec2.break_with(json!([])).await;
    assert_eq!(ec2.machines(&walk).await.len(), 0);
}
