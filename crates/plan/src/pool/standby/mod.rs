//! The standby tier of a pool: which stopped members to start, which ready ones to stop, and which to give up
//! (`docs/use/standby.md`).
//!
//! The ready tier comes first: a deficit takes standby members before anything is bought, and the standby tier is filled with
//! what the ready tier does not need.

mod failures;

use std::collections::BTreeMap;

use bullpen_api::{ConditionType, ConditionValue, ErrorClass, PoolState, Reason, RolloutType, StandbyMode};
use jiff::Timestamp;

pub use self::failures::{Failures, Proof, proof_of_failure, proofs};
use super::recycle::{expires_at, is_old};
use super::view::{CountedMember, PoolView, Standing};
pub use super::view::{Failing, Power, StandbyTier};

/// What to do for the standby tier in one pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Members of the ready tier beyond its target that are for this one: no surplus.
    pub filling: i32,
    /// How many of them to buy now, if there is room.
    pub buy: i32,
    /// How many of them at most by each of the launch configs that fail.
    pub rooms: BTreeMap<String, i32>,
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

/// How many members come up after a start or a reset, and so about as soon as one that is started now.
pub fn coming_back(members: &[CountedMember]) -> i32 {
    to_i32(members.iter().filter(|member| member.standing == Standing::Warming && member.power.ran_before).count())
}

/// Whether it is not to be counted on: it comes from standby, from where the last machine of its launch config did not come back.
/// Another one is bought beside it, so that nobody waits for one after the other.
pub fn is_doubtful(pool: &PoolView, member: &CountedMember) -> bool {
    member.standing == Standing::Warming && member.power.from_standby && never_comes_back(pool, member)
}

/// How many of these standby members can be counted on once they are started.
pub fn sure(pool: &PoolView, starts: &[String]) -> i32 {
    if pool.standby.failing.is_empty() {
        return to_i32(starts.len());
    }
    let is_sure = |member: &&CountedMember| starts.contains(&member.uid) && !never_comes_back(pool, member);
    to_i32(pool.members.iter().filter(is_sure).count())
}

fn never_comes_back(pool: &PoolView, member: &CountedMember) -> bool {
    pool.standby.failing.get(&member.launch_config).is_some_and(|failing| failing.starts > 0)
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
    let pauses = pool.standby.failing.values().map(|failing| failing.not_before);
    moments.chain(pauses).filter(|moment| *moment > now).min()
}

/// How many machines may be stopped or bought for the tier by launch config. There is no limit for those that do not fail.
#[derive(Debug)]
struct Trials<'a> {
    launch_configs: &'a [String],
    failing: BTreeMap<&'a str, Trial>,
}

/// The trial of a launch config that fails.
#[derive(Clone, Copy, Debug)]
struct Trial {
    /// One machine, and none before that is stopped; or before it has come back, where that is what fails.
    left: i32,
    /// Whether none is tried yet.
    paused: bool,
}

impl<'a> Trials<'a> {
    fn new(tier: &'a StandbyTier, members: &[CountedMember], now: Timestamp) -> Self {
        let trial = |(name, failing): (&'a String, &Failing)| {
            let is_tried = |member: &&CountedMember| match member.standing {
                _ if member.launch_config != *name => false,
                Standing::Stopping => true,
                Standing::Standby => failing.starts > 0,
                Standing::Warming => failing.starts > 0 && member.power.from_standby,
                _ => false,
            };
            let tried = to_i32(members.iter().filter(is_tried).count());
            (name.as_str(), Trial { left: (1 - tried).max(0), paused: failing.not_before > now })
        };
        Self { launch_configs: &tier.launch_configs, failing: tier.failing.iter().map(trial).collect() }
    }

    /// What is left for one launch config; with `now` also by its pause.
    fn left(&self, launch_config: &str, now: bool) -> i32 {
        match self.failing.get(launch_config) {
            None => i32::MAX,
            Some(trial) if now && trial.paused => 0,
            Some(trial) => trial.left,
        }
    }

    /// What is left for all of them.
    fn sum(&self, now: bool) -> i32 {
        self.launch_configs.iter().map(|name| self.left(name, now)).fold(0, i32::saturating_add)
    }

