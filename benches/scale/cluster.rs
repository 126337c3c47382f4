//! The cluster, the cloud and the objects of the benchmark.

use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use bullpen::api::{ClaimPhase, InstancePool, LaunchConfig, PoolClaim, crds};
use bullpen::control_plane::{ControlPlane, Options};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;

/// Pools of one namespace: a platform team's namespace has a few, not all of them.
const POOLS_A_NAMESPACE: u32 = 10;
const CREATES_AT_ONCE: usize = 16;
const POLL: Duration = Duration::from_millis(500);
const BIND_PATIENCE: Duration = Duration::from_mins(2);

/// What the benchmark runs against.
pub struct Cluster {
    control_plane: ControlPlane,
    client: Client,
    _simcloud: Process,
    endpoint: String,
    folder: TempDir,
    members: u32,
    pools: u32,
}

impl Cluster {
    /// Starts a control plane and a simulated cloud.
    pub async fn start(members: u32, pools: u32) -> Self {
        let mut options = Options::default();
        // Nothing here needs owner references or namespace deletion, and it would write beside the operator.
        options.controller_manager = false;
        let control_plane = ControlPlane::start(options).await.unwrap_or_else(|error| panic!("{error}"));
        let client = Client::try_from(control_plane.client_config()).expect("a client");
        let folder = tempfile::Builder::new().prefix("bullpen-bench-").tempdir().expect("a folder for logs");
        let arguments = ["simcloud", "--listen", "127.0.0.1:0", "--seed", "1"].map(str::to_owned);
        let simcloud = Process::bullpen(&arguments, &folder.path().join("simcloud.log"));
        let endpoint = format!("http://{}", simcloud.says("simcloud listening on http://"));
        let cluster = Self { control_plane, client, _simcloud: simcloud, endpoint, folder, members, pools };
        cluster.install().await;
        cluster
    }

    async fn install(&self) {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for crd in crds::all() {
            let name = crd.name_any();
            definitions.patch(&name, &PatchParams::apply("bench"), &Patch::Apply(&crd)).await.expect("a definition");
        }
        let began = Instant::now();
        let (pools, configs) = (self.api_all::<InstancePool>(), self.api_all::<LaunchConfig>());
        let claims = self.api_all::<PoolClaim>();
        let few = ListParams::default().limit(1);
        while pools.list(&few).await.is_err() || configs.list(&few).await.is_err() || claims.list(&few).await.is_err() {
            assert!(began.elapsed() < BIND_PATIENCE, "the definitions are not served");
            tokio::time::sleep(POLL).await;
        }
        // kube-apiserver holds up creates of a kind that is younger than two seconds.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    fn api_all<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        Api::all(self.client.clone())
    }

