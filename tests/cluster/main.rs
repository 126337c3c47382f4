//! Tests against a real API server.

mod chaos;
mod checker;
mod crd;
mod harness;
mod install;
mod walks;
