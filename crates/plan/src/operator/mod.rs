//! The operator itself: whether it may act, what it may do, where, and whether it is alive.

pub mod election;
pub mod liveness;
pub mod permissions;
pub mod skew;
pub mod watched_namespaces;
