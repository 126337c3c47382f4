//! Pools: their sizes, what they say of themselves, and what they do not do while paused or draining.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bullpen_api::{
    ClaimPhase, ConditionType, InstancePool, LaunchConfig, MemberCounts, PoolClaim, PoolMember, TargetSource,
    condition_is_true,
};
use bullpen_simcloud::ledger::{Method, State};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use crate::harness::objects::{POOL, condition, machine, machine_of, phase};
use crate::harness::{Operator, Walk, eventually_within};
use crate::walks::claims::queue::says;

#[tokio::test]
async fn a_pool_becomes_ready_and_its_status_tells_what_it_has() {
    let walk = Walk::begin("pool-ready").await;
    let _operator = Operator::start(&walk).await;
    let pool = walk.ready_pool(3, json!({ "minSize": 1, "template": { "tags": { "team": "web" } } })).await;
    let status = pool.status.clone().expect("a status");
    assert_eq!(status.members, Some(MemberCounts { ready: 3, total: 3, ..MemberCounts::default() }));
    assert_eq!((status.replicas, status.deficit, status.waiting_claims), (3, 0, 0));
    let target = status.effective_target.expect("an effective target");
    assert_eq!((target.size, target.source), (3, TargetSource::Spec));
    assert_eq!(status.selector, "bullpen.dev/pool=ci");
    assert!(status.last_replenish_time.is_some());
    for (type_, expected) in [
        ("Ready", "True"),
        ("Reconciling", "False"),
        ("Stalled", "False"),
        ("ProvisioningHealthy", "True"),
        ("AtMaxSize", "False"),
        ("Drained", "False"),
    ] {
        assert_eq!(condition(&pool, type_).0, expected, "{type_}: {:?}", condition(&pool, type_));
    }

    let members = walk.list::<PoolMember>().await;
    for member in &members {
        let owner = &member.owner_references()[0];
        assert_eq!((owner.kind.as_str(), Some(&owner.uid)), ("InstancePool", pool.uid().as_ref()));
        assert_eq!(member.finalizers(), ["bullpen.dev/instance"]);
        assert_eq!(member.labels()["bullpen.dev/pool"], POOL);
        assert_eq!(member.labels()["bullpen.dev/launch-config"], "sim");
        assert_eq!(member.labels()["bullpen.dev/template-hash"], member.spec.template_hash);
    }
    let uids: BTreeSet<String> = members.iter().filter_map(PoolMember::uid).collect();
    let ledger = walk.simcloud.ledger().await;
    let tokens: BTreeSet<String> = ledger.living().into_values().map(str::to_owned).collect();
    assert_eq!(tokens, uids, "a machine's token is its member's uid");
    let tagged = ledger.bought_as(|machine| {
        let tag = |key: &str| machine.tags.get(key).map(String::as_str).unwrap_or_default();
        tag("bullpen.dev/installation") == walk.namespace
            && tag("bullpen.dev/namespace") == walk.namespace
            && uids.contains(tag("bullpen.dev/member-uid"))
            && tag("bullpen.dev/name").starts_with("ci-")
            && tag("team") == "web"
    });
    assert_eq!(tagged, 3);
}

#[tokio::test]
async fn scaling_down_removes_the_surplus_at_once() {
    let walk = Walk::begin("scale-down").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(6, json!({})).await;
    let began = Instant::now();
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 2 })).await;
    let pool = walk.pool_has_ready(2).await;
    // Half a minute is what a surplus has to last that no lowered size explains.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(pool.status.expect("a status").replicas, 2);
    let ledger = walk.ledger_until("the others are terminated", |ledger| ledger.living().len() == 2).await;
    assert_eq!(ledger.bought(), 6, "and none is bought");
}

#[tokio::test]
async fn lowering_max_size_below_the_target_is_accepted_and_clamps_the_pool() {
    let walk = Walk::begin("clamp").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(5, json!({ "maxSize": 8 })).await;
    walk.claim("held", json!({})).await;
    let held = walk.bound("held").await;
    walk.pool_has_ready(5).await;

    walk.set::<InstancePool>(POOL, json!({ "maxSize": 3 })).await;
    let pool = walk
        .pool_until(POOL, "is clamped to what maxSize leaves beside the claimed member", |status| {
            let members = status.members.unwrap_or_default();
            (members.ready, members.claimed, members.total) == (2, 1, 3)
        })
        .await;
    let target = pool.status.as_ref().and_then(|status| status.effective_target.clone()).expect("an effective target");
    assert_eq!((target.size, target.source), (2, TargetSource::MaxSize));
    assert_eq!(condition(&pool, "AtMaxSize").0, "True");
    let ledger = walk.simcloud.ledger().await;
    assert_eq!(ledger.living().len(), 3);
    assert!(!ledger.ended(machine_of(&held)), "a claimed machine never goes for a limit");

    // The emergency brake.
    walk.set::<InstancePool>(POOL, json!({ "maxSize": 0 })).await;
    let mark = ledger.last();
    walk.pool_until(POOL, "has only its claimed member left", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (0, 1, 1))
    })
    .await;
    // Not before: until the operator knows of the brake, it hands out what is ready.
    walk.claim("waits", json!({})).await;
    says(&walk, "waits", "pool at maxSize 0").await;
    let ledger = walk.simcloud.ledger().await;
    assert!(!ledger.ended(machine_of(&held)), "a brake ends no claim");
    assert_eq!(ledger.since(mark).calls(Method::Create), 0, "and nothing is bought");
    walk.delete::<PoolClaim>("waits").await;

    walk.set::<InstancePool>(POOL, json!({ "maxSize": 8 })).await;
    let pool = walk.pool_has_ready(5).await;
    assert_eq!(condition(&pool, "AtMaxSize").0, "False");
}

