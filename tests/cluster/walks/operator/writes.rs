//! What the operator writes, counted by the API server's audit log, and what it tells in its metrics.

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use bullpen_api::{InstancePool, PoolClaim, PoolMember};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::harness::objects::{POOL, member_of};
use crate::harness::{Operator, Walk};

/// For how long a pool is watched that nothing happens to; another number of seconds by this variable.
const STEADY: Duration = Duration::from_secs(15);
const STEADY_SECONDS: &str = "BULLPEN_TEST_STEADY_SECONDS";

/// Writes of the operator for one claim, from its creation until its machine is replaced and gone.
const CYCLE: usize = 7;
/// The same for a claim that asks for a Secret.
const CYCLE_WITH_SECRET: usize = 8;

#[tokio::test]
async fn in_steady_state_the_operator_writes_nothing() {
    let window = env::var(STEADY_SECONDS)
        .ok()
        .map_or(STEADY, |seconds| Duration::from_secs(seconds.parse().expect("a number of seconds")));
    let walk = Walk::begin("steady").await;
    let _operator = Operator::start(&walk).await;
    let mut audit = walk.audit();
    walk.ready_pool(5, json!({})).await;
    walk.claim("held", json!({})).await;
    walk.bound("held").await;
    // What waits and what fails must be still, too.
    walk.claim("waiting", json!({ "poolRef": { "name": "no-such-pool" } })).await;
    walk.pool("stalled", json!({ "launchConfigs": [{ "name": "no-such-config" }] })).await;
    walk.pool("full", json!({ "targetSize": 1, "maxSize": 1 })).await;
    walk.claim("held-too", json!({ "poolRef": { "name": "full" } })).await;
    walk.bound("held-too").await;
    walk.claim("waiting-too", json!({ "poolRef": { "name": "full" } })).await;
    audit.is_settled().await;

    let before = audit.writes().len();
    assert!(before > 0, "the audit log tells of the operator");
    sleep(window).await;
    let after: Vec<String> = audit.writes()[before..].iter().map(ToString::to_string).collect();
    assert!(after.is_empty(), "in {window:?}:\n{}", after.join("\n"));
    audit.assert_none_refused();
    eprintln!("no write in {window:?} after {before}");
}

#[tokio::test]
async fn a_full_claim_cycle_costs_at_most_seven_writes() {
    cycles_cost("cycle", json!({}), json!({}), CYCLE).await;
}

#[tokio::test]
async fn a_full_claim_cycle_with_a_secret_and_a_key_costs_at_most_eight_writes() {
    let keys = json!({ "template": { "ssh": { "generateKey": true } } });
    cycles_cost("cycle-secret", keys, json!({ "binding": "Secret" }), CYCLE_WITH_SECRET).await;
}

async fn cycles_cost(name: &str, pool: Value, claim_spec: Value, most: usize) {
    let walk = Walk::begin(name).await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, pool).await;
    let mut audit = walk.audit();
    audit.is_settled().await;
    let before = audit.of_members_and_claims().len();

    let cycles = 5;
    for cycle in 0..cycles {
        let name = format!("build-{cycle}");
        walk.claim(&name, claim_spec.clone()).await;
        let claim = walk.bound(&name).await;
        walk.pool_until(POOL, "has replaced it", |status| {
            status.members.is_some_and(|members| (members.ready, members.claimed) == (2, 1))
        })
        .await;
        walk.delete::<PoolClaim>(&name).await;
        walk.gone::<PoolMember>(member_of(&claim)).await;
    }
    audit.is_settled().await;
    let written = audit.of_members_and_claims().split_off(before);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for write in audit.writes() {
        *kinds.entry(format!("{} {}", write.verb, write.resource())).or_default() += 1;
    }
    eprintln!("{} writes in {cycles} cycles; all writes by kind: {kinds:?}", written.len());
    audit.assert_none_refused();
    let list: Vec<String> = written.iter().map(ToString::to_string).collect();
    assert!(written.len() <= most * cycles, "{} writes in {cycles} cycles:\n{}", list.len(), list.join("\n"));
}

#[tokio::test]
async fn a_status_write_leaves_everything_else_of_a_member_and_a_claim_as_it_was_made() {
    let walk = Walk::begin("status-only").await;
    let _operator = Operator::start(&walk).await;
    let pool = walk.ready_pool(1, json!({ "template": { "labels": { "team": "web" } } })).await;
    let claim = json!({
        "metadata": { "name": "build", "labels": { "run": "17" }, "annotations": { "example.org/why": "a build" } },
        "spec": { "poolRef": { "name": POOL } },
    });
    let made: PoolClaim = walk.create(claim).await;
    let bound = walk.bound("build").await;
    assert_eq!((&bound.spec, &bound.metadata.labels), (&made.spec, &made.metadata.labels));
    assert_eq!(bound.metadata.annotations, made.metadata.annotations);

    let member: PoolMember = walk.get(member_of(&bound)).await;
    let labels = member.metadata.labels.as_ref().expect("labels");
    assert_eq!(labels.get("team").map(String::as_str), Some("web"));
    assert_eq!(labels.get("bullpen.dev/pool").map(String::as_str), Some(POOL));
    let owner = &member.metadata.owner_references.as_ref().expect("an owner")[0];
    assert_eq!(Some(&owner.uid), pool.metadata.uid.as_ref());
    assert_eq!(member.metadata.finalizers.as_ref().map(Vec::len), Some(1));
    // Whoever wrote the spec still owns it, and the status has one owner as a whole.
    let managed = member.metadata.managed_fields.as_ref().expect("managed fields");
    let fields = |subresource: Option<&str>| {
        let entry = managed.iter().find(|entry| entry.subresource.as_deref() == subresource).expect("an entry");
        assert_eq!(entry.manager.as_deref(), Some("bullpen"));
        entry.fields_v1.as_ref().expect("fields").0.clone()
    };
    assert_eq!(fields(Some("status")), json!({ "f:status": {} }));
    assert_eq!(fields(None)["f:spec"]["f:placement"], json!({}));
}

