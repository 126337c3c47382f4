//! Metrics of each launch config: calls to its cloud, and their outcomes.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Amount, Histograms};
use crate::telemetry::labels::{CreateOutcome, FailureClass, TerminationOutcome};

/// A machine boots in some seconds to minutes, and what then runs on it takes up to the default timeout of half an hour.
const START_SECONDS: [f64; 12] = [1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct LaunchConfigLabels {
    pub(in crate::telemetry) namespace: String,
    pub(in crate::telemetry) launch_config: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct CreateLabels {
    pub(in crate::telemetry) namespace: String,
    pub(in crate::telemetry) launch_config: String,
    pub(in crate::telemetry) outcome: CreateOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct FailureLabels {
    pub(in crate::telemetry) namespace: String,
    pub(in crate::telemetry) launch_config: String,
    pub(in crate::telemetry) class: FailureClass,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct TerminationLabels {
    pub(in crate::telemetry) namespace: String,
    pub(in crate::telemetry) launch_config: String,
    pub(in crate::telemetry) outcome: TerminationOutcome,
}

/// The families with a series for each launch config.
#[derive(Debug)]
pub(in crate::telemetry) struct LaunchConfigFamilies {
    pub(in crate::telemetry) launches: Histograms<LaunchConfigLabels>,
    pub(in crate::telemetry) warmings: Histograms<LaunchConfigLabels>,
    pub(in crate::telemetry) instances: Family<LaunchConfigLabels, Gauge>,
    pub(in crate::telemetry) hourly_prices: Family<LaunchConfigLabels, Amount>,
    pub(in crate::telemetry) creates: Family<CreateLabels, Counter>,
    pub(in crate::telemetry) terminations: Family<TerminationLabels, Counter>,
    pub(in crate::telemetry) member_failures: Family<FailureLabels, Counter>,
}

impl Default for LaunchConfigFamilies {
    fn default() -> Self {
        Self {
            launches: Family::new_with_constructor(|| Histogram::new(START_SECONDS)),
            warmings: Family::new_with_constructor(|| Histogram::new(START_SECONDS)),
            instances: Family::default(),
            hourly_prices: Family::default(),
            creates: Family::default(),
            terminations: Family::default(),
            member_failures: Family::default(),
        }
    }
}

impl LaunchConfigFamilies {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "member_launch_duration",
            "From the launch of a machine until it had booted, of members that became ready",
            Unit::Seconds,
            self.launches.clone(),
        );
        registry.register_with_unit(
            "member_warming_duration",
            "From the boot of a machine until its member was ready",
            Unit::Seconds,
            self.warmings.clone(),
        );
        registry.register(
            "launch_config_instances",
            "Members that have the launch config in their placement, whatever their phase",
            self.instances.clone(),
        );
        registry.register(
            "launch_config_hourly_price",
            "Price of one machine for an hour, if it is known, in the currency of the spec or the cloud",
            self.hourly_prices.clone(),
        );
        registry.register("instance_creates", "Create calls by outcome", self.creates.clone());
        registry.register("instance_terminations", "Terminations by outcome", self.terminations.clone());
        registry.register("member_failures", "Members that will never be ready by class", self.member_failures.clone());
    }

    /// Creates the counters of a launch config at 0.
    pub(in crate::telemetry) fn begin(&self, namespace: &str, launch_config: &str) {
        let labels = launch_config_labels(namespace, launch_config);
        drop(self.launches.get_or_create(&labels));
        drop(self.warmings.get_or_create(&labels));
        for &outcome in CreateOutcome::ALL {
            drop(self.creates.get_or_create(&create_labels(namespace, launch_config, outcome)));
        }
        for &class in FailureClass::ALL {
            drop(self.member_failures.get_or_create(&failure_labels(namespace, launch_config, class)));
        }
        for &outcome in TerminationOutcome::ALL {
            drop(self.terminations.get_or_create(&termination_labels(namespace, launch_config, outcome)));
        }
    }

    /// Drops the series of a launch config.
    pub(in crate::telemetry) fn remove(&self, namespace: &str, launch_config: &str) {
        let Self { launches, warmings, instances, hourly_prices, creates, terminations, member_failures } = self;
        let labels = launch_config_labels(namespace, launch_config);
        launches.remove(&labels);
        warmings.remove(&labels);
        instances.remove(&labels);
        hourly_prices.remove(&labels);
        for &outcome in CreateOutcome::ALL {
            creates.remove(&create_labels(namespace, launch_config, outcome));
        }
        for &class in FailureClass::ALL {
            member_failures.remove(&failure_labels(namespace, launch_config, class));
        }
        for &outcome in TerminationOutcome::ALL {
            terminations.remove(&termination_labels(namespace, launch_config, outcome));
        }
    }

    /// Drops the series of all launch configs.
    pub(super) fn clear(&self) {
        let Self { launches, warmings, instances, hourly_prices, creates, terminations, member_failures } = self;
        instances.clear();
        hourly_prices.clear();
        launches.clear();
        warmings.clear();
        creates.clear();
        terminations.clear();
        member_failures.clear();
    }
}

pub(in crate::telemetry) fn launch_config_labels(namespace: &str, launch_config: &str) -> LaunchConfigLabels {
    LaunchConfigLabels { namespace: namespace.to_owned(), launch_config: launch_config.to_owned() }
}

pub(in crate::telemetry) fn create_labels(
    namespace: &str,
    launch_config: &str,
    outcome: CreateOutcome,
) -> CreateLabels {
    CreateLabels { namespace: namespace.to_owned(), launch_config: launch_config.to_owned(), outcome }
}

pub(in crate::telemetry) fn failure_labels(namespace: &str, launch_config: &str, class: FailureClass) -> FailureLabels {
    FailureLabels { namespace: namespace.to_owned(), launch_config: launch_config.to_owned(), class }
}

pub(in crate::telemetry) fn termination_labels(
    namespace: &str,
    launch_config: &str,
    outcome: TerminationOutcome,
) -> TerminationLabels {
    TerminationLabels { namespace: namespace.to_owned(), launch_config: launch_config.to_owned(), outcome }
}
