//! The cluster, the cloud and the objects of the benchmark.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, InstancePool, PoolClaim};
use bullpen_bench_common::ground::Ground;
use bullpen_bench_common::of;
use bullpen_bench_common::process::Process;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;

/// Pools of one namespace: a platform team's namespace has a few, not all of them.
const POOLS_A_NAMESPACE: u32 = 10;
const BOOT_MILLISECONDS: u32 = 1_000;
const CREATES_AT_ONCE: usize = 16;
const POLL: Duration = Duration::from_millis(500);
const BIND_PATIENCE: Duration = Duration::from_mins(2);

/// What the benchmark runs against.
pub struct Cluster {
    ground: Ground,
    client: Client,
    members: u32,
    pools: u32,
}

impl Cluster {
    /// Starts a control plane and a simulated cloud, for operators that are this program.
    pub async fn start(operator: PathBuf, members: u32, pools: u32) -> Self {
        let ground = Ground::start(operator, Path::new(env!("CARGO_BIN_EXE_bullpen-simcloud")), &[]).await;
        Self { client: ground.client(), ground, members, pools }
    }

    fn api_all<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        Api::all(self.client.clone())
    }

    /// Starts the operator for all namespaces.
    pub fn operator(&self, identity: &str) -> Process {
        self.ground.operator(identity, &["--log-level", "warn"])
    }

    fn namespace_of(pool: u32) -> String {
        format!("team-{}", pool / POOLS_A_NAMESPACE)
    }

    fn target_of(&self, pool: u32) -> u32 {
        self.members / self.pools + u32::from(pool < self.members % self.pools)
    }

    /// Makes the namespaces, one launch config in each, and the pools.
    pub async fn make_pools(&self) {
        for pool in (0..self.pools).step_by(POOLS_A_NAMESPACE as usize) {
            self.ground.make_namespace(&Self::namespace_of(pool), BOOT_MILLISECONDS).await;
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

    /// Waits until every pool's status has all of its members as ready.
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
        self.ground.writes(None).await
    }

    /// Makes a claim, starts the operator, and returns the time from the start until the claim was Bound. Deletes the
    /// claim.
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
