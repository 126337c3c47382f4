//! What several commands use: the session with the cluster, printing, watching objects, Events, parsing, and failures.
//! Commands import from here; nothing here imports a command.

pub(crate) mod conditions;
pub(crate) mod durations;
pub(crate) mod events;
pub mod failure;
pub(crate) mod operator;
pub(crate) mod presence;
pub(crate) mod printing;
pub(crate) mod session;
pub(crate) mod trouble;
pub(crate) mod wanted;
pub(crate) mod watching;
