//! Members that a person has set aside: cordoned ones are for nobody, held ones also stay.

use std::collections::BTreeSet;

use bullpen_api::{ClaimPhase, InstancePool, MemberState, PoolClaim, PoolMember};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::harness::objects::{POOL, condition, machine, machine_of, member_of, phase};
use crate::harness::{Operator, Walk, eventually};

/// As a person does it.
async fn set_aside(walk: &Walk, member: &str, patch: &str) {
    walk.kubectl(&["patch", "pm", member, "--type", "merge", "-p", &format!("{{\"spec\":{patch}}}")]).await;
}

/// Waits until the operator has seen the change, which the member's status says.
async fn is_seen(walk: &Walk, member: &str) -> PoolMember {
    walk.until(member, "is observed", |member: &PoolMember| {
        member.status.as_ref().map(|status| status.observed_generation) == member.metadata.generation
    })
    .await
}

async fn counts(walk: &Walk, what: &str, ready: i32, claimed: i32, total: i32) -> InstancePool {
    walk.pool_until(POOL, what, |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (ready, claimed, total))
    })
    .await
}

async fn any_member(walk: &Walk) -> PoolMember {
    walk.list::<PoolMember>().await.remove(0)
}

/// The operator has done something since: what it wanted to do before, it did.
async fn operator_acts(walk: &Walk, name: &str) {
    walk.pool(name, json!({ "targetSize": 1 })).await;
    walk.pool_until(name, "is ready", |status| status.members.is_some_and(|members| members.ready == 1)).await;
}

#[tokio::test]
async fn a_cordoned_member_is_claimed_by_nobody_and_replaced_until_it_is_let_go() {
    let walk = Walk::begin("cordon").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "maxSize": 3 })).await;
    let cordoned = any_member(&walk).await.name_any();
    set_aside(&walk, &cordoned, r#"{"cordoned":true}"#).await;
    let member = is_seen(&walk, &cordoned).await;
    assert_eq!(condition(&member, "Ready").1, "Cordoned");
    let pool = counts(&walk, "has replaced it", 1, 0, 2).await;
    assert_eq!(pool.status.expect("a status").replicas, 1, "what is cordoned is no supply");

    walk.claim("one", json!({})).await;
    let one = walk.bound("one").await;
    assert_ne!(member_of(&one), cordoned);
    counts(&walk, "has replaced that one too, and is full", 1, 1, 3).await;
    let output = walk.kubectl(&["get", "pm", &cordoned, "-o", "wide"]).await;
    let words: Vec<&str> = output.lines().next().expect("a header").split_whitespace().collect();
    assert_eq!(words[words.len() - 2..], ["CORDONED", "HOLD"]);
    let row: Vec<&str> = output.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row[row.len() - 2..], ["true", "false"]);

    set_aside(&walk, &cordoned, r#"{"cordoned":false}"#).await;
    assert_eq!(condition(&is_seen(&walk, &cordoned).await, "Ready").0, "True");
    walk.claim("two", json!({})).await;
    walk.claim("three", json!({})).await;
    let (two, three) = (walk.bound("two").await, walk.bound("three").await);
    assert!([member_of(&two), member_of(&three)].contains(&cordoned.as_str()), "it is claimable again");
}

