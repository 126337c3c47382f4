//! The IAM policy in `deploy/aws` against the calls that the operator makes.

use std::collections::BTreeSet;

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use serde_json::{Value, json};

use super::cloud::{Ec2, REGION, operator};
use crate::harness::objects::POOL;
use crate::harness::{Walk, eventually};

/// The actions that the policy allows.
fn allowed() -> BTreeSet<String> {
    let policy: Value = serde_json::from_str(include_str!("../../../deploy/aws/policy.json")).expect("it is JSON");
    let statements = policy["Statement"].as_array().expect("a list");
    let allow = statements.iter().filter(|statement| statement["Effect"] == "Allow");
    let actions = allow.flat_map(|statement| match &statement["Action"] {
        Value::String(one) => vec![one.clone()],
        many => serde_json::from_value(many.clone()).expect("a list of actions"),
    });
    actions.collect()
}

#[tokio::test]
async fn the_policy_allows_exactly_the_calls_that_are_made() {
    let walk = Walk::begin("aws-policy").await;
    let ec2 = Ec2::start(&walk, &[]).await.behind_a_proxy(&walk).await;
    ec2.record().await;
    let queue = format!("{REGION}={}", ec2.queue("bullpen").await);
    let _operator = operator(&walk, &[("--aws-interruption-queue", &queue)]).await;
    let source = ec2.stranger("source", &[]).await;
    ec2.new_image(&source, "ci-1").await;
    let parameter = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";
    for (name, image) in [("by-name", "name:self/ci-*"), ("by-parameter", &*format!("resolve:ssm:{parameter}"))] {
        ec2.launch_config(&walk, name, json!({ "image": image })).await;
        let resolved = |config: &LaunchConfig| config.image().is_some();
        walk.until::<LaunchConfig>(name, "has an image", resolved).await;
    }
    walk.pool(POOL, json!({ "targetSize": 1, "launchConfigs": [{ "name": "by-name" }] })).await;
    walk.pool_has_ready(1).await;
    // What is no notice is deleted.
    ec2.send(queue.split_once('=').expect("a URL").1, &json!({ "detail-type": "something else" })).await;
    walk.claim("job", json!({})).await;
    walk.bound("job").await;
    eventually("the machine is tagged with its claim, and the message is deleted", async || {
        let calls = ec2.recorded().await;
        if ["ec2:CreateTags", "sqs:DeleteMessage"].iter().all(|call| calls.contains(*call)) {
            Ok(())
        } else {
            Err(format!("{calls:?}"))
        }
    })
    .await;
    walk.delete::<PoolClaim>("job").await;
    walk.delete::<InstancePool>(POOL).await;
    walk.none_left::<PoolMember>().await;
    let mut made = ec2.recorded().await;
    assert!(made.remove("sts:GetCallerIdentity"), "{made:?}: no policy can forbid it, so none allows it");
    assert_eq!(made, allowed());
}
