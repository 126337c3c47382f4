//! What exists beside a small pool, added bit by bit: a pool of 10,000 members, idle launch configs, waiting claims of
//! many namespaces, and ended claims. After each, what the idle operator costs, and how long a claim on the small pool
//! takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, PoolClaim, micro_time};
use bullpen_bench_common::ground::Ground;
use bullpen_bench_common::machine::cost_of;
use bullpen_bench_common::of;
use bullpen_bench_common::process::Process;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::elsewhere;
use crate::report::{CrowdReport, Shape, Sizes};

const BOOT_MILLISECONDS: u32 = 1_000;
/// More machines than are claimed, booting or ending at any time of a measurement.
const ELSEWHERE: u32 = 60;
const CREATES_AT_ONCE: usize = 16;
const POLL: Duration = Duration::from_millis(500);
/// How long nothing is written before the operator counts as idle: longer than it delays any write.
const QUIET: Duration = Duration::from_secs(40);
/// How long filling, or the writes after a change, may take.
const PATIENCE: Duration = Duration::from_mins(30);

/// Measures all of it.
pub async fn run(operator: PathBuf, sizes: Sizes) -> CrowdReport {
    let mut crowd = Crowd::start(operator, sizes).await;
    println!("a small pool alone");
    crowd.measure("a small pool alone").await;

    println!("a pool of {} members", sizes.members);
    crowd.make_pool("large", sizes.members, sizes.members + 20).await;
    crowd.measure("and a pool of many members").await;

    println!("{} idle launch configs", sizes.launch_configs);
    crowd.make_launch_configs().await;
    crowd.measure("and idle launch configs").await;

    println!("{} claims of {} namespaces wait", sizes.waiting, sizes.namespaces);
    crowd.make_waiting().await;
    crowd.measure("and waiting claims").await;

    println!("{} claims have ended", sizes.ended);
    crowd.make_ended().await;
    crowd.measure("and ended claims").await;
    crowd.report
}

struct Crowd {
    ground: Ground,
    client: Client,
    operator: Process,
    sizes: Sizes,
    report: CrowdReport,
}

impl Crowd {
    async fn start(operator: PathBuf, sizes: Sizes) -> Self {
        let ground = Ground::start(operator, Path::new(env!("CARGO_BIN_EXE_bullpen-simcloud")), &[]).await;
        let operator = start_operator(&ground);
        let crowd = Self { client: ground.client(), ground, operator, sizes, report: CrowdReport::new(sizes) };
        crowd.make_pool("elsewhere", ELSEWHERE, 3 * ELSEWHERE).await;
        crowd
    }

    /// Makes a pool in a namespace of the same name, and waits until it is full.
    async fn make_pool(&self, name: &str, target: u32, max: u32) {
        self.ground.make_namespace(name, BOOT_MILLISECONDS).await;
        let pool = json!({ "metadata": { "name": name }, "spec": {
            "targetSize": target, "maxSize": max, "launchConfigs": [{ "name": "sim" }],
            "claims": { "allowedNamespaces": { "from": "All" } },
        }});
        self.create::<InstancePool>(name, pool).await;
        self.is_full(name, Instant::now()).await;
    }

