//! User data that a pool's template refers to: read when it is asked for and not fresh.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tracing::info;

use super::context::Context;
use super::views;
use crate::api::{InstancePool, MemberState};
use crate::cluster::ObjectKey;
use crate::cluster::contents::{FRESH_FOR, read};

/// Reads what the pool's template refers to, unless that was done a moment ago and nobody insists. Says whether it is
/// another than before. Without an answer, what was read last stays.
pub async fn refresh(context: &Context, pool: &InstancePool, insist: bool) -> bool {
    let Some(source) = &pool.spec.template.user_data_from else { return false };
    let namespace = pool.namespace().unwrap_or_default();
    let fresh = context.world.with(|state| state.contents.age(&namespace, source).is_some_and(|age| age < FRESH_FOR));
    if fresh && !insist {
        return false;
    }
    let Some(found) = read(&context.writes.client(), &namespace, source).await else { return false };
    let (changed, waiting) = context.world.with(|state| {
        let changed = state.contents.put(&namespace, source, &found);
        let pending = state.members_of(pool).filter(|member| views::state(member) == MemberState::Pending);
        (changed, pending.map(|member| ObjectKey::of(member.as_ref())).collect::<Vec<_>>())
    });
    if changed {
        info!(pool = %ObjectKey::of(pool), "the user data that the template refers to was read, and is new");
        for member in waiting {
            context.wakers.members.wake(member);
        }
        context.wakers.pools.wake(ObjectKey::of(pool));
    }
    changed
}

/// When it is to be read again.
pub fn read_again_at(context: &Context, pool: &InstancePool, now: Timestamp) -> Option<Timestamp> {
    let source = pool.spec.template.user_data_from.as_ref()?;
    let namespace = pool.namespace().unwrap_or_default();
    let age = context.world.with(|state| state.contents.age(&namespace, source)).unwrap_or_default();
    now.checked_add(SignedDuration::try_from(FRESH_FOR.saturating_sub(age)).ok()?).ok()
}
