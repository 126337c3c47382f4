//! HTTP with TLS by rustls and ring, and the system's roots.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, redirect};

use crate::error::{CallError, causes};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of one call until the last byte of the answer. `RunInstances` with a launch template may take 10 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Idle connections that stay open, and for how long: AWS closes them after a minute or less.
const IDLE_CONNECTIONS: usize = 8;
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// A client that follows no redirects and repeats nothing.
///
/// # Errors
/// `Unknown` if the system has no root certificates, or no client can be made.
pub(crate) fn client() -> Result<Client, CallError> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| CallError::unknown(causes(&error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .build()
        .map_err(|error| CallError::unknown(causes(&error)))
}
