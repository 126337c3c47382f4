//! Metrics of the endpoint that machines call.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::telemetry::labels::{MachineResult, MachineRoute};

/// From one write to a machine that waits for its input.
const ASSIGNMENT_SECONDS: [f64; 12] = [0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct RequestLabels {
    pub(in crate::telemetry) route: MachineRoute,
    pub(in crate::telemetry) result: MachineResult,
}

/// The families of requests of machines.
pub(in crate::telemetry) struct MachineFamilies {
    pub(in crate::telemetry) requests: Family<RequestLabels, Counter>,
    pub(in crate::telemetry) assignments: Histogram,
    pub(in crate::telemetry) heartbeats_dropped: Counter,
}

impl Default for MachineFamilies {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            assignments: Histogram::new(ASSIGNMENT_SECONDS),
            heartbeats_dropped: Counter::default(),
        }
    }
}

impl std::fmt::Debug for MachineFamilies {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MachineFamilies")
    }
}

impl MachineFamilies {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("machine_requests", "Requests of machines by result", self.requests.clone());
        registry.register(
            "heartbeats_dropped",
            "Heartbeats of machines that could not be handed to the leader",
            self.heartbeats_dropped.clone(),
        );
        registry.register_with_unit(
            "machine_assignment_duration",
            "Time from Bound until a machine that waits for its claim is told of it",
            Unit::Seconds,
            self.assignments.clone(),
        );
    }

    pub(super) fn begin(&self) {
        for &route in MachineRoute::ALL {
            for &result in MachineResult::ALL {
                drop(self.requests.get_or_create(&RequestLabels { route, result }));
            }
        }
    }
}
