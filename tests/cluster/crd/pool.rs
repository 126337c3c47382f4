//! A pool's sizes and their rules, its scale, its name and its defaults.

use serde_json::{Value, json};

use super::sandbox::{
    Case, Sandbox, assert_each_refused, assert_each_required, assert_refused, manifest, with, without,
};

/// A good pool, with every part that has fields in it.
pub(super) fn pool() -> Value {
    manifest(
        "InstancePool",
        &json!({
            "targetSize": 5,
            "maxSize": 20,
            "launchConfigs": [{"name": "small"}, {"name": "large"}],
            "template": {"labels": {"team": "ci"}, "tags": {"cost-center": "42"}},
            "readiness": {},
            "provisioning": {},
        }),
    )
}

#[tokio::test]
async fn a_plain_pool_is_accepted_and_gets_the_defaults() {
    let sandbox = Sandbox::new().await;
    let minimal = manifest("InstancePool", &json!({"targetSize": 0, "maxSize": 0, "launchConfigs": [{"name": "a"}]}));
    let spec = sandbox.created(&minimal).await["spec"].clone();
    assert_eq!(
        spec,
        json!({
            "targetSize": 0,
            "maxSize": 0,
            "minSize": 0,
            "scaleDownDelaySeconds": 30,
            "lifecycleClass": "Ephemeral",
            "state": "Active",
            "launchConfigs": [{"name": "a", "weight": 100}],
            "claims": {
                "staleAfterSeconds": 86400,
                "whenEmpty": "Wait",
                "onInterrupt": "Flag",
                "releaseOnDone": false,
                "allowedNamespaces": {"from": "Same"},
            },
            "template": {},
            "readiness": {"launchTimeoutSeconds": 600, "warmingTimeoutSeconds": 1800},
            "recycle": {"readyTtlSeconds": 14400, "jitterPercent": 20},
            "disruption": {"maxSurge": 1, "maxUnavailable": 0},
            "rollout": {"type": "RollingReplace", "progressDeadlineSeconds": 1800, "onFailure": "Pause"},
            "provisioning": {
                "maxConcurrentCreates": 10,
                "maxConcurrentDeletes": 10,
                "failureThreshold": 5,
                "cooldownSeconds": 60,
            },
        })
    );
}

#[tokio::test]
async fn labels_annotations_and_finalizers_are_kept() {
    let sandbox = Sandbox::new().await;
    let mut marked = pool();
    let marks = [("labels", json!({"a": "b"})), ("annotations", json!({"c": "d"})), ("finalizers", json!(["e.f/g"]))];
    for (field, value) in &marks {
        marked["metadata"][field] = value.clone();
    }
    let kept = sandbox.get(&sandbox.created(&marked).await).await;
    for (field, value) in marks {
        assert_eq!(kept["metadata"][field], value);
    }
}

#[tokio::test]
async fn a_fresh_pool_is_not_yet_observed() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&pool()).await;
    assert_eq!(created["status"], json!({"observedGeneration": -1}));
    assert_eq!(sandbox.get(&created).await["status"], json!({"observedGeneration": -1}));
}

#[tokio::test]
async fn a_status_that_somebody_sends_along_is_not_taken() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&with(&pool(), "/status", json!({"observedGeneration": 7, "replicas": 3}))).await;
    assert_eq!(sandbox.get(&created).await["status"], json!({"observedGeneration": -1}));
}

#[tokio::test]
async fn a_name_of_48_characters_is_accepted_and_a_longer_one_refused() {
    let sandbox = Sandbox::new().await;
    let named = |length| with(&pool(), "/metadata", json!({"name": "p".repeat(length)}));
    sandbox.created(&named(48)).await;
    assert_refused(
        "a name of 49",
        sandbox.create(&named(49)).await,
        &["metadata.name", "name of a pool", "at most 48 characters"],
    );
}

