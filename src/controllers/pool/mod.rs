//! The pool controller: buys and retires members until the pool has its target, writes its status, and empties it
//! before it is deleted.
//!
//! In: keys of pools. Out: members created and deleted (nothing else creates them), the status and finalizer of pools,
//! Events. Machines are bought and ended by the member controller.

pub mod claim_holders;
mod facts;
pub mod launch_options;
pub mod memory;
mod new_members;
pub mod reconcile;
mod standby;
pub mod teardown;
pub mod write_back;

use self::memory::PoolMemories;
use super::common::Common;
use super::first_boot::ssh_keys::SshKeys;
use super::launch_config::health::LaunchHealth;
use super::member::health::memory::HealthMemory;
use super::member::machine_memory::Machines;
use super::standing::Reported;
use crate::cloud::Clouds;

/// What the pool controller uses; cheap to clone.
#[derive(Clone, Debug)]
pub struct PoolController {
    /// What all controllers use.
    pub common: Common,
    /// What is remembered of pools from one pass to the next.
    pub memories: PoolMemories,
    /// The clouds, for their refusals.
    pub clouds: Clouds,
    /// The health of launch configs: success rates and errors.
    pub launch_health: LaunchHealth,
    /// What this process knows of each machine. The pool controller notes that no create call was made for a new
    /// member.
    pub machines: Machines,
    /// What this process knows of the health of machines.
    pub health: HealthMemory,
    /// The SSH keys, which are part of a template.
    pub ssh_keys: SshKeys,
    /// The pools of other installations that were reported.
    pub reported: Reported,
}
