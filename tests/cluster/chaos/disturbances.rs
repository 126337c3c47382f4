//! Disturbances of the API server, of what operators may do there, of one cloud, and of objects: members are removed by
//! force, which leaves their machines to the sweep, and objects are kept by finalizers of somebody else.

use std::time::{Duration, Instant};

use bullpen_api::{InstancePool, MemberState, PoolClaim, PoolMember};
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;

use super::dice::{Deck, Dice};
use super::stage::Stage;
use crate::checker::Action;
use crate::harness::objects::Kind;

/// Time between forced removals of members, in milliseconds. More than five of their machines at once would need a
/// person's confirmation.
const ORPHANS_APART: (u64, u64) = (6_000, 14_000);
/// How long all of their machines may take to terminate once faults have ended.
const SWEPT: Duration = Duration::from_mins(1);

/// How long operators are left alone after an outage, to see that they recover; and likewise after a permission was
/// missing. The checker judges what happens in these times.
const RECOVERS: Duration = Duration::from_secs(27);
const RECOVERS_FROM_REFUSALS: Duration = Duration::from_secs(11);
/// How long a permission is missing, in milliseconds.
const MISSING_FOR: (u64, u64) = (3_000, 6_000);
/// The permissions that are taken away in turns.
pub(super) const PERMISSIONS: [(&str, &str); 3] =
    [("update", "poolmembers/status"), ("update", "poolclaims/status"), ("create", "poolmembers")];
/// Time between finalizers of somebody else, and how long one stays, in milliseconds.
const KEPT_APART: (u64, u64) = (1_000, 3_000);
const KEPT_FOR: (u64, u64) = (2_000, 8_000);
/// How long the bad cloud works, and does not, in milliseconds.
const WORKS: (u64, u64) = (3_000, 8_000);
const FAILS: (u64, u64) = (5_000, 12_000);

/// A note in the script, which the summary counts.
pub(super) const BAD: &str = "the bad cloud fails";

/// Stops the API server for a while, once, and leaves operators alone then.
pub(super) async fn outage(stage: &Stage, long: Duration) {
    let mut control_plane = stage.control_plane.lock().await;
    stage.does(Action::ApiServerStops);
    control_plane.stop_api_server().await;
    tokio::time::sleep(long).await;
    control_plane.start_api_server().await.expect("the API server again");
    stage.does(Action::ApiServerIsBack);
    let _left_alone = stage.left_alone.lock().await;
    drop(control_plane);
    tokio::time::sleep(RECOVERS).await;
}

/// Takes a permission from the operators for some seconds, and leaves them alone then.
pub(super) async fn permission_is_missing(stage: &Stage, permission: (&str, &str), dice: &mut Dice) {
    let _there = stage.control_plane.lock().await;
    let _left_alone = stage.left_alone.lock().await;
    let (verb, resource) = permission;
    stage.notes(format!("operators may not {verb} {resource}"));
    stage.does(Action::PermissionGoes);
    stage.walk.operators_lack(Some(permission), permission).await;
    tokio::time::sleep(Duration::from_millis(dice.between(MISSING_FOR.0, MISSING_FOR.1))).await;
    stage.walk.operators_lack(None, permission).await;
    stage.does(Action::PermissionIsBack);
    tokio::time::sleep(RECOVERS_FROM_REFUSALS).await;
}

