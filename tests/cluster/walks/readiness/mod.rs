//! When a machine counts as ready.

mod assignments;
mod phone_home;
mod probes;
