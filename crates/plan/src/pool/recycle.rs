//! Which members are replaced although they work: those past their age, and those of another template
//! (`docs/develop/sizing.md`).
//!
//! A replacement is bought before the old member is deleted, as far as `maxSize` leaves room, and no ready member is
//! retired below the floor (invariant 6 of `docs/architecture.md`).

use bullpen_api::{MemberCounts, PoolState, Recycle, RolloutType};
use jiff::{SignedDuration, Timestamp};

use super::view::{CountedMember, PoolView, Standing};
use crate::time::{earliest, share_of};

/// The result of recycling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recycling {
    /// Uids of the members to delete now.
    pub retired: Vec<String>,
    /// Stale ready members that stay for now while their replacements are bought.
    pub surge: i32,
    /// Whether a member is stale but `minSize` and `maxSize` together prevent its replacement.
    pub forbidden: bool,
    /// When the next ready member expires.
    pub look_again_at: Option<Timestamp>,
}

/// What the pass has computed before recycling.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Members by standing.
    pub counts: MemberCounts,
    /// The effective target.
    pub target: i32,
    /// Unclaimed members that stay until a person releases them: set aside or quarantined.
    pub kept: i32,
    /// Whether members of another template are not replaced for now.
    pub rollout_paused: bool,
}

/// When a member expires: `readyTtlSeconds` after `ready_since`, minus a jitter. The jitter comes from a hash of the
/// uid, so that a restart does not change it and members of the same age do not all expire together.
pub fn expires_at(uid: &str, ready_since: Timestamp, recycle: &Recycle) -> Timestamp {
    let ttl = i64::from(recycle.ready_ttl_seconds) * 1_000;
    let most = ttl * i64::from(recycle.jitter_percent) / 100;
    let less = (i128::from(most) * i128::from(share_of(uid))) >> 32;
    let life = ttl - i64::try_from(less).unwrap_or(0);
    ready_since.checked_add(SignedDuration::from_millis(life)).unwrap_or(Timestamp::MAX)
}

/// Whether a ready member is past its age.
pub fn is_expired(member: &CountedMember, recycle: &Recycle, now: Timestamp) -> bool {
    member.ready_since.is_some_and(|since| expires_at(&member.uid, since, recycle) <= now)
}

/// Whether a ready member is past its age, or became ready before the time that a person requested. A requested time in
/// the future does not apply yet, or a wrong clock would have every new member replaced.
pub fn is_old(pool: &PoolView, member: &CountedMember, now: Timestamp) -> bool {
    let unwanted = |before: Timestamp| before <= now && member.ready_since.is_some_and(|since| since < before);
    is_expired(member, &pool.recycle, now) || pool.recycle_before.is_some_and(unwanted)
}

/// The time in the annotation; `None` if it is invalid.
pub fn requested_before(annotation: &str) -> Option<Timestamp> {
    annotation.parse().ok()
}

/// The fewest ready members that recycling leaves.
///
/// Without room for a surge under `maxSize`, no replacement could be bought first, so then one member may be missing.
/// It is never below `minSize`.
pub fn floor(pool: &PoolView, target: i32, headroom: bool) -> i32 {
    let missing = pool.disruption.max_unavailable;
    let missing = if headroom { missing } else { missing.max(1) };
    pool.min_size.max(target - missing)
}

/// Whether `maxSize` has room for more than the target. Surge and terminating members are not counted because they are
/// temporary.
pub const fn has_headroom(pool: &PoolView, claimed: i32, kept: i32, target: i32) -> bool {
    pool.max_size - claimed - kept > target
}

/// Decides which members to replace, in a pool that is neither draining nor being deleted.
pub fn recycle(pool: &PoolView, frame: &Frame, now: Timestamp) -> Recycling {
    let rolling = pool.rollout.type_ == RolloutType::RollingReplace;
    // A launch config that is being deleted waits for its members, so these are replaced whatever the rollout's type is.
    let rolls = |member: &CountedMember| member.outdated && (rolling || member.launch_config_ends);
    let is_stale = |member: &&CountedMember| is_old(pool, member, now) || rolls(member);
    let mut stale: Vec<_> = ready(pool).filter(is_stale).collect();
    // The oldest goes first.
    stale.sort_by(|a, b| (a.ready_since, &a.uid).cmp(&(b.ready_since, &b.uid)));
    let headroom = has_headroom(pool, frame.counts.claimed, frame.kept, frame.target);
    let spare = (frame.counts.ready - floor(pool, frame.target, headroom)).max(0);
    let may_go = |member: &&&CountedMember| !(frame.rollout_paused && member.outdated);
    let mut retired: Vec<_> =
        stale.iter().filter(may_go).take(to_usize(spare)).map(|member| member.uid.clone()).collect();
    let staying = to_i32(stale.len() - retired.len());

    if !frame.rollout_paused && pool.state == PoolState::Active {
        retired.extend(booting_of_another_template(pool, rolls));
    }
    let no_replacement_first = !headroom || pool.disruption.max_surge == 0;
    Recycling {
        retired,
        surge: staying.min(pool.disruption.max_surge),
        forbidden: staying > 0 && spare == 0 && no_replacement_first && pool.min_size >= frame.target,
        look_again_at: ready(pool)
            .filter_map(|member| Some(expires_at(&member.uid, member.ready_since?, &pool.recycle)))
            .chain(pool.recycle_before)
            .filter(|moment| *moment > now)
            .fold(None, |soonest, moment| earliest(soonest, Some(moment))),
    }
}

fn ready(pool: &PoolView) -> impl Iterator<Item = &CountedMember> {
    pool.members.iter().filter(|member| member.standing == Standing::Ready)
}

/// Pending and warming members of another template, which no claim should get. At most `maxConcurrentDeletes` are
/// terminating at once.
fn booting_of_another_template(
    pool: &PoolView,
    rolls: impl Fn(&CountedMember) -> bool,
) -> impl Iterator<Item = String> {
    let ending = pool.members.iter().filter(|member| member.standing == Standing::Terminating && !member.hold).count();
    let mut booting: Vec<_> = pool
        .members
        .iter()
        .filter(|member| rolls(member) && matches!(member.standing, Standing::Pending | Standing::Warming))
        .collect();
    booting.sort_by(|a, b| (b.standing, b.created, &b.uid).cmp(&(a.standing, a.created, &a.uid)));
    let room = to_usize(pool.max_concurrent_deletes).saturating_sub(ending);
    booting.into_iter().take(room).map(|member| member.uid.clone())
}

fn to_usize(count: i32) -> usize {
    usize::try_from(count).unwrap_or(0)
}

fn to_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
