//! Connections to the API server: directly, or through a proxy.

use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use kube::Config;
use kube::client::ConfigExt as _;
use thiserror::Error;
use tokio::net::TcpStream;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt as _, service_fn};

use super::AccessError;
use crate::causes::causes;
use crate::proxy::{Protocol, Proxy, Source};

/// Makes connections to servers, without their TLS.
pub(super) type Route = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// Why a proxy did not connect.
#[derive(Debug, Error)]
enum RouteError {
    #[error(
        "the proxy {proxy} refuses the credentials in {by} (407): write http://USER:PASSWORD@HOST:PORT there, with %XX \
         for signs such as @ in them"
    )]
    Credentials { proxy: String, by: Source },
    #[error("the proxy {proxy} of {by} does not connect to {server}: {why}")]
    Refused { proxy: String, by: Source, server: String, why: String },
}

/// The connector for the API server. A connection may take at most `patience`.
///
/// # Errors
/// When the certificates of the configuration are invalid.
pub(super) fn route(config: &Config, proxy: Option<&Proxy>, patience: Duration) -> Result<Route, AccessError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(patience));
    let Some(proxy) = proxy else {
        return Ok(Route::new(tcp.map_response(MaybeHttpsStream::Http).map_err(BoxError::from)));
    };
    let endpoint = proxy.endpoint();
    // An https proxy is verified with the API server's certificate authority, as in kubectl.
    let to_proxy: HttpsConnector<HttpConnector> = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(match &proxy.protocol {
        Protocol::Connect(None) => through(Tunnel::new(endpoint, to_proxy), proxy, patience),
        Protocol::Connect(Some(basic)) => {
            through(Tunnel::new(endpoint, to_proxy).with_auth(basic.clone()), proxy, patience)
        }
        Protocol::Socks5(None) => through(SocksV5::new(endpoint, to_proxy), proxy, patience),
        Protocol::Socks5(Some((user, password))) => {
            through(SocksV5::new(endpoint, to_proxy).with_auth(user.clone(), password.clone()), proxy, patience)
        }
    })
}

/// A connector with a timeout, whose errors name the proxy.
fn through<S>(connector: S, proxy: &Proxy, patience: Duration) -> Route
where
    S: Service<Uri, Response = MaybeHttpsStream<TokioIo<TcpStream>>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: std::error::Error + Send,
{
    let (proxy, by) = (proxy.to_string(), proxy.source.clone());
    Route::new(service_fn(move |server: Uri| {
        let (proxy, by) = (proxy.clone(), by.clone());
        let address = server.authority().map(ToString::to_string).unwrap_or_default();
        let connecting = tokio::time::timeout(patience, connector.clone().oneshot(server));
        async move {
            let why = match connecting.await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => causes(&error),
                Err(_) => format!("no answer within {} s", patience.as_secs()),
            };
            // The type of this error is private to hyper-util.
            Err(BoxError::from(if why.contains("proxy authorization required") {
                RouteError::Credentials { proxy, by }
            } else {
                RouteError::Refused { proxy, by, server: address, why }
            }))
        }
    }))
}
