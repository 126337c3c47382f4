//! Members: from Pending to the end of their machine, step by step. A step comes from
//! [`lifecycle`](bullpen_plan::member::lifecycle); what it does is in [`actions`].

pub mod actions;
pub mod claim_tag;
pub mod deletion;
pub mod gather;
pub mod machine_memory;
pub mod reconcile;
pub mod set_aside;

use self::machine_memory::Machines;
use super::claim::ClaimController;
use super::common::{Common, Term};
use super::first_boot::ssh_keys::SshKeys;
use super::launch_config::health::LaunchHealth;
use super::pool::memory::PoolMemories;
use crate::cloud::Clouds;

/// What the controller of members uses; cheap to clone.
#[derive(Clone, Debug)]
pub struct MemberController {
    /// What all controllers use.
    pub common: Common,
    /// This term of leadership.
    pub term: Term,
    /// What decides of claimed members.
    pub claims: ClaimController,
    /// The clouds.
    pub clouds: Clouds,
    /// The keys of machines, for their first boot.
    pub ssh_keys: SshKeys,
    /// What is known of machines.
    pub machines: Machines,
    /// How the launch configs fared, which members tell.
    pub launch_health: LaunchHealth,
    /// What is remembered of pools: limits of terminate calls, and claims whose replacement is awaited.
    pub pool_memories: PoolMemories,
}
