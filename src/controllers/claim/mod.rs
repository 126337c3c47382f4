//! The claim controllers: pair claims with members, bind them with two writes, write their Secrets, report why they
//! wait, and end them.
//!
//! In: keys from the queues of pairing and of claims, and Claimed members from the member controller. Out: the status
//! of claims, `Claimed` and given back in members, Secrets, and deletes of ended claims. Nothing else writes the status
//! of claims.

pub mod bind;
pub mod fate;
pub mod lifetime;
pub mod machine_news;
pub mod namespace_labels;
pub mod pairing;
pub mod quarantine;
pub mod queue_view;
pub mod requests;
pub mod secret;
pub mod vanished;
pub mod waiting;

use self::requests::Requests;
use super::common::{Common, ExpiryGrace, LeadershipTerm};
use super::first_boot::ssh_keys::SshKeys;
use super::member::health::memory::HealthMemory;
use super::member::machine_memory::Machines;
use super::pool::memory::PoolMemories;
use crate::cloud::Clouds;
use crate::probes::Prober;

/// What the claim controllers use; cheap to clone.
#[derive(Clone, Debug)]
pub struct ClaimController {
    /// What all controllers use.
    pub common: Common,
    /// This term of leadership.
    pub term: LeadershipTerm,
    /// When claims do not expire although their time is over.
    pub expiry: ExpiryGrace,
    /// The clouds, whose lists show the tags of claimed machines.
    pub clouds: Clouds,
    /// Derives the machines' private keys for Secrets.
    pub ssh_keys: SshKeys,
    /// What this process knows of each machine; the claim controllers record when its end was decided.
    pub machines: Machines,
    /// What this process knows of the health of machines.
    pub health: HealthMemory,
    /// Looks at machines before they are handed out.
    pub prober: Prober,
    /// Asks whether claims went with their definition.
    pub definition: vanished::DefinitionReader,
    /// What is remembered of pools; a claimed member is recorded here, so that its replacement can be timed.
    pub pool_memories: PoolMemories,
    /// How their requests share the API server.
    pub requests: Requests,
}
