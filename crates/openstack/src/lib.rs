//! The calls of OpenStack that Bullpen makes: tokens by Identity v3, servers by Compute 2.1, and images by name.
//!
//! In: one call. Out: what OpenStack answered, or a [`CallError`] that tells a refusal from an unknown outcome. A token is
//! renewed before it expires, and once after an answer 401, which had no effect. Nothing else is repeated: the caller has
//! limits and pauses of its own.

mod client;
mod error;
mod identity;
mod images;
mod login;
mod new_server;
mod power;
mod servers;

pub use client::{Client, LoginSource, Settings};
pub use error::CallError;
pub use login::{How, Login, Named};
pub use new_server::{BootVolume, NewServer};
pub use power::Action;
pub use servers::{Address, Fault, Listed, Rebuild, Server, Status};
