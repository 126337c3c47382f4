//! Claims that any of several pools may serve.

use bullpen_api::{ClaimPhase, InstancePool, PoolClaim};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::objects::{POOL, condition, phase};
use crate::harness::{Operator, Walk};
use crate::walks::claims::queue::{place, says};

/// A pool with these labels.
async fn pool(walk: &Walk, name: &str, labels: &Value, spec: Value) {
    let mut whole = json!({ "targetSize": 0, "maxSize": 20, "launchConfigs": [{ "name": "sim" }] });
    whole.as_object_mut().expect("a map").extend(spec.as_object().expect("a map").clone());
    walk.create::<InstancePool>(json!({ "metadata": { "name": name, "labels": labels }, "spec": whole })).await;
}

/// A claim on any pool with the label `gpu`.
async fn claim(walk: &Walk, name: &str, spec: Value) {
    let mut whole = json!({ "poolSelector": { "matchLabels": { "gpu": "yes" } } });
    whole.as_object_mut().expect("a map").extend(spec.as_object().expect("a map").clone());
    walk.create::<PoolClaim>(json!({ "metadata": { "name": name }, "spec": whole })).await;
}

fn gpu() -> Value {
    json!({ "gpu": "yes" })
}

async fn has_ready(walk: &Walk, pool: &str, size: i32) {
    let what = format!("has {size} ready members");
    walk.pool_until(pool, &what, |status| status.members.is_some_and(|members| members.ready == size)).await;
}

async fn has_waiting(walk: &Walk, pool: &str, claims: i32) {
    let what = format!("has {claims} claims that are its demand");
    walk.pool_until(pool, &what, |status| status.waiting_claims == claims).await;
}

/// The pool that served a claim.
fn served_by(claim: &PoolClaim) -> String {
    let pool = claim.status.as_ref().and_then(|status| status.pool_ref.clone()).unwrap_or_default();
    assert_eq!(Some(pool.namespace), claim.metadata.namespace);
    pool.name
}

#[tokio::test]
async fn a_selector_claim_gets_a_machine_of_any_matching_pool() {
    let walk = Walk::begin("selector").await;
    let operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({})).await;
    pool(&walk, "large", &gpu(), json!({})).await;
    pool(&walk, "stocked", &gpu(), json!({ "targetSize": 1, "maxSize": 2 })).await;
    pool(&walk, "other", &json!({}), json!({ "targetSize": 1 })).await;
    pool(&walk, "spot", &gpu(), json!({ "targetSize": 1, "maxSize": 2, "lifecycleClass": "Spot" })).await;
    for name in ["stocked", "other", "spot"] {
        has_ready(&walk, name, 1).await;
    }
    let before = walk.simcloud.ledger().await.bought();
    let class = json!({ "poolSelector": { "matchLabels": { "gpu": "yes" }, "lifecycleClass": "Ephemeral" } });
    claim(&walk, "build", class).await;
    let bound = walk.bound("build").await;
    assert_eq!(served_by(&bound), "stocked");
    claim(&walk, "cheap", json!({ "poolSelector": { "lifecycleClass": "Spot" } })).await;
    assert_eq!(served_by(&walk.bound("cheap").await), "spot");
    // Both are replaced where they were taken, and nothing else is bought.
    for name in ["stocked", "spot"] {
        has_ready(&walk, name, 1).await;
    }
    walk.request_a_pass("large", "1").await;
    assert_eq!(walk.simcloud.ledger().await.bought(), before + 2);
    let series =
        format!(r#"bullpen_claim_bind_duration_seconds_count{{namespace="{}",pool="stocked"}}"#, walk.namespace);
    operator.metric_is(&series, 1.0).await;
}

