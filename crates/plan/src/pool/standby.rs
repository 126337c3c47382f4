//! The standby tier of a pool: which stopped members to start, which ready ones to stop, and which to give up
//! (`docs/use/standby.md`).
//!
//! The ready tier comes first: a deficit takes standby members before anything is bought, and the standby tier is filled with
//! what the ready tier does not need.

use std::collections::BTreeSet;

use bullpen_api::{
    ConditionType, ConditionValue, ErrorClass, PoolState, Reason, RecordedError, RolloutType, StandbyMode, micro_time,
};
use jiff::{SignedDuration, Timestamp};

use super::recycle::{expires_at, is_old};
use super::view::{CountedMember, PoolView, Standing};
pub use super::view::{Power, StandbyTier};
use crate::launch::breaker::{Breaker, Rules};

/// What to do for the standby tier in one pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Members of the ready tier beyond its target that are for this one: no surplus.
    pub filling: i32,
    /// How many of them to buy now, if there is room.
    pub buy: i32,
    /// Uids of the ready members to stop now.
    pub stops: Vec<String>,
    /// Uids of the members to delete now: beyond the size, too old, or of another template.
    pub ends: Vec<String>,
}

/// What `maxSize` leaves for the standby tier.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// Members that `maxSize` leaves room for beside the claimed ones, those of persons, and all that the ready tier wants.
    pub room: i32,
    /// All members but those that go, above `maxSize` if they are more.
    pub above_max: i32,
    /// Members that the ready tier lacks and has no place for, also after those that go.
    pub placeless: i32,
}

/// What the ready tier leaves.
#[derive(Clone, Copy, Debug)]
pub struct ReadyTier {
    /// Members missing from it, after those that are started now.
    pub deficit: i32,
    /// Supply beyond what it wants, with members whose cloud does not answer.
    pub beyond: i32,
    /// Ready members beyond what it wants, without stale ones.
    pub spare: i32,
    /// What `maxSize` leaves for it.
    pub places: Places,
    /// Whether the rollout is paused.
    pub rollout_paused: bool,
}

/// The machines of a pool that could not be stopped or started for its standby tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Pauses the tier, for longer each time until a machine could be stopped.
    breaker: Breaker,
    /// The launch configs whose last machine that was to be stopped could not be.
    failing: BTreeSet<String>,
}

impl Failures {
    /// A machine of this launch config could not be stopped or started, as the class says, in the pool of this name and cooldown.
    pub fn failed(
        &mut self,
        launch_config: &str,
        class: ErrorClass,
        (pool, cooldown): (&str, SignedDuration),
        now: Timestamp,
    ) {
        if class == ErrorClass::StopFailed {
            self.failing.insert(launch_config.to_owned());
        }
        let error = RecordedError { class: class.as_str().to_owned(), message: String::new(), time: micro_time(now) };
        self.breaker.failed(&error, Rules { threshold: 1, cooldown, seed: pool });
    }

    /// A machine of this launch config is stopped.
    pub fn stopped(&mut self, launch_config: &str, now: Timestamp) {
        self.failing.remove(launch_config);
        self.breaker.ready(now);
    }

    /// The tier that heeds them.
    #[must_use]
    pub fn heeded(&self, mut tier: StandbyTier) -> StandbyTier {
        tier.not_before = self.breaker.open_until;
        tier.tries_one = self.breaker.has_opened(1);
        tier.failing = self.failing.iter().filter(|name| tier.launch_configs.contains(name)).cloned().collect();
        tier
    }
}

/// How many members come up after a start or a reset, and so about as soon as one that is started now.
pub fn coming_back(members: &[CountedMember]) -> i32 {
    to_i32(members.iter().filter(|member| member.standing == Standing::Warming && member.power.ran_before).count())
}

