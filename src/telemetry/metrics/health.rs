//! Records the health of pools' machines.

use bullpen_plan::member::health::Tally;

use super::Metrics;
use crate::telemetry::families::health::probe_labels;
use crate::telemetry::families::known::Kind;
use crate::telemetry::families::pools::pool_labels;
use crate::telemetry::labels::ProbeOutcome;

impl Metrics {
    /// A health probe was answered, or failed.
    pub fn health_probe(&self, namespace: &str, pool: &str, outcome: ProbeOutcome) {
        let Some(_known) = self.known(Kind::Pool, namespace, pool) else { return };
        self.0.health.probes.get_or_create(&probe_labels(namespace, pool, outcome)).inc();
    }

    /// Sets how many members of the pool fail their health probes, and whether nothing follows from that.
    pub fn set_pool_health(&self, namespace: &str, pool: &str, tally: Tally, suspended: bool) {
        let Some(_known) = self.known(Kind::Pool, namespace, pool) else { return };
        let labels = pool_labels(namespace, pool);
        self.0.health.failing.get_or_create(&labels).set(i64::from(tally.failing));
        self.0.health.suspended.get_or_create(&labels).set(suspended.into());
    }

    /// So many heartbeats of machines could not be handed to the leader.
    pub fn heartbeats_dropped(&self, count: usize) {
        self.0.machines.heartbeats_dropped.inc_by(count as u64);
    }

    /// The cloud announced that it takes a machine of the pool away.
    pub fn interruption_notice(&self, namespace: &str, pool: &str) {
        let Some(_known) = self.known(Kind::Pool, namespace, pool) else { return };
        self.0.health.notices.get_or_create(&pool_labels(namespace, pool)).inc();
    }
}
