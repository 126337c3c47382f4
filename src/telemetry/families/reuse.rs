//! Metrics of used machines: how many are reset with which result, and why others are not.

use bullpen_plan::member::reuse::NotReused;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What became of the reset of a used machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetResult {
    /// It was decided: the machine is about to be reset.
    Begun,
    /// The cloud shows that it is done.
    Done,
    /// The cloud refused it for good.
    Refused,
    /// The cloud did not show in time that it was done.
    TimedOut,
}

impl ResetResult {
    const ALL: [Self; 4] = [Self::Begun, Self::Done, Self::Refused, Self::TimedOut];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct ResetLabels {
    pub(in crate::telemetry) namespace: String,
    pub(in crate::telemetry) pool: String,
    pub(in crate::telemetry) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct NotReusedLabels {
    pub(in crate::telemetry) namespace: String,
    pub(in crate::telemetry) pool: String,
    pub(in crate::telemetry) reason: &'static str,
}

/// The families of used machines.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct ReuseFamilies {
    pub(in crate::telemetry) resets: Family<ResetLabels, Counter>,
    pub(in crate::telemetry) not_reused: Family<NotReusedLabels, Counter>,
}

impl ReuseFamilies {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("member_resets", "Resets of used machines by result", self.resets.clone());
        registry.register(
            "members_not_reused",
            "Machines of pools with reuse that ended with their claim, by why",
            self.not_reused.clone(),
        );
    }

    /// Creates the series of a pool at 0.
    pub(in crate::telemetry) fn begin(&self, namespace: &str, pool: &str) {
        for result in ResetResult::ALL {
            drop(self.resets.get_or_create(&reset_labels(namespace, pool, result)));
        }
        for why in NotReused::ALL {
            drop(self.not_reused.get_or_create(&not_reused_labels(namespace, pool, why)));
        }
    }

    /// Drops the series of a pool.
    pub(in crate::telemetry) fn remove(&self, namespace: &str, pool: &str) {
        for result in ResetResult::ALL {
            self.resets.remove(&reset_labels(namespace, pool, result));
        }
        for why in NotReused::ALL {
            self.not_reused.remove(&not_reused_labels(namespace, pool, why));
        }
    }

    /// Drops the series of all pools.
    pub(super) fn clear(&self) {
        self.resets.clear();
        self.not_reused.clear();
    }
}

pub(in crate::telemetry) fn reset_labels(namespace: &str, pool: &str, result: ResetResult) -> ResetLabels {
    ResetLabels { namespace: namespace.to_owned(), pool: pool.to_owned(), result: result.as_str() }
}

pub(in crate::telemetry) fn not_reused_labels(namespace: &str, pool: &str, why: NotReused) -> NotReusedLabels {
    NotReusedLabels { namespace: namespace.to_owned(), pool: pool.to_owned(), reason: why.label() }
}
