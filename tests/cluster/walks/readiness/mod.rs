//! When a machine counts as ready.

mod phone_home;
mod probes;
