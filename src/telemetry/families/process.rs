//! Metrics of this process: its writes, whether its controllers work, whether it leads.

use bullpen_plan::operator::watched_namespaces::Feed;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::{Amount, Histograms};
use crate::telemetry::labels::{
    Controller, LeaderTransition, Queue, Task, WatchedKind, WriteKind, WriteOutcome, WriteVerb,
};

const REPLACEMENT_SECONDS: [f64; 14] =
    [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0];
const RECONCILE_SECONDS: [f64; 12] = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct WriteLabels {
    pub(in crate::telemetry) kind: WriteKind,
    pub(in crate::telemetry) verb: WriteVerb,
    pub(in crate::telemetry) outcome: WriteOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct ControllerLabels {
    pub(in crate::telemetry) controller: Controller,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct QueueLabels {
    pub(in crate::telemetry) queue: Queue,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct KindLabels {
    pub(in crate::telemetry) kind: WatchedKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct TaskLabels {
    pub(in crate::telemetry) task: Task,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct WatchLabels {
    pub(in crate::telemetry) kind: WatchedKind,
    /// Empty for all namespaces.
    pub(in crate::telemetry) namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct TransitionLabels {
    pub(in crate::telemetry) transition: LeaderTransition,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// The families whose series exist as long as the process.
#[derive(Debug)]
pub(in crate::telemetry) struct ProcessFamilies {
    pub(in crate::telemetry) writes: Family<WriteLabels, Counter>,
    pub(in crate::telemetry) bind_conflicts: Counter,
    pub(in crate::telemetry) holds_overridden: Counter,
    pub(in crate::telemetry) replacement_delay: Histogram,
    pub(in crate::telemetry) reconciles: Histograms<ControllerLabels>,
    pub(in crate::telemetry) reconcile_errors: Family<ControllerLabels, Counter>,
    pub(in crate::telemetry) panics: Family<TaskLabels, Counter>,
    pub(in crate::telemetry) last_success: Family<ControllerLabels, Amount>,
    pub(in crate::telemetry) last_turn: Family<QueueLabels, Amount>,
    pub(in crate::telemetry) last_watch: Family<WatchLabels, Amount>,
    pub(in crate::telemetry) unreadable: Family<KindLabels, Gauge>,
    pub(in crate::telemetry) clock_skew: Amount,
    pub(in crate::telemetry) leader: Gauge,
    pub(in crate::telemetry) leader_transitions: Family<TransitionLabels, Counter>,
}

impl ProcessFamilies {
    pub(super) fn new() -> Self {
        Self {
            writes: Family::default(),
            bind_conflicts: Counter::default(),
            holds_overridden: Counter::default(),
            replacement_delay: Histogram::new(REPLACEMENT_SECONDS),
            reconciles: Family::new_with_constructor(|| Histogram::new(RECONCILE_SECONDS)),
            reconcile_errors: Family::default(),
            panics: Family::default(),
            last_success: Family::default(),
            last_turn: Family::default(),
            last_watch: Family::default(),
            unreadable: Family::default(),
            clock_skew: Amount::default(),
            leader: Gauge::default(),
            leader_transitions: Family::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "build",
            "The running version",
            Info::new(BuildLabels { version: env!("CARGO_PKG_VERSION") }),
        );
        registry.register("api_writes", "Writes to the API server by outcome", self.writes.clone());
        registry.register(
            "bind_conflicts",
            "Compare-and-swaps of members that found the member changed",
            self.bind_conflicts.clone(),
        );
        registry.register(
            "holds_overridden",
            "Held members that were terminated because their namespace ended",
            self.holds_overridden.clone(),
        );
        registry.register_with_unit(
            "replacement_delay",
            "From the pairing of a claim with a member until the replacement's create call began",
            Unit::Seconds,
            self.replacement_delay.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "One pass of a controller over one object",
            Unit::Seconds,
            self.reconciles.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Passes of a controller that ended with an error",
            self.reconcile_errors.clone(),
        );
        registry.register("panics", "Panics of tasks, each of them a bug", self.panics.clone());
        self.register_signs_of_life(registry);
    }

    fn register_signs_of_life(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "last_successful_reconcile_timestamp",
            "When a controller last finished a pass without an error; 0: never yet",
            Unit::Seconds,
            self.last_success.clone(),
        );
        registry.register_with_unit(
            "queue_last_turn_timestamp",
            "When a heartbeat last came through a queue of the controllers; 0: never yet",
            Unit::Seconds,
            self.last_turn.clone(),
        );
        registry.register_with_unit(
            "watch_last_answer_timestamp",
            "When the list or watch of a kind was last answered with success; 0: never yet",
            Unit::Seconds,
            self.last_watch.clone(),
        );
        registry.register("unreadable_objects", "Objects that this version cannot read", self.unreadable.clone());
        registry.register_with_unit(
            "clock_skew",
            "How far the clock of this computer is ahead of the API server's",
            Unit::Seconds,
            self.clock_skew.clone(),
        );
        registry.register("leader", "Whether this process leads", self.leader.clone());
        registry.register(
            "leader_transitions",
            "How often this process began to lead, and ceased to",
            self.leader_transitions.clone(),
        );
    }

    /// Creates every closed set of labels at 0.
    pub(super) fn begin(&self) {
        for &kind in WriteKind::ALL {
            for &verb in WriteVerb::ALL {
                for &outcome in WriteOutcome::ALL {
                    drop(self.writes.get_or_create(&WriteLabels { kind, verb, outcome }));
                }
            }
        }
        for &controller in Controller::ALL {
            let labels = ControllerLabels { controller };
            drop(self.reconciles.get_or_create(&labels));
            drop(self.reconcile_errors.get_or_create(&labels));
            drop(self.last_success.get_or_create(&labels));
        }
        for &queue in Queue::ALL {
            drop(self.last_turn.get_or_create(&QueueLabels { queue }));
        }
        for &kind in WatchedKind::ALL {
            drop(self.unreadable.get_or_create(&KindLabels { kind }));
        }
        for &task in Task::ALL {
            drop(self.panics.get_or_create(&TaskLabels { task }));
        }
        for &transition in LeaderTransition::ALL {
            drop(self.leader_transitions.get_or_create(&TransitionLabels { transition }));
        }
    }
}

pub(in crate::telemetry) fn watch_labels(kind: WatchedKind, feed: &Feed) -> WatchLabels {
    WatchLabels { kind, namespace: feed.namespace().unwrap_or_default().to_owned() }
}
