//! All metrics with labels, buckets, names and help, grouped by the object that they describe. The series of an object
//! are created and dropped together.

pub(super) mod clouds;
pub(super) mod health;
pub(super) mod known;
pub(super) mod launch_configs;
pub(super) mod machines;
pub(super) mod pools;
pub(super) mod process;
pub mod reuse;

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use self::clouds::CloudFamilies;
use self::health::HealthFamilies;
use self::known::Known;
use self::launch_configs::LaunchConfigFamilies;
use self::machines::MachineFamilies;
use self::pools::PoolFamilies;
use self::process::ProcessFamilies;
use self::reuse::ReuseFamilies;

type Histograms<Labels> = Family<Labels, Histogram, fn() -> Histogram>;
type Amount = Gauge<f64, AtomicU64>;

/// All metrics of the operator.
#[derive(Debug)]
pub(super) struct Families {
    pub(super) registry: Registry,
    pub(super) pools: PoolFamilies,
    pub(super) health: HealthFamilies,
    pub(super) reuse: ReuseFamilies,
    pub(super) launch_configs: LaunchConfigFamilies,
    pub(super) clouds: CloudFamilies,
    pub(super) machines: MachineFamilies,
    pub(super) process: ProcessFamilies,
    pub(super) known: Known,
}

impl Families {
    /// All metrics, with every closed set of labels at 0.
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("bullpen");
        let (pools, launch_configs) = (PoolFamilies::new(), LaunchConfigFamilies::default());
        let (clouds, machines, process) = (CloudFamilies::new(), MachineFamilies::default(), ProcessFamilies::new());
        let (health, reuse) = (HealthFamilies::default(), ReuseFamilies::default());
        pools.register(&mut registry);
        health.register(&mut registry);
        reuse.register(&mut registry);
        launch_configs.register(&mut registry);
        clouds.register(&mut registry);
        machines.register(&mut registry);
        machines.begin();
        process.register(&mut registry);
        process.begin();
        Self { registry, pools, health, reuse, launch_configs, clouds, machines, process, known: Known::new() }
    }

    /// Drops what only the leader knows: the series of pools and launch configs, and the number of orphans. Nothing of
    /// these is recorded until this process leads again.
    pub(super) fn clear_objects(&self) {
        let mut known = self.known.lock();
        known.close();
        self.pools.clear();
        self.health.clear();
        self.reuse.clear();
        self.launch_configs.clear();
        self.clouds.clear();
        drop(known);
    }
}