#[tokio::test]
async fn members_that_are_refused_are_written_again_ever_later_and_hold_up_nothing_else() {
    let walk = Walk::begin("refused").await;
    let operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "maxSize": 9 })).await;
    let hard = json!({ "count/poolmembers.bullpen.dev": "1" });
    let quota = json!({ "metadata": { "name": "one" }, "spec": { "hard": hard } });
    walk.create::<ResourceQuota>(quota).await;
    let status = Patch::Merge(json!({ "status": { "hard": hard, "used": hard } }));
    let quotas: Api<ResourceQuota> = walk.api();
    quotas.patch_status("one", &PatchParams::default(), &status).await.expect("a quota that counts");

    walk.set::<InstancePool>(POOL, json!({ "targetSize": 3 })).await;
    let refused = r#"bullpen_api_writes_total{kind="PoolMember",verb="create",outcome="error"}"#;
    // Three times two members.
    operator.metric_reaches(refused, 6.0).await;
    walk.claim("build", json!({})).await;
    let bound = walk.bound("build").await;
    walk.delete::<PoolClaim>("build").await;
    walk.gone::<PoolMember>(member_of(&bound)).await;
    // Doubled from 200 ms, and up to three members each time: a try at every event would be hundreds.
    operator.metric_has_not_passed(refused, 35.0).await;

    walk.delete::<ResourceQuota>("one").await;
    walk.pool_has_ready(3).await;
}

#[tokio::test]
async fn the_metrics_tell_of_claims_members_machines_and_writes() {
    let walk = Walk::begin("metrics").await;
    let operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("build-1", json!({})).await;
    walk.bound("build-1").await;
    walk.pool_has_ready(2).await;
    walk.claim("build-2", json!({})).await;
    let second = walk.bound("build-2").await;
    walk.pool_has_ready(2).await;
    walk.delete::<PoolClaim>("build-2").await;
    walk.gone::<PoolMember>(member_of(&second)).await;

    let pool = format!(r#"namespace="{}",pool="ci""#, walk.namespace);
    let config = format!(r#"namespace="{}",launch_config="sim""#, walk.namespace);
    let expected = [
        (format!("bullpen_claim_bind_duration_seconds_count{{{pool}}}"), 2.0),
        (format!("bullpen_claim_pairing_duration_seconds_count{{{pool}}}"), 2.0),
        (format!(r#"bullpen_pool_members{{{pool},state="ready"}}"#), 2.0),
        (format!(r#"bullpen_pool_members{{{pool},state="claimed"}}"#), 1.0),
        (format!(r#"bullpen_pool_members{{{pool},state="terminating"}}"#), 0.0),
        (format!("bullpen_pool_waiting_claims{{{pool}}}"), 0.0),
        (format!("bullpen_pool_target_size{{{pool}}}"), 2.0),
        (format!(r#"bullpen_instance_creates_total{{{config},outcome="accepted"}}"#), 4.0),
        (format!(r#"bullpen_instance_terminations_total{{{config},outcome="accepted"}}"#), 1.0),
        (format!(r#"bullpen_instance_terminations_total{{{config},outcome="gone"}}"#), 1.0),
        (r#"bullpen_api_writes_total{kind="PoolMember",verb="create",outcome="ok"}"#.to_owned(), 4.0),
        // Warming and Ready of four, Claimed of two.
        (r#"bullpen_api_writes_total{kind="PoolMember",verb="update_status",outcome="ok"}"#.to_owned(), 10.0),
        (r#"bullpen_api_writes_total{kind="PoolMember",verb="delete",outcome="ok"}"#.to_owned(), 1.0),
        (r#"bullpen_api_writes_total{kind="PoolClaim",verb="update_status",outcome="ok"}"#.to_owned(), 2.0),
        ("bullpen_replacement_delay_seconds_count".to_owned(), 2.0),
        ("bullpen_bind_conflicts_total".to_owned(), 0.0),
    ];
    for (series, value) in expected {
        operator.metric_is(&series, value).await;
    }
    // Both are in it: its count was 2.
    let sum = operator.metric_reaches(&format!("bullpen_claim_bind_duration_seconds_sum{{{pool}}}"), 0.0).await;
    eprintln!("claim to Bound, by the metrics: {:.1} ms on average of 2", sum * 500.0);
    assert!(operator.endpoint("/livez").await.starts_with("[+]"), "{}", operator.endpoint("/livez").await);
    assert!(operator.endpoint("/readyz").await.starts_with("[+]"), "{}", operator.endpoint("/readyz").await);
}
