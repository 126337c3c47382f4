//! `bullpen conformance` against OpenStack.

use serde_json::json;
use tokio::process::Command;

use super::cloud::OpenStack;
use crate::harness::{BULLPEN, PATIENCE, Walk};

#[tokio::test]
async fn openstack_keeps_the_promises_of_a_provider() {
    let walk = Walk::begin("openstack-conformance").await;
    let cloud = OpenStack::begin(&walk).await;
    let config = json!({
        "apiVersion": "bullpen.dev/v1alpha1", "kind": "LaunchConfig", "metadata": { "name": "small" },
        "spec": cloud.spec(json!({ "image": "property:os_distro=debian" })),
    });
    let (file, clouds) = (walk.folder().join("launch-config.json"), walk.folder().join("clouds.yaml"));
    std::fs::write(&file, config.to_string()).expect("written");
    std::fs::write(&clouds, cloud.clouds_yaml()).expect("written");
    let mut command = Command::new(BULLPEN);
    command.args(["conformance", "--timeout", "60", "--launch-config"]).arg(file).arg("--clouds-yaml").arg(clouds);
    let run = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(6 * PATIENCE, run).await.expect("it ends in time").expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    cloud.is_empty().await;
}
