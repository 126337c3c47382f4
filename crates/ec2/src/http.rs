//! HTTP with TLS by rustls and ring, the system's roots, and the proxy that the environment names.
//!
//! Not by `reqwest`: its TLS would be a feature of every client in the process.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::error::{CallError, causes};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of one call until the last byte of the answer. `RunInstances` with a launch template may take 10 s.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// Idle connections that stay open, and for how long: AWS closes them after a minute or less.
const IDLE_CONNECTIONS: usize = 8;
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest answer that is read, in bytes. A page of 1,000 machines takes some 8 MB.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

type Direct = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;
type Proxied = Client<HttpsConnector<Tunnel<HttpConnector>>, Full<Bytes>>;

/// A client that follows no redirects and repeats nothing.
#[derive(Debug)]
pub(crate) struct Http {
    tls: rustls::ClientConfig,
    direct: Direct,
    proxied: OnceLock<Proxied>,
    proxies: Matcher,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
}

impl Http {
    /// # Errors
    /// `Unknown` if there can be no TLS.
    pub(crate) fn new() -> Result<Self, CallError> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| CallError::unknown(causes(&error)))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http().enable_http1();
        let direct = client().build(connector.wrap_connector(tcp()));
        Ok(Self { tls, direct, proxied: OnceLock::new(), proxies: Matcher::from_env() })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// `Unknown` if no whole answer came in time.
    pub(crate) async fn post(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: String,
    ) -> Result<Answer, CallError> {
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| CallError::unknown(causes(&error)))?;
        let mut request = Request::builder().method(Method::POST).uri(uri.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::from(body)).map_err(|error| CallError::unknown(causes(&error)))?;
        let whole = async {
            let sent = match self.proxies.intercept(&uri) {
                Some(proxy) => self.proxied.get_or_init(|| self.by(&proxy)).request(request).await,
                None => self.direct.request(request).await,
            };
            let response = sent.map_err(|error| CallError::unknown(causes(&error)))?;
            let status = response.status().as_u16();
            let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| CallError::unknown(causes(error.as_ref())))?.to_bytes();
            Ok(Answer { status, retry_after: seconds.map(Duration::from_secs), body: body.into() })
        };
        let late = |_| CallError::unknown(format!("no answer within {} s", CALL_TIMEOUT.as_secs()));
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