    /// Starts the operator for all namespaces.
    pub fn operator(&self, identity: &str) -> Process {
        let kubeconfig = self.control_plane.kubeconfig_path().display().to_string();
        let mut arguments = vec!["run".to_owned(), "--kubeconfig".to_owned(), kubeconfig];
        let rest = ["--metrics-address", "127.0.0.1:0", "--installation-id", "bench", "--log-level", "warn"];
        arguments.extend(rest.map(str::to_owned));
        // As in a Deployment's pod: a restarted process has the name of the one before it.
        arguments.extend(["--identity", identity].map(str::to_owned));
        Process::bullpen(&arguments, &self.log(identity))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    fn namespace_of(pool: u32) -> String {
        format!("team-{}", pool / POOLS_A_NAMESPACE)
    }

    fn target_of(&self, pool: u32) -> u32 {
        self.members / self.pools + u32::from(pool < self.members % self.pools)
    }

    /// Makes the namespaces, one launch config in each, and the pools.
    pub async fn make_pools(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        for pool in (0..self.pools).step_by(POOLS_A_NAMESPACE as usize) {
            let name = Self::namespace_of(pool);
            let namespace = of::<Namespace>(json!({ "metadata": { "name": name } }));
            namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace");
            let config = json!({ "metadata": { "name": "sim" }, "spec": {
                "region": "r1", "zone": "r1-a", "instanceType": "small", "image": "img-1",
                "simulated": { "endpoint": self.endpoint, "bootMilliseconds": 1_000 },
            }});
            let configs: Api<LaunchConfig> = Api::namespaced(self.client.clone(), &name);
            configs.create(&PostParams::default(), &of(config)).await.expect("a launch config");
        }
        stream::iter(0..self.pools)
            .map(|pool| async move {
                let target = self.target_of(pool);
                let object = json!({ "metadata": { "name": format!("pool-{pool}") }, "spec": {
                    "targetSize": target, "maxSize": target + 20, "launchConfigs": [{ "name": "sim" }],
                }});
                let pools: Api<InstancePool> = Api::namespaced(self.client.clone(), &Self::namespace_of(pool));
                pools.create(&PostParams::default(), &of(object)).await.expect("a pool");
            })
            .buffer_unordered(CREATES_AT_ONCE)
            .collect::<()>()
            .await;
    }

    /// Waits until every pool says that all of its members are ready.
    pub async fn all_ready(&self, patience: Duration, began: Instant) {
        let pools: Api<InstancePool> = self.api_all();
        let mut told = Instant::now();
        loop {
            let listed = pools.list(&ListParams::default()).await.expect("a list of pools");
            let ready_of = |pool: &InstancePool| {
                pool.status.as_ref().and_then(|status| status.members).map_or(0, |members| members.ready)
            };
            let ready: i32 = listed.iter().map(ready_of).sum();
            if listed.iter().all(|pool| ready_of(pool) >= pool.spec.target_size) {
                return;
            }
            assert!(began.elapsed() < patience, "only {ready} members are ready");
            if told.elapsed() > Duration::from_secs(15) {
                println!("  {ready} ready after {:.0} s", began.elapsed().as_secs_f64());
                told = Instant::now();
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Writes of Bullpen's objects that the API server has answered until now. Leases are not among them.
    pub async fn writes(&self) -> u64 {
        let request = http::Request::get("/metrics").body(Vec::new()).expect("a request");
        let metrics = self.client.request_text(request).await.expect("the API server's metrics");
        let writes = |line: &&str| {
            line.starts_with("apiserver_request_total{")
                && line.contains("group=\"bullpen.dev\"")
                && ["POST", "PUT", "PATCH", "DELETE"].iter().any(|verb| line.contains(&format!("verb=\"{verb}\"")))
        };
        let count = |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok()).unwrap_or(0.0);
        metrics.lines().filter(writes).map(|line| count(line) as u64).sum()
    }

    /// Makes a claim, starts the operator, and gives how long after that the claim was Bound. Then it is deleted.
    pub async fn first_bind(&self, turn: u32, start: impl FnOnce()) -> Duration {
        let claims: Api<PoolClaim> = Api::namespaced(self.client.clone(), &Self::namespace_of(0));
        let name = format!("claim-{turn}");
        let claim = json!({ "metadata": { "name": name }, "spec": { "poolRef": { "name": "pool-0" } } });
        let version = claims.list(&ListParams::default()).await.expect("a list").metadata.resource_version;
        claims.create(&PostParams::default(), &of(claim)).await.expect("a claim");
        let events = claims.watch(&WatchParams::default(), &version.expect("a version")).await.expect("a watch");
        let began = Instant::now();
        start();
        let bound = async {
            let mut events = pin!(events);
            while let Some(event) = events.try_next().await.expect("an event") {
                if let WatchEvent::Modified(claim) = event
                    && claim.status.is_some_and(|status| status.phase == ClaimPhase::Bound)
                {
                    return;
                }
            }
            panic!("the server ended the watch");
        };
        tokio::time::timeout(BIND_PATIENCE, bound).await.expect("the claim is bound");
        let took = began.elapsed();
        claims.delete(&name, &DeleteParams::default()).await.expect("the claim is deleted");
        took
    }
}

fn of<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}
