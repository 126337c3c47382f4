//! What runs controllers, whatever they do: queues of keys, the heartbeat that shows that they turn, and the
//! terms of leadership that all of it lives in.

pub mod failure;
pub mod heartbeat;
pub mod leadership_term;
pub mod work_queue;
