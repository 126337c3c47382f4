//! Where the demo plays.

use std::path::PathBuf;

use kube::Client;

/// A cluster, a namespace in it, and how to reach both.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) kubeconfig: PathBuf,
    /// The kubectl of the server's version; `None`: the user's own.
    pub(super) kubectl: Option<PathBuf>,
}
