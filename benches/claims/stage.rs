//! One pool in its own namespace, an operator for it, and their cost.

use std::fs;
use std::time::{Duration, Instant};

use bullpen_api::{InstancePool, PoolClaim};
use bullpen_bench_common::ground::Ground;
use bullpen_bench_common::machine::{Cost, cost_of};
use bullpen_bench_common::of;
use bullpen_bench_common::process::Process;
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::bare::claim;
use crate::numbers::Scrape;

/// The pool of every part.
pub const POOL: &str = "bench";
/// Claims at a time that their users make.
pub const USERS: usize = 32;
/// A machine boots in this time, ± 20 %.
pub const BOOT: Duration = Duration::from_secs(1);
/// Until a pool is full, or a claim Bound, or the benchmark gives up.
pub const PATIENCE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(100);

/// The environment of one part.
pub struct Stage<'a> {
    /// The control plane and the cloud.
    pub ground: &'a Ground,
    /// The namespace.
    pub namespace: String,
    /// The client of users and of the bare client.
    pub client: Client,
    /// The pool.
    pub pool: InstancePool,
}

impl<'a> Stage<'a> {
    /// A namespace with a pool. Without an operator for it, it stays empty.
    pub async fn set(ground: &'a Ground, client: &Client, namespace: &str, target: u32, max: u32) -> Self {
        ground.make_namespace(namespace, BOOT.as_millis() as u32).await;
        // The ramp of a new pool and its limits of concurrent calls are not to be measured.
        let pool = json!({ "metadata": { "name": POOL }, "spec": {
            "targetSize": target, "maxSize": max, "launchConfigs": [{ "name": "sim" }],
            "provisioning": { "maxConcurrentCreates": 200, "maxConcurrentDeletes": 200, "failureThreshold": 100 },
        }});
        let pools: Api<InstancePool> = Api::namespaced(client.clone(), namespace);
        let pool = pools.create(&PostParams::default(), &of(pool)).await.expect("a pool");
        Self { ground, namespace: namespace.to_owned(), client: client.clone(), pool }
    }

    /// Starts an operator for this namespace only, because the bare client leaves objects in others.
    pub fn operator(&self, identity: &str) -> Operator {
        self.operator_with(identity, &[])
    }

    /// The same with these further arguments.
    pub fn operator_with(&self, identity: &str, more: &[&str]) -> Operator {
        Operator::new(self.ground.operator(identity, &[&["--namespace", self.namespace.as_str()], more].concat()))
    }

    /// Waits until the pool's status has this many ready members.
    pub async fn ready(&self, target: u32) {
        let pools: Api<InstancePool> = Api::namespaced(self.client.clone(), &self.namespace);
        let began = Instant::now();
        loop {
            let pool = pools.get(POOL).await.expect("the pool");
            let ready = pool.status.and_then(|status| status.members).map_or(0, |members| members.ready);
            if i64::from(ready) >= i64::from(target) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "only {ready} of {target} members are ready");
            tokio::time::sleep(POLL).await;
        }
    }

    /// A user who makes claims here.
    pub fn user(&self) -> User {
        User(Api::namespaced(self.client.clone(), &self.namespace))
    }
}

/// A user who makes claims.
#[derive(Clone)]
pub struct User(Api<PoolClaim>);

impl User {
    /// Creates a claim.
    pub async fn claim(&self, name: &str) {
        self.0.create(&PostParams::default(), &claim(name, POOL)).await.expect("a claim");
    }

    /// Deletes it.
    pub async fn release(&self, name: &str) {
        self.0.delete(name, &DeleteParams::default()).await.expect("the claim goes");
    }
}

/// A running operator.
pub struct Operator {
    process: Process,
    metrics: String,
}

impl Operator {
    fn new(process: Process) -> Self {
        let metrics = format!("{}/metrics", process.says("metrics on ").split_whitespace().next().expect("an address"));
        Self { process, metrics }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its metrics.
    pub async fn scrape(&self) -> Scrape {
        Scrape::of(&self.metrics).await
    }

    /// What it has used.
    pub fn cost(&self) -> Cost {
        cost_of(self.process.id())
    }

    /// Waits until it leads.
    pub async fn leads(&self) {
        let began = Instant::now();
        while self.scrape().await.sum("bullpen_leader", &[]) < 1.0 {
            assert!(began.elapsed() < PATIENCE, "it does not come to lead");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Kills it with -9.
    pub fn kill_9(&mut self) {
        self.process.kill_9();
    }
}

/// Processor time of all processes at one time.
pub struct Clock {
    began: Instant,
    parts: Vec<(&'static str, f64)>,
}

impl Clock {
    /// Reads it.
    pub fn read(ground: &Ground, operator: Option<&Operator>) -> Self {
        let mut parts = vec![("bench", used(std::process::id())), ("simcloud", used(ground.simcloud().id()))];
        for id in ground.control_plane_ids() {
            let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
            match name.trim() {
                "etcd" => parts.push(("etcd", used(id))),
                "kube-apiserver" => parts.push(("apiserver", used(id))),
                _ => {}
            }
        }
        parts.extend(operator.map(|operator| ("operator", operator.cost().cpu_seconds)));
        Self { began: Instant::now(), parts }
    }

    /// Seconds of processor time since `before`, by process.
    pub fn since(&self, before: &Self) -> Value {
        let spent = |name: &str| {
            let of = |clock: &Self| clock.parts.iter().find(|(part, _)| *part == name).map_or(0.0, |(_, used)| *used);
            of(self) - of(before)
        };
        let mut parts: serde_json::Map<_, _> =
            self.parts.iter().map(|(name, _)| ((*name).to_owned(), json!(rounded(spent(name))))).collect();
        parts.insert("wallSeconds".to_owned(), json!(rounded((self.began - before.began).as_secs_f64())));
        Value::Object(parts)
    }
}

fn used(id: u32) -> f64 {
    cost_of(id).cpu_seconds
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}
