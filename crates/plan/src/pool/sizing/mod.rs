//! How many members a pool should have (`docs/develop/sizing.md`).
//!
//! Every member counts once, and everything that can bill counts against `maxSize`.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashSet;

use bullpen_api::{EffectiveTarget, MemberCounts, PoolState, TargetSource};
use jiff::{SignedDuration, Timestamp};

use super::recycle::{Frame, Recycling, is_old, recycle};
use super::rollout::{Progress, RolloutNow, follow};
use super::schedule::Scheduled;
use super::standby::{self, Fill, Places, ReadyTier};
use super::view::{CountedMember, PoolView, Standing, UNANSWERED_AFTER, unanswered_at};
use crate::launch::placement::{self, Candidate, LaunchConfigView};
use crate::time::earliest;

/// The longest time that a surplus member stays after it became ready, however long that took.
pub const LONGEST_STAY: SignedDuration = SignedDuration::from_mins(10);
/// If a member of a launch config is in flight for longer than this, the share that its ramp does not allow yet is not
/// kept for it.
pub const COMES_UP_WITHIN: SignedDuration = SignedDuration::from_mins(1);

/// What is stored from one pass to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// `targetSize` and `maxSize` of the last pass. A schedule that ends is no size that a person lowered: its surplus
    /// goes as any other.
    pub sizes: Option<(i32, i32)>,
    /// Since when there has been a surplus without interruption.
    pub surplus_since: Option<Timestamp>,
    /// Whether the present surplus comes from a lowered size.
    pub size_fell: bool,
    /// The rollout in progress.
    pub rollout: Option<Progress>,
}

/// The decisions for one pass of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replenishment {
    /// Members by standing.
    pub counts: MemberCounts,
    /// The effective target.
    pub effective_target: EffectiveTarget,
    /// The target of the spec and its schedules, before `maxSize`.
    pub wanted_size: i32,
    /// What the schedules say.
    pub scheduled: Scheduled,
    /// Members missing from the effective target and the waiting claims.
    pub deficit: i32,
    /// The launch config of each member to create now.
    pub creates: Vec<String>,
    /// Whether `maxSize` keeps the pool from filling its deficit.
    pub limited_by_max_size: bool,
    /// Uids of the standby members to start now.
    pub starts: Vec<String>,
    /// Uids of the ready members to stop now, for the standby tier.
    pub stops: Vec<String>,
    /// Uids of the members to delete now.
    pub deletes: Vec<String>,
    /// The state of the rollout.
    pub rollout: RolloutNow,
    /// Whether a member is due for recycling but `minSize` and `maxSize` together prevent it.
    pub recycling_forbidden: bool,
    /// Number of unclaimed members that stay until a person releases them.
    pub kept: i32,
    /// When to look again although nothing changed.
    pub look_again_at: Option<Timestamp>,
    /// Input for the next pass.
    pub memory: Memory,
}