#[tokio::test]
async fn it_is_the_demand_of_one_pool_only() {
    let walk = Walk::begin("selector-demand").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({ "simulated": { "bootMilliseconds": 1_500 } })).await;
    for (name, max) in [("a", 5), ("b", 9), ("c", 3)] {
        pool(&walk, name, &gpu(), json!({ "maxSize": max })).await;
        has_ready(&walk, name, 0).await;
    }
    claim(&walk, "build", json!({})).await;
    let waits =
        says(&walk, "build", "no member is ready in the 3 pools that match; position 1 of 1 in pool b; 1 ").await;
    assert_eq!(place(&waits).pool.as_deref(), Some("b"), "it may still buy most");
    assert_eq!(served_by(&walk.bound("build").await), "b");
    for name in ["a", "b", "c"] {
        has_waiting(&walk, name, 0).await;
        walk.request_a_pass(name, "1").await;
    }
    assert_eq!(walk.simcloud.ledger().await.bought(), 1, "exactly one machine is bought for it");
}

#[tokio::test]
async fn it_moves_on_when_its_pool_is_paused_or_deleted() {
    let walk = Walk::begin("selector-moves").await;
    let mut operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({ "simulated": { "bootMilliseconds": 600_000 } })).await;
    walk.launch_config("fast", json!({})).await;
    for (name, max) in [("a", 9), ("b", 5)] {
        pool(&walk, name, &gpu(), json!({ "maxSize": max })).await;
    }
    pool(&walk, "c", &gpu(), json!({ "maxSize": 3, "launchConfigs": [{ "name": "fast" }] })).await;
    claim(&walk, "build", json!({})).await;
    has_waiting(&walk, "a", 1).await;
    says(&walk, "build", "in pool a").await;

    walk.set::<InstancePool>("a", json!({ "state": "Paused" })).await;
    has_waiting(&walk, "b", 1).await;
    has_waiting(&walk, "a", 0).await;
    says(&walk, "build", "in pool b").await;

    // That it is resumed brings nothing back: two pools do not buy in turns. Nor does a start of the operator.
    walk.set::<InstancePool>("a", json!({ "state": "Active" })).await;
    operator.kill_9();
    operator.start_again().await;
    operator.is_ready().await;
    walk.request_a_pass("a", "1").await;
    has_waiting(&walk, "b", 1).await;
    has_waiting(&walk, "a", 0).await;

    walk.set::<InstancePool>("a", json!({ "state": "Draining" })).await;
    walk.delete::<InstancePool>("b").await;
    assert_eq!(served_by(&walk.bound("build").await), "c");
    walk.gone::<InstancePool>("b").await;
}

#[tokio::test]
async fn a_pool_that_gets_the_label_serves_it() {
    let walk = Walk::begin("selector-label").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    claim(&walk, "build", json!({})).await;
    says(&walk, "build", "no pool in this namespace matches").await;
    let patch = Patch::Merge(json!({ "metadata": { "labels": { "gpu": "yes" } } }));
    walk.api::<InstancePool>().patch(POOL, &PatchParams::default(), &patch).await.expect("it is labelled");
    assert_eq!(served_by(&walk.bound("build").await), POOL);
    // What is bound stays so.
    let patch = Patch::Merge(json!({ "metadata": { "labels": { "gpu": null } } }));
    walk.api::<InstancePool>().patch(POOL, &PatchParams::default(), &patch).await.expect("the label is taken away");
    claim(&walk, "late", json!({})).await;
    says(&walk, "late", "no pool in this namespace matches").await;
    assert_eq!(phase(&walk.get("build").await), ClaimPhase::Bound);
}

#[tokio::test]
async fn without_a_matching_pool_it_says_so() {
    let walk = Walk::begin("selector-none").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    claim(&walk, "build", json!({})).await;
    let waits = says(&walk, "build", "no pool in this namespace matches").await;
    assert_eq!(condition(&waits, "Bound").1, "PoolNotFound");
    assert_eq!(place(&waits).position, None);
    claim(&walk, "hurried", json!({ "waitTimeoutSeconds": 2 })).await;
    let failed = |claim: &PoolClaim| phase(claim) == ClaimPhase::Failed;
    let hurried = walk.until("hurried", "is Failed", failed).await;
    assert_eq!(condition(&hurried, "Bound").1, "PoolNotFound");
    assert_eq!(hurried.status.and_then(|status| status.pool_ref), None);
}

