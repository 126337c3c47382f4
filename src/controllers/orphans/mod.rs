//! Terminates machines of this installation that have no member.
//!
//! In: whole lists of a cloud. Suspects are confirmed by uncached GETs. Out: terminate calls, unless the orphans are
//! too many and need a person's confirmation; Events; and what the status of launch configs reports.

pub mod adopt;
pub mod memory;
pub mod sweep;

use std::sync::Arc;

use self::memory::Sweeps;
use super::common::{Common, LeadershipTerm};
use crate::cloud::Clouds;

/// What the sweeps use; cheap to clone.
#[derive(Clone, Debug)]
pub struct OrphanSweeper {
    /// What all controllers use.
    pub common: Common,
    /// Whether this process leads; checked right before each terminate call.
    pub term: LeadershipTerm,
    /// The clouds.
    pub clouds: Clouds,
    /// The rules, and what the sweeps remember.
    pub sweeps: Arc<Sweeps>,
}
