//! Tests against a real API server.

#[cfg(feature = "aws")]
mod aws;
mod chaos;
mod checker;
mod crd;
mod harness;
mod install;
mod machine;
#[cfg(feature = "openstack")]
mod openstack;
mod walks;
