//! Pools: kept at their target, told what keeps them from it, and emptied before they go. Members are made and deleted
//! here and nowhere else, but for those that fail.

pub mod claim_holders;
pub mod launch_options;
pub mod memory;
pub mod reconcile;
pub mod teardown;
pub mod write_back;
