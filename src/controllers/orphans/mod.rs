//! Machines that have no member: found in whole lists, proved at the API server, and ended unless they are too many.

pub mod memory;
pub mod sweep;
