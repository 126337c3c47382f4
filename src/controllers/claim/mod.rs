//! Claims: which member each gets, the two writes that bind it, its Secret, what it is told while it waits, and how
//! long it holds its machine. Only these write the status of claims.

pub mod bind;
pub mod fate;
pub mod lifetime;
pub mod namespace_labels;
pub mod pairing;
pub mod quarantine;
pub mod queue_view;
pub mod secret;
pub mod waiting;
