//! The member controller: takes each member from Pending to the end of its machine.
//!
//! In: keys of members. [`lifecycle`](bullpen_plan::member::lifecycle) decides the next step and [`actions`] carries it
//! out. Out: create, terminate and tag calls, readiness probes, the status of members except `Claimed`, and their finalizer.

pub mod actions;
pub mod calls;
mod claim_tag;
pub mod deletion;
pub mod gather;
pub mod health;
pub mod machine_memory;
pub mod probing;
pub mod readiness;
pub mod reconcile;
pub mod set_aside;
mod tagging;
pub mod whereabouts;

use self::health::memory::HealthMemory;
use self::machine_memory::Machines;
use super::claim::ClaimController;
use super::common::{Common, LeadershipTerm};
use super::first_boot::ssh_keys::SshKeys;
use super::launch_config::health::LaunchHealth;
use super::pool::memory::PoolMemories;
use crate::cloud::Clouds;
use crate::probes::Prober;

/// What the member controller uses; cheap to clone.
#[derive(Clone, Debug)]
pub struct MemberController {
    /// What all controllers use.
    pub common: Common,
    /// This term of leadership.
    pub term: LeadershipTerm,
    /// Decides the fate of claimed members.
    pub claims: ClaimController,
    /// The clouds.
    pub clouds: Clouds,
    /// The SSH keys that machines get at their first boot.
    pub ssh_keys: SshKeys,
    /// What this process knows of each machine.
    pub machines: Machines,
    /// Sends probes.
    pub prober: Prober,
    /// What this process knows of the health of machines that were ready.
    pub health: HealthMemory,
    /// The health of launch configs, to which members add successes and failures.
    pub launch_health: LaunchHealth,
    /// What is remembered of pools: limits of terminate calls, and claims whose replacement is timed.
    pub pool_memories: PoolMemories,
}
