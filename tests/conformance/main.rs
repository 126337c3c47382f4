//! `bullpen conformance` against simulated clouds: one that keeps its promises, and one for each promise that breaks it.

mod broken;
mod cloud;
mod command;
mod promises;