#[tokio::test]
async fn a_claim_goes_on_when_its_member_is_cordoned_and_ends_as_ever() {
    let walk = Walk::begin("cordon-claimed").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    walk.claim("build", json!({})).await;
    let build = walk.bound("build").await;
    set_aside(&walk, member_of(&build), r#"{"cordoned":true}"#).await;
    is_seen(&walk, member_of(&build)).await;
    counts(&walk, "counts it as claimed", 1, 1, 2).await;
    assert_eq!(phase(&walk.get("build").await), ClaimPhase::Bound);
    walk.delete::<PoolClaim>("build").await;
    walk.gone::<PoolMember>(member_of(&build)).await;
    assert!(walk.simcloud.ledger().await.ended(machine_of(&build)));
}

#[tokio::test]
async fn a_hold_keeps_a_machine_over_drain_deletion_and_a_restart_until_it_is_taken_off() {
    let walk = Walk::begin("hold").await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    let held = any_member(&walk).await;
    let (name, machine) = (held.name_any(), machine(&held).expect("a machine").to_owned());
    set_aside(&walk, &name, r#"{"hold":true}"#).await;
    assert_eq!(condition(&is_seen(&walk, &name).await, "Ready").1, "Held");
    counts(&walk, "has replaced it", 2, 0, 3).await;

    walk.set::<InstancePool>(POOL, json!({ "state": "Draining" })).await;
    let pool = counts(&walk, "has only the held one left", 0, 0, 1).await;
    assert_eq!(condition(&pool, "Drained").1, "HeldMembersRemain");
    walk.delete::<InstancePool>(POOL).await;
    walk.delete::<PoolMember>(&name).await;
    operator.kill_9();
    operator.start_again().await;
    operator_acts(&walk, "other").await;
    let member = walk.get::<PoolMember>(&name).await;
    assert!(member.metadata.deletion_timestamp.is_some(), "its deletion was asked for, and waits");
    assert!(walk.get::<InstancePool>(POOL).await.metadata.deletion_timestamp.is_some(), "so does its pool");
    assert!(!walk.simcloud.ledger().await.ended(&machine));

    set_aside(&walk, &name, r#"{"hold":false}"#).await;
    walk.gone::<PoolMember>(&name).await;
    walk.gone::<InstancePool>(POOL).await;
    assert!(walk.simcloud.ledger().await.ended(&machine));
}

#[tokio::test]
async fn a_held_member_outlives_its_claim_and_its_own_failure_until_it_is_let_go() {
    let walk = Walk::begin("hold-after").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    walk.claim("build", json!({})).await;
    let build = walk.bound("build").await;
    let (name, machine) = (member_of(&build), machine_of(&build));
    set_aside(&walk, name, r#"{"hold":true}"#).await;
    is_seen(&walk, name).await;
    assert_eq!(phase(&walk.get("build").await), ClaimPhase::Bound, "the claim goes on");
    walk.delete::<PoolClaim>("build").await;
    walk.gone::<PoolClaim>("build").await;

    // A machine that does not boot in time, held while it boots.
    walk.launch_config("slow", json!({ "simulated": { "bootMilliseconds": 3_600_000 } })).await;
    let slow = json!({
        "targetSize": 1,
        "launchConfigs": [{ "name": "slow" }],
        "readiness": { "launchTimeoutSeconds": 3 },
        "maxSize": 1,
    });
    walk.pool("slow", slow).await;
    let booting = eventually("a machine boots", async || {
        let members = walk.list::<PoolMember>().await;
        let warming = |member: &PoolMember| {
            let state = member.status.as_ref().map(|status| status.state);
            member.spec.pool_ref.name == "slow" && state == Some(MemberState::Warming)
        };
        members.into_iter().find(warming).ok_or_else(|| "none".to_owned())
    })
    .await
    .name_any();
    set_aside(&walk, &booting, r#"{"hold":true}"#).await;
    let errored = |member: &PoolMember| member.status.as_ref().map(|status| status.state) == Some(MemberState::Errored);
    walk.until(&booting, "failed", errored).await;
    operator_acts(&walk, "other").await;
    let kept: BTreeSet<String> = walk
        .list::<PoolMember>()
        .await
        .into_iter()
        .filter(|member| member.metadata.deletion_timestamp.is_none() && member.spec.hold)
        .map(|member| member.name_any())
        .collect();
    assert_eq!(kept, BTreeSet::from([name.to_owned(), booting.clone()]));
    assert!(!walk.simcloud.ledger().await.ended(machine));

    for member in [name, &booting] {
        set_aside(&walk, member, r#"{"hold":false}"#).await;
        walk.gone::<PoolMember>(member).await;
    }
    assert!(walk.simcloud.ledger().await.ended(machine));
}

#[tokio::test]
async fn the_end_of_a_namespace_overrides_a_hold() {
    let walk = Walk::begin("hold-namespace").await;
    let operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let held = any_member(&walk).await.name_any();
    set_aside(&walk, &held, r#"{"hold":true}"#).await;
    is_seen(&walk, &held).await;
    counts(&walk, "has replaced it", 1, 0, 2).await;

    let namespaces: Api<Namespace> = Api::all(walk.client.clone());
    namespaces.delete(&walk.namespace, &DeleteParams::default()).await.expect("deleted");
    walk.namespace_is_gone().await;
    walk.no_machine_left().await;
    // Once: had the hold been passed over before, it would have been counted then as well.
    operator.metric_is("bullpen_holds_overridden_total", 1.0).await;
}
