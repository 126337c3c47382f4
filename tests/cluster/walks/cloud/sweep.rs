//! Machines without a member: which are ended, and which never.

use std::time::Duration;

use bullpen_api::{LaunchConfig, PoolMember};
use bullpen_simcloud::ledger::Method;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::objects::{condition, machine};
use crate::harness::{Operator, Walk};

pub(crate) const GRACE: (&str, &str) = ("--sweep-grace-seconds", "1");

/// The tags of a machine that was bought for a member.
fn tags<'a>(installation: &'a str, namespace: &'a str, name: &'a str) -> [(&'static str, &'a str); 4] {
    [
        ("bullpen.dev/installation", installation),
        ("bullpen.dev/namespace", namespace),
        ("bullpen.dev/name", name),
        ("bullpen.dev/member-uid", "00000000-0000-0000-0000-000000000000"),
    ]
}

/// Buys so many machines for members that there never were.
pub(crate) async fn orphans(walk: &Walk, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        let name = format!("ci-gone{number}");
        ids.push(walk.simcloud.buy(&name, &tags(&walk.namespace, &walk.namespace, &name)).await);
    }
    ids
}

pub(crate) async fn all_end(walk: &Walk, ids: &[String]) {
    walk.ledger_until("the orphans are ended", |ledger| ids.iter().all(|id| ledger.ended(id))).await;
}

async fn annotate(walk: &Walk, word: &str) {
    let patch = json!({ "metadata": { "annotations": { "bullpen.dev/confirm-sweep": word } } });
    let api = walk.api::<LaunchConfig>();
    api.patch("sim", &PatchParams::default(), &Patch::Merge(patch)).await.expect("annotated");
}

/// Gives the word that the launch config `sim` asks for in its message.
pub(crate) async fn confirm(walk: &Walk, config: &LaunchConfig) {
    let message = condition(config, "SweepBlocked").2;
    annotate(walk, message.rsplit('=').next().expect("a code")).await;
}

#[tokio::test]
async fn a_machine_whose_member_is_gone_is_ended_and_nobody_elses_is_touched() {
    let walk = Walk::begin("sweep").await;
    let cloud = &walk.simcloud;
    let (ours, here) = (walk.namespace.as_str(), walk.namespace.as_str());
    let orphan = cloud.buy("orphan", &tags(ours, here, "ci-gone")).await;
    let stopped = cloud.buy("stopped", &tags(ours, here, "ci-off")).await;
    cloud.strike(&stopped, json!({ "stops": {} })).await;
    let others = [
        cloud.buy("untagged", &[]).await,
        cloud.buy("another-installation", &tags("another", here, "ci-gone")).await,
        cloud.buy("another-namespace", &tags(ours, "elsewhere", "ci-gone")).await,
        cloud.buy("unlabelled", &tags(ours, here, "ci-gone")[..1]).await,
    ];
    let mut operator = Operator::start_with(&walk, &[GRACE]).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("held", json!({})).await;
    walk.bound("held").await;
    all_end(&walk, &[orphan, stopped]).await;
    walk.pool_has_ready(2).await;
    walk.simcloud.is_called(Method::List, 2).await;
    let ledger = walk.simcloud.ledger().await;
    assert!(others.iter().all(|id| !ledger.ended(id)), "they are not ours to end");
    assert_eq!(ledger.living().len(), others.len() + 3, "and members keep their machines");
    operator.says("do not say whose they are").await;
    assert_eq!(operator.output().matches("do not say whose they are").count(), 1, "said once");
    let swept = r#"bullpen_orphan_terminations_total{provider="simulated",outcome="accepted"}"#;
    operator.metric_is(swept, 2.0).await;
}

