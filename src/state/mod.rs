//! What this process knows of the cluster, at one moment and under one lock: the objects that watches and answers have
//! shown, who waits at which pool, and what is under way. Watches and writes put in, decisions take out; nothing here
//! asks anybody.

pub mod cluster_state;
pub mod contents;
mod key;
pub mod key_ring;
pub mod lock_order;
pub mod namespace_labels;
pub mod pool_queue;
pub mod store;

pub use cluster_state::{Change, ClusterState};
pub use key::{ObjectKey, QueueKey};