/// Uids of the standby members to start: one for each machine that is not ready yet (`not_ready`: effective target and waiting claims
/// less the ready members), less those of `members` that come up after a start or a reset. Those that became ready first are started
/// first. Members that boot for the first time do not count: a start is faster, and they fill the standby tier later.
pub fn starts(
    pool: &PoolView,
    (members, not_ready): (&[CountedMember], i32),
    rollout_paused: bool,
    now: Timestamp,
) -> Vec<String> {
    let missing = not_ready - coming_back(members);
    let mut startable: Vec<_> = pool
        .members
        .iter()
        .filter(|member| member.standing == Standing::Standby)
        .filter(|member| rollout_paused || !is_stale(pool, member, now))
        .filter(|member| member.power.refused_until.is_none_or(|until| until <= now))
        .collect();
    startable.sort_by_key(|member| (member.ready_since, &member.uid));
    startable.into_iter().take(to_usize(missing)).map(|member| member.uid.clone()).collect()
}

/// When to look at the tier again although nothing changed: when a refusal of a cloud or the wait after a failure ends, or
/// when a member gets too old.
pub fn look_again_at(pool: &PoolView, now: Timestamp) -> Option<Timestamp> {
    let standby = || pool.members.iter().filter(|member| member.standing == Standing::Standby);
    let old = |member: &CountedMember| Some(expires_at(&member.uid, member.ready_since?, &pool.recycle));
    let moments = standby().filter_map(|member| member.power.refused_until).chain(standby().filter_map(old));
    moments.chain(pool.standby.not_before).filter(|moment| *moment > now).min()
}

/// Decides how to fill the standby tier of a pool that is neither draining nor being deleted. `starts` are started in the
/// same pass. `members` has the retired ones as terminating.
pub fn fill(pool: &PoolView, members: &[CountedMember], starts: &[String], ready: ReadyTier, now: Timestamp) -> Fill {
    let size = pool.standby.size.unwrap_or(0);
    let mut tier: Vec<_> = members
        .iter()
        .filter(|member| matches!(member.standing, Standing::Stopping | Standing::Standby))
        .filter(|member| !starts.contains(&member.uid))
        .collect();
    let can_be_filled = !pool.standby.launch_configs.is_empty();
    let lacks = if can_be_filled { (size.min(ready.places.room) - to_i32(tier.len())).max(0) } else { 0 };
    let tried = tier.iter().filter(|member| member.standing == Standing::Stopping).count();
    let missing = if pool.standby.tries_one { lacks.min((1 - to_i32(tried)).max(0)) } else { lacks };
    let filling = missing.min(ready.beyond).min(fillers(pool, members, now)).max(0);
    let surplus = if ready.deficit > 0 { 0 } else { (ready.beyond - filling).max(0) };
    let beyond_max = to_usize(ready.places.above_max - surplus);
    // Stale ones go first, then the youngest.
    tier.sort_by_key(|member| (!is_stale(pool, member, now), std::cmp::Reverse(member.created)));
    let beyond = to_usize(to_i32(tier.len()) - size).max(beyond_max);
    let mut ends: Vec<_> = tier.iter().take(beyond).map(|member| member.uid.clone()).collect();
    if pool.state == PoolState::Active
        && ready.deficit == 0
        && !ready.rollout_paused
        && !ready_tier_rolls(pool, members)
    {
        let budget = pool.disruption.max_surge.saturating_add(pool.disruption.max_unavailable) - lacks;
        let stale = tier.iter().skip(beyond).filter(|member| is_stale(pool, member, now));
        ends.extend(stale.take(to_usize(budget)).map(|member| member.uid.clone()));
    }
    if pool.state == PoolState::Active && !ready.rollout_paused {
        // Nobody wants these started, and the ready tier comes first.
        let stale = tier.iter().skip(ends.len()).filter(|member| is_stale(pool, member, now));
        let places = to_usize(ready.places.placeless - to_i32(ends.len()));
        let places: Vec<_> = stale.take(places).map(|member| member.uid.clone()).collect();
        ends.extend(places);
    }
    let fills = pool.state == PoolState::Active
        && ready.deficit == 0
        && starts.is_empty()
        && pool.standby.not_before.is_none_or(|moment| moment <= now);
    if !fills {
        return Fill { filling, ends, ..Fill::default() };
    }
    let mut stoppable: Vec<_> =
        members.iter().filter(|member| member.standing == Standing::Ready && may_stop(pool, member, now)).collect();
    // The youngest first, but after all others those of launch configs whose stops fail: what ends for that is bought there again.
    let fails = |member: &CountedMember| pool.standby.failing.contains(&member.launch_config);
    stoppable.sort_by_key(|member| (fails(member), std::cmp::Reverse((member.ready_since, &member.uid))));
    let count = to_usize(missing.min(ready.spare));
    let stops = stoppable.into_iter().take(count).map(|member| member.uid.clone()).collect();
    Fill { filling, buy: missing - filling, stops, ends }
}