/// The bad cloud works and fails by turns, each time in another way, until this is dropped.
pub(super) async fn bad_cloud(stage: &Stage, seed: u64) {
    let mut dice = Dice::new(seed, "bad cloud");
    let everything = json!(["create", "find", "list", "get", "terminate", "stop", "start"]);
    let mut deck = Deck::new(vec![
        json!({ "on": ["create"], "fault": { "error": { "class": "Transient" } } }),
        json!({ "on": ["create"], "fault": { "hang": { "milliseconds": 120_000 } } }),
        json!({ "on": ["create"], "fault": { "hang": { "milliseconds": 120_000, "done": true } } }),
        json!({ "on": ["create"], "fault": { "error": { "class": "RateLimited", "retryAfterMilliseconds": 3_000 } } }),
        json!({ "on": ["create"], "fault": { "error": { "class": "Quota" } } }),
        json!({ "on": ["create"], "fault": { "error": { "class": "Capacity", "scope": "Zone" } } }),
        json!({ "on": everything, "fault": { "error": { "class": "Transient" } } }),
        json!({ "fault": { "hang": { "milliseconds": 120_000 } } }),
    ]);
    loop {
        tokio::time::sleep(Duration::from_millis(dice.between(WORKS.0, WORKS.1))).await;
        let fault = deck.draw(&mut dice);
        stage.notes(BAD);
        stage.bad.put_faults(&json!({ "calls": [fault] })).await;
        tokio::time::sleep(Duration::from_millis(dice.between(FAILS.0, FAILS.1))).await;
        stage.notes("the bad cloud works");
        stage.bad.put_faults(&json!({})).await;
    }
}

/// Puts a finalizer of somebody else on members, claims and pools, and takes it off later, until this is dropped; see
/// [`let_all_go`].
pub(super) async fn keepers(stage: &Stage, seed: u64) {
    let mut dice = Dice::new(seed, "keepers");
    loop {
        let (kind, apart) = (dice.between(1, 10), dice.between(KEPT_APART.0, KEPT_APART.1));
        let kept = Duration::from_millis(dice.between(KEPT_FOR.0, KEPT_FOR.1));
        tokio::time::sleep(Duration::from_millis(apart)).await;
        match kind {
            1..=5 => keep_one::<PoolMember>(stage, &mut dice, kept).await,
            6..=9 => keep_one::<PoolClaim>(stage, &mut dice, kept).await,
            _ => keep_one::<InstancePool>(stage, &mut dice, kept).await,
        }
    }
}

async fn keep_one<K: Kind>(stage: &Stage, dice: &mut Dice, kept: Duration) {
    let objects = stage.api::<K>().list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
    if !objects.is_empty() {
        let name = dice.one_of(&objects).name_any();
        stage.keep::<K>(&name).await;
        tokio::time::sleep(kept).await;
        stage.let_go::<K>(&name).await;
    }
}

/// Lets all objects go that are still kept.
pub(super) async fn let_all_go(stage: &Stage) {
    stage.let_all_go::<PoolMember>().await;
    stage.let_all_go::<PoolClaim>().await;
    stage.let_all_go::<InstancePool>().await;
}

/// Removes a member that nobody claims by force, again and again, until this is dropped. One whose machine is being reset
/// is left: until the reset is done, the machine has the tag of its last claim, and without a member it waits for a
/// person's word.
pub(super) async fn orphans(stage: &Stage, seed: u64) {
    let mut dice = Dice::new(seed, "orphans");
    loop {
        tokio::time::sleep(Duration::from_millis(dice.between(ORPHANS_APART.0, ORPHANS_APART.1))).await;
        let _removals = stage.removals.lock().await;
        let of_nobody = |member: &PoolMember| {
            let claimed = member.status.as_ref().is_some_and(|status| status.claim_ref.is_some());
            let resets = member.status.as_ref().is_some_and(|status| status.state == MemberState::Resetting);
            !claimed && !resets && !stage.is_of_others(member) && member.metadata.deletion_timestamp.is_none()
        };
        let members: Vec<PoolMember> = stage.members().await.into_iter().filter(of_nobody).collect();
        if !members.is_empty() {
            let member = dice.one_of(&members);
            stage.does(Action::Orphans(member.name_any()));
            stage.force(member).await;
        }
    }
}

/// Waits until the machines of members that were removed by force are gone. Launch configs must not be deleted before.
pub(super) async fn orphans_are_swept(stage: &Stage) {
    let orphaned = stage.orphaned();
    let began = Instant::now();
    while began.elapsed() < SWEPT {
        let ledger = stage.ledger().await;
        if ledger.living().values().all(|token| !orphaned.contains(*token)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    stage.notes("machines of members that were removed by force are not swept");
}
