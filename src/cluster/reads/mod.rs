//! Uncached reads of single objects that no watch follows: namespaces, Secrets and ConfigMaps. The installation secret
//! is also created here.

#[cfg(feature = "openstack")]
pub mod cloud_secrets;
pub mod contents;
pub mod input;
pub mod installation_secret;
pub mod namespaces;
