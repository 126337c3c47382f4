//! The options that every command has, and the session that they open: cluster, namespace, user and output format.

mod listed;
mod retry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bullpen_access::{Access, Answers};
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::api::{Api, ListParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tower::retry::RetryLayer;

use self::listed::Listed;
use self::retry::AsKubectl;
use super::failure::Failure;

/// Longest time to connect, and to wait for an answer other than a watch's.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The user agent: shown in audit logs and, up to the slash, in managed fields.
const OURSELVES: &str = concat!("kubectl-bullpen/", env!("CARGO_PKG_VERSION"));

/// The options that every command has, named as in kubectl.
#[derive(Clone, Debug, clap::Args)]
pub struct GlobalOptions {
    /// Path to the kubeconfig file [default: KUBECONFIG, or ~/.kube/config]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Options of every command")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME", help_heading = "Options of every command")]
    pub context: Option<String>,
    /// The namespace [default: that of the context]
    #[arg(short = 'n', long, global = true, value_name = "NAMESPACE", help_heading = "Options of every command")]
    pub namespace: Option<String>,
}

/// How objects are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// The objects as JSON
    Json,
    /// The objects as YAML
    Yaml,
    /// A table with more columns
    Wide,
    /// Only kind and name
    Name,
}

/// The option `-o`.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct OutputOption {
    /// Output format [default: text or a table]
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub output: Option<Output>,
}

impl OutputOption {
    /// Whether a table for people is printed.
    pub const fn is_a_table(self) -> bool {
        matches!(self.output, None | Some(Output::Wide))
    }
}

/// Clients for the cluster, with the command's namespace and user.
#[derive(Clone)]
pub struct Session {
    /// For requests with one answer.
    pub client: Client,
    /// For watches, which may be silent for a long time.
    pub watching: Client,
    /// The namespace of the command.
    pub namespace: String,
    /// The address of the API server.
    pub server: String,
    /// The user of the kubeconfig's context, or USER.
    pub user: Option<String>,
}

/// A kind that the plugin reads.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + 'static
{
}

impl Session {
    /// Reads the kubeconfig as kubectl does. Sends no request yet.
    ///
    /// # Errors
    /// When there is no kubeconfig, or it is invalid, or lacks the context.
    pub async fn open(options: &GlobalOptions) -> Result<Self, Failure> {
        let path = options.kubeconfig.as_deref();
        let read = Access::read(path, options.context.as_deref()).await;
        let mut access = read.map_err(|error| Failure::kubeconfig(&error, path))?;
        access.push_header(USER_AGENT, HeaderValue::from_static(OURSELVES));
        let namespace = options.namespace.clone().unwrap_or_else(|| access.namespace().to_owned());
        let user = access.user().map(str::to_owned).or_else(|| std::env::var("USER").ok());
        Ok(Self {
            client: access
                .client(CONNECT_TIMEOUT, Answers::Alone(READ_TIMEOUT))?
                .with_layer(&RetryLayer::new(AsKubectl::default()))
                .build(),
            server: access.server().to_string(),
            watching: access.client(CONNECT_TIMEOUT, Answers::Watched)?.build(),
            namespace,
            user: user.filter(|user| !user.is_empty()),
        })
    }

    /// The API for objects of the command's namespace.
    pub fn api<K: Kind>(&self) -> Api<K> {
        self.api_in(&self.namespace)
    }

    /// The API for objects of `namespace`.
    pub fn api_in<K: Kind>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The API for watches, in the command's namespace or in all namespaces.
    pub fn watched<K: Kind>(&self, everywhere: bool) -> Api<K> {
        if everywhere {
            Api::all(self.watching.clone())
        } else {
            Api::namespaced(self.watching.clone(), &self.namespace)
        }
    }

    /// All objects of a kind, in the command's namespace or in all namespaces, sorted by namespace and name. One that
    /// cannot be read is named on standard error, and left out.
    ///
    /// # Errors
    /// The API server's error.
    pub async fn list<K: Kind>(&self, everywhere: bool, parameters: &ListParams) -> Result<Vec<K>, Failure> {
        let api: Api<Listed<K>> = if everywhere {
            Api::all(self.client.clone())
        } else {
            Api::namespaced(self.client.clone(), &self.namespace)
        };
        let list = api.list(parameters).await?;
        let mut by_name = BTreeMap::new();
        for Listed { metadata, object } in list.items {
            match object {
                Ok(object) => drop(by_name.insert((metadata.namespace, metadata.name), object)),
                Err(trouble) => {
                    let (namespace, name) = (metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default());
                    let plural = K::plural(&());
                    print_err!(
                        "warning: {plural} {namespace}/{name} is left out, because it cannot be read: {trouble}"
                    );
                }
            }
        }
        Ok(by_name.into_values().collect())
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