#[tokio::test]
async fn a_member_removed_by_force_leaves_a_machine_that_is_swept() {
    let walk = Walk::begin("sweep-forced").await;
    let _operator = Operator::start_with(&walk, &[GRACE]).await;
    walk.ready_pool(1, json!({})).await;
    let member = walk.list::<PoolMember>().await.remove(0);
    let id = machine(&member).expect("a machine").to_owned();
    // In one request, so that the operator has no chance to end it in order.
    let patch = json!({ "metadata": { "finalizers": null } });
    walk.simcloud.break_with(json!({ "calls": [{ "on": ["terminate"], "when": { "untilMilliseconds": 1500 }, "fault": { "error": { "class": "Transient" } } }] })).await;
    walk.delete::<PoolMember>(&member.name_any()).await;
    let api = walk.api::<PoolMember>();
    api.patch(&member.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.expect("forced");
    all_end(&walk, &[id]).await;
    walk.pool_has_ready(1).await;
}

#[tokio::test]
async fn many_orphans_at_once_wait_for_a_persons_word_for_just_these() {
    let walk = Walk::begin("sweep-many").await;
    let many = orphans(&walk, 7).await;
    let operator = Operator::start_with(&walk, &[GRACE]).await;
    walk.ready_pool(1, json!({})).await;
    let blocked = |config: &LaunchConfig| condition(config, "SweepBlocked").0 == "True";
    let says_seven = |config: &LaunchConfig| blocked(config) && condition(config, "SweepBlocked").2.starts_with("7 ");
    let config = walk.until("sim", "says that the sweep is blocked", says_seven).await;
    let series = r#"bullpen_sweep_blocked{provider="simulated",account="sim-1",region="r1"}"#;
    operator.metric_is(series, 1.0).await;

    annotate(&walk, "0123456789").await;
    walk.simcloud.is_called(Method::List, 2).await;
    let ledger = walk.simcloud.ledger().await;
    assert!(many.iter().all(|id| !ledger.ended(id)), "another word confirms nothing");

    confirm(&walk, &config).await;
    all_end(&walk, &many).await;
    walk.until("sim", "says that no sweep is blocked", |config: &LaunchConfig| !blocked(config)).await;
    assert_eq!(walk.simcloud.ledger().await.living().len(), 1);
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let walk = Walk::begin("sweep-dry").await;
    let two = orphans(&walk, 2).await;
    let mut operator = Operator::start_with(&walk, &[GRACE, ("--sweep-dry-run", "")]).await;
    walk.launch_config("sim", json!({})).await;
    operator.metric_is(r#"bullpen_orphans{provider="simulated",account="sim-1",region="r1"}"#, 2.0).await;
    walk.simcloud.is_called(Method::List, 1).await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!(ledger.calls(Method::Terminate), 0);
    assert_eq!(ledger.living().len(), two.len());
    operator.says("--sweep-dry-run").await;
    walk.has_event("SweepDryRun").await;
}

#[tokio::test]
async fn two_installations_at_one_cloud_never_touch_each_others_machines() {
    side_by_side("apart", ["one", "two"]).await;
}

#[tokio::test]
async fn two_operators_of_one_id_in_a_namespace_each_never_touch_each_others_machines() {
    side_by_side("narrow", ["same", "same"]).await;
}

async fn side_by_side(name: &str, ids: [&str; 2]) {
    let walks = [Walk::begin(name).await, Walk::begin(name).await];
    let cloud = &walks[0].simcloud;
    let endpoint = format!("http://{}", cloud.address());
    let mut operators = Vec::new();
    for (walk, id) in walks.iter().zip(ids) {
        operators.push(Operator::start_with(walk, &[GRACE, ("--installation-id", id)]).await);
        walk.launch_config("sim", json!({ "simulated": { "endpoint": endpoint } })).await;
        walk.pool("ci", json!({ "targetSize": 2 })).await;
        walk.pool_has_ready(2).await;
    }
    // Longer than the grace, and several lists of both.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for walk in &walks {
        walk.claim("held", json!({})).await;
        walk.bound("held").await;
        walk.pool_has_ready(2).await;
    }
    cloud.is_called(Method::List, 4).await;
    let ledger = cloud.ledger().await;
    assert_eq!((ledger.bought(), ledger.living().len()), (6, 6));
    assert_eq!(ledger.calls(Method::Terminate), 0);
    for walk in &walks {
        assert_eq!(walk.list::<PoolMember>().await.len(), 3);
    }
}

#[tokio::test]
async fn of_two_machines_of_one_token_the_one_that_no_member_records_ends_without_the_grace() {
    let walk = Walk::begin("sweep-twice").await;
    walk.simcloud.break_with(json!({ "calls": [{ "on": ["create"], "fault": { "twice": {} } }] })).await;
    // The grace is two minutes, longer than this waits.
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.ledger_until("the spare ones are ended", |ledger| ledger.bought() == 4 && ledger.living().len() == 2).await;
    let members = walk.list::<PoolMember>().await;
    let ledger = walk.simcloud.ledger().await;
    assert!(members.iter().all(|member| machine(member).is_some_and(|id| ledger.living().contains_key(id))));
    walk.pool_has_ready(2).await;
}
