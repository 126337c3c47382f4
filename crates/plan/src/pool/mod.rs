//! Pools: how many members to have, which of them to replace, and the pool's status (`docs/develop/sizing.md`).
//!
//! Pure functions. Input: a [`view::PoolView`] with the pool and its members at one time. Output: members to create and
//! delete, and the pool's status.

pub mod attention;
pub mod autosize;
pub mod billing;
pub mod for_a_person;
pub mod provisioning;
pub mod recycle;
pub mod rollout;
pub mod rollout_report;
pub mod schedule;
pub mod sizing;
pub mod standby;
pub mod status;
pub mod template;
#[cfg(test)]
mod upkeep_tests;
pub mod view;
