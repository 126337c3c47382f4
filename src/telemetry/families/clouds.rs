//! Metrics of each account in a cloud, and of each kind of cloud.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Histograms;
use crate::telemetry::labels::{ProviderOperation, ProviderOutcome, TerminationOutcome};

const CALL_SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct AccountLabels {
    pub(in crate::telemetry) provider: &'static str,
    pub(in crate::telemetry) account: String,
    pub(in crate::telemetry) region: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct SweepLabels {
    pub(in crate::telemetry) provider: &'static str,
    pub(in crate::telemetry) outcome: TerminationOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct CallLabels {
    pub(in crate::telemetry) provider: &'static str,
    pub(in crate::telemetry) operation: ProviderOperation,
    pub(in crate::telemetry) outcome: ProviderOutcome,
}

/// The families with a series for each account or kind of cloud.
#[derive(Debug)]
pub(in crate::telemetry) struct CloudFamilies {
    pub(in crate::telemetry) orphans: Family<AccountLabels, Gauge>,
    pub(in crate::telemetry) sweep_blocked: Family<AccountLabels, Gauge>,
    pub(in crate::telemetry) orphan_terminations: Family<SweepLabels, Counter>,
    pub(in crate::telemetry) calls: Histograms<CallLabels>,
}

impl CloudFamilies {
    pub(super) fn new() -> Self {
        Self {
            orphans: Family::default(),
            sweep_blocked: Family::default(),
            orphan_terminations: Family::default(),
            calls: Family::new_with_constructor(|| Histogram::new(CALL_SECONDS)),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "orphans",
            "Machines of this installation that no member needs, at the last sweep",
            self.orphans.clone(),
        );
        registry.register(
            "sweep_blocked",
            "Whether orphans wait for a person, because they are many or carry the tag of a claim",
            self.sweep_blocked.clone(),
        );
        registry.register(
            "orphan_terminations",
            "Terminate calls for orphans by outcome",
            self.orphan_terminations.clone(),
        );
        registry.register_with_unit("provider_call_duration", "Calls to clouds", Unit::Seconds, self.calls.clone());
    }

    /// Creates the series of a kind of cloud.
    pub(in crate::telemetry) fn begin(&self, provider: &'static str) {
        for &operation in ProviderOperation::ALL {
            for &outcome in ProviderOutcome::ALL {
                drop(self.calls.get_or_create(&CallLabels { provider, operation, outcome }));
            }
        }
        for &outcome in TerminationOutcome::ALL {
            drop(self.orphan_terminations.get_or_create(&SweepLabels { provider, outcome }));
        }
    }

    /// Drops what only the leader knows: the number of orphans. Counters stay.
    pub(super) fn clear(&self) {
        self.orphans.clear();
        self.sweep_blocked.clear();
    }
}
