//! What this process knows of the cluster, under one lock: the objects that watches and answers have shown, the claims
//! that wait at each pool, and the writes that are under way.
//!
//! In: watch events, answers of writes, and reservations. Out: objects and queues for decisions, and a stream of
//! changes. Nothing here calls the API server or a cloud.

pub mod binding_troubles;
pub mod cluster_state;
pub mod contents;
pub mod fits;
mod key;
pub mod key_ring;
pub mod lock_order;
pub mod marks;
pub mod namespace_labels;
pub mod planned;
pub mod pool_queue;
pub mod store;

pub use cluster_state::{Change, ClusterState};
pub use key::{ObjectKey, QueueKey};
