//! Metrics of the health of each pool's machines: probes, and notices of clouds.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::pools::{PoolLabels, pool_labels};
use crate::telemetry::labels::ProbeOutcome;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct ProbeLabels {
    pub(in crate::telemetry) namespace: String,
    pub(in crate::telemetry) pool: String,
    pub(in crate::telemetry) outcome: ProbeOutcome,
}

/// The families about health, with a series for each pool.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct HealthFamilies {
    pub(in crate::telemetry) probes: Family<ProbeLabels, Counter>,
    pub(in crate::telemetry) failing: Family<PoolLabels, Gauge>,
    pub(in crate::telemetry) suspended: Family<PoolLabels, Gauge>,
    pub(in crate::telemetry) notices: Family<PoolLabels, Counter>,
}

impl HealthFamilies {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("health_probes", "Health probes of machines that were ready", self.probes.clone());
        registry.register(
            "pool_failing_members",
            "Members of a pool whose last health probe failed",
            self.failing.clone(),
        );
        registry.register(
            "pool_health_suspended",
            "1 while nobody of a pool is replaced or flagged because of health probes, because too many fail",
            self.suspended.clone(),
        );
        registry.register(
            "interruption_notices",
            "Machines of a pool that their cloud announced to take away",
            self.notices.clone(),
        );
    }

    /// Creates the series of a pool at 0.
    pub(in crate::telemetry) fn begin(&self, namespace: &str, pool: &str) {
        let labels = pool_labels(namespace, pool);
        for gauge in [&self.failing, &self.suspended] {
            drop(gauge.get_or_create(&labels));
        }
        drop(self.notices.get_or_create(&labels));
        for &outcome in ProbeOutcome::ALL {
            drop(self.probes.get_or_create(&probe_labels(namespace, pool, outcome)));
        }
    }

    /// Drops the series of a pool.
    pub(in crate::telemetry) fn remove(&self, namespace: &str, pool: &str) {
        let Self { probes, failing, suspended, notices } = self;
        let labels = pool_labels(namespace, pool);
        for gauge in [failing, suspended] {
            gauge.remove(&labels);
        }
        notices.remove(&labels);
        for &outcome in ProbeOutcome::ALL {
            probes.remove(&probe_labels(namespace, pool, outcome));
        }
    }

    /// Drops the series of all pools.
    pub(super) fn clear(&self) {
        let Self { probes, failing, suspended, notices } = self;
        probes.clear();
        failing.clear();
        suspended.clear();
        notices.clear();
    }
}

pub(in crate::telemetry) fn probe_labels(namespace: &str, pool: &str, outcome: ProbeOutcome) -> ProbeLabels {
    ProbeLabels { namespace: namespace.to_owned(), pool: pool.to_owned(), outcome }
}
