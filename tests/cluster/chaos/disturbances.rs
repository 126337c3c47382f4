//! Disturbances of the API server, and of members, whose machines are then left to the sweep.

use std::time::{Duration, Instant};

use bullpen_api::PoolMember;
use kube::ResourceExt as _;

use super::dice::Dice;
use super::stage::Stage;
use crate::checker::Action;

/// Time between forced removals of members, in milliseconds. More than five of their machines at once would need a
/// person's confirmation.
const ORPHANS_APART: (u64, u64) = (6_000, 14_000);
/// How long all of their machines may take to terminate once faults have ended.
const SWEPT: Duration = Duration::from_mins(1);

/// Stops the API server for a while, once.
pub(super) async fn outage(stage: &Stage, long: Duration) {
    let mut control_plane = stage.control_plane.lock().await;
    stage.does(Action::ApiServerStops);
    control_plane.stop_api_server().await;
    tokio::time::sleep(long).await;
    control_plane.start_api_server().await.expect("the API server again");
    stage.does(Action::ApiServerIsBack);
}

/// Removes a member that nobody claims by force, again and again, until this is dropped.
pub(super) async fn orphans(stage: &Stage, seed: u64) {
    let mut dice = Dice::new(seed, "orphans");
    loop {
        tokio::time::sleep(Duration::from_millis(dice.between(ORPHANS_APART.0, ORPHANS_APART.1))).await;
        let of_nobody = |member: &PoolMember| {
            let claimed = member.status.as_ref().is_some_and(|status| status.claim_ref.is_some());
            !claimed && member.metadata.deletion_timestamp.is_none()
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
        let ledger = stage.walk.simcloud.ledger().await;
        if ledger.living().values().all(|token| !orphaned.contains(*token)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    stage.notes("machines of members that were removed by force are not swept");
}
