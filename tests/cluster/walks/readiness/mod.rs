//! When a machine counts as ready.

mod assignments;
pub(super) mod phone_home;
mod probes;
