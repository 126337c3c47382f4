//! User data that a pool's template refers to: read when it is asked for and not fresh.

use std::time::Duration;

use bullpen_api::{InstancePool, MemberState};
use bullpen_plan::time::earliest;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tracing::info;

use crate::cluster::reads::contents::read;
use crate::controllers::context::Context;
use crate::controllers::convert;
use crate::state::ObjectKey;

/// When what could not be read is read again.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// Reads what the pool's template refers to, unless that was done a moment ago and nobody insists, and the secret that its
/// keys are made from. Says whether it is another than before. Without an answer, what was read last stays.
pub async fn refresh(context: &Context, pool: &InstancePool, insist: bool) -> bool {
    let keys = context.keys.refresh(pool, insist).await;
    if keys {
        wake_waiting(context, pool);
    }
    refresh_content(context, pool, insist).await || keys
}

async fn refresh_content(context: &Context, pool: &InstancePool, insist: bool) -> bool {
    let Some(source) = &pool.spec.template.user_data_from else { return false };
    let namespace = pool.namespace().unwrap_or_default();
    let fresh_for = context.world.with(|state| state.contents.fresh_for(&namespace, source)).unwrap_or_default();
    if !fresh_for.is_zero() && !insist {
        return false;
    }
    let Some(found) = read(&context.writes.client(), &namespace, source).await else { return false };
    let changed = context.world.with(|state| state.contents.put(&namespace, source, &found));
    if changed {
        info!(pool = %ObjectKey::of(pool), "the user data that the template refers to was read, and is new");
        wake_waiting(context, pool);
    }
    changed
}

/// Has the pool looked at, and those of its members that are not bought yet.
fn wake_waiting(context: &Context, pool: &InstancePool) {
    let waiting = context.world.with(|state| {
        let pending = state.members_of(pool).filter(|member| convert::state(member) == MemberState::Pending);
        pending.map(|member| ObjectKey::of(member.as_ref())).collect::<Vec<_>>()
    });
    for member in waiting {
        context.wakers.members.wake(member);
    }
    context.wakers.pools.wake(ObjectKey::of(pool));
}

/// When it is to be read again.
pub fn read_again_at(context: &Context, pool: &InstancePool, now: Timestamp) -> Option<Timestamp> {
    earliest(read_content_again_at(context, pool, now), context.keys.try_again_at(pool, now))
}

fn read_content_again_at(context: &Context, pool: &InstancePool, now: Timestamp) -> Option<Timestamp> {
    let source = pool.spec.template.user_data_from.as_ref()?;
    let namespace = pool.namespace().unwrap_or_default();
    let fresh_for = context.world.with(|state| state.contents.fresh_for(&namespace, source));
    // An answer that proved nothing is asked for again with the next pass; without one, soon.
    let again = fresh_for.filter(|left| !left.is_zero()).unwrap_or(READ_AGAIN);
    now.checked_add(SignedDuration::try_from(again).ok()?).ok()
}
