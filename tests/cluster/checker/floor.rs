//! Checks invariant 6: replacing members leaves no fewer ready members than the floor.

use bullpen_api::{AutosizeMode, InstancePool, MemberState, PoolState};
use kube::ResourceExt as _;

use super::index::{Index, is_aside, report, state};
use super::{GRACE, LAG, Promise, Rules, Violation};

/// The floor without recycling: `minSize`, as far as `maxSize` leaves room for it beside claimed members.
pub(super) fn of_min_size(pool: &InstancePool, taken: i32) -> i32 {
    pool.spec.min_size.min((pool.spec.max_size - taken).max(0))
}

/// The floor while members are recycled (`docs/develop/sizing.md`): the target less the budget's maxUnavailable, which
/// is at least 1 if `maxSize` has no room for a replacement; never less than `minSize`.
pub(crate) fn of_budget(pool: &InstancePool, taken: i32) -> i32 {
    let room = (pool.spec.max_size - taken).max(0);
    // A size that the pool finds itself may be any from minSize on.
    let finds = pool.spec.autosize.as_ref().is_some_and(|autosize| autosize.mode == AutosizeMode::Auto);
    let target = if finds { 0 } else { pool.spec.target_size.min(room) };
    let missing = pool.spec.disruption.max_unavailable;
    let missing = if room > target { missing } else { missing.max(1) };
    of_min_size(pool, taken).max(target - missing)
}

/// A ready member is retired, or stopped, only while more than the floor are ready, except in a pool that drains.
pub(super) fn is_kept(index: &Index<'_>, rules: &Rules, found: &mut Vec<Violation>) {
    for (pool_uid, pool) in &index.pools {
        for (_, member) in index.members_of(pool_uid) {
            let retired = member.versions.windows(2).find(|pair| {
                let given_up = |it: &bullpen_api::PoolMember| it.metadata.deletion_timestamp.is_some();
                let had = !given_up(pair[0].object) && !is_aside(pair[0].object);
                let goes = given_up(pair[1].object) && state(pair[1].object) == MemberState::Ready;
                let stops =
                    state(pair[0].object) == MemberState::Ready && state(pair[1].object) == MemberState::Stopping;
                had && (goes || stops)
            });
            // Whoever removes a member by force deletes it first, whatever the floor is.
            let by_operator = |at: &jiff::Timestamp| index.forced_at(member).is_none_or(|forced| forced > *at);
            let Some(at) = retired.map(|pair| pair[1].at).filter(by_operator) else { continue };
            // The operator decided a moment earlier: since then claims may have got members, and the pool may have
            // changed.
            let from = at - LAG - index.grace(at, at) + GRACE;
            let emptying = |pool: &InstancePool| {
                pool.spec.state == PoolState::Draining || pool.metadata.deletion_timestamp.is_some()
            };
            let versions: Vec<_> = pool.within(from, at + LAG).collect();
            if versions.is_empty() || versions.iter().any(|pool| emptying(pool)) {
                continue;
            }
            let moments = index.members_of(pool_uid).flat_map(|(_, other)| other.versions.iter().map(|it| it.at));
            let moments: Vec<_> = moments.filter(|moment| from <= *moment && *moment < at).chain([from]).collect();
            let ready = moments.iter().map(|moment| index.ready_at(pool_uid, *moment)).max().unwrap_or(0);
            let taken = |moment| {
                let there = index.members_of(pool_uid).filter_map(|(_, other)| other.at(moment));
                let taken = there.filter(|other| state(other) == MemberState::Claimed || is_aside(other));
                taken.count().try_into().unwrap_or(i32::MAX)
            };
            let most_taken = moments.iter().map(|moment| taken(*moment)).max().unwrap_or(0);
            let floor = versions.iter().map(|pool| (rules.floor)(pool, most_taken)).min().unwrap_or(0);
            let left = i32::try_from(ready).unwrap_or(i32::MAX) - 1;
            if left < floor {
                let what = format!(
                    "ready member {} of pool {} was given up, which left {left} ready ones under a floor of {floor}",
                    member.name(),
                    versions[0].name_any(),
                );
                report(found, at, Promise::Floor, what);
            }
        }
    }
}
