//! The IAM policy in `deploy/aws` against the calls that the operator makes.

use std::collections::BTreeSet;

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use bullpen_ec2::{CallError, Client, Filter, ImageFilter, RunInstances};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cloud::{Ec2, REGION, TYPE, credentials_of, operator};
use super::standby::{WHOLE_WAY, rests_with};
use crate::harness::objects::POOL;
use crate::harness::{Operator, Walk, eventually_within};

const PARAMETER: &str = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";

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
    for (name, image) in [("by-name", "name:self/ci-*"), ("by-parameter", &*format!("resolve:ssm:{PARAMETER}"))] {
        ec2.launch_config(&walk, name, json!({ "image": image })).await;
        let resolved = |config: &LaunchConfig| config.image().is_some();
        walk.until::<LaunchConfig>(name, "has an image", resolved).await;
    }
    ec2.launch_config(&walk, "spot", json!({ "market": "Spot", "hourlyPrice": "auto" })).await;
    let standby = json!({ "targetSize": 1, "standby": { "size": 1 }, "launchConfigs": [{ "name": "by-name" }] });
    walk.pool(POOL, standby).await;
    rests_with(&walk, 1, 1).await;
    // What is no notice is deleted.
    ec2.send(queue.split_once('=').expect("a URL").1, &json!({ "detail-type": "something else" })).await;
    walk.claim("job", json!({})).await;
    walk.bound("job").await;
    let last = ["ec2:CreateTags", "ec2:StartInstances", "ec2:DescribeSpotPriceHistory", "sqs:DeleteMessage"];
    eventually_within(WHOLE_WAY, "a machine is tagged, another one started, and the rest is done", async || {
        let calls = ec2.recorded().await;
        if last.iter().all(|call| calls.contains(*call)) { Ok(()) } else { Err(format!("{calls:?}")) }
    })
    .await;
    walk.delete::<PoolClaim>("job").await;
    walk.delete::<InstancePool>(POOL).await;
    walk.none_left::<PoolMember>().await;
    let mut made = ec2.recorded().await;
    assert!(made.remove("sts:GetCallerIdentity"), "{made:?}: no policy can forbid it, so none allows it");
    assert_eq!(made, allowed());
}

/// What is there to call on.
struct Surroundings {
    subnet: String,
    image: String,
    machine: String,
    queue: String,
}

/// Makes the call of an action once.
async fn call(client: &Client, action: &str, on: &Surroundings) -> Result<(), CallError> {
    match action {
        "ec2:DescribeInstances" => client.describe_instances(Filter::Id(&on.machine)).await.map(drop),
        "ec2:DescribeImages" => {
            // moto writes the form anew to check its signature, and `*` otherwise than it came.
            let filter = ImageFilter { owner: "amazon".into(), name: "none".into() };
            client.latest_image(&filter).await.map(drop)
        }
        "ec2:DescribeSpotPriceHistory" => {
            client.spot_price(TYPE, &format!("{REGION}a"), Timestamp::now()).await.map(drop)
        }
        "ssm:GetParameter" => client.parameter(PARAMETER).await.map(drop),
        "ec2:RunInstances" => {
            let request = RunInstances {
                client_token: "asked".into(),
                image: Some(on.image.clone()),
                instance_type: Some(TYPE.into()),
                subnet: Some(on.subnet.clone()),
                ..RunInstances::default()
            };
            client.run_instances(&request).await.map(drop)
        }
        "ec2:CreateTags" => client.create_tags(&on.machine, &[("a".to_owned(), "b".to_owned())].into()).await,
        "ec2:StopInstances" => client.stop_instances(&on.machine, false).await,
        "ec2:StartInstances" => client.start_instances(&on.machine).await,
        "ec2:TerminateInstances" => client.terminate_instances(&on.machine).await,
        "sqs:ReceiveMessage" => client.receive_messages(&on.queue, 0).await.map(drop),
        "sqs:DeleteMessage" => client.delete_message(&on.queue, "none").await,
        other => panic!("{other} is in the policy: add its call here"),
    }
}

#[tokio::test]
async fn each_call_is_refused_without_its_line_of_the_policy() {
    let walk = Walk::begin("aws-denied").await;
    let ec2 = Ec2::start(&walk, &[]).await;
    let (subnet, image) = ec2.surroundings(&format!("{REGION}a")).await;
    let on = Surroundings { subnet, image, machine: ec2.stranger("m", &[]).await, queue: ec2.queue("bullpen").await };
    let user = ec2.new_user("bullpen").await;
    let client = ec2.as_user(&user);
    let all = allowed();
    for action in &all {
        let others: BTreeSet<_> = all.iter().filter(|other| *other != action).cloned().collect();
        ec2.let_user("bullpen", &others).await;
        ec2.enforce(true).await;
        let refused = call(&client, action, &on).await.expect_err(action);
        let denied = ["UnauthorizedOperation", "AccessDenied", "AccessDeniedException"];
        // moto writes these errors in XML also to services that speak JSON.
        let by_status = !action.starts_with("ec2:") && refused.to_string().starts_with("HTTP 403");
        assert!(by_status || denied.contains(&refused.code().unwrap_or_default()), "{action}: {refused}");
        client.account().await.expect("everybody may ask who they are");
        ec2.enforce(false).await;
        ec2.let_user("bullpen", &all).await;
        ec2.enforce(true).await;
        // A message that never was cannot be deleted, whoever asks, nor a machine be stopped that boots.
        let missing = ["ReceiptHandleIsInvalid", "IncorrectInstanceState"];
        match call(&client, action, &on).await {
            Ok(()) => {}
            Err(error) => assert!(missing.contains(&error.code().unwrap_or_default()), "{action}: {error}"),
        }
        ec2.enforce(false).await;
    }
    let other = ec2.as_user(&(user.0.clone(), "another-secret".to_owned()));
    ec2.enforce(true).await;
    let refused = other.describe_instances(Filter::Id(&on.machine)).await.expect_err("the signature is wrong");
    assert!(["AuthFailure", "SignatureDoesNotMatch"].contains(&refused.code().unwrap_or_default()), "{refused}");
}

#[tokio::test]
async fn the_calls_of_the_policy_are_enough_to_serve_a_claim() {
    let walk = Walk::begin("aws-enough").await;
    let ec2 = Ec2::start(&walk, &[]).await;
    let (key, secret) = ec2.new_user("bullpen").await;
    ec2.let_user("bullpen", &allowed()).await;
    ec2.pool(&walk, 1, json!({})).await;
    ec2.enforce(true).await;
    let _operator = Operator::start_under(&walk, &[], &credentials_of(&key, &secret)).await;
    walk.pool_has_ready(1).await;
    walk.claim("job", json!({})).await;
    walk.bound("job").await;
    walk.delete::<PoolClaim>("job").await;
    walk.delete::<InstancePool>(POOL).await;
    walk.none_left::<PoolMember>().await;
    ec2.enforce(false).await;
    assert!(ec2.living(&walk).await.is_empty());
}
