//! Clients of the API server: one for watches, one for the lease, one for everything else.
//!
//! Writes share one HTTP/2 connection if the server speaks it: over HTTP/1.1 every concurrent write needs its own
//! connection, which costs both ends more.

use std::path::Path;
use std::time::Duration;

use bullpen_access::{Access, AccessError, Answers};
use bullpen_plan::operator::election::ATTEMPT_CAP;
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::Client;
use thiserror::Error;

use super::api_health::ApiHealth;

/// Longest time for any answer but a watch's. A write that takes longer is ambiguous.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The user agent: shown in audit logs and, up to the slash, in managed fields.
const OURSELVES: &str = concat!("bullpen/", env!("CARGO_PKG_VERSION"));

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No kubeconfig or service account was found, or it is broken or asks for something unsupported.
    #[error("no way to reach a cluster: {0}")]
    Config(AccessError),
    /// No client can be made from the configuration.
    #[error("the cluster configuration does not make a client: {0}")]
    Client(AccessError),
}

/// The clients.
#[derive(Clone)]
pub struct Clients {
    /// For watches and lists.
    pub watching: Client,
    /// For writes and uncached reads. It never repeats a request by itself: a repeated compare-and-swap that had
    /// succeeded would answer 409, and a write that is retried for minutes may land when it is not wanted any more.
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
/// When none of them exists, or the one that does cannot be used.
pub async fn configuration(path: Option<&Path>) -> Result<Access, ClientError> {
    let mut access = Access::read(path, None).await.map_err(ClientError::Config)?;
    access.push_header(USER_AGENT, HeaderValue::from_static(OURSELVES));
    Ok(access)
}

/// Makes the clients of one configuration. Their answers are recorded in `api_health`.
///
/// # Errors
/// When the certificates or addresses in it are broken.
pub fn clients(access: &Access, api_health: &ApiHealth) -> Result<Clients, ClientError> {
    let client = |answers| {
        let builder = access.client(CONNECT_TIMEOUT, answers).map_err(ClientError::Client)?;
        Ok(builder.with_layer(api_health).build())
    };
    Ok(Clients {
        watching: client(Answers::Watched)?,
        direct: client(Answers::Shared(READ_TIMEOUT))?,
        lease: client(Answers::Alone(ATTEMPT_CAP))?,
    })
}
