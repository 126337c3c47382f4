//! What a machine gets at its first boot: the user data that a template refers to, its SSH key, and the URLs that it
//! calls.
//!
//! Reads the referenced ConfigMaps and Secrets and the installation secret; what was read is stored in
//! [`state`](crate::state).

pub mod ssh_keys;
pub mod user_data;
