//! What commands have in common: the session with the cluster, printing, waiting for changes, and what they fail with.

pub(crate) mod durations;
pub(crate) mod events;
pub mod failure;
pub(crate) mod printing;
pub(crate) mod session;
pub(crate) mod wanted;
pub(crate) mod watching;
