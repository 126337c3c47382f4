//! What Bullpen is developed with and shown by: a real etcd and kube-apiserver on loopback, child processes that end with
//! their parent, and the demo. Tests and benchmarks start the same; the operator has none of it.
#![forbid(unsafe_code)]

pub mod control_plane;
pub mod demo;
mod supervise;
