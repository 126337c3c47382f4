//! Machines that have no member: found in whole lists, proved at the API server, and ended unless they are too many.

pub mod memory;
pub mod sweep;

use std::sync::Arc;

use self::memory::Sweeps;
use super::common::{Common, Term};
use crate::cloud::Clouds;

/// What sweeps use; cheap to clone.
#[derive(Clone, Debug)]
pub struct OrphanSweeper {
    /// What all controllers use.
    pub common: Common,
    /// Whether this process leads: asked right before each terminate call.
    pub term: Term,
    /// The clouds.
    pub clouds: Clouds,
    /// Which machines are ended, and what sweeps remember.
    pub sweeps: Arc<Sweeps>,
}
