//! Claims: who gets which machine, who waits and why, and what a claim's end frees.

use std::collections::BTreeSet;
use std::time::Duration;

use bullpen_api::{ClaimPhase, InstancePool, MemberState, PoolClaim, PoolMember};
use futures::future::join_all;
use kube::ResourceExt as _;
use rand::RngExt as _;
use serde_json::json;

use crate::harness::objects::{POOL, condition, machine, machine_of, member_of, phase};
use crate::harness::{Audit, History, Operator, Walk, assert_never_bound_twice};

#[tokio::test]
async fn a_claim_on_a_ready_pool_is_bound_and_its_end_ends_exactly_its_machine() {
    let walk = Walk::begin("one-claim").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;

    walk.claim("build-1", json!({ "acquiredFor": "build 1" })).await;
    let claim = walk.bound("build-1").await;
    let member: PoolMember = walk.get(member_of(&claim)).await;
    let (held, holder) = (member.status.clone().expect("a status"), claim.status.clone().expect("a status"));
    assert_eq!(held.state, MemberState::Claimed);
    assert_eq!(held.claim_ref.expect("a claimRef").uid, claim.uid().expect("a uid"));
    assert_eq!(holder.member_ref.expect("a memberRef").uid, member.uid().expect("a uid"));
    let (here, there) = (holder.instance.expect("an instance"), held.instance.expect("an instance"));
    assert_eq!((&here.id, &here.addresses), (&there.id, &there.addresses));
    assert_eq!(here.addresses[0].type_, "InternalIP");
    assert_eq!(condition(&claim, "Bound").0, "True");

    walk.pool_until(POOL, "has replaced it", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (2, 1, 3))
    })
    .await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 3);

    walk.delete::<PoolClaim>("build-1").await;
    walk.gone::<PoolMember>(&member.name_any()).await;
    let ledger = walk.simcloud.ledger().await;
    assert!(ledger.ended(&here.id), "its machine is terminated");
    assert_eq!((ledger.living().len(), ledger.bought()), (2, 3), "and no other, and none is bought for it");
}

#[tokio::test]
async fn a_hundred_claims_on_twenty_ready_members_are_all_bound_and_no_member_twice() {
    let walk = Walk::begin("hundred").await;
    let _operator = Operator::start(&walk).await;
    let mut audit = walk.audit();
    let sizes = json!({ "maxSize": 200, "provisioning": { "maxConcurrentCreates": 20 } });
    walk.ready_pool(20, sizes).await;
    let ready: BTreeSet<String> = walk.list::<PoolMember>().await.iter().map(PoolMember::name_any).collect();
    let (mut members, mut claims) = (History::begin(&walk).await, History::begin(&walk).await);

    let names: Vec<String> = (0..100).map(|number| format!("build-{number}")).collect();
    join_all(names.iter().map(|name| walk.claim(name, json!({})))).await;
    let bound: Vec<PoolClaim> = join_all(names.iter().map(|name| walk.bound(name))).await;

    let held: BTreeSet<String> = bound.iter().map(|claim| member_of(claim).to_owned()).collect();
    assert_eq!(held.len(), 100, "each has a member of its own");
    assert!(ready.is_subset(&held), "the ready ones went first");
    walk.pool_until(POOL, "is whole again", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (20, 100, 120))
    })
    .await;
    assert_never_bound_twice(&mut members, &mut claims).await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.bought(), ledger.living().len()), (120, 120), "as many machines as are wanted, and never more");
    assert_few_claim_writes(&mut audit, 100);
}

#[tokio::test]
async fn a_claim_that_does_not_wait_fails_on_an_empty_pool_with_the_numbers_in_its_message() {
    let walk = Walk::begin("empty").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({ "simulated": { "bootMilliseconds": 3_600_000 } })).await;
    walk.pool(POOL, json!({ "targetSize": 2, "maxSize": 3 })).await;
    walk.pool_until(POOL, "warms two machines", |status| status.members.is_some_and(|members| members.warming == 2))
        .await;

    walk.claim("impatient", json!({ "whenEmpty": "Fail" })).await;
    let failed = |claim: &PoolClaim| phase(claim) == ClaimPhase::Failed;
    let claim = walk.until("impatient", "is Failed", failed).await;
    let (status, reason, message) = condition(&claim, "Bound");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NoReadyMembers"));
    assert!(message.contains("target 2, ready 0, warming 2"), "{message}");
    assert_eq!(condition(&claim, "Stalled").0, "True");
}

