//! Clients of the API server: one for watches, one for the lease, one for everything else.

use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use thiserror::Error;

use super::signs::Signs;
use crate::plan::lease::ATTEMPT_CAP;

/// How long any answer but a watch's may take. What takes longer is ambiguous.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Neither a kubeconfig nor a service account was found, or it is broken.
    #[error("no way to reach a cluster: {0} (run it in a cluster, or set KUBECONFIG)")]
    Config(String),
    /// The configuration does not make a client.
    #[error("the cluster configuration does not make a client: {0}")]
    Client(#[source] kube::Error),
}

/// The clients.
#[derive(Clone)]
pub struct Clients {
    /// For watches and lists.
    pub watching: Client,
    /// For writes and uncached reads. It never repeats a request by itself: a repeated compare-and-swap that had been
    /// written answers 409, and a write that is repeated for minutes is written at a time when nobody wants it.
    pub direct: Client,
    /// For the lease, so that no renewal waits behind other requests. It never repeats a request either.
    pub lease: Client,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

/// The configuration: the kubeconfig at `path` if given, else KUBECONFIG or the usual file, else the service account.
///
/// # Errors
/// When none of them is there, or the one that is cannot be read.
pub async fn configuration(path: Option<&std::path::Path>) -> Result<Config, ClientError> {
    let explicit = match path {
        Some(path) => {
            Some(kube::config::Kubeconfig::read_from(path).map_err(|error| ClientError::Config(error.to_string()))?)
        }
        None => None,
    };
    match explicit {
        Some(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| ClientError::Config(error.to_string())),
        None => Config::infer().await.map_err(|error| ClientError::Config(error.to_string())),
    }
}

/// Makes the clients from one configuration. What is answered to them is noted in `signs`.
///
/// # Errors
/// When the certificates or addresses in it are broken.
pub fn clients(config: Config, signs: &Signs) -> Result<Clients, ClientError> {
    let mut direct = config.clone();
    direct.default_retry = false;
    direct.connect_timeout = Some(CONNECT_TIMEOUT);
    direct.read_timeout = Some(READ_TIMEOUT);
    direct.write_timeout = Some(READ_TIMEOUT);
    // Else a connection that idled for almost that long ends under the next request.
    direct.reset_reader_on_write = true;
    let mut lease = direct.clone();
    lease.read_timeout = Some(ATTEMPT_CAP);
    lease.write_timeout = Some(ATTEMPT_CAP);
    let mut watching = config;
    watching.default_retry = false;
    watching.connect_timeout = Some(CONNECT_TIMEOUT);
    Ok(Clients { watching: client(watching, signs)?, direct: client(direct, signs)?, lease: client(lease, signs)? })
}

fn client(config: Config, signs: &Signs) -> Result<Client, ClientError> {
    Ok(ClientBuilder::try_from(config).map_err(ClientError::Client)?.with_layer(signs).build())
}
