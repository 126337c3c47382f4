//! The walks: each starts the operator beside a simulated cloud, does what a user or a failure does, and waits for what must
//! come of it. A folder for each subject.

#[cfg(feature = "kubectl")]
mod access;
pub(crate) mod claims;
pub(crate) mod cloud;
mod ends;
mod gitops;
mod health;
pub(crate) mod operator;
mod plugin;
mod pools;
mod readiness;
mod reuse;
mod standby;
