//! A kubelet's part: pods that the real controllers make are run as processes, with their service account's token, and
//! their status is written as a kubelet writes it. So rollouts, hooks and `helm --wait` are the real ones.
//!
//! Left out, because the walks need none of it: images, volumes, liveness probes, and limits. What a container is
//! confined to is tested with a container engine.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::pod::{Program, RunningPod};
use crate::harness::eventually;

/// Between two looks at all pods.
const TICK: Duration = Duration::from_millis(100);
/// How much of a log is shown.
const LAST_LINES: usize = 60;
const NODE: &str = "node-1";
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A node of the cluster that runs every pod.
pub(crate) struct Kubelet {
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    client: Client,
    http: reqwest::Client,
    /// An administrator's kubeconfig, to make those of service accounts from.
    admin: Value,
    folder: PathBuf,
    programs: Vec<Program>,
    pods: Mutex<HashMap<String, RunningPod>>,
}

impl Kubelet {
    /// Runs pods whose image is one of these.
    pub(crate) fn start(client: Client, admin: &Path, folder: &Path, programs: Vec<Program>) -> Self {
        let admin = fs::read_to_string(admin).expect("the administrator's kubeconfig");
        let state = Arc::new(State {
            client,
            http: reqwest::Client::builder().no_proxy().timeout(PROBE_TIMEOUT).build().expect("a client"),
            admin: serde_json::from_str(&admin).expect("it is JSON"),
            folder: folder.to_owned(),
            programs,
            pods: Mutex::default(),
        });
        let of = state.clone();
        let task = tokio::spawn(async move {
            loop {
                of.look().await;
                tokio::time::sleep(TICK).await;
            }
        });
        Self { state, task }
    }

    /// The address of the container port `port` of the only pod of this label that is ready, once there is one.
    pub(crate) async fn address_of(&self, selector: &str, port: i32) -> String {
        let pods: Api<Pod> = Api::all(self.state.client.clone());
        eventually(&format!("a pod of {selector} is ready"), async || {
            let found = pods.list(&ListParams::default().labels(selector)).await.map_err(|error| error.to_string())?;
            let ready = found.items.into_iter().find(|pod| is_ready(pod) && pod.metadata.deletion_timestamp.is_none());
            let address = ready.and_then(|pod| pod.status?.pod_ip).ok_or("there is none")?;
            Ok(format!("{address}:{port}"))
        })
        .await
    }

    /// Kills the container of a pod with -9, as a machine's memory killer does.
    pub(crate) async fn kill_9(&self, pod: &str) {
        let pods = self.state.pods.lock().await;
        let pod = pods.values().find(|running| running.name() == pod).expect("a pod of this name runs here");
        let killed = std::process::Command::new("kill").args(["-KILL", &pod.process_id().to_string()]).status();
        assert!(killed.expect("kill").success());
    }

    /// What every container has written last, by pod.
    pub(crate) async fn logs(&self) -> String {
        let pods = self.state.pods.lock().await;
        let log = |pod: &RunningPod| {
            let log = fs::read_to_string(pod.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
        };
        let shown = pods.values().map(|pod| format!("--- {} at {} ---\n{}", pod.name(), pod.address(), log(pod)));
        shown.collect::<Vec<_>>().join("\n")
    }

    /// How often containers were started again.
    pub(crate) async fn restarts(&self) -> i32 {
        self.state.pods.lock().await.values().map(RunningPod::restarts).sum()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

impl State {
    async fn look(&self) {
        let pods: Api<Pod> = Api::all(self.client.clone());
        // The API server may be away: the next look comes soon.
        let Ok(listed) = pods.list(&ListParams::default()).await else { return };
        let mut running = self.pods.lock().await;
        running.retain(|uid, _| listed.items.iter().any(|pod| pod.uid().as_deref() == Some(uid)));
        for pod in listed.items {
            let uid = pod.uid().unwrap_or_default();
            if pod.metadata.deletion_timestamp.is_some() {
                if running.get_mut(&uid).is_none_or(RunningPod::end) {
                    self.remove(&pod).await;
                }
            } else if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none()) {
                self.bind(&pod).await;
            } else if let Some(known) = running.get_mut(&uid) {
                known.look_after();
                self.write_status(known).await;
            } else if pod.status.as_ref().is_none_or(|status| status.phase.as_deref() == Some("Pending")) {
                running.insert(uid, self.run(&pod).await);
            }
        }
    }

    fn api(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The scheduler's part.
    async fn bind(&self, pod: &Pod) {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": { "name": pod.name_any() },
            "target": { "apiVersion": "v1", "kind": "Node", "name": NODE },
        });
        let api = self.api(&pod.namespace().unwrap_or_default());
        // It may have been deleted in between.
        let _: kube::Result<Value> =
            api.create_subresource("binding", &pod.name_any(), &PostParams::default(), &binding).await;
    }

    async fn run(&self, pod: &Pod) -> RunningPod {
        let spec = pod.spec.as_ref().expect("a spec");
        let image = spec.containers[0].image.clone().unwrap_or_default();
        // Registry and tag are the installer's choice.
        let name = image.rsplit('/').next().and_then(|name| name.split([':', '@']).next()).unwrap_or_default();
        let program = self.programs.iter().find(|program| program.image == name);
        let program = program.unwrap_or_else(|| panic!("no program for image {image}")).clone();
        let kubeconfig = self.folder.join(format!("{}.kubeconfig", pod.name_any()));
        let account = spec.service_account_name.as_deref().unwrap_or("default");
        let namespace = pod.namespace().unwrap_or_default();
        self.write_kubeconfig(&kubeconfig, &namespace, account).await;
        RunningPod::start(pod, program, &kubeconfig, &self.folder)
    }

    /// The kubeconfig of a service account: what a pod finds in its files and variables.
    async fn write_kubeconfig(&self, path: &Path, namespace: &str, account: &str) {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec { expiration_seconds: Some(3_600), ..TokenRequestSpec::default() }),
            ..TokenRequest::default()
        };
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.expect("a token");
        let token = path.with_extension("token");
        fs::write(&token, answer.status.and_then(|status| status.token).expect("a token")).expect("written");
        let mut kubeconfig = self.admin.clone();
        kubeconfig["users"][0]["user"] = json!({ "tokenFile": token });
        kubeconfig["contexts"][0]["context"]["namespace"] = json!(namespace);
        fs::write(path, kubeconfig.to_string()).expect("written");
    }

    async fn write_status(&self, pod: &mut RunningPod) {
        let Some(status) = pod.new_status(&self.http).await else { return };
        let patch = Patch::Merge(json!({ "metadata": { "uid": pod.uid() }, "status": status }));
        let api = self.api(pod.namespace());
        if api.patch_status(pod.name(), &PatchParams::default(), &patch).await.is_ok() {
            pod.has_written(status);
        }
    }

    async fn remove(&self, pod: &Pod) {
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        // Tried again at the next look.
        let _ = self.api(&pod.namespace().unwrap_or_default()).delete(&pod.name_any(), &now).await;
    }
}
