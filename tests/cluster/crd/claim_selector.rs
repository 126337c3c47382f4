//! The rules of claims that select their pools.

use serde_json::{Value, json};

use super::sandbox::{Case, Sandbox, assert_each_refused, assert_refused, manifest, with, without};

fn claim() -> Value {
    let selector = json!({"matchLabels": {"gpu": "yes", "example.com/team": "a"}, "lifecycleClass": "Spot"});
    manifest("PoolClaim", &json!({"poolSelector": selector}))
}

#[tokio::test]
async fn a_claim_selects_by_labels_or_by_class_or_by_both() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&claim()).await;
    assert_eq!(created["spec"], claim()["spec"], "nothing is added to it");
    sandbox.created(&without(&claim(), "/spec/poolSelector/matchLabels")).await;
    sandbox.created(&without(&claim(), "/spec/poolSelector/lifecycleClass")).await;
    sandbox.created(&with(&claim(), "/spec/poolSelector", json!({"matchLabels": {"bullpen.dev/x": ""}}))).await;
}

#[tokio::test]
async fn a_bad_selector_is_refused_with_a_message_that_names_the_field() {
    let sandbox = Sandbox::new().await;
    let many: Value =
        (0..33).map(|number| (format!("key-{number}"), json!("x"))).collect::<serde_json::Map<_, _>>().into();
    let cases: &[Case] = &[
        (
            "nothing",
            "/spec/poolSelector",
            json!({}),
            &["spec.poolSelector", "at least one of matchLabels and lifecycleClass"],
        ),
        (
            "no labels",
            "/spec/poolSelector",
            json!({"matchLabels": {}}),
            &["spec.poolSelector", "at least one of matchLabels and lifecycleClass"],
        ),
        ("a bad key", "/spec/poolSelector/matchLabels", json!({"a b": "c"}), &["must be a label key"]),
        ("a bad value", "/spec/poolSelector/matchLabels", json!({"a": "b c"}), &["matchLabels.a", "should match"]),
        ("many labels", "/spec/poolSelector/matchLabels", many, &["matchLabels", "at most 32"]),
        ("an unknown class", "/spec/poolSelector/lifecycleClass", json!("Cheap"), &["lifecycleClass", "\"Spot\""]),
        ("an unknown field", "/spec/poolSelector/name", json!("ci"), &["unknown field"]),
        ("a pool beside it", "/spec/poolRef", json!({"name": "ci"}), &["exactly one of poolRef and poolSelector"]),
    ];
    assert_each_refused(&sandbox, &claim(), cases).await;
    let neither = sandbox.create(&without(&claim(), "/spec/poolSelector")).await;
    assert_refused("neither", neither, &["exactly one of poolRef and poolSelector"]);
}

#[tokio::test]
async fn a_selector_is_immutable_and_so_is_which_of_both_was_given() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&claim()).await;
    let words = ["spec.poolSelector", "poolSelector is immutable"];
    for (what, changed) in [
        ("another value", with(&created, "/spec/poolSelector/matchLabels/gpu", json!("no"))),
        ("another label", with(&created, "/spec/poolSelector/matchLabels/more", json!("no"))),
        ("another class", with(&created, "/spec/poolSelector/lifecycleClass", json!("Ephemeral"))),
        ("no class", without(&created, "/spec/poolSelector/lifecycleClass")),
    ] {
        assert_refused(what, sandbox.replace(&changed).await, &words);
    }
    let named = with(&without(&created, "/spec/poolSelector"), "/spec/poolRef", json!({"name": "ci"}));
    assert_refused(
        "a pool instead",
        sandbox.replace(&named).await,
        &["poolRef is immutable", "poolSelector is immutable"],
    );
    sandbox.replace(&with(&created, "/spec/priority", json!(7))).await.expect("the rest may change as ever");
}

#[tokio::test]
async fn the_pool_that_served_a_claim_is_set_once() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&claim()).await;
    let status = |pool: &str| {
        json!({"observedGeneration": 1, "phase": "Bound", "memberRef": {"namespace": "t", "name": "m", "uid": "u"},
            "poolRef": {"namespace": "t", "name": pool}})
    };
    let bound = sandbox.replace_status(&created, &status("ci")).await.expect("bound");
    let answer = sandbox.replace_status(&bound, &status("gpu")).await;
    assert_refused("another pool", answer, &["status.poolRef", "is set once"]);
    let answer = sandbox.replace_status(&bound, &without(&status("ci"), "/poolRef")).await;
    assert_refused("no pool", answer, &["status", "poolRef is set once"]);
}
