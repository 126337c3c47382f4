//! Tests against a real API server.

mod control_plane;
mod crd;
mod fixture;
mod shared;
