//! Limits that hold for everybody: claims that a finalizer keeps, that wait for their Secret, or that have moments that
//! no clock shows; and a quota whose namespace claims and releases in turns.

use bullpen_api::{ClaimPhase, PoolClaim, PoolMember};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use serde_json::json;

use crate::harness::objects::{POOL, condition, member_of, phase};
use crate::harness::{Operator, Walk, eventually};

async fn ended(walk: &Walk, name: &str, expected: ClaimPhase) -> PoolClaim {
    walk.until(name, &format!("is {expected:?}"), |claim: &PoolClaim| phase(claim) == expected).await
}

#[tokio::test]
async fn a_claim_that_a_finalizer_keeps_expires_and_its_machine_ends() {
    let walk = Walk::begin("kept-by-a-finalizer").await;
    let _operator = Operator::start_with(&walk, &[("--expiry-grace-seconds", "1")]).await;
    walk.ready_pool(1, json!({ "claims": { "staleAfterSeconds": 1 } })).await;
    walk.claim("kept", json!({ "ttlSeconds": 8 })).await;
    walk.kubectl(&[
        "patch",
        "pclaim",
        "kept",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":["example.com/keeps"]}}"#,
    ])
    .await;
    let claim = walk.bound("kept").await;
    walk.kubectl(&["delete", "pclaim", "kept", "--wait=false"]).await;
    walk.until("kept", "is flagged Stale", |claim: &PoolClaim| condition(claim, "Stale").0 == "True").await;
    let expired = ended(&walk, "kept", ClaimPhase::Expired).await;
    assert!(expired.metadata.deletion_timestamp.is_some());
    walk.gone::<PoolMember>(member_of(&claim)).await;
    walk.kubectl(&["patch", "pclaim", "kept", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]).await;
    walk.gone::<PoolClaim>("kept").await;
}

#[tokio::test]
async fn a_moment_that_no_clock_shows_makes_no_claim_unreadable() {
    let walk = Walk::begin("odd-moments").await;
    let mut operator = Operator::start(&walk).await;
    for (name, moment) in [("last-day", "9999-12-31T23:59:59Z"), ("far-zone", "2026-01-01T00:00:00+99:59")] {
        let claim = json!({
            "apiVersion": "bullpen.dev/v1alpha1", "kind": "PoolClaim", "metadata": { "name": name },
            "spec": { "poolRef": { "name": POOL }, "renewTime": moment, "binding": "Secret" },
        });
        let file = walk.folder().join(format!("{name}.json"));
        std::fs::write(&file, claim.to_string()).expect("written");
        walk.kubectl(&["create", "-f", &file.display().to_string()]).await;
    }
    let add = |version: &str, fields: serde_json::Value| {
        let entry = json!({
            "manager": "odd", "operation": "Update", "apiVersion": version, "time": "9999-12-31T23:59:59Z",
            "fieldsType": "FieldsV1", "fieldsV1": fields,
        });
        json!([{ "op": "add", "path": "/metadata/managedFields/-", "value": entry }]).to_string()
    };
    let patch = add("bullpen.dev/v1alpha1", json!({ "f:spec": { "f:renewTime": {} } }));
    walk.kubectl(&["patch", "pclaim", "last-day", "--type=json", "-p", &patch]).await;
    let times = "jsonpath={.metadata.managedFields[*].time}";
    let times = walk.kubectl(&["get", "pclaim", "last-day", "-o", times, "--show-managed-fields"]).await;
    assert!(times.contains("9999-12-31"), "the API server takes it: {times}");

    walk.ready_pool(2, json!({})).await;
    for name in ["last-day", "far-zone"] {
        eventually(&format!("{name} is bound"), async || {
            let phase = walk.kubectl(&["get", "pclaim", name, "-o", "jsonpath={.status.phase}"]).await;
            if phase == "Bound" { Ok(()) } else { Err(phase) }
        })
        .await;
    }
    let answer = walk.plugin(&["claims"]).await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.stdout.contains("last-day") && answer.stdout.contains("far-zone"), "{answer:?}");
    // Also the Secret, which is read when its claim is judged again, and whose content no log shows.
    let patch = add("v1", json!({ "f:type": {} }));
    walk.kubectl(&["patch", "secret", "last-day-binding", "--type=json", "-p", &patch]).await;
    operator.kill_9();
    operator.start_again().await;
    operator.is_ready().await;
    walk.kubectl(&["delete", "pclaim", "last-day", "far-zone"]).await;
    walk.pool_until(POOL, "has all machines back", |status| {
        status.members.is_some_and(|members| (members.claimed, members.ready) == (0, 2))
    })
    .await;
    let output = operator.output();
    assert!(!output.contains("servicebinding.io") && !output.contains("managedFields"), "{output}");
}

#[tokio::test]
async fn a_secret_that_was_left_behind_keeps_no_machine_for_ever() {
    let walk = Walk::begin("secret-left-behind").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "claims": { "maxHoldSeconds": 6 } })).await;
    // What kubectl delete --cascade=orphan leaves: the Secret without its owner.
    let annotations =
        json!({ "bullpen.dev/member": format!("{}/ci-1", walk.namespace), "bullpen.dev/member-uid": "u" });
    walk.create::<Secret>(json!({ "metadata": { "name": "build-binding", "annotations": annotations } })).await;
    walk.claim("build", json!({ "binding": "Secret" })).await;
    let says = |claim: &PoolClaim| condition(claim, "Bound").1 == "BindingSecretExists";
    let waits = walk.until("build", "says what is in its way", says).await;
    let message = condition(&waits, "Bound").2;
    let command = format!("kubectl delete secret build-binding --namespace {}", walk.namespace);
    assert!(message.contains(&command) && message.contains("the claim fails at"), "{message}");
    let failed = ended(&walk, "build", ClaimPhase::Failed).await;
    assert!(condition(&failed, "Bound").2.contains(&command), "{:?}", condition(&failed, "Bound"));
    walk.pool_until(POOL, "has its machine back", |status| {
        status.members.is_some_and(|members| (members.claimed, members.ready) == (0, 1))
    })
    .await;
}

#[tokio::test]
async fn a_namespace_that_claims_and_releases_in_turns_leaves_machines_for_others() {
    let walk = Walk::begin("quota-in-turns").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({ "maxSize": 8, "claims": { "perNamespace": 2 } })).await;
    let endless = json!({ "calls": [{ "on": ["terminate"], "fault": { "error": { "class": "Transient" } } }] });
    walk.simcloud.break_with(endless).await;
    let mut served = 0;
    let refused = loop {
        let name = format!("greedy-{served}");
        walk.claim(&name, json!({})).await;
        let settled = |claim: &PoolClaim| {
            phase(claim) == ClaimPhase::Bound || condition(claim, "Bound").1 == "NamespaceQuotaReached"
        };
        let claim = walk.until(&name, "is bound or over the quota", settled).await;
        if phase(&claim) != ClaimPhase::Bound {
            break claim;
        }
        walk.delete::<PoolClaim>(&name).await;
        walk.gone::<PoolClaim>(&name).await;
        served += 1;
        assert!(served < 12, "nothing stops it");
    };
    let message = condition(&refused, "Bound").2;
    assert!(message.contains("still being terminated") && message.contains("maxSize"), "{message}");
    // Up to maxSize less targetSize it was served although its machines stayed.
    assert!((3..=6).contains(&served), "{served}");
    walk.pool_until(POOL, "has ready machines for others", |status| {
        status.members.is_some_and(|members| members.ready >= 1 && members.claimed == 0)
    })
    .await;
    walk.simcloud.mend().await;
    walk.bound(&refused.name_any()).await;
}
