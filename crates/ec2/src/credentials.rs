//! Credentials by the standard chain of AWS, perhaps through a role, cached until they expire or are refused.

use std::env;
use std::time::{Duration, SystemTime};

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{SharedHttpClient, SharedHttpConnector, http_client_fn};
use tokio::sync::Mutex;

use crate::error::{CallError, causes};

/// Credentials are renewed this long before they expire, so that a request that waits does not carry expired ones.
const RENEW_BEFORE: Duration = Duration::from_mins(5);
/// Refused credentials are loaded anew at most this often: a role that was deleted would otherwise cost a call each time.
const RELOAD_PAUSE: Duration = Duration::from_secs(10);
/// Longest time that the chain may take. It asks metadata services, which may not be there.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Codes of errors that are about the credentials themselves.
const OF_CREDENTIALS: [&str; 7] = [
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// A role to take on before the first call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AssumeRole {
    /// Its ARN.
    pub arn: String,
    /// What the role's trust policy asks for, if it does. Not a secret.
    pub external_id: Option<String>,
}

/// Where the credentials of one client come from.
#[derive(Debug)]
pub(crate) struct Source {
    region: String,
    endpoint: Option<String>,
    role: Option<AssumeRole>,
    /// Credentials that are there from the beginning and are never loaded.
    given: Option<Credentials>,
    cached: Mutex<Option<Cached>>,
}

#[derive(Clone, Debug)]
struct Cached {
    credentials: Credentials,
    loaded: SystemTime,
    refused: bool,
}

impl Cached {
    fn usable(&self, now: SystemTime) -> bool {
        let age = now.duration_since(self.loaded).unwrap_or_default();
        let fresh = self.credentials.expiry().is_none_or(|expiry| expiry > now + RENEW_BEFORE);
        fresh && !(self.refused && age >= RELOAD_PAUSE)
    }

    /// Whether they still work, although they should have been renewed.
    fn valid(&self, now: SystemTime) -> bool {
        self.credentials.expiry().is_none_or(|expiry| expiry > now)
    }
}

impl Source {
    pub(crate) fn new(region: &str, endpoint: Option<&str>, role: Option<AssumeRole>) -> Self {
        let (region, endpoint) = (region.to_owned(), endpoint.map(str::to_owned));
        Self { region, endpoint, role, given: None, cached: Mutex::new(None) }
    }

    pub(crate) fn of_access_key(key: &str, secret: &str) -> Self {
        let given = Some(Credentials::new(key, secret, None, None, "given"));
        Self { region: String::new(), endpoint: None, role: None, given, cached: Mutex::new(None) }
    }

    /// Valid credentials, loaded anew when there are none that work.
    ///
    /// # Errors
    /// `NoCredentials` with the chain's own reason.
    pub(crate) async fn get(&self) -> Result<Credentials, CallError> {
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        let mut cached = self.cached.lock().await;
        let now = SystemTime::now();
        if let Some(cached) = cached.as_ref().filter(|cached| cached.usable(now)) {
            return Ok(cached.credentials.clone());
        }
        match self.load().await {
            Ok(credentials) => {
                *cached = Some(Cached { credentials: credentials.clone(), loaded: now, refused: false });
                Ok(credentials)
            }
            // An identity provider that is down does not take away what still works.
            Err(error) => match cached.as_ref().filter(|cached| cached.valid(now) && !cached.refused) {
                Some(cached) => Ok(cached.credentials.clone()),
                None => Err(error),
            },
        }
    }

    /// If a refusal with this code is about the credentials themselves, the next call loads them anew: perhaps they were
    /// replaced. A lack of permission is not: other credentials of the same identity have none either.
    pub(crate) async fn refused(&self, code: &str, credentials: &Credentials) {
        if !OF_CREDENTIALS.contains(&code) {
            return;
        }
        let mut cached = self.cached.lock().await;
        if let Some(cached) = cached.as_mut()
            && cached.credentials.access_key_id() == credentials.access_key_id()
        {
            cached.refused = true;
        }
    }

