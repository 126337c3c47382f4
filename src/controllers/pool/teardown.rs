//! The end of pools: a deleted pool goes with its last member, and members that outlived their pool are deleted.

use std::sync::Arc;

use bullpen_api::{FINALIZER_POOL, InstancePool, MemberState, PoolMember};
use bullpen_plan::claim::Found;
use bullpen_plan::claim::claim_tag::served_before;

use crate::cloud::Clouds;
use crate::controllers::convert;
use crate::controllers::pool::PoolController;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;

/// Removes the finalizer of a deleted pool that has no members left.
pub async fn finish_deletion(controller: &PoolController, key: &ObjectKey) -> Result<(), Failure> {
    let empty = controller.common.cluster.with(|state| {
        let pool = state.pools.get(key).filter(|pool| convert::deleting(pool.as_ref()))?.clone();
        let last = state.members_of(&pool).next().is_none() && state.planned.of(key).next().is_none();
        last.then_some(pool)
    });
    if let Some(pool) = empty {
        controller.common.writes.remove_finalizer(pool.as_ref(), FINALIZER_POOL).await?;
    }
    Ok(())
}

/// Deletes unclaimed members whose pool is gone, because its finalizer was removed by force or it was created again
/// with the same name. An uncached GET has to prove it.
pub async fn delete_strays(
    controller: &PoolController,
    key: &ObjectKey,
    live: Option<&InstancePool>,
) -> Result<(), Failure> {
    let live_uid = live.map(convert::uid);
    let strays: Vec<_> = controller.common.cluster.with(|state| {
        let unclaimed = |member: &&Arc<PoolMember>| {
            convert::state(member) != MemberState::Claimed
                && !convert::deleting(member.as_ref())
                && !convert::has_served(member)
                && !member.spec.hold
                && !state.member_of_others(member)
                && !may_have_served(&controller.clouds, state, member)
                && !state.members_reserved.contains(&convert::uid(member.as_ref()))
        };
        state.members_of_former(key, live_uid.as_deref()).filter(unclaimed).cloned().collect()
    });
    if strays.is_empty() {
        return Ok(());
    }
    let proved = match controller.common.writes.get::<InstancePool>(key).await {
        Found::Missing => None,
        Found::Object(pool) => Some(convert::uid(pool.as_ref())),
        Found::Unproved => return Err(Failure::Unproved(key.clone())),
    };
    let mut waits = Ok(());
    for member in strays.iter().filter(|member| Some(&member.spec.pool_ref.uid) != proved.as_ref()) {
        match controller.common.writes.delete_member(member).await.map_err(Failure::from) {
            // It was refused before: the others are deleted all the same.
            Err(failure @ Failure::TooSoon(_)) => waits = Err(failure),
            answer => drop(answer?),
        }
    }
    waits
}

/// Whether the machine of an unclaimed member may carry the tag of a claim, as after a restored backup: the last list
/// shows one, or there was no list yet. The member is quarantined in a moment, instead of being deleted with the machine
/// that somebody may work on.
pub fn may_have_served(clouds: &Clouds, state: &State, member: &PoolMember) -> bool {
    let state_now = convert::state(member);
    let unclaimed = matches!(
        state_now,
        MemberState::Warming
            | MemberState::Ready
            | MemberState::Resetting
            | MemberState::Stopping
            | MemberState::Standby
    );
    let machine = member.status.as_ref().and_then(|status| status.instance.as_ref());
    let (true, Some(machine)) = (unclaimed, machine) else { return false };
    let config = state.launch_configs.get(&convert::launch_config_of(member));
    // Without its cloud nothing ends anyway.
    let Some(cloud) = config.and_then(|config| clouds.of(config)) else { return false };
    let uses = convert::status(member).uses;
    cloud.listing().is_none_or(|listing| served_before(state_now, uses, listing.served(&machine.id)))
}

/// Drops what was remembered of a pool that is gone.
pub fn forget(controller: &PoolController, key: &ObjectKey) {
    controller.memories.with(|memories| memories.forget_pool(key));
    controller.common.cluster.with(|state| state.planned.forget_pool(key));
    controller.common.metrics.pool_gone(&key.namespace, &key.name);
}