    /// Waits until the pool's status has all of its members as ready.
    async fn is_full(&self, name: &str, began: Instant) {
        let pools: Api<InstancePool> = Api::namespaced(self.client.clone(), name);
        loop {
            let pool = pools.get(name).await.expect("the pool");
            let ready = pool.status.and_then(|status| status.members).map_or(0, |members| members.ready);
            if ready >= pool.spec.target_size {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "only {ready} members of {name} are ready");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Makes launch configs beside the one that the small pool buys from, of the same cloud.
    async fn make_launch_configs(&self) {
        let configs: Api<LaunchConfig> = Api::namespaced(self.client.clone(), "elsewhere");
        let spec = serde_json::to_value(configs.get("sim").await.expect("the launch config").spec).expect("its spec");
        let objects = (0..self.sizes.launch_configs)
            .map(|number| json!({ "metadata": { "name": format!("idle-{number}") }, "spec": spec }));
        self.create_all::<LaunchConfig>(objects.map(|object| ("elsewhere".to_owned(), object))).await;
    }

    /// Makes claims that wait: one has the only member that their pool may have.
    async fn make_waiting(&self) {
        self.make_pool("full", 0, 1).await;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        stream::iter(0..self.sizes.namespaces)
            .for_each_concurrent(CREATES_AT_ONCE, |number| {
                let (namespaces, object) = (namespaces.clone(), json!({ "metadata": { "name": team(number) } }));
                async move { drop(namespaces.create(&PostParams::default(), &of(object)).await.expect("a namespace")) }
            })
            .await;
        let claims = (0..=self.sizes.waiting).map(|number| {
            let spec = json!({ "poolRef": { "name": "full", "namespace": "full" } });
            let object = json!({ "metadata": { "name": format!("claim-{number}") }, "spec": spec });
            (team(number % self.sizes.namespaces), object)
        });
        self.create_all::<PoolClaim>(claims).await;
    }

    /// Makes claims on the small pool that have ended. The operator is down meanwhile, or it would bind them.
    async fn make_ended(&mut self) {
        self.operator.kill_9();
        let claims: Api<PoolClaim> = Api::namespaced(self.client.clone(), "elsewhere");
        stream::iter(0..self.sizes.ended)
            .for_each_concurrent(CREATES_AT_ONCE, |number| {
                let claims = claims.clone();
                async move {
                    let name = format!("ended-{number}");
                    let object =
                        json!({ "metadata": { "name": name }, "spec": { "poolRef": { "name": "elsewhere" } } });
                    let made = claims.create(&PostParams::default(), &of(object)).await.expect("a claim");
                    let ended = ended(made);
                    claims.replace_status(&name, &PostParams::default(), &ended).await.expect("its status");
                }
            })
            .await;
        self.operator = start_operator(&self.ground);
    }

    /// Waits until the operator is idle, measures what it costs, then how long claims on the small pool take.
    async fn measure(&mut self, name: &'static str) {
        self.is_quiet().await;
        let (before, written) = (cost_of(self.operator.id()), self.ground.writes_by_series().await);
        let began = Instant::now();
        tokio::time::sleep(Duration::from_secs(u64::from(self.sizes.seconds))).await;
        let idle = cost_of(self.operator.id()).since(&before, began.elapsed());
        let writes = self.new_writes(&written).await;
        let run = format!("run-{}", self.report.count());
        let times = elsewhere::measure(&self.client, "elsewhere", "elsewhere", &run, self.sizes.seconds).await;
        self.is_full("elsewhere", Instant::now()).await;
        self.report.add(Shape { name, idle, writes, times });
    }

    /// The writes since then. Prints which there were: an idle operator has none.
    async fn new_writes(&self, before: &BTreeMap<String, u64>) -> u64 {
        let mut all = 0;
        for (series, count) in self.ground.writes_by_series().await {
            let new = count - before.get(&series).copied().unwrap_or_default();
            if new > 0 {
                println!("  {new} writes: {series}");
            }
            all += new;
        }
        all
    }

    async fn is_quiet(&self) {
        let began = Instant::now();
        let (mut since, mut last) = (began, self.ground.writes(None).await);
        while since.elapsed() < QUIET {
            assert!(began.elapsed() < PATIENCE, "the operator goes on writing");
            tokio::time::sleep(POLL).await;
            let writes = self.ground.writes(None).await;
            if writes != last {
                (since, last) = (Instant::now(), writes);
            }
        }
        println!("  quiet after {:.0} s", (since - began).as_secs_f64());
    }

    async fn create<K>(&self, namespace: &str, object: Value)
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        api.create(&PostParams::default(), &of(object)).await.expect("an object");
    }

    async fn create_all<K>(&self, objects: impl Iterator<Item = (String, Value)>)
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
    {
        stream::iter(objects)
            .for_each_concurrent(CREATES_AT_ONCE, async |(namespace, object)| {
                self.create::<K>(&namespace, object).await;
            })
            .await;
    }
}

fn start_operator(ground: &Ground) -> Process {
    ground.operator("bench-1", &["--log-level", "warn"])
}

fn team(number: u32) -> String {
    format!("team-{number}")
}

/// The claim as the operator would end it if no member was ready.
fn ended(mut claim: PoolClaim) -> PoolClaim {
    let now = jiff::Timestamp::now();
    let conditions = json!([{ "type": "Bound", "status": "False", "reason": "NoReadyMembers",
        "message": "no member of pool elsewhere is ready: target 60, ready 0, warming 0",
        "lastTransitionTime": now.to_string(), "observedGeneration": 1 }]);
    let mut status = claim.status.take().unwrap_or_default();
    (status.phase, status.observed_generation) = (ClaimPhase::Failed, 1);
    status.finished_at = Some(micro_time(now));
    status.conditions = of(conditions);
    claim.status = Some(status);
    claim
}
