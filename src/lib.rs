//! The operator: Bullpen keeps pools of pre-warmed cloud VMs and hands them out by claim.
//!
//! `docs/architecture.md` lists the layers; dependencies point down only.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod cli;
pub mod clock;
pub mod cloud;
pub mod cluster;
pub mod conformance;
pub mod controllers;
pub mod machines;
pub mod probes;
pub mod provider;
pub mod runtime;
pub mod state;
pub mod tasks;
pub mod telemetry;
