//! Bullpen installed by its chart on a cluster of its own: real controllers roll it out, a kubelet's part runs the real
//! binaries with their service accounts' tokens, and the audit log shows what they asked for.

mod audit;
mod kubelet;
mod pod;
mod site;
mod walk_helm;
mod walk_permissions;
mod walk_upgrade;

pub(crate) use self::site::Site;

/// The release and its namespace, as the documentation has them.
pub(crate) const RELEASE: &str = "bullpen";