/// Whether a member that is ready may be stopped for the tier.
pub fn may_stop(pool: &PoolView, member: &CountedMember, now: Timestamp) -> bool {
    member.power.can_stop && !member.outdated && !is_stale(pool, member, now)
}

/// Members that can be stopped once they are ready.
fn fillers(pool: &PoolView, members: &[CountedMember], now: Timestamp) -> i32 {
    let comes =
        |member: &CountedMember| pool.standby.launch_configs.contains(&member.launch_config) && !member.outdated;
    let fills = |member: &&CountedMember| match member.standing {
        Standing::Pending | Standing::Warming => comes(member),
        Standing::Ready => may_stop(pool, member, now),
        _ => false,
    };
    to_i32(members.iter().filter(fills).count())
}

/// Whether a member of the tier is to be replaced.
fn is_stale(pool: &PoolView, member: &CountedMember, now: Timestamp) -> bool {
    let rolling = pool.rollout.type_ == RolloutType::RollingReplace;
    is_old(pool, member, now) || (member.outdated && (rolling || member.launch_config_ends))
}

/// Whether members of another template are still to be replaced in the ready tier, which comes first.
fn ready_tier_rolls(pool: &PoolView, members: &[CountedMember]) -> bool {
    let rolling = pool.rollout.type_ == RolloutType::RollingReplace;
    let in_tier = |standing| matches!(standing, Standing::Pending | Standing::Warming | Standing::Ready);
    rolling && members.iter().any(|member| member.outdated && in_tier(member.standing))
}

/// The condition `StandbyFilled`; `None` if the pool has no standby tier. `beside` is what `maxSize` leaves beside the target.
pub fn standby_filled(tier: &StandbyTier, standby: i32, beside: i32, now: Timestamp) -> Option<ConditionValue> {
    let size = tier.size?;
    let is = |holds, reason, message: String| {
        Some(ConditionValue::new(ConditionType::StandbyFilled, holds, reason, message))
    };
    let numbers = format!("{standby} of {size} members are on standby");
    if size > 0 && tier.launch_configs.is_empty() && tier.usable {
        let (reason, does, hint) = match tier.mode {
            StandbyMode::Stopped => (Reason::ProviderCannotStop, "stop", " (Spot machines on EC2 cannot be stopped)"),
            StandbyMode::Hibernated => {
                (Reason::ProviderCannotHibernate, "hibernate", " (on EC2, spec.aws.hibernation of the launch config)")
            }
        };
        let why =
            format!("spec.standby: no launch config of the pool buys machines that its provider can {does}{hint}");
        return is(false, reason, format!("{why}; nothing is bought for it"));
    }
    if standby >= size {
        return is(true, Reason::StandbyComplete, numbers);
    }
    if size > beside {
        let what = format!("maxSize leaves room for {} beside the target", beside.max(0));
        let why = format!("{numbers}; {what}: raise spec.maxSize, or lower spec.standby.size");
        return is(false, Reason::StandbyBeyondMaxSize, why);
    }
    match tier.not_before.filter(|moment| *moment > now) {
        Some(_) => is(
            false,
            Reason::StandbyFailing,
            format!("{numbers}; a machine could not be stopped or started, so no other is tried for a while"),
        ),
        None => is(
            false,
            Reason::StandbyIncomplete,
            format!("{numbers}; more follow once targetSize machines are ready, as far as maxSize leaves room"),
        ),
    }
}

fn to_usize(count: i32) -> usize {
    usize::try_from(count).unwrap_or(0)
}

fn to_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
