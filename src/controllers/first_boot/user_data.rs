//! User data that a pool's template refers to: read when it is needed and not fresh.

use std::time::Duration;

use bullpen_api::{InstancePool, MemberState};
use bullpen_plan::time::earliest;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tracing::info;

use super::ssh_keys::SshKeys;
use crate::cluster::reads::contents::read;
use crate::controllers::common::Common;
use crate::controllers::convert;
use crate::state::ObjectKey;

/// Delay before a failed read is repeated.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// Reads what the pool's template refers to, and the secret that its keys are derived from. Fresh content is not read
/// again unless `insist`. Returns whether anything changed. A failed read keeps the former content.
pub async fn refresh(common: &Common, ssh_keys: &SshKeys, pool: &InstancePool, insist: bool) -> bool {
    let keys = ssh_keys.refresh(pool, insist).await;
    if keys {
        wake_waiting(common, pool);
    }
    refresh_content(common, pool, insist).await || keys
}

async fn refresh_content(common: &Common, pool: &InstancePool, insist: bool) -> bool {
    let Some(source) = &pool.spec.template.user_data_from else { return false };
    let namespace = pool.namespace().unwrap_or_default();
    let fresh_for = common.cluster.with(|state| state.contents.fresh_for(&namespace, source)).unwrap_or_default();
    if !fresh_for.is_zero() && !insist {
        return false;
    }
    let Some(found) = read(&common.writes.client(), &namespace, source).await else { return false };
    let changed = common.cluster.with(|state| state.contents.put(&namespace, source, &found));
    if changed {
        info!(pool = %ObjectKey::of(pool), "the user data that the template refers to was read, and is new");
        wake_waiting(common, pool);
    }
    changed
}

/// Wakes the pool, and those of its members that are not bought yet.
fn wake_waiting(common: &Common, pool: &InstancePool) {
    let waiting = common.cluster.with(|state| {
        let waits = |state| matches!(state, MemberState::Pending | MemberState::Resetting);
        let pending = state.members_of(pool).filter(|member| waits(convert::state(member)));
        pending.map(|member| ObjectKey::of(member.as_ref())).collect::<Vec<_>>()
    });
    for member in waiting {
        common.wakers.members.wake(member);
    }
    common.wakers.pools.wake(ObjectKey::of(pool));
}

/// When it is to be read again.
pub fn read_again_at(common: &Common, ssh_keys: &SshKeys, pool: &InstancePool, now: Timestamp) -> Option<Timestamp> {
    earliest(read_content_again_at(common, pool, now), ssh_keys.try_again_at(pool, now))
}

fn read_content_again_at(common: &Common, pool: &InstancePool, now: Timestamp) -> Option<Timestamp> {
    let source = pool.spec.template.user_data_from.as_ref()?;
    let namespace = pool.namespace().unwrap_or_default();
    let fresh_for = common.cluster.with(|state| state.contents.fresh_for(&namespace, source));
    // A read that proved nothing is repeated with the next pass; without any answer, after [`READ_AGAIN`].
    let again = fresh_for.filter(|left| !left.is_zero()).unwrap_or(READ_AGAIN);
    now.checked_add(SignedDuration::try_from(again).ok()?).ok()
}
