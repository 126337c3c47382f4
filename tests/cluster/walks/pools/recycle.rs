//! Members that are replaced although they work: the old, and those of another template.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bullpen_api::{
    ClaimPhase, ConditionType, InstancePool, InstancePoolStatus, LaunchConfig, MemberState, PoolClaim, PoolMember,
    condition_is_true,
};
use futures::future::join_all;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use serde_json::json;

use crate::harness::objects::{LAUNCH_CONFIG, POOL, condition, machine_of, member_of, phase};
use crate::harness::{History, Operator, Walk, eventually};

/// Whether a member can be claimed, as far as its own object tells.
fn is_ready(member: &PoolMember) -> bool {
    let state = member.status.as_ref().map(|status| status.state);
    state == Some(MemberState::Ready) && member.metadata.deletion_timestamp.is_none()
}

/// The fewest ready members that there ever were, counted from when there were `from` of them.
async fn fewest_ready(members: &mut History<PoolMember>, from: usize) -> usize {
    let mut ready = BTreeMap::new();
    let mut fewest = usize::MAX;
    for member in members.versions().await {
        ready.insert(member.name_any(), is_ready(&member));
        let count = ready.values().filter(|is| **is).count();
        if fewest < usize::MAX || count >= from {
            fewest = fewest.min(count);
        }
    }
    fewest
}

/// Waits until the pool has so many ready members of its template and no unclaimed other.
async fn is_current(walk: &Walk, ready: i32) -> InstancePool {
    walk.pool_until(POOL, &format!("has {ready} ready members, all current"), |status| {
        let counted = status.members.is_some_and(|members| members.ready == ready);
        counted
            && status.updated_ready == ready
            && condition_is_true(&status.conditions, ConditionType::TemplateCurrent)
    })
    .await
}

fn reason(status: &InstancePoolStatus) -> Option<&str> {
    let found = status.conditions.iter().find(|condition| condition.type_ == "TemplateCurrent");
    found.map(|condition| condition.reason.as_str())
}

/// Machines of the image `img-broken` boot and never become ready.
async fn break_an_image(walk: &Walk) {
    let url = format!("http://{}/v1/faults", walk.simcloud.address());
    let faults = json!({ "machines": [{ "where": { "images": ["img-broken"] }, "fault": { "neverReady": {} } }] });
    let answer = reqwest::Client::new().put(url).body(faults.to_string()).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{answer:?}");
}

#[tokio::test]
async fn ready_members_past_their_age_are_replaced_and_never_missed() {
    let walk = Walk::begin("recycle").await;
    let mut members = History::begin(&walk).await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(3, json!({ "recycle": { "readyTtlSeconds": 4, "jitterPercent": 50 } })).await;
    let first: Vec<String> = walk.list::<PoolMember>().await.iter().map(PoolMember::name_any).collect();
    for name in &first {
        walk.gone::<PoolMember>(name).await;
    }
    assert_eq!(fewest_ready(&mut members, 3).await, 3, "each replacement is ready before its predecessor goes");
    walk.set::<InstancePool>(POOL, json!({ "recycle": { "readyTtlSeconds": 86_400 } })).await;
    walk.pool_has_ready(3).await;
    walk.ledger_until("three machines are left", |ledger| ledger.living().len() == 3).await;
}

