//! What is deleted goes whole, and takes no claimed machine along before its claim ends.

use bullpen_api::{ClaimPhase, FINALIZER_INSTANCE, InstancePool, LaunchConfig, PoolClaim, PoolMember};
use bullpen_simcloud::ledger::Method;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::harness::objects::{POOL, condition, machine, machine_of, member_of, phase};

use crate::harness::{Ledger, Operator, Walk, eventually};

#[tokio::test]
async fn a_pool_deleted_with_background_propagation_waits_for_its_claims_and_goes_whole() {
    delete_a_pool_with_claims("gone-background", DeleteParams::background()).await;
}

#[tokio::test]
async fn a_pool_deleted_with_foreground_propagation_waits_for_its_claims_and_goes_whole() {
    delete_a_pool_with_claims("gone-foreground", DeleteParams::foreground()).await;
}

#[tokio::test]
async fn a_pool_deleted_with_orphan_propagation_waits_for_its_claims_and_goes_whole() {
    let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    delete_a_pool_with_claims("gone-orphan", orphan).await;
}

async fn delete_a_pool_with_claims(name: &str, how: DeleteParams) {
    let walk = Walk::begin(name).await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(3, json!({})).await;
    let mut held = Vec::new();
    for claim in ["held-1", "held-2"] {
        walk.claim(claim, json!({})).await;
        held.push(walk.bound(claim).await);
    }
    walk.pool_has_ready(3).await;

    walk.api::<InstancePool>().delete(POOL, &how).await.expect("deleted");
    // Pools and claims come to the operator by different watches: a claim could be there before the news of the pool.
    let known = |pool: &InstancePool| condition(pool, "Ready").1 == "Draining";
    walk.until(POOL, "is known to be deleted", known).await;
    let names = format!("{0}/held-1, {0}/held-2", walk.namespace);
    let words = format!("2 members are claimed and finish with their claims: {names}");
    let says = |pool: &InstancePool| condition(pool, "Drained").2 == words;
    walk.until(POOL, "names the claims that it waits for", says).await;
    walk.has_event("PoolBeingDeleted").await;
    walk.claim("late", json!({})).await;
    let ledger = walk.ledger_until("only claimed machines live", |ledger| ledger.living().len() == 2).await;
    for claim in &held {
        assert!(!ledger.ended(machine_of(claim)), "no claimed machine goes with its pool");
    }
    eventually("only claimed members are left", async || {
        let left = walk.list::<PoolMember>().await;
        let names: Vec<String> = left.iter().map(PoolMember::name_any).collect();
        if names.len() == 2 { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    let says = |claim: &PoolClaim| condition(claim, "Bound").1 == "PoolNotActive";
    walk.until("late", "says that the pool is being deleted", says).await;
    assert!(walk.get::<InstancePool>(POOL).await.metadata.deletion_timestamp.is_some());

    walk.delete::<PoolClaim>("held-1").await;
    walk.gone::<PoolMember>(member_of(&held[0])).await;
    assert!(!walk.simcloud.ledger().await.ended(machine_of(&held[1])), "each goes with its own claim");
    assert_eq!(phase(&walk.get("held-2").await), ClaimPhase::Bound);

    walk.delete::<PoolClaim>("held-2").await;
    walk.none_left::<PoolMember>().await;
    walk.gone::<InstancePool>(POOL).await;
    walk.no_machine_left().await;
    let says = |claim: &PoolClaim| condition(claim, "Bound").1 == "PoolNotFound";
    walk.until("late", "says that the pool is gone", says).await;
}

#[tokio::test]
async fn a_namespace_deleted_whole_leaves_no_machine() {
    let walk = Walk::begin("gone-namespace").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(3, json!({})).await;
    walk.claim("held", json!({})).await;
    walk.bound("held").await;
    walk.claim("waiting", json!({ "poolRef": { "name": "no-such-pool" } })).await;

    let namespaces: Api<Namespace> = Api::all(walk.client.clone());
    namespaces.delete(&walk.namespace, &DeleteParams::default()).await.expect("deleted");
    walk.namespace_is_gone().await;
    walk.no_machine_left().await;
}

#[tokio::test]
async fn a_launch_config_deleted_while_members_use_it_stays_until_the_last_of_them_is_gone() {
    let walk = Walk::begin("gone-config").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("held", json!({})).await;
    let held = walk.bound("held").await;
    walk.pool_has_ready(2).await;

    walk.delete::<LaunchConfig>("sim").await;
    walk.set::<InstancePool>(POOL, json!({ "state": "Draining" })).await;
    walk.pool_until(POOL, "has its claimed member only", |status| {
        status.members.is_some_and(|members| (members.claimed, members.total) == (1, 1))
    })
    .await;
    assert!(walk.get::<LaunchConfig>("sim").await.metadata.deletion_timestamp.is_some());
    assert!(!walk.simcloud.ledger().await.ended(machine_of(&held)));

    walk.delete::<PoolClaim>("held").await;
    walk.gone::<LaunchConfig>("sim").await;
    walk.no_machine_left().await;
}

#[tokio::test]
async fn a_claimed_member_that_a_person_deletes_stays_until_its_claim_ends() {
    let walk = Walk::begin("deleted-claimed").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    walk.claim("held", json!({})).await;
    let held = walk.bound("held").await;
    walk.pool_has_ready(1).await;

    walk.delete::<PoolMember>(member_of(&held)).await;
    // The next claim is served by another: by then the operator has seen the deletion.
    walk.claim("next", json!({})).await;
    walk.bound("next").await;
    walk.pool_has_ready(1).await;
    assert_eq!(phase(&walk.get("held").await), ClaimPhase::Bound);
    assert!(!walk.simcloud.ledger().await.ended(machine_of(&held)), "its claimant works on it");

    walk.delete::<PoolClaim>("held").await;
    walk.gone::<PoolMember>(member_of(&held)).await;
    assert!(walk.simcloud.ledger().await.ended(machine_of(&held)));
}

#[tokio::test]
async fn an_unclaimed_member_that_a_person_deletes_is_terminated_and_replaced() {
    let walk = Walk::begin("deleted-ready").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    let member = walk.list::<PoolMember>().await.remove(0);
    walk.delete::<PoolMember>(&member.name_any()).await;
    walk.gone::<PoolMember>(&member.name_any()).await;
    assert!(walk.simcloud.ledger().await.ended(machine(&member).expect("a machine")));
    walk.pool_until(POOL, "is whole again", |status| {
        status.members.is_some_and(|members| (members.ready, members.total) == (2, 2))
    })
    .await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 3);
}

#[tokio::test]
async fn a_member_that_only_a_foreign_finalizer_keeps_is_done_and_the_series_of_its_pool_go_with_the_pool() {
    let walk = Walk::begin("foreign-finalizer").await;
    let operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let name = walk.list::<PoolMember>().await[0].name_any();
    let finalizers = |also: &[&str]| {
        let all = also.iter().chain(&["example.com/audit"]).collect::<Vec<_>>();
        Patch::Merge(json!({"metadata": {"finalizers": all}}))
    };
    let members = walk.api::<PoolMember>();
    members.patch(&name, &PatchParams::default(), &finalizers(&[FINALIZER_INSTANCE])).await.expect("patched");
    walk.delete::<InstancePool>(POOL).await;
    walk.no_machine_left().await;
    // The pool does not wait for somebody else's finalizer.
    walk.gone::<InstancePool>(POOL).await;
    let left = walk.get::<PoolMember>(&name).await;
    assert_eq!(left.finalizers(), ["example.com/audit"]);
    operator.metrics_lack(&format!(r#"bullpen_pool_stuck_terminations{{namespace="{}""#, walk.namespace)).await;
    operator.metrics_lack(&format!(r#"bullpen_breaker_state{{namespace="{}""#, walk.namespace)).await;

    let before = walk.simcloud.ledger().await;
    let asked = |ledger: &Ledger| (ledger.calls(Method::Get), ledger.calls(Method::Terminate));
    // Each change of the member wakes it, and so does each list.
    for change in 0..3 {
        let lists = walk.simcloud.ledger().await.calls(Method::List);
        let note = Patch::Merge(json!({"metadata": {"annotations": {"example.com/change": change.to_string()}}}));
        members.patch(&name, &PatchParams::default(), &note).await.expect("patched");
        walk.ledger_until("there is another list", |ledger| ledger.calls(Method::List) > lists).await;
    }
    let later = walk.simcloud.ledger().await;
    assert_eq!(asked(&later), asked(&before), "it costs no calls, whatever changes");
    let gone = format!(
        r#"bullpen_instance_terminations_total{{namespace="{}",launch_config="sim",outcome="gone"}}"#,
        walk.namespace
    );
    operator.metric_has_not_passed(&gone, 1.0).await;
    members
        .patch(&name, &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": []}})))
        .await
        .expect("patched");
    walk.none_left::<PoolMember>().await;
}

#[tokio::test]
async fn a_finalizer_taken_off_a_living_member_comes_back_so_that_its_machine_ends_with_its_claim() {
    let walk = Walk::begin("finalizer-taken").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    walk.claim("held", json!({})).await;
    let held = walk.bound("held").await;
    walk.pool_has_ready(1).await;

    let taken = Patch::Merge(json!({ "metadata": { "finalizers": ["example.com/audit"] } }));
    let members = walk.api::<PoolMember>();
    for member in walk.list::<PoolMember>().await {
        members.patch(&member.name_any(), &PatchParams::default(), &taken).await.expect("patched");
    }
    let is_kept = |member: &PoolMember| member.finalizers() == ["example.com/audit", FINALIZER_INSTANCE];
    for member in walk.list::<PoolMember>().await {
        walk.until(&member.name_any(), "has both finalizers", is_kept).await;
        let none = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        members.patch(&member.name_any(), &PatchParams::default(), &none).await.expect("patched");
        walk.until(&member.name_any(), "has its own finalizer", |member: &PoolMember| {
            member.finalizers() == [FINALIZER_INSTANCE]
        })
        .await;
    }

    walk.delete::<PoolClaim>("held").await;
    walk.gone::<PoolMember>(member_of(&held)).await;
    assert!(walk.simcloud.ledger().await.ended(machine_of(&held)));
}
