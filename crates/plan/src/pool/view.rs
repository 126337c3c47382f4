//! A pool and its members as the arithmetic sees them.

use bullpen_api::{Disruption, PoolState, Recycle, Rollout};
use jiff::Timestamp;

use crate::launch::placement::LaunchConfigView;

/// What a member counts as. The first that fits, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Held by a claim, or in the binder's hands, whatever else it is.
    Claimed,
    /// Being deleted.
    Terminating,
    /// Failed.
    Errored,
    /// Kept from all claims until a person ends it: it bills, and is no supply.
    Quarantined,
    /// Cordoned or held: it bills, and nobody can count on it.
    Aside,
    /// Can be claimed.
    Ready,
    /// Booting.
    Warming,
    /// Its create was not accepted yet.
    Pending,
}

/// A member as the arithmetic sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedMember {
    /// Uid of the member.
    pub uid: String,
    /// What it counts as.
    pub standing: Standing,
    /// The launch config that it is pinned to.
    pub launch_config: String,
    /// When it was written down: the youngest goes first.
    pub created: Timestamp,
    /// Since when it is ready, if it is.
    pub ready_since: Option<Timestamp>,
    /// Whether it is of another template than a new member would be.
    pub outdated: bool,
    /// Whether a person holds it: it is not deleted.
    pub hold: bool,
}

impl CountedMember {
    /// Whether it stays until a person lets it go, so that its place is not free for another.
    pub const fn is_kept(&self) -> bool {
        match self.standing {
            Standing::Aside | Standing::Quarantined => true,
            Standing::Terminating | Standing::Errored => self.hold,
            Standing::Claimed | Standing::Ready | Standing::Warming | Standing::Pending => false,
        }
    }
}

/// A pool as the arithmetic sees it. All of it is taken at one moment, under one lock.
#[derive(Clone, Debug)]
pub struct PoolView {
    /// `spec.targetSize`.
    pub target_size: i32,
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
    /// Ready members from before this moment are to be replaced, by a person's word.
    pub recycle_before: Option<Timestamp>,
    /// `spec.disruption`.
    pub disruption: Disruption,
    /// `spec.rollout`.
    pub rollout: Rollout,
    /// What new members would be, over all launch configs; `None` when that is not known.
    pub template_hash: Option<String>,
    /// Whether somebody asked for a pass that does not wait.
    pub forced: bool,
    /// Every member of the pool, also those that are just being written.
    pub members: Vec<CountedMember>,
    /// Claims that wait: eligible, Wait, Pending, named by no member and not in the binder's hands.
    pub waiting: i32,
    /// The launch configs of the pool that exist and may be used.
    pub launch_configs: Vec<LaunchConfigView>,
}
