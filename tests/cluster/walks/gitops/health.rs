//! What Argo CD shows of the four kinds, by the health scripts in `deploy/argocd`, and what Flux and `helm --wait` see.

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, MemberState, PoolClaim, PoolMember};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::objects::{POOL, condition, machine_of, member_of, phase};
use crate::harness::{Judge, Operator, Walk};
use crate::walks::cloud::sweep::{GRACE, orphans};

const UNSEEN: (&str, &str) = ("Progressing", "has not seen this spec yet");

/// Another image, whose machines boot this long: machines of the image before are of an older template.
async fn image(walk: &Walk, image: &str, milliseconds: i32) {
    let spec = json!({ "image": image, "simulated": { "bootMilliseconds": milliseconds } });
    walk.set::<LaunchConfig>("sim", spec).await;
}

fn on(call: &str, class: &str) -> Value {
    json!({ "calls": [{ "on": [call], "fault": { "error": { "class": class } } }] })
}

fn no_capacity() -> Value {
    json!({ "calls": [{ "on": ["create"], "fault": { "error": { "class": "Capacity", "scope": "Type" } } }] })
}

/// Puts a finalizer of the test's own on a claim, so that its deletion can be looked at.
async fn keep(walk: &Walk, claim: &str, keep: bool) {
    let finalizers = if keep { json!(["example.com/keep"]) } else { Value::Null };
    let patch = Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
    walk.api::<PoolClaim>().patch(claim, &PatchParams::default(), &patch).await.expect("accepted");
}

#[tokio::test]
async fn argo_cd_shows_a_pool_as_it_comes_up_rolls_out_and_is_switched_off() {
    let walk = Walk::begin("argo-pool").await;
    let judge = Judge::new(&walk).await;
    let sees = async |argo, kstatus| judge.sees::<InstancePool>(&walk, POOL, argo, kstatus).await;
    let set = async |spec| drop(walk.set::<InstancePool>(POOL, spec).await);
    walk.pool(POOL, json!({ "minSize": 2 })).await;
    sees(UNSEEN, "InProgress").await;
    let mut operator = Operator::start(&walk).await;
    sees(("Degraded", "there is no launch config sim"), "Failed").await;

    walk.launch_config("sim", json!({ "simulated": { "bootMilliseconds": 3_600_000 } })).await;
    sees(("Progressing", "0 of 2 ready, minSize is 2"), "InProgress").await;
    image(&walk, "img-2", 200).await;
    sees(("Healthy", "at least minSize (2) members are ready"), "Current").await;

    // A rollout, which gets nowhere, and goes on.
    image(&walk, "img-3", 3_600_000).await;
    sees(("Progressing", "of the current template"), "Current").await;
    set(json!({ "rollout": { "progressDeadlineSeconds": 1 } })).await;
    sees(("Degraded", "and no more for 1 s"), "Current").await;
    set(json!({ "rollout": { "type": "OnReplenish" } })).await;
    sees(("Healthy", ""), "Current").await;
    set(json!({ "rollout": { "type": "RollingReplace", "progressDeadlineSeconds": 600 } })).await;
    image(&walk, "img-4", 200).await;
    sees(("Healthy", "at least minSize (2) members are ready"), "Current").await;

    set(json!({ "state": "Paused" })).await;
    sees(("Suspended", "spec.state is Paused"), "Current").await;
    set(json!({ "state": "Active" })).await;
    walk.set::<LaunchConfig>("sim", json!({ "paused": true })).await;
    sees(("Suspended", "all launch configs of this pool are paused"), "Current").await;
    walk.set::<LaunchConfig>("sim", json!({ "paused": false })).await;
    set(json!({ "minSize": 0, "maxSize": 1 })).await;
    sees(("Healthy", "maxSize 1 keeps the pool from buying"), "Current").await;
    set(json!({ "maxSize": 20 })).await;

    operator.kill_9();
    set(json!({ "minSize": 1 })).await;
    sees(UNSEEN, "InProgress").await;
    operator.start_again().await;

    walk.pool_has_ready(2).await;
    walk.simcloud.break_with(json!({ "calls": [{ "on": ["terminate"], "fault": { "hang": {} } }] })).await;
    set(json!({ "state": "Draining" })).await;
    sees(("Progressing", "unclaimed members are being terminated"), "InProgress").await;
    walk.simcloud.mend().await;
    sees(("Suspended", "no member is left"), "InProgress").await;

    // Claimed machines stay for as long as their claims: nobody has to wait for them.
    set(json!({ "state": "Active" })).await;
    walk.claim("held", json!({})).await;
    walk.bound("held").await;
    set(json!({ "state": "Draining" })).await;
    sees(("Suspended", "1 member is claimed"), "InProgress").await;
    walk.delete::<InstancePool>(POOL).await;
    sees(("Progressing", "1 member is claimed and finishes with its claim"), "Terminating").await;
}