/// Decides what to recycle, then what to buy, then what to give up. Recycled members already count as terminating when
/// the deficit is computed, so that their replacements are bought.
pub fn replenish(pool: &PoolView, memory: &Memory, now: Timestamp) -> Replenishment {
    let mut counts = count(&pool.members);
    counts.claimed = counts.claimed.saturating_add(pool.claimed);
    counts.total = counts.total.saturating_add(pool.claimed);
    let emptying = pool.deleting || pool.state == PoolState::Draining;
    let kept = to_i32(pool.members.iter().filter(|member| member.is_kept()).count());
    let effective_target = effective_target(pool, emptying, counts.claimed.saturating_add(kept));
    let rollout = follow(pool, memory.rollout.as_ref(), now);
    // Standby members keep their places, so there is no room for a surge in these.
    let settled = kept.saturating_add(counts.standby);
    let frame = Frame { counts, target: effective_target.size, kept: settled, rollout_paused: rollout.is_paused() };
    let recycling = if emptying { Recycling::default() } else { recycle(pool, &frame, now) };
    let staying = with_retired(&pool.members, &recycling.retired);
    let left = count(&staying);

    let unanswered = to_i32(staying.iter().filter(|member| member.is_unanswered(now)).count());
    let doubtful = to_i32(staying.iter().filter(|member| standby::is_doubtful(pool, member)).count());
    let supply = left.pending + left.warming + left.ready - unanswered - doubtful - recycling.surge;
    let waiting = if emptying { 0 } else { pool.waiting };
    let wanted = effective_target.size.saturating_add(waiting);
    let lacking = (wanted - supply).max(0);
    let buying = !pool.deleting && pool.state == PoolState::Active;
    let not_ready = if buying { wanted - left.ready + recycling.surge } else { 0 };
    let starts = standby::starts(pool, (&staying, not_ready), rollout.is_paused(), now);
    let deficit = (lacking - standby::sure(pool, &starts)).max(0);
    let (beyond, spare) = (supply + unanswered - wanted, left.ready - recycling.surge - wanted);
    let headroom = (pool.max_size - counts.total).max(0);
    let room = places(pool, counts, &staying, (kept + wanted, deficit - headroom));
    let tier = ReadyTier { deficit, beyond, spare, places: room, rollout_paused: rollout.is_paused() };
    let fill = if emptying { Fill::default() } else { standby::fill(pool, &staying, &starts, tier, now) };

    let to_create = if buying { deficit.max(fill.buy).min(headroom) } else { 0 };
    let candidates = candidates(pool, &staying, (deficit, &fill), now);
    let placed = placement::place(&candidates, to_create, (waiting - supply).max(0), now);

    // Members without an answer that nobody needs any more are given up too, or they would be bought after the outage.
    // What the standby tier is filled with is no surplus.
    let surplus = if lacking > 0 { 0 } else { (beyond - fill.filling).max(0) };
    let memory = next_memory(pool, memory, surplus, rollout.progress.clone(), now);
    let mut deletes = recycling.retired;
    deletes.extend_from_slice(&fill.ends);
    // A launch config that is being deleted takes its members along when no other one can replace them: it would wait
    // for their replacements for ever.
    let ends = |member: &CountedMember| emptying || (member.launch_config_ends && !pool.can_replace);
    let given_up = |member: &&CountedMember| is_done(member, ends(member));
    deletes.extend(pool.members.iter().filter(given_up).map(|member| member.uid.clone()));
    let moments = [placed.look_again_at, rollout.look_again_at, recycling.look_again_at, pool.scheduled.until];
    let mut look_again_at = moments.into_iter().flatten().min();
    look_again_at = earliest(look_again_at, next_unanswered(&staying, now));
    look_again_at = earliest(look_again_at, standby::look_again_at(pool, now));
    if surplus > 0 && !emptying {
        for member in pick_surplus(pool, &staying, (surplus, &fill), now) {
            match surplus_due(pool, member, &memory, now) {
                Some(due) if due <= now => deletes.push(member.uid.clone()),
                due => look_again_at = earliest(look_again_at, due),
            }
        }
    }
    Replenishment {
        counts,
        effective_target,
        wanted_size: pool.wanted_size(),
        scheduled: pool.scheduled.clone(),
        deficit: if buying { deficit } else { 0 },
        limited_by_max_size: buying && deficit > headroom,
        creates: placed.launch_configs,
        starts,
        stops: fill.stops,
        deletes,
        rollout,
        recycling_forbidden: recycling.forbidden,
        kept,
        look_again_at,
        memory,
    }
}

/// What `maxSize` leaves beside so many unclaimed members that are kept or wanted. So many are missing beyond what fits in now.
fn places(
    pool: &PoolView,
    counts: MemberCounts,
    staying: &[CountedMember],
    (unclaimed, not_fitting): (i32, i32),
) -> Places {
    let going = to_i32(staying.iter().filter(|member| goes(member)).count());
    Places {
        room: pool.max_size - counts.claimed - unclaimed,
        above_max: counts.total - going - pool.max_size,
        placeless: not_fitting - going,
    }
}

/// Whether its place is free soon.
const fn goes(member: &CountedMember) -> bool {
    matches!(member.standing, Standing::Terminating | Standing::Errored) && !member.hold
}

/// Whether its machine may still come up, or its create is not answered.
const fn is_in_flight(member: &CountedMember) -> bool {
    matches!(member.standing, Standing::Warming) || member.takes_slot()
}

