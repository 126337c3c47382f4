//! The simulated cloud. It is a separate server, so that machines keep running while the operator is killed.
//!
//! [`cloud::Cloud`] is all of its behaviour, as a pure state machine; [`serve`] is the HTTP server around it.
//! `docs/use/simcloud.md` documents the API for users.
#![forbid(unsafe_code)]

mod addresses;
mod agent;
mod args;
pub mod cloud;
mod delay;
mod draw;
pub mod faults;
pub mod ledger;
mod options;
mod query;
mod server;
#[cfg(test)]
mod tests;
mod validate;
pub mod wire;

pub use self::args::SimcloudArgs;
pub use self::options::{AgentOptions, Options, ProgramOptions};
pub use self::server::{run, serve};