#[tokio::test]
async fn a_claim_that_does_not_wait_is_bound_right_after_an_operator_start_with_ready_members() {
    let walk = Walk::begin("start").await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(4, json!({})).await;
    for round in 0..4 {
        operator.kill_9();
        let name = format!("after-start-{round}");
        walk.claim(&name, json!({ "whenEmpty": "Fail" })).await;
        operator.start_again().await;
        // A verdict is final, so Failed would stay.
        let judged = |claim: &PoolClaim| phase(claim) != ClaimPhase::Pending;
        let claim = walk.until(&name, "is judged", judged).await;
        assert_eq!(phase(&claim), ClaimPhase::Bound, "{:?}", condition(&claim, "Bound"));
    }
}

#[tokio::test]
async fn a_claim_on_a_missing_pool_says_so_and_goes_on_when_the_pool_comes() {
    let walk = Walk::begin("missing-pool").await;
    let _operator = Operator::start(&walk).await;
    walk.claim("patient", json!({})).await;
    walk.claim("timed", json!({ "waitTimeoutSeconds": 2 })).await;
    walk.claim("failing", json!({ "whenEmpty": "Fail", "waitTimeoutSeconds": 2 })).await;

    let says = |claim: &PoolClaim| condition(claim, "Bound").1 == "PoolNotFound";
    let patient = walk.until("patient", "says that there is no pool", says).await;
    assert_eq!(phase(&patient), ClaimPhase::Pending);
    assert_eq!(condition(&patient, "Bound").0, "False");
    for name in ["timed", "failing"] {
        let failed = |claim: &PoolClaim| phase(claim) == ClaimPhase::Failed;
        let claim = walk.until(name, "is Failed", failed).await;
        assert_eq!(condition(&claim, "Bound").1, "PoolNotFound", "{name}");
        assert!(waited_seconds(&claim) >= 2, "{name}: not before its waitTimeoutSeconds");
    }
    walk.ready_pool(1, json!({})).await;
    walk.bound("patient").await;
}

/// Whole seconds from a claim's creation to its verdict: both times are cut to seconds.
fn waited_seconds(claim: &PoolClaim) -> i64 {
    let status = claim.status.as_ref().expect("a status");
    let verdict = status.conditions.iter().find(|condition| condition.type_ == "Stalled").expect("a verdict");
    let created = claim.creation_timestamp().expect("a creation time");
    verdict.last_transition_time.0.as_second() - created.0.as_second()
}

#[tokio::test]
async fn a_claim_on_a_paused_pool_says_so_and_goes_on_when_the_pool_is_resumed() {
    let walk = Walk::begin("paused-claims").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    walk.set::<InstancePool>(POOL, json!({ "state": "Paused" })).await;
    walk.pool_until(POOL, "is known to be paused", |_| true).await;

    walk.claim("patient", json!({})).await;
    walk.claim("timed", json!({ "waitTimeoutSeconds": 2 })).await;
    walk.claim("failing", json!({ "whenEmpty": "Fail" })).await;
    let says = |claim: &PoolClaim| condition(claim, "Bound").1 == "PoolNotActive";
    let patient = walk.until("patient", "says that the pool is paused", says).await;
    assert_eq!(phase(&patient), ClaimPhase::Pending);
    for name in ["timed", "failing"] {
        let failed = |claim: &PoolClaim| phase(claim) == ClaimPhase::Failed;
        let claim = walk.until(name, "is Failed", failed).await;
        assert_eq!(condition(&claim, "Bound").1, "PoolNotActive", "{name}");
    }
    walk.set::<InstancePool>(POOL, json!({ "state": "Active" })).await;
    walk.bound("patient").await;
}