#[tokio::test]
async fn a_changed_template_reaches_unclaimed_members_within_the_budget_and_no_claimed_one() {
    let walk = Walk::begin("rollout").await;
    let _operator = Operator::start(&walk).await;
    let before = walk.ready_pool(3, json!({})).await;
    walk.claim("held", json!({})).await;
    let held = walk.bound("held").await;
    is_current(&walk, 3).await;
    // Slow enough that a status is written in between; this is no part of the template.
    walk.set::<LaunchConfig>(LAUNCH_CONFIG, json!({ "simulated": { "bootMilliseconds": 1_000 } })).await;
    let mut members = History::begin(&walk).await;

    walk.set::<InstancePool>(POOL, json!({ "template": { "userData": "#!/bin/sh\ntrue" } })).await;
    walk.pool_until(POOL, "says that it replaces its members", |status| reason(status) == Some("Replacing")).await;
    let after = is_current(&walk, 3).await.status.expect("a status");
    assert_eq!(fewest_ready(&mut members, 3).await, 3);
    let before = before.status.expect("a status");
    assert!(!before.template_hash.is_empty() && before.template_hash != after.template_hash);
    assert_eq!(after.rollout_progress_time, None, "the rollout is over");
    assert_eq!((walk.has_event("RolloutBegan").await, walk.has_event("RolloutDone").await), (1, 1));

    let current = &after.launch_configs[0].template_hash;
    for member in walk.list::<PoolMember>().await {
        let claimed = member.name_any() == member_of(&held);
        assert!(claimed || member.spec.template_hash == *current || member.metadata.deletion_timestamp.is_some());
    }
    assert_eq!(phase(&walk.get("held").await), ClaimPhase::Bound);
    assert!(!walk.simcloud.ledger().await.ended(machine_of(&held)), "its claimant works on it");

    walk.set::<LaunchConfig>(LAUNCH_CONFIG, json!({ "instanceType": "large" })).await;
    walk.pool_until(POOL, "replaces them again", |status| status.template_hash != after.template_hash).await;
    is_current(&walk, 3).await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!(ledger.bought_as(|machine| machine.instance_type == "large"), 3);
    assert_eq!(ledger.bought(), 3 + 1 + 3 + 3, "each member was replaced once by each change");
}

#[tokio::test]
async fn members_that_boot_with_an_older_template_are_given_up_for_the_present_one() {
    let walk = Walk::begin("rollout-boot").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config(LAUNCH_CONFIG, json!({ "simulated": { "bootMilliseconds": 3_600_000 } })).await;
    walk.pool(POOL, json!({ "targetSize": 3 })).await;
    walk.pool_until(POOL, "boots three", |status| status.members.is_some_and(|members| members.warming == 3)).await;
    let mended = json!({ "image": "img-2", "simulated": { "bootMilliseconds": 200 } });
    walk.set::<LaunchConfig>(LAUNCH_CONFIG, mended).await;
    is_current(&walk, 3).await;
    walk.ledger_until("three machines are left", |ledger| ledger.living().len() == 3).await;
    walk.has_event("RolloutDone").await;
    let events = walk.list::<Event>().await;
    let failed: Vec<_> = events.iter().filter(|event| event.reason.as_deref() == Some("Errored")).collect();
    assert!(failed.is_empty(), "what is given up has not failed: {failed:?}");
}

#[tokio::test]
async fn a_template_that_never_gets_ready_pauses_the_rollout_and_a_mended_one_goes_on() {
    let walk = Walk::begin("rollout-broken").await;
    break_an_image(&walk).await;
    let mut operator = Operator::start(&walk).await;
    let spec = json!({
        "rollout": { "progressDeadlineSeconds": 4 },
        "readiness": { "warmingTimeoutSeconds": 1 },
    });
    walk.ready_pool(2, spec).await;
    let mut members = History::begin(&walk).await;
    walk.set::<LaunchConfig>(LAUNCH_CONFIG, json!({ "image": "img-broken" })).await;
    let stuck = |status: &InstancePoolStatus| reason(status) == Some("ProgressDeadlineExceeded");
    let paused = walk.pool_until(POOL, "says that the rollout is stuck", stuck).await;
    assert!(condition(&paused, "TemplateCurrent").2.starts_with("0 of 2 ready members"), "{paused:?}");
    walk.has_event("RolloutPaused").await;
    assert_eq!(fewest_ready(&mut members, 2).await, 2, "no old member goes for one that does not come up");
    let since = paused.status.and_then(|status| status.rollout_progress_time).expect("a time");

    operator.kill_9();
    operator.start_again().await;
    operator.is_ready().await;
    walk.claim("build", json!({})).await;
    let build = walk.bound("build").await;
    let member = walk.get::<PoolMember>(member_of(&build)).await;
    assert_eq!(member.spec.placement.image, "img-1", "old members are still claimable");
    let progressed = |status: &InstancePoolStatus| {
        status.rollout_progress_time.as_ref().is_some_and(|time| time.0 > since.0) && stuck(status)
    };
    walk.pool_until(POOL, "is stuck again, with one old member less", progressed).await;

    walk.set::<LaunchConfig>(LAUNCH_CONFIG, json!({ "image": "img-2" })).await;
    is_current(&walk, 2).await;
    assert!(!walk.simcloud.ledger().await.ended(machine_of(&build)));
}

