//! Access to a cluster, configured as in kubectl by a kubeconfig, the environment or the pod: the API server's address,
//! the proxy and the credentials. Reads files and variables, runs exec plugins, and makes kube clients. Also what its users
//! print of it: errors with their [`causes`], and text of others in a form that is safe to show ([`shown`]).
//!
//! kube reads the files. This crate does proxies and changing credentials itself, because kube 5 compares `NO_PROXY`
//! with the proxy instead of the server, and runs an exec plugin again for each use, without a timeout.
#![forbid(unsafe_code)]

pub mod causes;
mod credentials;
pub mod lean;
pub mod proxy;
mod route;
pub mod shown;
mod transport;

use std::path::Path;

use http::{HeaderName, HeaderValue, Uri};
use kube::Config;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use thiserror::Error;

pub use self::credentials::CredentialError;
use self::credentials::Credentials;
pub use self::transport::{Answers, Transport};
use crate::causes::causes;
use crate::proxy::{Environment, Proxy, ProxyError, proxy_for};

/// A placeholder proxy while kube reads a kubeconfig. Without it kube would read the environment, and fail if a proxy
/// there is invalid.
const NO_PROXY_OF_KUBE: &str = "http://proxy.invalid";

/// Why a cluster cannot be reached.
#[derive(Debug, Error)]
pub enum AccessError {
    /// The kubeconfig cannot be read or is incomplete.
    #[error("{}", causes(.0))]
    Kubeconfig(#[from] KubeconfigError),
    /// The kubeconfig has no such context.
    #[error("context \"{0}\" does not exist")]
    Context(String),
    /// There is no kubeconfig, and no service account either.
    #[error("no kubeconfig was found: set KUBECONFIG, or use --kubeconfig; nor a service account: {}", causes(.0))]
    Nothing(InClusterError),
    /// The configured proxy cannot be used.
    #[error("{0}")]
    Proxy(#[from] ProxyError),
    /// The user's method of authentication cannot be used.
    #[error("{0}")]
    User(String),
    /// Certificates, addresses or headers are invalid.
    #[error("{}", causes(.0))]
    Broken(#[from] kube::Error),
    /// `tls-server-name` is not a name.
    #[error("tls-server-name {0:?} is not the name of a server")]
    ServerName(String),
}

/// The address, proxy and credentials for a cluster. Clones share credentials.
#[derive(Clone)]
pub struct Access {
    /// kube's configuration, without the proxy and without credentials that change.
    config: Config,
    proxy: Option<Proxy>,
    credentials: Credentials,
    user: Option<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("server", self.server()).field("proxy", &self.proxy).finish_non_exhaustive()
    }
}

impl Access {
    /// Reads the kubeconfig at `path` if given, else that of KUBECONFIG or the default file, else the pod's service
    /// account. `context` replaces the current context. Sends no request.
    ///
    /// # Errors
    /// When there is no configuration, or it is invalid, lacks the context, or uses something unsupported.
    pub async fn read(path: Option<&Path>, context: Option<&str>) -> Result<Self, AccessError> {
        let kubeconfig = match path {
            Some(path) => Some(Kubeconfig::read_from(path)?),
            None => match Kubeconfig::read() {
                Ok(kubeconfig) => Some(kubeconfig),
                Err(KubeconfigError::ReadConfig(..) | KubeconfigError::FindPath) if !is_kubeconfig_named() => None,
                Err(error) => return Err(error.into()),
            },
        };
        match kubeconfig {
            Some(kubeconfig) => Self::of_kubeconfig(kubeconfig, context).await,
            None => Self::of_config(Config::incluster().map_err(AccessError::Nothing)?, None, "the service account"),
        }
    }

    /// Access by a kubeconfig that was read already. `context` replaces the current context.
    ///
    /// # Errors
    /// When it is invalid, lacks the context, or uses something unsupported.
    pub async fn of_kubeconfig(mut kubeconfig: Kubeconfig, context: Option<&str>) -> Result<Self, AccessError> {
        let wanted = context.map(str::to_owned).or_else(|| kubeconfig.current_context.clone());
        let named = kubeconfig.contexts.iter().find(|named| Some(&named.name) == wanted.as_ref());
        if let (Some(context), None) = (context, named) {
            return Err(AccessError::Context(context.to_owned()));
        }
        let (cluster, user) = named
            .and_then(|named| named.context.as_ref())
            .map(|context| (context.cluster.clone(), context.user.clone()))
            .unwrap_or_default();
        let mut proxy_url = None;
        for named in &mut kubeconfig.clusters {
            let Some(known) = &mut named.cluster else { continue };
            let url = known.proxy_url.replace(NO_PROXY_OF_KUBE.to_owned());
            if named.name == cluster {
                proxy_url = url.map(|url| (cluster.clone(), url));
            }
        }
        let options = KubeConfigOptions { context: wanted, ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        let name = user.as_deref().unwrap_or_default();
        let proxy_url = proxy_url.as_ref().map(|(cluster, url)| (cluster.as_str(), url.as_str()));
        let mut access = Self::of_config(config, proxy_url, &format!("user {name:?} of the kubeconfig"))?;
        access.user = user;
        Ok(access)
    }

    /// Access without any proxy, for a server on this machine.
    ///
    /// # Errors
    /// When it uses something unsupported.
    pub fn direct(config: Config) -> Result<Self, AccessError> {
        Self::with_proxy(config, None, "the given user")
    }

    fn of_config(config: Config, proxy_url: Option<(&str, &str)>, whose: &str) -> Result<Self, AccessError> {
        let environment = Environment::read(|name| std::env::var(name).ok());
        let proxy = proxy_for(&config.cluster_url, proxy_url, &environment)?;
        let mut access = Self::with_proxy(config, proxy, whose)?;
        access.credentials.set_proxy_url(proxy_url.map(|(_, url)| url));
        Ok(access)
    }

    fn with_proxy(mut config: Config, proxy: Option<Proxy>, whose: &str) -> Result<Self, AccessError> {
        config.proxy_url = None;
        let credentials = Credentials::taken_from(&mut config.auth_info, whose).map_err(AccessError::User)?;
        Ok(Self { config, proxy, credentials, user: None })
    }

    /// Sends this header with every request.
    pub fn push_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.config.headers.push((name, value));
    }

    /// The namespace of the context, or of the pod.
    pub fn namespace(&self) -> &str {
        &self.config.default_namespace
    }

    /// The address of the API server.
    pub fn server(&self) -> &Uri {
        &self.config.cluster_url
    }

    /// The user of the kubeconfig's context.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The proxy for the API server, if any.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }
}

/// Whether KUBECONFIG is set. Then a missing file is an error.
fn is_kubeconfig_named() -> bool {
    std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty())
}
