//! The demo's own namespace in a foreign cluster.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bullpen_access::{Access, Answers};
use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::client::retry::RetryPolicy;
use kube::config::Kubeconfig;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use rand::RngExt as _;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{sleep, timeout};
use tower::retry::RetryLayer;

use super::ground::Ground;
use crate::demo::failure::{Failure, causes};
use crate::demo::narrate::Narrator;
use crate::supervise::Process;

const ANSWER: Duration = Duration::from_secs(15);
/// How long the operator may take to remove everything.
const GIVEN_BACK: Duration = Duration::from_secs(30);
/// How long the namespace may take once it is empty.
const REMOVED: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// The namespace, and how to reach its cluster.
pub(in crate::demo) struct Guest {
    client: Client,
    kubeconfig: PathBuf,
    server: String,
    namespace: String,
    /// Whether the namespace may exist.
    asked: bool,
}

impl Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest")
            .field("server", &self.server)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Guest {
    /// Reads the kubeconfig. Sends no request yet.
    pub(in crate::demo) async fn of(kubeconfig: &Path) -> Result<Self, Failure> {
        let unusable = |seen| Failure::because(format!("the kubeconfig {} can't be used", kubeconfig.display()), seen);
        let file = Kubeconfig::read_from(kubeconfig).map_err(|error| unusable(causes(&error)))?;
        let access = Access::of_kubeconfig(file, None).await.map_err(|error| unusable(causes(&error)))?;
        let server = access.server().to_string();
        let builder = access.client(ANSWER, Answers::Watched).map_err(|error| unusable(causes(&error)))?;
        let client = builder.with_layer(&RetryLayer::new(RetryPolicy::server_retry())).build();
        // An absolute path, because the operator runs in another folder.
        let kubeconfig = std::path::absolute(kubeconfig).map_err(|error| unusable(causes(&error)))?;
        Ok(Self { client, kubeconfig, server, namespace: format!("bullpen-demo-{}", five_letters()), asked: false })
    }

    pub(in crate::demo) fn ground(&self) -> Ground {
        Ground {
            client: self.client.clone(),
            namespace: self.namespace.clone(),
            kubeconfig: self.kubeconfig.clone(),
            kubectl: None,
        }
    }

    pub(in crate::demo) async fn make_namespace(&mut self, say: &Narrator) -> Result<(), Failure> {
        let (server, namespace) = (&self.server, &self.namespace);
        let unreachable =
            |seen| Failure::because(format!("the cluster {server} of the kubeconfig does not answer"), seen);
        let version = match timeout(ANSWER, self.client.apiserver_version()).await {
            Ok(answer) => answer.map_err(|error| unreachable(causes(&error)))?,
            Err(_) => return Err(unreachable(format!("no answer within {} s", ANSWER.as_secs()))),
        };
        say.now(format_args!("Kubernetes {} answers on {server}", version.git_version));
        let object = Namespace {
            metadata: ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        self.asked = true;
        let made = self.namespaces().create(&PostParams::default(), &object).await;
        made.map_err(|error| Failure::because(format!("can't make the namespace {namespace}"), causes(&error)))?;
        say.now(format_args!("namespace {namespace} made for this demo; it is removed at the end"));
        Ok(())
    }

    /// Empties the namespace, deletes it and waits until it is gone. A running operator terminates the machines and
    /// removes the members' finalizers. Without it the demo removes the finalizers, because the machines end with the
    /// simulated cloud.
    pub(in crate::demo) async fn remove_namespace(
        &self,
        operator: Option<&Process>,
        say: &Narrator,
    ) -> Result<(), Failure> {
        let namespace = &self.namespace;
        if !self.asked {
            return Ok(());
        }
        let stays = |seen: String| {
            let what = format!(
                "the namespace {namespace} is still there: remove it with `kubectl delete namespace {namespace}`"
            );
            Failure::because(what, seen)
        };
        say.now(format_args!("removing the namespace {namespace}"));
        let mut outcome = Ok(());
        if let Some(operator) = operator {
            // Empty it first: Kubernetes looks again at a deleted namespace with objects only after seconds.
            let is_empty = tokio::select! {
                is_empty = within(GIVEN_BACK, async || self.empty().await) => is_empty,
                _ = operator.ended() => false,
            };
            if !is_empty {
                let what = "the operator has not let go of everything in the demo's namespace";
                outcome = Err(Failure::because(what, "the demo has removed the finalizers"));
            }
        }
        match self.namespaces().delete(namespace, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return outcome,
            Err(error) => return Err(stays(causes(&error))),
            Ok(_) => {}
        }
        self.release::<PoolMember>().await;
        self.release::<InstancePool>().await;
        self.release::<LaunchConfig>().await;
        // No answer is no proof that it is gone.
        let is_gone = async || matches!(self.namespaces().get_opt(namespace).await, Ok(None));
        if within(REMOVED, is_gone).await { outcome } else { Err(stays("it is being deleted".to_owned())) }
    }

    /// The message if nobody waits for [`Guest::remove_namespace`].
    pub(in crate::demo) fn left(&self) -> Failure {
        Failure::new(format!(
            "interrupted again: namespace {} is left, and its members keep their finalizers",
            self.namespace
        ))
    }

    /// Deletes what was applied. Returns whether all of it is gone.
    async fn empty(&self) -> bool {
        // Launch configs last, because members need them.
        self.is_none_left::<PoolClaim>().await & self.is_none_left::<InstancePool>().await
            && self.is_none_left::<LaunchConfig>().await
    }

    async fn is_none_left<K>(&self) -> bool
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = ListParams::default();
        let deleted = api.delete_collection(&DeleteParams::default(), &all).await;
        match deleted {
            Ok(_) => api.list_metadata(&all).await.is_ok_and(|objects| objects.items.is_empty()),
            // The kind is not installed.
            Err(kube::Error::Api(status)) => status.code == 404,
            Err(_) => false,
        }
    }

    /// Removes the finalizers of all objects of a kind. Errors are ignored: the namespace then stays, which is
    /// reported.
    async fn release<K>(&self)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        let Ok(objects) = api.list_metadata(&ListParams::default()).await else { return };
        let none = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        for object in objects {
            let _ = api.patch(&object.name_any(), &PatchParams::default(), &none).await;
        }
    }

    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }
}

/// Retries until the answer is true or `patience` is over.
async fn within(patience: Duration, mut ask: impl AsyncFnMut() -> bool) -> bool {
    let asking = async {
        while !ask().await {
            sleep(POLL).await;
        }
    };
    timeout(patience, asking).await.is_ok()
}

fn five_letters() -> String {
    let mut random = rand::rng();
    (0..5).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect()
}
