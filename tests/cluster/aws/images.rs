//! Images by parameter and by name, and lists in pages.

use std::time::Duration;

use bullpen_api::LaunchConfig;
use bullpen_ec2::{Filter, Instance};
use serde_json::json;

use super::cloud::{Ec2, operator};
use crate::harness::objects::{POOL, condition};
use crate::harness::{Walk, eventually};

fn resolved(config: &LaunchConfig) -> Option<String> {
    config.status.as_ref()?.resolved_image.as_ref().map(|image| image.id.clone())
}

fn images(machines: Vec<Instance>) -> Vec<String> {
    machines.into_iter().map(|machine| machine.image).collect()
}

#[tokio::test]
async fn an_image_by_name_is_the_latest_and_a_newer_one_is_a_rollout() {
    let walk = Walk::begin("aws-image").await;
    let ec2 = Ec2::start(&walk, &[]).await;
    let mut operator = operator(&walk, &[]).await;
    let source = ec2.stranger("source", &[]).await;
    let first = ec2.new_image(&source, "ci-1").await;
    ec2.launch_config(&walk, "m5", json!({ "image": "name:self/ci-*" })).await;
    walk.pool(POOL, json!({ "targetSize": 2, "launchConfigs": [{ "name": "m5" }] })).await;
    walk.pool_has_ready(2).await;
    assert_eq!(images(ec2.living(&walk).await), [first.as_str(); 2]);

    // EC2 dates images by seconds; a name is looked up every five minutes, and at a start.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let second = ec2.new_image(&source, "ci-2").await;
    operator.kill_9();
    operator.start_again().await;
    walk.until("m5", "has the newer image", |config: &LaunchConfig| resolved(config).as_ref() == Some(&second)).await;
    eventually("all machines are of the newer image", async || {
        let images = images(ec2.living(&walk).await);
        if images == [second.as_str(); 2] { Ok(()) } else { Err(format!("{images:?}")) }
    })
    .await;
    walk.pool_has_ready(2).await;
}

#[tokio::test]
async fn an_image_by_parameter_is_found_and_one_that_is_not_there_is_told() {
    let walk = Walk::begin("aws-parameter").await;
    let ec2 = Ec2::start(&walk, &[]).await;
    let _operator = operator(&walk, &[]).await;
    let name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";
    ec2.launch_config(&walk, "by-parameter", json!({ "image": format!("resolve:ssm:{name}") })).await;
    let has_one = |config: &LaunchConfig| resolved(config).is_some();
    let config: LaunchConfig = walk.until("by-parameter", "has an image", has_one).await;
    assert!(resolved(&config).is_some_and(|id| id.starts_with("ami-")), "{:?}", config.status);

    ec2.launch_config(&walk, "missing", json!({ "image": "resolve:ssm:/not/there" })).await;
    walk.until("missing", "says that there is none", |config: &LaunchConfig| {
        let (status, reason, message) = condition(config, "Available");
        (status.as_str(), reason.as_str()) == ("False", "ImageNotResolved") && message.contains("ParameterNotFound")
    })
    .await;
    walk.pool(POOL, json!({ "targetSize": 1, "launchConfigs": [{ "name": "missing" }] })).await;
    walk.pool_until(POOL, "says what it waits for", |status| format!("{status:?}").contains("ImageNotResolved")).await;
    assert_eq!(ec2.machines(&walk).await, []);
}

#[tokio::test]
async fn a_list_of_many_pages_has_each_machine_once() {
    let walk = Walk::begin("aws-pages").await;
    let ec2 = Ec2::start(&walk, &[]).await;
    let mut bought = Vec::new();
    for number in 0..250 {
        bought.push(ec2.stranger(&format!("m-{number}"), &[("bullpen.dev/installation", "pages")]).await);
    }
    let listed = ec2.in_pages_of(50).describe_instances(Filter::Tag("bullpen.dev/installation", "pages")).await;
    let mut listed: Vec<_> = listed.expect("a list").into_iter().map(|machine| machine.id).collect();
    listed.sort_unstable();
    bought.sort_unstable();
    assert_eq!(listed, bought);
}
