//! Checks what a provider promises ([the contract](../../docs/develop/providers.md)) with a launch config's own cloud.
//!
//! In: a launch config and its provider. Out: a [`Finding`] for each [`Check`]. A run buys at most [`MACHINES`] machines
//! at a time, tagged with an installation of its own, and ends them all, also if a check fails or the run is interrupted.

mod calls;
mod checks;
mod ending;
mod judge;
mod manifest;
mod report;
mod stage;

pub use calls::Calls;
pub use checks::{Run, run};
pub use manifest::{MACHINES, Manifest, installations, read};
pub use report::{Check, Finding, Outcome, Report};
pub use stage::{Ends, Settings};
