//! Effects on the API server, and what is known of it: clients, the lease, watches, stores, writes and events.

pub mod access;
pub mod causes;
pub mod client;
pub mod contents;
pub mod definitions;
pub mod events;
pub mod guard;
pub mod installation;
pub mod kept;
pub mod key;
pub mod leadership;
pub mod lease;
pub mod lines;
mod lining_up;
pub mod namespaces;
pub mod preflight;
pub mod secrets;
pub mod signs;
pub mod status;
pub mod store;
pub mod watch;
pub mod world;
pub mod writes;

pub use key::ObjectKey;
pub use leadership::{Leadership, NotLeading};
pub use world::{Change, World};
pub use writes::{WriteError, Writes};
