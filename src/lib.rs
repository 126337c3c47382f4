//! Bullpen keeps pools of pre-warmed cloud VMs and hands them out by claim.
//!
//! The layers stand in the README; dependencies point down only.
//! [`simcloud`] and [`control_plane`] are what tests and the demo run against.
#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod cluster;
pub mod control_plane;
pub mod controllers;
pub mod demo;
#[cfg(feature = "kubectl")]
pub mod kubectl;
pub mod plan;
pub mod provider;
pub mod simcloud;
mod supervise;
pub mod telemetry;
pub mod uninstall;