#[tokio::test]
async fn argo_cd_shows_a_lack_of_machines_as_progressing_until_the_pool_has_its_minimum() {
    let walk = Walk::begin("argo-capacity").await;
    let judge = Judge::new(&walk).await;
    let sees = async |argo, kstatus| judge.sees::<InstancePool>(&walk, POOL, argo, kstatus).await;
    walk.simcloud.break_with(no_capacity()).await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({})).await;
    walk.pool(POOL, json!({ "minSize": 1 })).await;
    sees(("Progressing", "0 of 2 ready, minSize is 1; launch config sim: Capacity"), "InProgress").await;
    walk.set::<InstancePool>(POOL, json!({ "minSize": 0 })).await;
    sees(("Progressing", "0 of 2 ready for the first time: launch config sim: Capacity"), "InProgress").await;
    walk.simcloud.mend().await;
    sees(("Healthy", "at least minSize (0) members are ready"), "Current").await;
    // It has had its machines: a lack of more is no reason to stop a sync.
    walk.simcloud.break_with(no_capacity()).await;
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 3 })).await;
    sees(("Healthy", "; launch config sim: Capacity"), "Current").await;
    judge.sees::<LaunchConfig>(&walk, "sim", ("Healthy", "; injected by calls[0]"), "Current").await;
}

#[tokio::test]
async fn argo_cd_shows_machines_that_never_come_up_or_never_end_as_degraded() {
    let walk = Walk::begin("argo-trouble").await;
    let judge = Judge::new(&walk).await;
    let sees = async |argo, kstatus| judge.sees::<InstancePool>(&walk, POOL, argo, kstatus).await;
    walk.simcloud.break_with(json!({ "machines": [{ "fault": { "neverReady": {} } }] })).await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({})).await;
    let provisioning = json!({ "failureThreshold": 1, "cooldownSeconds": 3600 });
    walk.pool(POOL, json!({ "readiness": { "warmingTimeoutSeconds": 1 }, "provisioning": provisioning })).await;
    sees(("Degraded", "launch config sim: breaker open after "), "InProgress").await;
    walk.simcloud.mend().await;
    image(&walk, "img-2", 200).await;
    walk.pool_has_ready(2).await;
    sees(("Healthy", "at least minSize (0) members are ready"), "Current").await;

    walk.simcloud.break_with(on("terminate", "Transient")).await;
    let member = walk.list::<PoolMember>().await.remove(0).name_any();
    walk.delete::<PoolMember>(&member).await;
    sees(("Degraded", "1 machine cannot be terminated and may bill"), "Current").await;
    judge.sees::<PoolMember>(&walk, &member, ("Degraded", "injected by calls[0]"), "Terminating").await;
    walk.simcloud.mend().await;
    sees(("Healthy", "at least minSize (0) members are ready"), "Current").await;
}