/// The launch configs to buy by: all for a deficit, else those that the standby tier is filled by.
fn candidates(
    pool: &PoolView,
    staying: &[CountedMember],
    (deficit, fill): (i32, &Fill),
    now: Timestamp,
) -> Vec<Candidate> {
    let in_flight: Vec<_> = staying.iter().filter(|member| is_in_flight(member)).collect();
    let configs =
        pool.launch_configs.iter().filter(|view| deficit > 0 || pool.standby.launch_configs.contains(&view.name));
    let limit = |view: &LaunchConfigView| fill.rooms.get(&view.name).filter(|_| deficit == 0).copied().map(i64::from);
    configs.map(|view| candidate(pool, view.with_room(limit(view)), &in_flight, now)).collect()
}

/// A launch config with what its members in flight mean for its next purchases.
fn candidate(pool: &PoolView, view: LaunchConfigView, in_flight: &[&CountedMember], now: Timestamp) -> Candidate {
    let of_config = || in_flight.iter().filter(|member| member.launch_config == view.name);
    let taken = to_i32(of_config().filter(|member| member.takes_slot()).count());
    let late = |member: &&&CountedMember| {
        let due = member.created.checked_add(COMES_UP_WITHIN).unwrap_or(Timestamp::MAX);
        member.standing != Standing::Terminating && (due <= now || member.is_unanswered(now))
    };
    let comes_up = !of_config().any(|member| late(&member));
    Candidate { view, slots: Some(i64::from((pool.max_concurrent_creates - taken).max(0))), comes_up }
}

/// When a pending member that counts as supply may have been without an answer for too long. A call for it may begin any
/// moment, and does not wake the pool.
fn next_unanswered(members: &[CountedMember], now: Timestamp) -> Option<Timestamp> {
    let pending = members.iter().filter(|member| member.standing == Standing::Pending && !member.is_unanswered(now));
    let at = |member: &CountedMember| {
        member.unanswered_since.map(unanswered_at).or_else(|| now.checked_add(UNANSWERED_AFTER).ok())
    };
    pending.filter_map(at).min()
}

/// The members, with the retired ones as terminating.
fn with_retired<'a>(members: &'a [CountedMember], retired: &[String]) -> Cow<'a, [CountedMember]> {
    if retired.is_empty() {
        return Cow::Borrowed(members);
    }
    let retired: HashSet<_> = retired.iter().map(String::as_str).collect();
    let mut members = members.to_vec();
    for member in members.iter_mut().filter(|member| retired.contains(member.uid.as_str())) {
        member.standing = Standing::Terminating;
    }
    Cow::Owned(members)
}

/// Whether to delete a member now: it failed, or its pool is draining or being deleted (`emptying`), or its launch config
/// is and nothing can replace it; and no claim or hold prevents it.
const fn is_done(member: &CountedMember, emptying: bool) -> bool {
    !member.hold
        && match member.standing {
            Standing::Errored => true,
            Standing::Aside
            | Standing::Ready
            | Standing::Warming
            | Standing::Pending
            | Standing::Stopping
            | Standing::Standby => emptying,
            // Somebody may be working on a quarantined machine: only a person may delete it.
            Standing::Claimed | Standing::Terminating | Standing::Quarantined => false,
        }
}

/// Counts members by standing; each counts once.
pub fn count(members: &[CountedMember]) -> MemberCounts {
    let mut counts = MemberCounts { total: to_i32(members.len()), ..MemberCounts::default() };
    for member in members {
        *match member.standing {
            Standing::Claimed => &mut counts.claimed,
            Standing::Terminating => &mut counts.terminating,
            Standing::Errored => &mut counts.errored,
            // Counted in the total only.
            Standing::Quarantined | Standing::Aside => continue,
            Standing::Ready => &mut counts.ready,
            Standing::Warming => &mut counts.warming,
            Standing::Stopping | Standing::Standby => &mut counts.standby,
            Standing::Pending => &mut counts.pending,
        } += 1;
    }
    counts
}

/// Whether another create call may be sent: fewer than `maxSize` other members can bill (invariant 2).
pub fn create_may_begin(state: PoolState, deleting: bool, max_size: i32, other_billable: usize) -> bool {
    !deleting
        && state == PoolState::Active
        && i64::try_from(other_billable).is_ok_and(|others| others < i64::from(max_size))
}

