//! Pools: kept at their target, told what keeps them from it, and emptied before they go. Members are made and deleted
//! here and nowhere else, but for those that fail.

pub mod claim_holders;
pub mod launch_options;
pub mod memory;
pub mod reconcile;
pub mod teardown;
pub mod write_back;

use tokio_util::task::TaskTracker;

use self::memory::PoolMemories;
use super::common::Common;
use super::first_boot::ssh_keys::SshKeys;
use super::launch_config::health::LaunchHealth;
use super::member::machine_memory::Machines;
use crate::cloud::Clouds;

/// What the controller of pools uses; cheap to clone.
#[derive(Clone, Debug)]
pub struct PoolController {
    /// What all controllers use.
    pub common: Common,
    /// What is remembered of pools from one pass to the next.
    pub memories: PoolMemories,
    /// The clouds, for what they refuse.
    pub clouds: Clouds,
    /// How the launch configs fared.
    pub launch_health: LaunchHealth,
    /// What is known of machines: nothing of those of new members.
    pub machines: Machines,
    /// The keys of machines, which are part of a template.
    pub ssh_keys: SshKeys,
    /// Writes that no queue waits for; the end of the term does.
    pub writing: TaskTracker,
}
