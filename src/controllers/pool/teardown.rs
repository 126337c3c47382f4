//! The end of pools and of members: a pool goes with its last member, and members that outlived their pool go, too.

use std::sync::Arc;

use bullpen_api::{FINALIZER_POOL, InstancePool, MemberState, PoolMember};
use bullpen_plan::claim::{Answer, Found};
use kube::ResourceExt;

use crate::controllers::context::Context;
use crate::controllers::convert;
use crate::controllers::member::deletion::delete_member;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;

/// A pool that is being deleted goes when it has no member.
pub async fn finish_deletion(context: &Context, key: &ObjectKey) -> Result<(), Failure> {
    let empty = context.world.with(|state| {
        let pool = state.pools.get(key).filter(|pool| convert::deleting(pool.as_ref()))?.clone();
        let planned = state.planned.get(key).is_some_and(|planned| !planned.is_empty());
        let last = state.members_of(&pool).next().is_none() && !planned;
        last.then_some(pool)
    });
    let Some(pool) = empty.filter(|pool| pool.finalizers().iter().any(|own| own == FINALIZER_POOL)) else {
        return Ok(());
    };
    let rest: Vec<_> = pool.finalizers().iter().filter(|own| *own != FINALIZER_POOL).cloned().collect();
    match context.writes.set_finalizers(pool.as_ref(), &rest).await {
        Ok(_) => Ok(()),
        Err(error) if error.answer == Answer::NotFound => Ok(()),
        Err(error) => {
            context.writes.get::<InstancePool>(key).await;
            Err(error.into())
        }
    }
}

/// Members whose pool is gone, its finalizer taken off by force, or made again under the same name: unclaimed ones are
/// ended, on live evidence only.
pub async fn end_strays(context: &Context, key: &ObjectKey, live: Option<&InstancePool>) -> Result<(), Failure> {
    let live_uid = live.map(convert::uid);
    let strays: Vec<_> = context.world.with(|state| {
        let unclaimed = |member: &&Arc<PoolMember>| {
            convert::state(member) != MemberState::Claimed
                && !convert::deleting(member.as_ref())
                && !convert::is_quarantined(member)
                && !member.spec.hold
                && !state.members_in_hand.contains(&convert::uid(member.as_ref()))
        };
        state
            .members_of_name(key)
            .filter(|member| Some(&member.spec.pool_ref.uid) != live_uid.as_ref())
            .filter(unclaimed)
            .cloned()
            .collect()
    });
    if strays.is_empty() {
        return Ok(());
    }
    let proved = match context.writes.get::<InstancePool>(key).await {
        Found::Missing => None,
        Found::Object(pool) => Some(convert::uid(pool.as_ref())),
        Found::Unproved => return Err(Failure::Unproved(key.clone())),
    };
    for member in strays.iter().filter(|member| Some(&member.spec.pool_ref.uid) != proved.as_ref()) {
        delete_member(context, member).await?;
    }
    Ok(())
}

/// What was remembered of a pool that is gone.
pub fn forget(context: &Context, key: &ObjectKey) {
    let forgotten = context.memory.lock().forget_pool(key);
    for launch_config in forgotten.iter().flat_map(|memory| memory.trials.keys()) {
        context.metrics.breaker_gone(&key.namespace, &key.name, launch_config);
    }
    context.world.with(|state| state.planned.remove(key));
    context.metrics.pool_gone(&key.namespace, &key.name);
}