    /// How many of these members can be stopped once they are ready.
    fn fillers(&self, pool: &PoolView, members: &[CountedMember], now: (bool, Timestamp)) -> i32 {
        let comes = |member: &CountedMember| self.launch_configs.contains(&member.launch_config) && !member.outdated;
        let fills = |member: &&CountedMember| match member.standing {
            Standing::Pending | Standing::Warming => comes(member),
            Standing::Ready => may_stop(pool, member, now.1),
            _ => false,
        };
        let count = |name: &str| members.iter().filter(fills).filter(|member| member.launch_config == name).count();
        let failing = self.failing.keys().map(|name| to_i32(count(name)).min(self.left(name, now.0)));
        let others = members.iter().filter(fills).filter(|member| !self.failing.contains_key(&*member.launch_config));
        to_i32(others.count()).saturating_add(failing.sum())
    }
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
    let trials = Trials::new(&pool.standby, members, now);
    let parts = |at_once: bool| {
        let missing = lacks.min(trials.sum(at_once));
        (missing, missing.min(ready.beyond).min(trials.fillers(pool, members, (at_once, now))).max(0))
    };
    // What is there for it already is kept while a launch config pauses.
    let filling = parts(false).1;
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
    if pool.state != PoolState::Active || ready.deficit > 0 || !starts.is_empty() {
        return Fill { filling, ends, ..Fill::default() };
    }
    let (missing, on_its_way) = parts(true);
    let stops = stops(pool, members, (&trials, missing.min(ready.spare)), now);
    let rooms = trials.failing.keys().map(|name| ((*name).to_owned(), trials.left(name, true))).collect();
    Fill { filling, buy: missing - on_its_way, rooms, stops, ends }
}

/// Uids of at most so many ready members to stop. The youngest first, but after all others those of launch configs that fail:
/// what ends for that is bought there again.
fn stops(
    pool: &PoolView,
    members: &[CountedMember],
    (trials, most): (&Trials<'_>, i32),
    now: Timestamp,
) -> Vec<String> {
    let mut stoppable: Vec<_> =
        members.iter().filter(|member| member.standing == Standing::Ready && may_stop(pool, member, now)).collect();
    let fails = |member: &CountedMember| pool.standby.failing.contains_key(&member.launch_config);
    stoppable.sort_by_key(|member| (fails(member), std::cmp::Reverse((member.ready_since, &member.uid))));
    let mut taken: BTreeMap<&str, i32> = BTreeMap::new();
    stoppable.retain(|member| {
        let taken = taken.entry(&member.launch_config).or_default();
        *taken += 1;
        *taken <= trials.left(&member.launch_config, true)
    });
    stoppable.into_iter().take(to_usize(most)).map(|member| member.uid.clone()).collect()
}

/// Whether a member that is ready may be stopped for the tier.
pub fn may_stop(pool: &PoolView, member: &CountedMember, now: Timestamp) -> bool {
    member.power.can_stop && !member.outdated && !is_stale(pool, member, now)
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
    let failing: Option<Vec<_>> = tier.launch_configs.iter().map(|name| tier.failing.get_key_value(name)).collect();
    match failing.unwrap_or_default().into_iter().min_by_key(|(_, failing)| failing.not_before) {
        Some((name, failing)) => is(
            false,
            Reason::StandbyFailing,
            format!("{numbers}; launch config {name}: {}", failing_message(failing, now)),
        ),
        None => is(
            false,
            Reason::StandbyIncomplete,
            format!("{numbers}; more follow once targetSize machines are ready, as far as maxSize leaves room"),
        ),
    }
}

/// Why the tier is not filled by a launch config, and what comes next.
fn failing_message(failing: &Failing, now: Timestamp) -> String {
    let (count, what, then) = if failing.class == ErrorClass::StopFailed.as_str() {
        (failing.stops, "could not be stopped", "can be")
    } else {
        (failing.starts, "did not come back from standby", "has come back")
    };
    let machines = if count == 1 { "the last machine".to_owned() } else { format!("{count} machines in a row") };
    let next = if failing.not_before > now {
        let until = failing.not_before.round(jiff::Unit::Second).unwrap_or(failing.not_before);
        format!("none is bought or stopped for the tier before {until}")
    } else {
        format!("one at a time is tried until one {then}")
    };
    format!("{machines} {what} ({}); {next}", failing.class)
}

fn to_usize(count: i32) -> usize {
    usize::try_from(count).unwrap_or(0)
}

fn to_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
