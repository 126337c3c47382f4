//! The cluster and namespace that the demo uses.

use std::path::PathBuf;

use kube::Client;

/// A cluster, a namespace in it, and how to reach both.
#[derive(Clone)]
pub(in crate::demo) struct Ground {
    pub(in crate::demo) client: Client,
    pub(in crate::demo) namespace: String,
    pub(in crate::demo) kubeconfig: PathBuf,
    /// The kubectl of the server's version; `None`: the user's own.
    pub(in crate::demo) kubectl: Option<PathBuf>,
}
