//! Claims: which member each gets, the two writes that bind it, its Secret, what it is told while it waits, and how
//! long it holds its machine. Only these write the status of claims.

pub mod bind;
pub mod fate;
pub mod lifetime;
pub mod namespace_labels;
pub mod pairing;
pub mod quarantine;
pub mod queue_view;
pub mod secret;
pub mod waiting;

use super::common::{Common, ExpiryGrace, Term};
use super::first_boot::ssh_keys::SshKeys;
use super::member::machine_memory::Machines;
use super::pool::memory::PoolMemories;
use crate::cloud::Clouds;

/// What the controller of claims uses; cheap to clone.
#[derive(Clone, Debug)]
pub struct ClaimController {
    /// What all controllers use.
    pub common: Common,
    /// This term of leadership.
    pub term: Term,
    /// When claims do not expire although their time is over.
    pub expiry: ExpiryGrace,
    /// The clouds, for what their lists show of claimed machines.
    pub clouds: Clouds,
    /// The keys of machines, for Secrets.
    pub ssh_keys: SshKeys,
    /// What is known of machines, for those whose end was decided.
    pub machines: Machines,
    /// What is remembered of pools, which are told of members that were taken.
    pub pool_memories: PoolMemories,
}