#[tokio::test]
async fn claims_deleted_at_any_moment_of_a_burst_leave_no_machine_behind() {
    let walk = Walk::begin("deleted-claims").await;
    let _operator = Operator::start(&walk).await;
    let mut audit = walk.audit();
    walk.ready_pool(5, json!({ "maxSize": 40, "provisioning": { "maxConcurrentCreates": 20 } })).await;
    let (mut members, mut claims) = (History::begin(&walk).await, History::begin(&walk).await);

    join_all((0..45_u32).map(async |number| {
        let name = format!("short-{number}");
        walk.claim(&name, json!({})).await;
        match number % 3 {
            0 => {}
            1 => drop(walk.bound(&name).await),
            _ => {
                let moment = rand::rng().random_range(0..800);
                tokio::time::sleep(Duration::from_millis(moment)).await;
            }
        }
        walk.delete::<PoolClaim>(&name).await;
    }))
    .await;
    walk.none_left::<PoolClaim>().await;
    // A lowered target takes the surplus at once; without that it would be kept for half a minute.
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 4 })).await;
    walk.pool_until(POOL, "has four ready members and nothing else", |status| {
        status.members.is_some_and(|members| (members.ready, members.total) == (4, 4))
    })
    .await;
    let ledger = walk.simcloud.ledger().await;
    let left = walk.list::<PoolMember>().await;
    let theirs: BTreeSet<&str> = left.iter().filter_map(machine).collect();
    assert_eq!(ledger.living().into_keys().collect::<BTreeSet<_>>(), theirs, "every living machine has its member");
    assert_never_bound_twice(&mut members, &mut claims).await;

    walk.set::<InstancePool>(POOL, json!({ "state": "Draining" })).await;
    walk.none_left::<PoolMember>().await;
    walk.no_machine_left().await;
    assert_few_claim_writes(&mut audit, 45);
}

/// A claim is told why it waits and then that it is bound; a few of these writes may meet another one.
fn assert_few_claim_writes(audit: &mut Audit, claims: usize) {
    audit.assert_none_refused();
    let written = audit.writes().iter().filter(|write| write.resource() == "poolclaims").count();
    eprintln!("{written} writes of {claims} claims");
    assert!(written <= 3 * claims, "{written} writes of {claims} claims");
}

#[tokio::test]
async fn a_claim_made_again_under_its_name_gets_another_machine() {
    let walk = Walk::begin("same-name").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("again", json!({})).await;
    let first = walk.bound("again").await;
    walk.delete::<PoolClaim>("again").await;
    walk.claim("again", json!({})).await;
    let second = walk.bound("again").await;
    assert_ne!(first.uid(), second.uid());
    assert_ne!(machine_of(&first), machine_of(&second));
    walk.gone::<PoolMember>(member_of(&first)).await;
    let ledger = walk.simcloud.ledger().await;
    assert!(ledger.ended(machine_of(&first)));
    assert!(!ledger.ended(machine_of(&second)));
}

#[tokio::test]
async fn a_claim_that_failed_stays_failed_when_machines_come_and_when_it_is_applied_again() {
    let walk = Walk::begin("terminal").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 0 })).await;
    walk.pool_until(POOL, "is known", |_| true).await;
    walk.claim("failed", json!({ "whenEmpty": "Fail" })).await;
    let failed = |claim: &PoolClaim| phase(claim) == ClaimPhase::Failed;
    walk.until("failed", "is Failed", failed).await;

    walk.set::<InstancePool>(POOL, json!({ "targetSize": 2 })).await;
    walk.pool_has_ready(2).await;
    let set: PoolClaim = walk.set("failed", json!({ "acquiredFor": "a second try" })).await;
    assert_eq!(set.metadata.generation, Some(2));
    // A claim that came later is served: the failed one was passed over.
    walk.claim("later", json!({})).await;
    walk.bound("later").await;
    walk.pool_has_ready(2).await;
    let claim: PoolClaim = walk.get("failed").await;
    assert_eq!(phase(&claim), ClaimPhase::Failed);
    assert_eq!(claim.status.and_then(|status| status.member_ref), None);
    assert_eq!(walk.simcloud.ledger().await.bought(), 3);
}
