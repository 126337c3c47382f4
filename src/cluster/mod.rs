//! The API server and nothing else: clients, the lease, watches, reads, writes, events. What is known of the cluster is
//! in [`state`](crate::state), which watches and answers feed.

pub mod api_health;
pub mod client;
pub mod definitions;
pub mod events;
pub mod lease;
pub mod preflight;
pub mod reads;
mod tolerant_read;
pub mod watch;
pub mod writes;

pub use lease::leadership::{Leadership, NotLeading};
pub use writes::{WriteError, Writes, Written};