#[tokio::test]
async fn on_replenish_leaves_older_members_until_they_are_claimed() {
    let walk = Walk::begin("on-replenish").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({ "rollout": { "type": "OnReplenish" } })).await;
    walk.set::<InstancePool>(POOL, json!({ "template": { "tags": { "team": "web" } } })).await;
    walk.pool_until(POOL, "says how they are replaced", |status| reason(status) == Some("OnReplenish")).await;
    walk.claim("first", json!({})).await;
    walk.bound("first").await;
    let pool = walk
        .pool_until(POOL, "has one of each", |status| {
            status.members.is_some_and(|members| members.ready == 2) && status.updated_ready == 1
        })
        .await;
    assert!(condition(&pool, "TemplateCurrent").2.starts_with("1 of 2 ready members"), "{pool:?}");
    assert_eq!(walk.simcloud.ledger().await.bought(), 3, "one was bought, for the claim");
    walk.set::<InstancePool>(POOL, json!({ "rollout": { "type": "RollingReplace" } })).await;
    is_current(&walk, 2).await;
}

#[tokio::test]
async fn members_claimed_in_the_middle_of_recycling_scaling_down_and_draining_survive() {
    // A DELETE that was decided on an older version of a member does nothing.
    let walk = Walk::begin("reap-or-claim").await;
    let _operator = Operator::start(&walk).await;
    let spec = json!({
        "maxSize": 60,
        "recycle": { "readyTtlSeconds": 1, "jitterPercent": 50 },
        "disruption": { "maxSurge": 4, "maxUnavailable": 4 },
    });
    walk.launch_config(LAUNCH_CONFIG, json!({})).await;
    let mut pool = json!({ "targetSize": 8 });
    pool.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
    walk.pool(POOL, pool).await;
    let names: Vec<String> = (0..16).map(|number| format!("build-{number}")).collect();
    let (during_recycling, rest) = names.split_at(8);
    let (during_scale_down, during_drain) = rest.split_at(4);
    for name in during_recycling {
        walk.claim(name, json!({})).await;
        walk.bound(name).await;
    }
    let at_once = async |names: &[String], change: serde_json::Value| {
        let claims = join_all(names.iter().map(async |name| drop(walk.claim(name, json!({})).await)));
        tokio::join!(claims, walk.set::<InstancePool>(POOL, change));
    };
    at_once(during_scale_down, json!({ "targetSize": 1 })).await;
    for name in during_scale_down {
        walk.bound(name).await;
    }
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 6 })).await;
    walk.pool_until(POOL, "has some ready", |status| status.members.is_some_and(|members| members.ready >= 4)).await;
    at_once(during_drain, json!({ "state": "Draining" })).await;

    eventually("only claimed members are left, and every claim knows where it stands", async || {
        let status = walk.get::<InstancePool>(POOL).await.status.unwrap_or_default();
        let members = status.members.unwrap_or_default();
        let claims = walk.list::<PoolClaim>().await;
        let bound = claims.iter().filter(|claim| phase(claim) == ClaimPhase::Bound).count();
        let told = |claim: &PoolClaim| condition(claim, "Bound").1 == "PoolNotActive";
        let judged = claims.iter().all(|claim| phase(claim) == ClaimPhase::Bound || told(claim));
        let whole = members.total == members.claimed && usize::try_from(members.claimed) == Ok(bound);
        if whole && judged { Ok(()) } else { Err(format!("{members:?}, {bound} bound")) }
    })
    .await;
    let (ledger, claims) = (walk.simcloud.ledger().await, walk.list::<PoolClaim>().await);
    let bound: Vec<_> = claims.iter().filter(|claim| phase(claim) == ClaimPhase::Bound).collect();
    assert!(bound.len() >= 12, "{}", bound.len());
    for claim in bound {
        assert!(!ledger.ended(machine_of(claim)), "{} lost its machine", claim.name_any());
    }
    let lost = claims.iter().filter(|claim| phase(claim) == ClaimPhase::Lost).count();
    assert_eq!(lost, 0);
}

