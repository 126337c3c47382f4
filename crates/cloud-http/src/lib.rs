//! HTTP for clients of clouds: TLS by rustls and ring, the system's roots, and the proxy that the environment names.
//!
//! Not by `reqwest`: its TLS would be a feature of every client in the process. In: one request. Out: a whole answer,
//! whatever its status, or a text that says why none came. Nothing is repeated and no redirect is followed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::RETRY_AFTER;
pub use http::request::Builder;
pub use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::{TokioExecutor, TokioTimer};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of one call until the last byte of the answer. Creates may take 10 s.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// Idle connections that stay open, and for how long: clouds close them after a minute or less.
const IDLE_CONNECTIONS: usize = 8;
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest answer that is read, in bytes. A page of 1,000 machines takes some 8 MB.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

type Direct = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;
type Proxied = Client<HttpsConnector<Tunnel<HttpConnector>>, Full<Bytes>>;

/// A client that follows no redirects and repeats nothing.
#[derive(Debug)]
pub struct Http {
    tls: rustls::ClientConfig,
    direct: Direct,
    proxied: OnceLock<Proxied>,
    proxies: Matcher,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Answer {
    /// How long to wait before the next call, if a header `Retry-After` names seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}

impl Http {
    /// A client. Nothing is sent yet.
    ///
    /// # Errors
    /// Why there can be no TLS.
    pub fn new() -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| causes(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http().enable_http1();
        let direct = client().build(connector.wrap_connector(tcp()));
        Ok(Self { tls, direct, proxied: OnceLock::new(), proxies: Matcher::from_env() })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// Why no whole answer came in time: the request may or may not have had its effect.
    pub async fn send(&self, request: Request<String>) -> Result<Answer, String> {
        let request = request.map(Full::from);
        let whole = async {
            let sent = match self.proxies.intercept(request.uri()) {
                Some(proxy) => self.proxied.get_or_init(|| self.by(&proxy)).request(request).await,
                None => self.direct.request(request).await,
            };
            let (head, body) = sent.map_err(|error| causes(&error))?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| causes(error.as_ref()))?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.into() })
        };
        let late = |_| format!("no answer within {} s", CALL_TIMEOUT.as_secs());
        tokio::time::timeout(CALL_TIMEOUT, whole).await.map_err(late)?
    }

    /// A client whose connections go through this proxy.
    fn by(&self, proxy: &Intercept) -> Proxied {
        let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp());
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        let connector = HttpsConnectorBuilder::new().with_tls_config(self.tls.clone()).https_or_http().enable_http1();
        client().build(connector.wrap_connector(tunnel))
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp
}

fn client() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .retry_canceled_requests(false);
    builder
}

/// An error with its causes, because the outermost one often says only that something failed.
pub fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
