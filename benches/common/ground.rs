//! A control plane with Bullpen's definitions, and a simulated cloud.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember, crds};
use bullpen_devkit::control_plane::{ControlPlane, Options};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tempfile::TempDir;

use crate::of;
use crate::process::Process;

const POLL: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_mins(2);
const VERBS: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

/// The environment of a benchmark.
pub struct Ground {
    control_plane: ControlPlane,
    client: Client,
    simcloud: Process,
    endpoint: String,
    folder: TempDir,
    operator: PathBuf,
}

impl Ground {
    /// Starts a control plane and, by its program, a simulated cloud with these further arguments. `operator` is the
    /// program that [`operator`](Self::operator) starts.
    pub async fn start(operator: PathBuf, simcloud: &Path, cloud: &[&str]) -> Self {
        let mut options = Options::default();
        // Nothing here needs owner references or namespace deletion, and it would write beside the operator.
        options.controller_manager = false;
        let control_plane = ControlPlane::start(options).await.unwrap_or_else(|error| panic!("{error}"));
        let client = Client::try_from(control_plane.client_config()).expect("a client");
        let folder = tempfile::Builder::new().prefix("bullpen-bench-").tempdir().expect("a folder for logs");
        let arguments = [&["--listen", "127.0.0.1:0", "--seed", "1"], cloud].concat();
        let arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
        let simcloud = Process::start(simcloud, &arguments, &folder.path().join("simcloud.log"));
        let endpoint = format!("http://{}", simcloud.says("simcloud listening on http://"));
        let ground = Self { control_plane, client, simcloud, endpoint, folder, operator };
        ground.install().await;
        ground
    }

    async fn install(&self) {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for crd in crds::all() {
            let name = crd.name_any();
            definitions.patch(&name, &PatchParams::apply("bench"), &Patch::Apply(&crd)).await.expect("a definition");
        }
        let began = Instant::now();
        while !self.serves().await {
            assert!(began.elapsed() < PATIENCE, "the definitions are not served");
            tokio::time::sleep(POLL).await;
        }
        // kube-apiserver delays creates of a kind that is younger than two seconds.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    async fn serves(&self) -> bool {
        let few = ListParams::default().limit(1);
        let client = &self.client;
        Api::<InstancePool>::all(client.clone()).list(&few).await.is_ok()
            && Api::<LaunchConfig>::all(client.clone()).list(&few).await.is_ok()
            && Api::<PoolMember>::all(client.clone()).list(&few).await.is_ok()
            && Api::<PoolClaim>::all(client.clone()).list(&few).await.is_ok()
    }

    /// A client of the API server over HTTP/1.1.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// How to reach the API server.
    pub fn client_config(&self) -> kube::Config {
        self.control_plane.client_config()
    }

    /// Whether a write waits for the disk.
    pub fn has_fsync(&self) -> bool {
        self.control_plane.has_fsync()
    }

    /// The simulated cloud.
    pub const fn simcloud(&self) -> &Process {
        &self.simcloud
    }

    /// Where the simulated cloud listens.
    pub fn cloud_endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Process ids of the control plane.
    pub fn control_plane_ids(&self) -> Vec<u32> {
        self.control_plane.process_ids()
    }

    /// Process id of the API server.
    pub fn api_server_id(&self) -> u32 {
        let is_it = |id: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
            name.trim() == "kube-apiserver"
        };
        self.control_plane_ids().into_iter().find(is_it).expect("the API server runs")
    }

    /// Makes a namespace with one launch config, `sim`.
    pub async fn make_namespace(&self, name: &str, boot_milliseconds: u32) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = of::<Namespace>(json!({ "metadata": { "name": name } }));
        namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace");
        let config = json!({ "metadata": { "name": "sim" }, "spec": {
            "region": "r1", "zone": "r1-a", "instanceType": "small", "image": "img-1",
            "simulated": { "endpoint": self.endpoint, "bootMilliseconds": boot_milliseconds },
        }});
        let configs: Api<LaunchConfig> = Api::namespaced(self.client.clone(), name);
        configs.create(&PostParams::default(), &of(config)).await.expect("a launch config");
    }

    /// Starts the operator under this identity, with these further arguments.
    pub fn operator(&self, identity: &str, more: &[&str]) -> Process {
        let kubeconfig = self.control_plane.kubeconfig_path().display().to_string();
        let mut arguments = vec!["run".to_owned(), "--kubeconfig".to_owned(), kubeconfig];
        let rest = ["--metrics-address", "127.0.0.1:0", "--installation-id", "bench"];
        arguments.extend(rest.map(str::to_owned));
        // As in a Deployment's pod: a restarted process has the name of the one before it.
        arguments.extend(["--identity", identity].map(str::to_owned));
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        Process::start(&self.operator, &arguments, &self.folder.path().join(format!("{identity}.log")))
    }

    /// Writes of Bullpen's objects that the API server has answered until now, of this resource if one is given. Leases
    /// are not among them.
    pub async fn writes(&self, resource: Option<&str>) -> u64 {
        let by_series = self.writes_by_series().await;
        let wanted = resource.map(|resource| format!("resource=\"{resource}\""));
        let counts = |series: &str| wanted.as_ref().is_none_or(|wanted| series.contains(wanted));
        by_series.iter().filter(|(series, _)| counts(series)).map(|(_, count)| count).sum()
    }

    /// The same for each series of the API server's metric.
    pub async fn writes_by_series(&self) -> BTreeMap<String, u64> {
        let request = http::Request::get("/metrics").body(Vec::new()).expect("a request");
        let metrics = self.client.request_text(request).await.expect("the API server's metrics");
        let counts = |line: &&str| {
            line.starts_with("apiserver_request_total{")
                && line.contains("group=\"bullpen.dev\"")
                && VERBS.iter().any(|verb| line.contains(&format!("verb=\"{verb}\"")))
        };
        let series = |line: &str| {
            let (series, count) = line.rsplit_once(' ')?;
            Some((series.to_owned(), count.parse::<f64>().ok()? as u64))
        };
        metrics.lines().filter(counts).filter_map(series).collect()
    }
}
