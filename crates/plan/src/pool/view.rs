//! What sizing, recycling and rollouts need to know of a pool and its members.

use std::collections::BTreeMap;

use bullpen_api::{Disruption, PoolState, Recycle, Rollout, StandbyMode};
use jiff::{SignedDuration, Timestamp};

use super::billing::Billing;
use super::schedule::Scheduled;
use crate::launch::placement::LaunchConfigView;

/// After this time without an answer of its cloud, a pending member is no supply.
pub const UNANSWERED_AFTER: SignedDuration = SignedDuration::from_secs(10);

/// What a member counts as: the first that applies, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// A claim has it, or it is being bound, whatever its other state.
    Claimed,
    /// Being deleted.
    Terminating,
    /// It failed.
    Errored,
    /// Quarantined: not handed out until a person deletes it. It bills and is no supply.
    Quarantined,
    /// Set aside: cordoned or held. It bills and is no supply.
    Aside,
    /// Can be claimed.
    Ready,
    /// Booting.
    Warming,
    /// Its create was not accepted yet.
    Pending,
    /// Being stopped, for the standby tier. It bills and is no supply.
    Stopping,
    /// Stopped. It is no supply before it is started.
    Standby,
}

/// What `spec.standby` asks for, and what can be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandbyTier {
    /// `spec.standby.size`; `None` without that field.
    pub size: Option<i32>,
    /// `spec.standby.mode`.
    pub mode: StandbyMode,
    /// The launch configs whose provider can stop the machines that they buy, in this mode.
    pub launch_configs: Vec<String>,
    /// Whether the pool has launch configs that can be used at all.
    pub usable: bool,
    /// Those of `launch_configs` whose last machine could not be stopped, or did not come back.
    pub failing: BTreeMap<String, Failing>,
}

/// How a launch config fails whose machines cannot be stopped for the standby tier, or do not come back from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Stops that failed in a row.
    pub stops: i32,
    /// Machines in a row that did not come back.
    pub starts: i32,
    /// Nothing is bought or stopped for the tier by it before this time; then one machine at a time is tried.
    pub not_before: Timestamp,
    /// The class of the last failure.
    pub class: String,
}

/// What a member's machine can do for the standby tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Power {
    /// Whether its provider can stop it, in the pool's mode.
    pub can_stop: bool,
    /// Its cloud starts no machine of its kind before this time, as it has said.
    pub refused_until: Option<Timestamp>,
    /// Whether it ran before its present boot, which follows a start or a reset. A start of another one would be no sooner.
    pub ran_before: bool,
    /// Whether its last boot was a start from standby.
    pub from_standby: bool,
}

/// What a decision needs to know of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedMember {
    /// Uid of the member.
    pub uid: String,
    /// What it counts as.
    pub standing: Standing,
    /// The launch config that it is pinned to.
    pub launch_config: String,
    /// When its machine was last asked to come up: by its creation, a reset, or a start from standby. The youngest is given up
    /// first.
    pub created: Timestamp,
    /// When its cloud launched its machine, or started it from standby, by the cloud's clock; `None`: it has not yet.
    pub launched: Option<Timestamp>,
    /// Since when it is ready, if it is.
    pub ready_since: Option<Timestamp>,
    /// Whether its template is not the current one.
    pub outdated: bool,
    /// `spec.hold`: it is not deleted.
    pub hold: bool,
    /// Since when its cloud has left a call that is to buy its machine without an answer, if it has.
    pub unanswered_since: Option<Timestamp>,
    /// How its machine is billed, if that is in whole units and it has one.
    pub billing: Option<Billing>,
    /// Whether the launch config that it is pinned to is being deleted, which waits for this member.
    pub launch_config_ends: bool,
    /// What its machine can do for the standby tier.
    pub power: Power,
}

/// When a pending member is no supply any more whose cloud has not answered since then, unless it answers before.
pub fn unanswered_at(since: Timestamp) -> Timestamp {
    since.checked_add(UNANSWERED_AFTER).unwrap_or(Timestamp::MAX)
}

impl CountedMember {
    /// Whether it is pending and its cloud has not answered for so long that nobody should count on it.
    pub fn is_unanswered(&self, now: Timestamp) -> bool {
        self.standing == Standing::Pending && self.unanswered_since.is_some_and(|since| unanswered_at(since) <= now)
    }

    /// Whether its create takes a slot of its launch config: the create is not answered, though the member may be
    /// terminating by now.
    pub const fn takes_slot(&self) -> bool {
        match self.standing {
            Standing::Pending => true,
            Standing::Terminating => self.unanswered_since.is_some(),
            _ => false,
        }
    }

    /// Whether it stays until a person releases it, so that its place is not free for another.
    pub const fn is_kept(&self) -> bool {
        match self.standing {
            Standing::Aside | Standing::Quarantined => true,
            Standing::Terminating | Standing::Errored => self.hold,
            Standing::Claimed
            | Standing::Ready
            | Standing::Warming
            | Standing::Pending
            | Standing::Stopping
            | Standing::Standby => false,
        }
    }
}

/// What a decision needs to know of a pool. All of it is read at one time, under one lock.
#[derive(Clone, Debug)]
pub struct PoolView {
    /// `spec.targetSize`.
    pub target_size: i32,
    /// The size that `spec.autosize` found, if the pool follows it instead of `spec.targetSize`.
    pub autosized: Option<i32>,
    /// `spec.scaleDownDelaySeconds`: how long a surplus must last before members are removed.
    pub scale_down_delay: SignedDuration,
    /// What `spec.schedules` say.
    pub scheduled: Scheduled,
    /// `spec.maxSize`.
    pub max_size: i32,
    /// `spec.minSize`.
    pub min_size: i32,
    /// `spec.state`.
    pub state: PoolState,
    /// Whether the pool has a deletionTimestamp.
    pub deleting: bool,
    /// `spec.provisioning.maxConcurrentCreates`.
    pub max_concurrent_creates: i32,
    /// `spec.provisioning.maxConcurrentDeletes`.
    pub max_concurrent_deletes: i32,
    /// `spec.recycle`.
    pub recycle: Recycle,
    /// Replace members that became ready before this time, as a person requested by annotation.
    pub recycle_before: Option<Timestamp>,
    /// `spec.disruption`.
    pub disruption: Disruption,
    /// `spec.rollout`.
    pub rollout: Rollout,
    /// The template hash over all launch configs; `None` if it is not known.
    pub template_hash: Option<String>,
    /// Whether a person requested a pass without delays.
    pub forced: bool,
    /// Members of the pool, including those that are being created: all but the ones in `claimed`.
    pub members: Vec<CountedMember>,
    /// Claimed members that are not in `members`, because only their number matters.
    pub claimed: i32,
    /// Waiting claims: eligible, with `whenEmpty: Wait`, Pending, named by no member, and not being bound.
    pub waiting: i32,
    /// `spec.standby`, and what can be had of it.
    pub standby: StandbyTier,
    /// Whether a launch config may buy replacements, be it after a while.
    pub can_replace: bool,
    /// The launch configs that the pool may use.
    pub launch_configs: Vec<LaunchConfigView>,
}

impl PoolView {
    /// The target of the spec, or of autosize, without schedules.
    pub fn base_size(&self) -> i32 {
        self.autosized.unwrap_or(self.target_size)
    }

    /// The target with schedules, before `maxSize`.
    pub fn wanted_size(&self) -> i32 {
        self.base_size().max(self.scheduled.on.as_ref().map_or(0, |(_, size)| *size))
    }
}
