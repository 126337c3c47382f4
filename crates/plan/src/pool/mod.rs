//! Pools: how many members there are to be, which of them are replaced, and what the pool's status says.

pub mod attention;
pub mod provisioning;
pub mod recycle;
pub mod rollout;
pub mod sizing;
pub mod status;
pub mod template;
#[cfg(test)]
mod upkeep_tests;
pub mod view;