#[tokio::test]
async fn argo_cd_shows_a_launch_config_in_every_phase() {
    let walk = Walk::begin("argo-config").await;
    let judge = Judge::new(&walk).await;
    let sees = async |argo, kstatus| judge.sees::<LaunchConfig>(&walk, "sim", argo, kstatus).await;
    walk.launch_config("sim", json!({})).await;
    sees(UNSEEN, "InProgress").await;
    let lost = orphans(&walk, 7).await;
    let _operator = Operator::start_with(&walk, &[GRACE]).await;
    sees(("Degraded", "7 "), "Current").await;
    for id in lost {
        walk.simcloud.end(&id).await;
    }
    sees(("Healthy", "the cloud answers"), "Current").await;
    walk.pool(POOL, json!({ "targetSize": 1 })).await;
    walk.pool_has_ready(1).await;

    walk.simcloud.break_with(on("list", "Transient")).await;
    sees(("Degraded", ""), "Current").await;
    walk.simcloud.mend().await;
    sees(("Healthy", "the cloud answers"), "Current").await;
    walk.simcloud.break_with(json!({ "calls": [{ "fault": { "asAccount": { "account": "another" } } }] })).await;
    sees(("Degraded", "another account than sim-1"), "Failed").await;
    walk.simcloud.mend().await;
    sees(("Healthy", "the cloud answers"), "Current").await;

    walk.set::<LaunchConfig>("sim", json!({ "paused": true })).await;
    sees(("Suspended", "nothing is bought while spec.paused is true"), "Current").await;
    walk.delete::<LaunchConfig>("sim").await;
    sees(("Progressing", "it stays until no member needs it"), "Terminating").await;
}

#[tokio::test]
async fn argo_cd_shows_members_in_every_state() {
    let walk = Walk::begin("argo-member").await;
    let judge = Judge::new(&walk).await;
    walk.simcloud.break_with(json!({ "calls": [{ "on": ["create"], "fault": { "hang": {} } }] })).await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({ "simulated": { "bootMilliseconds": 2_000 } })).await;
    walk.pool(POOL, json!({ "targetSize": 1 })).await;
    walk.pool_until(POOL, "has one", |status| status.members.is_some_and(|members| members.total == 1)).await;
    let name = walk.list::<PoolMember>().await.remove(0).name_any();
    let sees = async |argo, kstatus| judge.sees::<PoolMember>(&walk, &name, argo, kstatus).await;
    sees(("Progressing", "about to be bought"), "InProgress").await;
    walk.simcloud.mend().await;
    sees(("Progressing", "the machine boots"), "InProgress").await;
    sees(("Healthy", "the machine can be claimed"), "Current").await;
    walk.set::<PoolMember>(&name, json!({ "cordoned": true })).await;
    sees(("Suspended", "not claimable while spec.cordoned is true"), "InProgress").await;
    walk.set::<PoolMember>(&name, json!({ "cordoned": false, "hold": true })).await;
    sees(("Suspended", "kept and not claimable while spec.hold is true"), "InProgress").await;
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 0 })).await;
    walk.set::<PoolMember>(&name, json!({ "hold": false })).await;
    walk.gone::<PoolMember>(&name).await;

    walk.set::<InstancePool>(POOL, json!({ "targetSize": 1 })).await;
    walk.claim("held", json!({})).await;
    let claim = walk.bound("held").await;
    let claimed = member_of(&claim).to_owned();
    judge.sees::<PoolMember>(&walk, &claimed, ("Healthy", "held by claim held"), "Current").await;
    walk.simcloud.break_with(json!({ "calls": [{ "on": ["terminate"], "fault": { "hang": {} } }] })).await;
    walk.delete::<PoolClaim>("held").await;
    judge.sees::<PoolMember>(&walk, &claimed, ("Progressing", "being terminated"), "Terminating").await;
    walk.simcloud.mend().await;

    // A machine that fails while somebody keeps it to look at it.
    walk.pool_has_ready(1).await;
    walk.simcloud.break_with(json!({ "machines": [{ "fault": { "neverReady": {} } }] })).await;
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 2, "readiness": { "warmingTimeoutSeconds": 5 } })).await;
    let warming = |member: &PoolMember| member.status.as_ref().is_some_and(|seen| seen.state == MemberState::Warming);
    walk.pool_until(POOL, "has one that boots", |status| status.members.is_some_and(|members| members.warming > 0))
        .await;
    let failing = walk.list::<PoolMember>().await.into_iter().find(warming).expect("one boots").name_any();
    walk.set::<PoolMember>(&failing, json!({ "hold": true })).await;
    judge.sees::<PoolMember>(&walk, &failing, ("Degraded", "WarmingTimeout"), "InProgress").await;
}

