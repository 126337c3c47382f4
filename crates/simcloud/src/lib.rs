//! The simulated cloud: a server of its own, so that the operator can be killed while the machines live on.
//!
//! [`cloud::Cloud`] is the whole behaviour, as a pure state machine; [`serve`] is a thin shell around it.
//! `docs/use/simcloud.md` documents the API for users.
#![forbid(unsafe_code)]

mod addresses;
mod args;
pub mod cloud;
mod draw;
pub mod faults;
mod hold;
pub mod ledger;
mod options;
mod query;
mod server;
#[cfg(test)]
mod tests;
mod validate;
pub mod wire;

pub use self::args::SimcloudArgs;
pub use self::options::Options;
pub use self::server::{run, serve};
