//! Launch configs: kept by a finalizer while members need them, and what they say of their cloud and their members.

pub mod health;
pub mod reconcile;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::health::LaunchHealth;
use super::common::Common;
use super::orphans::memory::Sweeps;
use super::routing::Listeners;
use crate::cloud::Clouds;

/// What the controller of launch configs uses; cheap to clone.
#[derive(Clone, Debug)]
pub struct LaunchConfigController {
    /// What all controllers use.
    pub common: Common,
    /// The clouds, which are opened here.
    pub clouds: Clouds,
    /// How the launch configs fared.
    pub launch_health: LaunchHealth,
    /// What sweeps remember, for the status.
    pub sweeps: Arc<Sweeps>,
    /// Who hears of what the clouds list.
    pub listeners: Arc<Listeners>,
    /// The end of the term, and of the lists of the clouds with it.
    pub shutdown: CancellationToken,
}

#[cfg(test)]
mod tests;
