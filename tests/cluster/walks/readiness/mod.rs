//! When a machine counts as ready.

mod probes;
