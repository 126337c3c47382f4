//! Metrics of the endpoint that machines call.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::telemetry::labels::{MachineResult, MachineRoute};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct RequestLabels {
    pub(in crate::telemetry) route: MachineRoute,
    pub(in crate::telemetry) result: MachineResult,
}

/// The families of requests of machines.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct MachineFamilies {
    pub(in crate::telemetry) requests: Family<RequestLabels, Counter>,
}

impl MachineFamilies {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("machine_requests", "Requests of machines by result", self.requests.clone());
    }

    pub(super) fn begin(&self) {
        for &route in MachineRoute::ALL {
            for &result in MachineResult::ALL {
                drop(self.requests.get_or_create(&RequestLabels { route, result }));
            }
        }
    }
}
