//! Effects on the API server, and what is known of it: the client, watches, stores, writes and events.

pub mod client;
pub mod contents;
pub mod events;
pub mod key;
pub mod namespaces;
pub mod preflight;
pub mod store;
pub mod watch;
pub mod world;
pub mod writes;

pub use key::ObjectKey;
pub use world::{Change, World};
pub use writes::{WriteError, Writes};