    async fn load(&self) -> Result<Credentials, CallError> {
        let none = |error: &dyn std::error::Error| CallError::NoCredentials(causes(error));
        let config = config(&self.region, self.endpoint.as_deref()).await;
        let load = async {
            let chain = config.credentials_provider();
            let chain = chain.ok_or_else(|| CallError::NoCredentials("the chain has no provider".to_owned()))?;
            match &self.role {
                None => chain.provide_credentials().await.map_err(|error| none(&error)),
                Some(role) => {
                    let mut builder = AssumeRoleProvider::builder(&role.arn).session_name("bullpen").configure(&config);
                    if let Some(external_id) = &role.external_id {
                        builder = builder.external_id(external_id);
                    }
                    let role = builder.build_from_provider(chain).await;
                    role.provide_credentials().await.map_err(|error| none(&error))
                }
            }
        };
        tokio::time::timeout(LOAD_TIMEOUT, load)
            .await
            .map_err(|_| CallError::NoCredentials(format!("none within {} s", LOAD_TIMEOUT.as_secs())))?
    }
}

/// What the environment and profile say: credentials, FIPS, dual stack. Files are read anew each time, because
/// credentials in them may have been replaced.
pub(crate) async fn config(region: &str, endpoint: Option<&str>) -> SdkConfig {
    let region = Region::new(region.to_owned());
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(chain_client()).region(region);
    if let Some(endpoint) = endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    loader.load().await
}

/// The client by which the chain asks for credentials. What goes by TLS (STS, SSO) goes through the proxy that the
/// environment names; metadata services of the machine or the pod speak plain HTTP, and no proxy reaches them.
fn chain_client() -> SharedHttpClient {
    let set =
        |name: &str| env::var(name).or_else(|_| env::var(name.to_lowercase())).ok().filter(|text| !text.is_empty());
    let proxy = set("HTTPS_PROXY").or_else(|| set("ALL_PROXY"));
    // Without a scheme, proxies are taken for HTTP, as by the client of the other calls.
    let url = proxy.map(|url| if url.contains("://") { url } else { format!("http://{url}") });
    let config = url.and_then(|url| ProxyConfig::https(url).ok()).unwrap_or_else(ProxyConfig::disabled);
    let config = config.no_proxy(set("NO_PROXY").unwrap_or_default());
    http_client_fn(move |settings, components| {
        let mut connector = Connector::builder();
        connector.set_connector_settings(Some(settings.clone()));
        connector.set_sleep_impl(components.sleep_impl());
        connector.set_proxy_config(Some(config.clone()));
        SharedHttpConnector::new(connector.tls_provider(Provider::Rustls(CryptoMode::Ring)).build())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(source: &Source) -> bool {
        source.cached.try_lock().expect("nobody else has it").as_ref().is_some_and(|cached| cached.refused)
    }

    #[tokio::test]
    async fn credentials_are_loaded_anew_when_they_are_refused_and_not_when_a_permission_is_missing() {
        let credentials = Credentials::new("AK", "secret", None, None, "test");
        let source = Source::new("r1", None, None);
        let known = Cached { credentials: credentials.clone(), loaded: SystemTime::now(), refused: false };
        *source.cached.lock().await = Some(known);
        source.refused("UnauthorizedOperation", &credentials).await;
        assert!(!cached(&source));
        let older = Credentials::new("AK-OLD", "secret", None, None, "test");
        source.refused("ExpiredToken", &older).await;
        assert!(!cached(&source), "these were replaced already");
        source.refused("ExpiredToken", &credentials).await;
        assert!(cached(&source));
    }

    #[test]
    fn refused_credentials_are_kept_for_a_pause_and_expiring_ones_are_not() {
        let now = SystemTime::now();
        let of = |expiry: Option<u64>, refused, age: u64| Cached {
            credentials: Credentials::new("AK", "s", None, expiry.map(|left| now + Duration::from_secs(left)), "test"),
            loaded: now - Duration::from_secs(age),
            refused,
        };
        assert!(of(None, false, 1_000_000).usable(now), "static ones");
        assert!(of(None, true, 9).usable(now) && !of(None, true, 11).usable(now));
        assert!(of(Some(301), false, 0).usable(now) && !of(Some(299), false, 0).usable(now));
        assert!(of(Some(299), false, 0).valid(now) && !of(Some(0), false, 0).valid(now));
    }
}
