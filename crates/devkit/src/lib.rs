//! Development tools: a real etcd and kube-apiserver on loopback, child processes that end with their parent, and the
//! demo. Tests and benchmarks use them; the operator does not.
#![forbid(unsafe_code)]

pub mod control_plane;
pub mod demo;
mod supervise;
