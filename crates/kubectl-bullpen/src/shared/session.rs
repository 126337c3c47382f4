//! The options that every command has, and the session that they open: cluster, namespace, user and output format.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bullpen_access::{Access, Answers};
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::api::{Api, ListParams, ObjectMeta};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

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

/// Clients for the cluster, with the command's namespace and user.
#[derive(Clone)]
pub struct Session {
    /// For requests with one answer.
    pub client: Client,
    /// For watches, which may be silent for a long time.
    pub watching: Client,
    /// The namespace of the command.
    pub namespace: String,
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
        let mut access = Access::read(options.kubeconfig.as_deref(), options.context.as_deref()).await?;
        access.push_header(USER_AGENT, HeaderValue::from_static(OURSELVES));
        let namespace = options.namespace.clone().unwrap_or_else(|| access.namespace().to_owned());
        let user = access.user().map(str::to_owned).or_else(|| std::env::var("USER").ok());
        Ok(Self {
            client: access.client(CONNECT_TIMEOUT, Answers::Alone(READ_TIMEOUT))?.build(),
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

/// An object of a list, or why it cannot be read.
#[derive(Clone, Debug)]
struct Listed<K> {
    metadata: ObjectMeta,
    object: Result<K, String>,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Listed<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let metadata = ObjectMeta::deserialize(&value["metadata"]).unwrap_or_else(|_| {
            let text = |field: &str| value["metadata"][field].as_str().map(str::to_owned);
            ObjectMeta { namespace: text("namespace"), name: text("name"), ..ObjectMeta::default() }
        });
        Ok(Self { metadata, object: serde_json::from_value(value).map_err(|error| error.to_string()) })
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Listed<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bullpen_api::PoolClaim;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_with_an_unreadable_object_has_all_others_and_its_name() {
        let claim = |name: &str, phase: &str| {
            let metadata = json!({"name": name, "namespace": "ci"});
            json!({"metadata": metadata, "spec": {"poolRef": {"name": "linux"}}, "status": {"phase": phase}})
        };
        let mut odd = claim("odd", "Bound");
        odd["metadata"]["creationTimestamp"] = json!("9999-12-31T23:59:59Z");
        let list = json!([claim("good", "Bound"), claim("of-a-later-version", "Suspended"), odd]);
        let list: Vec<Listed<PoolClaim>> = serde_json::from_value(list).unwrap();
        let names: Vec<_> = list.iter().map(|it| (it.metadata.name.as_deref().unwrap(), it.object.is_ok())).collect();
        assert_eq!(names, [("good", true), ("of-a-later-version", false), ("odd", false)]);
    }
}