#[tokio::test]
async fn pool_ref_and_pool_selector_together_are_refused() {
    let walk = Walk::begin("selector-both").await;
    let spec = json!({ "poolRef": { "name": "ci" }, "poolSelector": { "matchLabels": { "gpu": "yes" } } });
    let both = serde_json::from_value(json!({ "metadata": { "name": "both" }, "spec": spec })).expect("a claim");
    let answer = walk.api::<PoolClaim>().create(&kube::api::PostParams::default(), &both).await;
    let words = answer.expect_err("it is refused").to_string();
    assert!(words.contains("exactly one of poolRef and poolSelector must be set"), "{words}");
}

#[tokio::test]
async fn a_selector_claim_that_does_not_wait_fails_only_if_no_matching_pool_has_a_ready_member() {
    let walk = Walk::begin("selector-fail").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({})).await;
    pool(&walk, "empty", &gpu(), json!({})).await;
    pool(&walk, "stocked", &gpu(), json!({ "targetSize": 1, "maxSize": 1 })).await;
    has_ready(&walk, "empty", 0).await;
    has_ready(&walk, "stocked", 1).await;
    claim(&walk, "first", json!({ "whenEmpty": "Fail" })).await;
    assert_eq!(served_by(&walk.bound("first").await), "stocked");
    claim(&walk, "second", json!({ "whenEmpty": "Fail" })).await;
    let failed = |claim: &PoolClaim| phase(claim) == ClaimPhase::Failed;
    let second = walk.until("second", "is Failed", failed).await;
    let (_, reason, message) = condition(&second, "Bound");
    assert_eq!(reason, "NoReadyMembers");
    assert!(message.contains("the 2 pools that match"), "{message}");
    assert_eq!(served_by(&second), "empty", "it says in whose queue it was");
    assert_eq!(walk.simcloud.ledger().await.bought(), 1, "it is nobody's demand");
}

#[tokio::test]
async fn the_quota_of_a_namespace_holds_in_each_pool_and_sends_demand_to_the_next() {
    let walk = Walk::begin("selector-quota").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({})).await;
    let quota = json!({ "claims": { "perNamespace": 1 } });
    pool(&walk, "a", &gpu(), quota.clone()).await;
    pool(&walk, "b", &gpu(), quota).await;
    claim(&walk, "first", json!({})).await;
    assert_eq!(served_by(&walk.bound("first").await), "a");
    claim(&walk, "second", json!({})).await;
    assert_eq!(served_by(&walk.bound("second").await), "b");
    claim(&walk, "third", json!({})).await;
    let third = says(&walk, "third", "none of the 2 pools that match serves it: namespace ").await;
    assert_eq!(condition(&third, "Bound").1, "NamespaceQuotaReached");
    walk.delete::<PoolClaim>("second").await;
    assert_eq!(served_by(&walk.bound("third").await), "b");
}

#[cfg(feature = "kubectl")]
#[tokio::test]
async fn the_plugin_claims_by_labels_and_tells_of_such_claims() {
    let walk = Walk::begin("selector-plugin").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({})).await;
    pool(&walk, "a", &gpu(), json!({ "targetSize": 1, "maxSize": 1 })).await;
    has_ready(&walk, "a", 1).await;
    let script = ["claim", "--selector", "gpu=yes", "--name", "build", "--", "sh", "-c", "echo from $BULLPEN_POOL"];
    assert_eq!(walk.plugin_says(&script).await.trim(), "from a");
    walk.none_left::<PoolClaim>().await;

    walk.plugin_says(&["claim", "-l", "gpu=no", "--class", "spot", "--name", "rare"]).await;
    says(&walk, "rare", "no pool in this namespace matches").await;
    let claims = walk.plugin_says(&["claims"]).await;
    assert!(claims.contains("(gpu=no,class Spot)"), "{claims}");
    let why = walk.plugin_says(&["why", "claim/rare"]).await;
    assert!(why.contains("it waits for a machine of any pool with gpu=no,class Spot"), "{why}");
    for wrong in [&["claim"][..], &["claim", "a", "-l", "gpu=yes"], &["claim", "-l", "gpu"]] {
        let answer = walk.plugin(wrong).await;
        assert_ne!(answer.code, Some(0), "{wrong:?}: {answer:?}");
    }
}
