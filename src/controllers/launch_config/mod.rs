//! The launch config controller: opens the cloud of each launch config, reports its account and health in its status,
//! and keeps its finalizer while members need it.
//!
//! In: keys of launch configs. Out: their status and finalizer; a provider object and a list loop for each account and
//! region.

pub mod health;
pub mod images;
mod lookups;
pub mod prices;
pub mod reconcile;

use std::sync::Arc;

use self::health::LaunchHealth;
use self::images::Images;
use self::prices::Prices;
use super::common::Common;
use super::orphans::memory::Sweeps;
use super::routing::Listeners;
use super::standing::Reported;
use crate::cloud::Clouds;

/// What the launch config controller uses; cheap to clone.
#[derive(Clone, Debug)]
pub struct LaunchConfigController {
    /// What all controllers use.
    pub common: Common,
    /// The clouds, which this controller opens.
    pub clouds: Clouds,
    /// The health of launch configs.
    pub launch_health: LaunchHealth,
    /// The images that names of launch configs stand for.
    pub images: Arc<Images>,
    /// The prices that clouds tell.
    pub prices: Arc<Prices>,
    /// What the orphan sweeps remember, for the status.
    pub sweeps: Arc<Sweeps>,
    /// The launch configs of other installations that were reported.
    pub reported: Reported,
    /// Is notified of what the clouds list.
    pub listeners: Arc<Listeners>,
}

#[cfg(test)]
mod tests;