#[tokio::test]
async fn a_paused_pool_buys_nothing_and_hands_out_nothing() {
    let walk = Walk::begin("paused").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("before", json!({})).await;
    let before = walk.bound("before").await;
    walk.pool_has_ready(2).await;

    walk.set::<InstancePool>(POOL, json!({ "state": "Paused" })).await;
    walk.pool_until(POOL, "is known to be paused", |_| true).await;
    let mark = walk.simcloud.ledger().await.last();
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 5 })).await;
    walk.claim("during", json!({})).await;
    walk.delete::<PoolClaim>("before").await;
    let victim =
        walk.list::<PoolMember>().await.into_iter().find(|member| machine(member) != Some(machine_of(&before)));
    let victim = victim.expect("another member").name_any();
    walk.delete::<PoolMember>(&victim).await;
    let says = |claim: &PoolClaim| condition(claim, "Bound").1 == "PoolNotActive";
    walk.until("during", "says that the pool is paused", says).await;
    walk.pool_until(POOL, "has one member left", |status| {
        status.members.is_some_and(|members| (members.ready, members.total) == (1, 1))
    })
    .await;
    let ledger = walk.simcloud.ledger().await;
    assert!(ledger.ended(machine_of(&before)), "what ends is terminated all the same");
    assert_eq!(ledger.since(mark).calls(Method::Create), 0, "and not replaced");
    assert_eq!(phase(&walk.get("during").await), ClaimPhase::Pending);

    walk.set::<InstancePool>(POOL, json!({ "state": "Active" })).await;
    walk.bound("during").await;
    walk.pool_has_ready(5).await;
}

#[tokio::test]
async fn a_draining_pool_gives_up_all_but_claimed_machines_and_warming_ones_too() {
    let walk = Walk::begin("draining").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("held", json!({})).await;
    let held = walk.bound("held").await;
    walk.pool_has_ready(2).await;
    walk.set::<LaunchConfig>("sim", json!({ "simulated": { "bootMilliseconds": 3_600_000 } })).await;
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 4 })).await;
    walk.pool_until(POOL, "warms two more", |status| status.members.is_some_and(|members| members.warming == 2)).await;

    walk.set::<InstancePool>(POOL, json!({ "state": "Draining" })).await;
    walk.pool_until(POOL, "is known to be draining", |_| true).await;
    walk.claim("late", json!({})).await;
    let pool = walk
        .pool_until(POOL, "has its claimed member only", |status| {
            status.members.is_some_and(|members| (members.claimed, members.total) == (1, 1))
        })
        .await;
    assert_eq!(condition(&pool, "Drained").0, "False");
    let ledger = walk.simcloud.ledger().await;
    assert_eq!(ledger.living().into_keys().collect::<Vec<_>>(), [machine_of(&held)]);
    assert_eq!(ledger.reached(State::Created).len(), 5);
    assert_eq!(phase(&walk.get("held").await), ClaimPhase::Bound);
    let mark = ledger.last();

    let says = |claim: &PoolClaim| condition(claim, "Bound").1 == "PoolNotActive";
    walk.until("late", "says that the pool is draining", says).await;
    walk.delete::<PoolClaim>("held").await;
    let drained = walk
        .pool_until(POOL, "is drained", |status| condition_is_true(&status.conditions, ConditionType::Drained))
        .await;
    assert_eq!(drained.status.and_then(|status| status.members).map(|members| members.total), Some(0));
    let ledger = walk.no_machine_left().await;
    assert_eq!(ledger.since(mark).calls(Method::Create), 0, "a draining pool buys nothing");

    walk.set::<LaunchConfig>("sim", json!({ "simulated": { "bootMilliseconds": 200 } })).await;
    walk.set::<InstancePool>(POOL, json!({ "state": "Active" })).await;
    walk.bound("late").await;
    walk.pool_has_ready(4).await;
}

#[tokio::test]
async fn a_machine_that_nobody_needs_is_kept_until_its_paid_minute_ends() {
    let walk = Walk::begin("billing").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.set::<LaunchConfig>("sim", json!({ "billingSeconds": 60, "hourlyPrice": "0.1" })).await;
    walk.until("sim", "shows the price", |config: &LaunchConfig| {
        config.status.as_ref().and_then(|status| status.hourly_price.as_deref()) == Some("0.1")
    })
    .await;
    let launch_time = |member: &PoolMember| {
        let instance = member.status.as_ref().and_then(|status| status.instance.as_ref());
        instance.and_then(|instance| instance.launch_time.as_ref()).map(|time| time.0)
    };
    let members = walk.list::<PoolMember>().await;
    let launches: BTreeMap<_, _> =
        members.iter().map(|member| (member.name_any(), launch_time(member).expect("it was launched"))).collect();
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 1 })).await;
    // A busy machine may miss the last seconds of a minute; then it is kept for the next one.
    eventually_within(Duration::from_secs(150), "one member is left", async || {
        let status = walk.get::<InstancePool>(POOL).await.status.unwrap_or_default();
        let total = status.members.map(|members| members.total);
        if total == Some(1) { Ok(()) } else { Err(format!("{total:?}")) }
    })
    .await;
    let left: Vec<_> = walk.list::<PoolMember>().await.iter().map(ResourceExt::name_any).collect();
    let (_, ended) = launches.iter().find(|(name, _)| !left.contains(name)).expect("one of them ended");
    let lived = Timestamp::now().duration_since(*ended).as_secs();
    assert!(lived >= 54, "it was paid for a minute, and ended after {lived} s");
}
