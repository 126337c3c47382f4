//! Runs the controllers, whatever they do: queues of keys, heartbeats that show that the queues work, semaphores that
//! share the API server, and the terms of leadership that all of it lives in.
//!
//! In: keys from [`Waker`](work_queue::Waker)s and the lease. Out: calls of `reconcile`. Touches the API server only
//! through the lease.

pub mod failure;
pub mod fair_semaphore;
pub mod heartbeat;
pub mod leadership_term;
pub mod work_queue;
