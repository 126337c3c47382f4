//! Clients of the API server: one for watches, one for the lease, one for everything else.
//!
//! Writes go over one HTTP/2 connection if the server speaks it: over HTTP/1.1 each write under way at a time has a
//! connection of its own, which costs both ends more.

use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use thiserror::Error;
use tower::{BoxError, ServiceBuilder};

use super::signs::Signs;
use crate::plan::lease::ATTEMPT_CAP;

/// How long any answer but a watch's may take. What takes longer is ambiguous.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Who we are in audit logs and, up to the slash, in managed fields.
const OURSELVES: &str = concat!("bullpen/", env!("CARGO_PKG_VERSION"));

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
    let mut config = given(path).await?;
    config.headers.push((USER_AGENT, HeaderValue::from_static(OURSELVES)));
    Ok(config)
}

async fn given(path: Option<&std::path::Path>) -> Result<Config, ClientError> {
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
pub fn clients(config: &Config, signs: &Signs) -> Result<Clients, ClientError> {
    let mut lease = config.clone();
    lease.default_retry = false;
    lease.connect_timeout = Some(CONNECT_TIMEOUT);
    lease.read_timeout = Some(ATTEMPT_CAP);
    lease.write_timeout = Some(ATTEMPT_CAP);
    // Else a connection that idled for almost that long ends under the next request.
    lease.reset_reader_on_write = true;
    let mut watching = config.clone();
    watching.default_retry = false;
    watching.connect_timeout = Some(CONNECT_TIMEOUT);
    Ok(Clients { watching: client(watching, signs)?, direct: direct(config, signs)?, lease: client(lease, signs)? })
}

fn client(config: Config, signs: &Signs) -> Result<Client, ClientError> {
    Ok(ClientBuilder::try_from(config).map_err(ClientError::Client)?.with_layer(signs).build())
}

/// A client whose requests share a connection. Each has its answer, body and all, within [`READ_TIMEOUT`] or fails: a
/// read timeout of the connection would not be one of the request. Of proxies it knows as little as kube's own clients do
/// here; those refuse a configuration that names one.
fn direct(config: &Config, signs: &Signs) -> Result<Client, ClientError> {
    let broken = |error: kube::Error| ClientError::Client(error);
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let mut tls = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config().map_err(broken)?)
        .https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into().map_err(|_| ClientError::Config(format!("no server name: {name:?}")))?;
        tls = tls.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name));
    }
    let sender: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        // A connection that died in silence is noticed by this, and takes no request with it for longer.
        .http2_keep_alive_interval(Some(PING_INTERVAL))
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .build(tls.enable_all_versions().wrap_connector(tcp));
    let send = tower::service_fn(move |request: http::Request<Body>| {
        let answer = sender.request(request);
        async move {
            let whole = async {
                let (head, body) = answer.await?.into_parts();
                let body = body.collect().await?.to_bytes();
                Ok::<_, BoxError>(http::Response::from_parts(head, Body::from(body)))
            };
            tokio::time::timeout(READ_TIMEOUT, whole).await?
        }
    });
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(broken)?)
        .layer(config.extra_headers_layer().map_err(broken)?)
        .map_err(BoxError::from)
        .service(send);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).with_layer(signs).build())
}