#[tokio::test]
async fn argo_cd_shows_claims_in_every_phase() {
    let walk = Walk::begin("argo-claim").await;
    let judge = Judge::new(&walk).await;
    let sees = async |name: &str, argo, kstatus| judge.sees::<PoolClaim>(&walk, name, argo, kstatus).await;
    walk.claim("waits", json!({})).await;
    sees("waits", UNSEEN, "InProgress").await;
    let mut operator = Operator::start_with(&walk, &[("--expiry-grace-seconds", "1")]).await;
    sees("waits", ("Progressing", "there is no pool ci"), "InProgress").await;
    walk.ready_pool(1, json!({ "claims": { "staleAfterSeconds": 1 } })).await;
    walk.bound("waits").await;
    sees("waits", ("Healthy", "holds member ci-"), "Current").await;
    sees("waits", ("Healthy", "; "), "Current").await;
    let stale: PoolClaim = walk.get("waits").await;
    assert_eq!(condition(&stale, "Stale").0, "True");

    walk.claim("ends", json!({ "ttlSeconds": 1 })).await;
    sees("ends", ("Degraded", "Expired: "), "Failed").await;
    walk.set::<InstancePool>(POOL, json!({ "claims": { "releaseOnDone": true } })).await;
    walk.pool_has_ready(1).await;
    walk.claim("done", json!({})).await;
    let bound = walk.bound("done").await;
    let done = json!({ "status": { "reported": { "done": { "claimUid": bound.uid(), "result": "exit 0" } } } });
    let members = walk.api::<PoolMember>();
    members.patch_status(member_of(&bound), &PatchParams::default(), &Patch::Merge(done)).await.expect("reported");
    sees("done", ("Healthy", "Released: its machine reported that the job is done: exit 0"), "Current").await;
    let end: InstancePool = walk.set(POOL, json!({ "targetSize": 0 })).await;
    walk.until(POOL, "is seen", |pool: &InstancePool| {
        pool.status.as_ref().is_some_and(|status| {
            status.observed_generation >= end.metadata.generation.unwrap_or(0)
                && status.members.is_some_and(|members| members.ready == 0)
        })
    })
    .await;
    walk.claim("fails", json!({ "whenEmpty": "Fail" })).await;
    sees("fails", ("Degraded", "Failed: "), "Failed").await;
    // Its status never changes again, whatever becomes of its spec: Argo CD still shows how it ended.
    walk.set::<PoolClaim>("fails", json!({ "acquiredFor": "later" })).await;
    sees("fails", ("Degraded", "Failed: "), "InProgress").await;

    operator.kill_9();
    walk.set::<PoolClaim>("waits", json!({ "acquiredFor": "another thing" })).await;
    sees("waits", UNSEEN, "InProgress").await;
    operator.start_again().await;
    sees("waits", ("Healthy", "holds member ci-"), "Current").await;

    keep(&walk, "waits", true).await;
    let held: PoolClaim = walk.get("waits").await;
    assert_eq!(phase(&held), ClaimPhase::Bound);
    walk.delete::<PoolClaim>("waits").await;
    sees("waits", ("Progressing", ""), "Terminating").await;
    keep(&walk, "waits", false).await;
    walk.gone::<PoolClaim>("waits").await;

    walk.set::<InstancePool>(POOL, json!({ "targetSize": 1 })).await;
    walk.claim("unlucky", json!({})).await;
    let unlucky = walk.bound("unlucky").await;
    walk.simcloud.end(machine_of(&unlucky)).await;
    sees("unlucky", ("Degraded", "Lost: the machine that this claim held is gone"), "Failed").await;
}

#[tokio::test]
async fn argo_cd_shows_objects_without_a_status_as_progressing() {
    let walk = Walk::begin("argo-blank").await;
    let judge = Judge::new(&walk).await;
    let kinds: Vec<&str> = judge.kinds().collect();
    assert_eq!(kinds, ["InstancePool", "LaunchConfig", "PoolClaim", "PoolMember"]);
    for kind in kinds {
        for status in [Value::Null, json!({}), json!({ "observedGeneration": 1 }), json!({ "conditions": [] })] {
            let metadata = json!({ "name": "x", "namespace": "y", "generation": 1 });
            let mut object = json!({ "apiVersion": "bullpen.dev/v1alpha1", "kind": kind, "metadata": metadata });
            object["spec"] = json!({});
            if !status.is_null() {
                object["status"] = status;
            }
            let seen = judge.of(&object).await;
            assert_eq!(seen.argo.status, "Progressing", "{object}");
        }
    }
}
