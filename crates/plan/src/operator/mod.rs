//! The operator itself: leader election, permissions, watched namespaces, version skew of the definitions, the API
//! server's time, liveness, and how requests share the API server.
//!
//! Pure functions and state without I/O. Input: what was read from the API server, and times. Output: decisions and
//! messages.

pub mod election;
pub mod fair_shares;
pub mod installation;
pub mod liveness;
pub mod permissions;
pub mod server_clock;
pub mod skew;
pub mod watched_namespaces;
