//! The operator's own start and end.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::json;

use crate::harness::{Operator, Walk};

/// What a program says before it gives up: one line, and not in the middle of a log.
fn last_words(operator: &mut Operator) -> String {
    let output = operator.output();
    let errors: Vec<&str> = output.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{output}");
    assert_eq!(output.lines().last(), errors.first().copied(), "nothing follows it:\n{output}");
    errors[0].to_owned()
}

#[tokio::test]
async fn without_permissions_it_ends_and_names_the_first_one_that_is_missing() {
    let walk = Walk::begin("no-permissions").await;
    walk.create::<ServiceAccount>(json!({ "metadata": { "name": "nobody" } })).await;
    let kubeconfig = walk.folder().join("nobody.kubeconfig");
    walk.write_kubeconfig(&kubeconfig, &walk.namespace, "nobody").await;
    let mut operator = Operator::start_as(&walk, &kubeconfig);
    assert_eq!(operator.exit_code().await, Some(1));
    let words = last_words(&mut operator);
    let expected = format!("not allowed to get instancepools.bullpen.dev in namespace {}", walk.namespace);
    assert!(words.contains(&expected), "{words}");
}

#[tokio::test]
async fn without_an_api_server_it_ends_and_says_so() {
    let walk = Walk::begin("no-server").await;
    let kubeconfig = walk.folder().join("nowhere.kubeconfig");
    let nowhere = json!({
        "apiVersion": "v1",
        "kind": "Config",
        // Nobody listens on port 1.
        "clusters": [{ "name": "nowhere", "cluster": { "server": "http://127.0.0.1:1" } }],
        "contexts": [{ "name": "nowhere", "context": { "cluster": "nowhere", "user": "" } }],
        "current-context": "nowhere",
    });
    std::fs::write(&kubeconfig, nowhere.to_string()).expect("written");
    let mut operator = Operator::start_as(&walk, &kubeconfig);
    assert_eq!(operator.exit_code().await, Some(1));
    let words = last_words(&mut operator);
    assert!(words.contains("API server cannot be reached"), "{words}");
}

#[tokio::test]
async fn asked_to_end_it_ends_promptly_and_well_and_its_machines_stay() {
    let walk = Walk::begin("stopped").await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    let began = Instant::now();
    assert_eq!(operator.stop().await, Some(0), "{}", operator.output());
    let took = began.elapsed();
    eprintln!("stopped in {} ms", took.as_millis());
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(!operator.output().contains("panicked"), "{}", operator.output());
    assert_eq!(walk.simcloud.ledger().await.living().len(), 2);

    operator.start_again().await;
    walk.claim("after", json!({})).await;
    walk.bound("after").await;
}