#[tokio::test]
async fn min_size_without_room_for_a_replacement_forbids_recycling_and_the_pool_says_so() {
    let walk = Walk::begin("min-size").await;
    let mut members = History::begin(&walk).await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({ "maxSize": 2, "minSize": 2 })).await;
    walk.set::<InstancePool>(POOL, json!({ "template": { "tags": { "team": "web" } } })).await;
    let forbidden = |status: &InstancePoolStatus| reason(status) == Some("MinSizeForbidsRecycling");
    let pool = walk.pool_until(POOL, "says what forbids it", forbidden).await;
    let message = condition(&pool, "TemplateCurrent").2;
    assert!(message.contains("minSize 2") && message.contains("maxSize 2"), "{message}");
    assert_eq!(fewest_ready(&mut members, 2).await, 2);
    walk.set::<InstancePool>(POOL, json!({ "minSize": 1 })).await;
    is_current(&walk, 2).await;
    assert_eq!(fewest_ready(&mut members, 2).await, 1, "one at a time, for lack of room");
}

#[tokio::test]
async fn a_requested_pass_does_not_wait_out_a_surplus_and_is_answered() {
    let walk = Walk::begin("forced").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let member = walk.list::<PoolMember>().await.remove(0).name_any();
    walk.set::<PoolMember>(&member, json!({ "cordoned": true })).await;
    walk.pool_until(POOL, "has replaced the cordoned one", |status| {
        status.members.is_some_and(|members| (members.ready, members.total) == (1, 2))
    })
    .await;
    walk.set::<PoolMember>(&member, json!({ "cordoned": false })).await;
    walk.pool_has_ready(2).await;
    let began = Instant::now();
    walk.request_a_pass(POOL, "now").await;
    walk.pool_has_ready(1).await;
    // Half a minute is what a surplus has to last that no lowered size explains.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    walk.request_a_pass(POOL, "and once more").await;
}

#[tokio::test]
async fn an_edit_that_means_nothing_replaces_no_machine_and_the_next_real_one_does() {
    let walk = Walk::begin("no-edit").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({ "template": { "ssh": {}, "tags": { "a": "1", "b": "2" } } })).await;
    let before = is_current(&walk, 2).await.status.expect("a status").template_hash;
    let mark = walk.simcloud.ledger().await.last();
    let of_pool = [
        json!({ "template": { "userData": "" } }),
        json!({ "template": { "labels": {} } }),
        json!({ "template": { "ssh": { "user": "bullpen", "generateKey": false } } }),
        json!({ "template": { "tags": null } }),
    ];
    let (last, meaningless) = of_pool.split_last().expect("some edits");
    for (number, edit) in meaningless.iter().enumerate() {
        walk.set::<InstancePool>(POOL, edit.clone()).await;
        walk.request_a_pass(POOL, &format!("edit-{number}")).await;
        let status = is_current(&walk, 2).await.status.expect("a status");
        assert_eq!(status.template_hash, before, "{edit}");
    }
    for edit in [
        json!({ "market": "OnDemand", "paused": false }),
        json!({ "simulated": { "bootMilliseconds": 3_000, "bootJitterPercent": 20 } }),
        json!({ "maxInstances": 30, "simulated": { "bootMilliseconds": 200 } }),
    ] {
        walk.set::<LaunchConfig>(LAUNCH_CONFIG, edit.clone()).await;
        walk.until::<LaunchConfig>(LAUNCH_CONFIG, "is looked at", |config| {
            config.status.as_ref().map(|status| status.observed_generation) == config.metadata.generation
        })
        .await;
        walk.request_a_pass(POOL, &edit.to_string()).await;
        assert_eq!(is_current(&walk, 2).await.status.expect("a status").template_hash, before, "{edit}");
    }
    assert_eq!(walk.simcloud.ledger().await.since(mark).bought(), 0);
    assert_eq!(walk.simcloud.ledger().await.living().len(), 2);

    walk.set::<InstancePool>(POOL, last.clone()).await;
    walk.pool_until(POOL, "is of another template", |status| status.template_hash != before).await;
    is_current(&walk, 2).await;
    assert_eq!(walk.simcloud.ledger().await.since(mark).bought(), 2, "each member was replaced once");
}
