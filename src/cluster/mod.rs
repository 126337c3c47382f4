//! Everything that calls the API server: clients, the lease, watches, reads, writes, Events.
//!
//! Watches and the answers of writes go into [`state`](crate::state). Nothing here decides about pools, members or
//! claims; clouds are not called.

mod api_error;
pub mod api_health;
pub mod claim_watch;
pub mod client;
pub mod definitions;
pub mod events;
pub mod lease;
pub mod preflight;
pub mod reads;
#[cfg(test)]
mod schema_tests;
mod tolerant_read;
pub mod watch;
pub mod writes;

pub use lease::leadership::{Leadership, NotLeading};
pub use writes::{WriteError, Writes, Written};