#[tokio::test]
async fn a_bad_size_state_or_time_is_refused_with_a_message_that_names_the_field() {
    let sandbox = Sandbox::new().await;
    let cases: &[Case] = &[
        ("targetSize null", "/spec/targetSize", json!(null), &["spec.targetSize", "Required value"]),
        ("targetSize negative", "/spec/targetSize", json!(-1), &["spec.targetSize", "greater than or equal to 0"]),
        ("targetSize text", "/spec/targetSize", json!("five"), &["spec.targetSize", "integer", "string"]),
        ("targetSize fraction", "/spec/targetSize", json!(1.5), &["spec.targetSize", "integer"]),
        ("targetSize huge", "/spec/targetSize", json!(10_001), &["spec.targetSize", "less than or equal to 10000"]),
        ("maxSize null", "/spec/maxSize", json!(null), &["spec.maxSize", "Required value"]),
        ("maxSize negative", "/spec/maxSize", json!(-1), &["spec.maxSize", "greater than or equal to 0"]),
        ("targetSize > maxSize", "/spec/targetSize", json!(21), &["targetSize", "must not be above maxSize"]),
        ("minSize > targetSize", "/spec/minSize", json!(6), &["minSize", "must not be above targetSize"]),
        ("minSize negative", "/spec/minSize", json!(-1), &["spec.minSize", "greater than or equal to 0"]),
        ("a mistyped field", "/spec/targetSzie", json!(5), &["unknown field", "spec.targetSzie"]),
        ("a mistyped field inside", "/spec/template/lables", json!({}), &["unknown field", "spec.template.lables"]),
        ("an unknown state", "/spec/state", json!("Stopped"), &["spec.state", "\"Active\", \"Paused\", \"Draining\""]),
        (
            "an unknown class",
            "/spec/lifecycleClass",
            json!("Cheap"),
            &["spec.lifecycleClass", "\"Ephemeral\", \"Spot\""],
        ),
        (
            "launchTimeoutSeconds 0",
            "/spec/readiness/launchTimeoutSeconds",
            json!(0),
            &["spec.readiness.launchTimeoutSeconds", "greater than or equal to 1"],
        ),
        (
            "warmingTimeoutSeconds over a day",
            "/spec/readiness/warmingTimeoutSeconds",
            json!(86_401),
            &["spec.readiness.warmingTimeoutSeconds", "less than or equal to 86400"],
        ),
        (
            "no create slot",
            "/spec/provisioning/maxConcurrentCreates",
            json!(0),
            &["spec.provisioning.maxConcurrentCreates", "greater than or equal to 1"],
        ),
        (
            "failureThreshold 0",
            "/spec/provisioning/failureThreshold",
            json!(0),
            &["spec.provisioning.failureThreshold", "greater than or equal to 1"],
        ),
        (
            "failureThreshold over 100",
            "/spec/provisioning/failureThreshold",
            json!(101),
            &["spec.provisioning.failureThreshold", "less than or equal to 100"],
        ),
        (
            "cooldownSeconds 0",
            "/spec/provisioning/cooldownSeconds",
            json!(0),
            &["spec.provisioning.cooldownSeconds", "greater than or equal to 1"],
        ),
        (
            "cooldownSeconds over a day",
            "/spec/provisioning/cooldownSeconds",
            json!(86_401),
            &["spec.provisioning.cooldownSeconds", "less than or equal to 86400"],
        ),
        (
            "no delete slot",
            "/spec/provisioning/maxConcurrentDeletes",
            json!(0),
            &["spec.provisioning.maxConcurrentDeletes", "greater than or equal to 1"],
        ),
    ];
    assert_each_refused(&sandbox, &pool(), cases).await;
    assert_each_required(&sandbox, &pool(), &["targetSize", "maxSize", "launchConfigs"]).await;
    assert_refused("without a spec", sandbox.create(&without(&pool(), "/spec")).await, &["spec", "Required value"]);
}

#[tokio::test]
async fn lowering_max_size_below_the_target_is_accepted_and_leaves_the_rest_editable() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&pool()).await;
    let braked = sandbox.replace(&with(&created, "/spec/maxSize", json!(2))).await.expect("the emergency brake");
    let paused = sandbox.replace(&with(&braked, "/spec/state", json!("Paused"))).await.expect("another field");
    let same_target = sandbox.replace(&with(&paused, "/spec/maxSize", json!(1))).await.expect("the brake again");
    sandbox.replace(&with(&same_target, "/spec/targetSize", json!(1))).await.expect("a target under the limit");
}

#[tokio::test]
async fn a_target_is_not_raised_above_max_size() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&pool()).await;
    let raised = sandbox.replace(&with(&created, "/spec/targetSize", json!(21))).await;
    assert_refused("raised above", raised, &["targetSize", "must not be above maxSize"]);
    let braked = sandbox.replace(&with(&created, "/spec/maxSize", json!(2))).await.expect("the emergency brake");
    for target in [3, 6] {
        let moved = sandbox.replace(&with(&braked, "/spec/targetSize", json!(target))).await;
        assert_refused("moved while above", moved, &["targetSize", "must not be above maxSize"]);
    }
}

#[tokio::test]
async fn the_scale_subresource_reads_and_sets_the_target() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&pool()).await;
    let scale = sandbox.scale(&created).await;
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["spec"]["replicas"], 5);
    assert_eq!(scale["status"]["replicas"], 0);

    let status = json!({"observedGeneration": 1, "replicas": 4, "selector": "bullpen.dev/pool=ci"});
    sandbox.replace_status(&created, &status).await.expect("a status");
    let scale = sandbox.set_scale(&created, 8).await.expect("kubectl scale");
    assert_eq!(scale["spec"]["replicas"], 8);
    assert_eq!(scale["status"], json!({"replicas": 4, "selector": "bullpen.dev/pool=ci"}));
    assert_eq!(sandbox.get(&created).await["spec"]["targetSize"], 8);
}

#[tokio::test]
async fn the_scale_subresource_keeps_to_the_rules_of_the_pool() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&with(&pool(), "/spec/minSize", json!(2))).await;
    let too_much = sandbox.set_scale(&created, 21).await;
    assert_refused("scaled above maxSize", too_much, &["targetSize", "must not be above maxSize"]);
    let too_little = sandbox.set_scale(&created, 1).await;
    assert_refused("scaled below minSize", too_little, &["minSize", "must not be above targetSize"]);
    assert_eq!(sandbox.get(&created).await["spec"]["targetSize"], 5);
}