fn effective_target(pool: &PoolView, emptying: bool, taken: i32) -> EffectiveTarget {
    if emptying {
        return EffectiveTarget { size: 0, source: TargetSource::Draining, schedule: None };
    }
    let on = pool.scheduled.on.as_ref().filter(|(_, size)| *size > pool.base_size());
    let schedule = on.map(|(name, _)| name.clone());
    let (room, wanted) = ((pool.max_size - taken).max(0), pool.wanted_size());
    let source = match on {
        _ if room < wanted => TargetSource::MaxSize,
        Some(_) => TargetSource::Schedule,
        None if pool.autosized.is_some() => TargetSource::Autosize,
        None => TargetSource::Spec,
    };
    EffectiveTarget { size: room.min(wanted), source, schedule }
}

fn next_memory(pool: &PoolView, memory: &Memory, surplus: i32, rollout: Option<Progress>, now: Timestamp) -> Memory {
    let fell = memory.sizes.is_some_and(|(target, max)| pool.target_size < target || pool.max_size < max);
    Memory {
        sizes: Some((pool.target_size, pool.max_size)),
        surplus_since: (surplus > 0).then(|| memory.surplus_since.unwrap_or(now)),
        size_fell: surplus > 0 && (fell || memory.size_fell),
        rollout,
    }
}

/// When a member of a surplus is given up. `None`: not before it changes. A machine that is paid for is kept, also after a
/// lowered size: it costs nothing until its paid time ends.
fn surplus_due(pool: &PoolView, member: &CountedMember, memory: &Memory, now: Timestamp) -> Option<Timestamp> {
    if pool.forced {
        return Some(now);
    }
    let due = if memory.size_fell { Some(now) } else { not_wanted_again(pool, member, memory, now) };
    due.map(|due| member.billing.map_or(due, |billing| billing.paid_until(due)))
}

/// When nobody has wanted a member of a surplus for long enough. `None`: not before it changes.
///
/// A machine that boots is worth most right before it is ready: demand that was too impatient for it may come again. So it
/// comes up, and then stays for as long again as that took, which is what the next claim would wait for another. Demand that
/// does not come again costs two boots at most.
fn not_wanted_again(pool: &PoolView, member: &CountedMember, memory: &Memory, now: Timestamp) -> Option<Timestamp> {
    let due = memory.surplus_since.and_then(|since| since.checked_add(pool.scale_down_delay).ok()).unwrap_or(now);
    match (member.standing, member.ready_since) {
        (Standing::Warming, _) => None,
        (_, Some(ready)) => {
            let took = ready.duration_since(member.created).clamp(SignedDuration::ZERO, LONGEST_STAY);
            Some(due.max(ready.checked_add(took).unwrap_or(Timestamp::MAX)))
        }
        (_, None) => Some(due),
    }
}

/// Picks members to give up, but for those to be stopped: pending ones first, those without an answer before others, then warming, then stale ready,
/// then ready ones. Of each, those whose paid time ends first, then the youngest.
fn pick_surplus<'a>(
    pool: &PoolView,
    members: &'a [CountedMember],
    (surplus, fill): (i32, &Fill),
    now: Timestamp,
) -> impl Iterator<Item = &'a CountedMember> {
    let mut unclaimed: Vec<_> = members
        .iter()
        .filter(|member| matches!(member.standing, Standing::Pending | Standing::Warming | Standing::Ready))
        .filter(|member| !fill.stops.contains(&member.uid))
        .map(|member| {
            let stale = member.standing == Standing::Ready && (member.outdated || is_old(pool, member, now));
            let paid = member.billing.map_or(now, |billing| billing.paid_until(now));
            // The others are for the standby tier.
            let unfit = fill.filling > 0 && member.standing == Standing::Ready && !standby::may_stop(pool, member, now);
            (
                (
                    unfit,
                    member.standing,
                    stale || member.is_unanswered(now),
                    Reverse(paid),
                    member.created,
                    &member.uid,
                ),
                member,
            )
        })
        .collect();
    unclaimed.sort_by(|(a, _), (b, _)| b.cmp(a));
    unclaimed.into_iter().take(usize::try_from(surplus).unwrap_or(0)).map(|(_, member)| member)
}

fn to_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod standby_failure_tests;
#[cfg(test)]
mod standby_tests;
#[cfg(test)]
mod surplus_tests;
#[cfg(test)]
mod tests;
