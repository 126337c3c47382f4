//! Which metrics there are: their labels, buckets, names and help.

use std::sync::atomic::AtomicU64;

use bullpen_plan::operator::watched_namespaces::Feed;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{
    BreakerState, ClaimEnd, Controller, CreateOutcome, FailureClass, LeaderTransition, MemberLabel, ProviderOperation,
    ProviderOutcome, Queue, TerminationOutcome, WatchedKind, WriteKind, WriteOutcome, WriteVerb,
};

/// Claim to Bound takes milliseconds from a warm pool, and a boot or more from an empty one.
const BIND_SECONDS: [f64; 19] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    1_800.0,
];
/// From a quick test to a week's training.
const HELD_SECONDS: [f64; 13] =
    [10.0, 30.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 86_400.0, 259_200.0, 604_800.0];
const CALL_SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];
const REPLACEMENT_SECONDS: [f64; 14] =
    [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0];
const RECONCILE_SECONDS: [f64; 12] = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];

pub(super) type Histograms<Labels> = Family<Labels, Histogram, fn() -> Histogram>;
pub(super) type SecondsGauge = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PoolLabels {
    pub(super) namespace: String,
    pub(super) pool: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PoolMemberLabels {
    pub(super) namespace: String,
    pub(super) pool: String,
    pub(super) state: MemberLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ClaimEndLabels {
    pub(super) namespace: String,
    pub(super) pool: String,
    pub(super) end: ClaimEnd,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CreateLabels {
    pub(super) namespace: String,
    pub(super) launch_config: String,
    pub(super) outcome: CreateOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FailureLabels {
    pub(super) namespace: String,
    pub(super) launch_config: String,
    pub(super) class: FailureClass,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BreakerLabels {
    pub(super) namespace: String,
    pub(super) pool: String,
    pub(super) launch_config: String,
    pub(super) state: BreakerState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TerminationLabels {
    pub(super) namespace: String,
    pub(super) launch_config: String,
    pub(super) outcome: TerminationOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WriteLabels {
    pub(super) kind: WriteKind,
    pub(super) verb: WriteVerb,
    pub(super) outcome: WriteOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CallLabels {
    pub(super) provider: &'static str,
    pub(super) operation: ProviderOperation,
    pub(super) outcome: ProviderOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ControllerLabels {
    pub(super) controller: Controller,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct QueueLabels {
    pub(super) queue: Queue,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WatchLabels {
    pub(super) kind: WatchedKind,
    /// Empty: all of them.
    pub(super) namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TransitionLabels {
    pub(super) transition: LeaderTransition,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AccountLabels {
    pub(super) provider: &'static str,
    pub(super) account: String,
    pub(super) region: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SweepLabels {
    pub(super) provider: &'static str,
    pub(super) outcome: TerminationOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BuildLabels {
    pub(super) version: &'static str,
}

#[derive(Debug)]
pub(super) struct Families {
    pub(super) registry: Registry,
    pub(super) claim_bind: Histograms<PoolLabels>,
    pub(super) claim_held: Histograms<PoolLabels>,
    pub(super) claims_ended: Family<ClaimEndLabels, Counter>,
    pub(super) pool_stale_claims: Family<PoolLabels, Gauge>,
    pub(super) pool_members: Family<PoolMemberLabels, Gauge>,
    pub(super) pool_waiting_claims: Family<PoolLabels, Gauge>,
    pub(super) pool_target_size: Family<PoolLabels, Gauge>,
    pub(super) stuck_terminations: Family<PoolLabels, Gauge>,
    pub(super) stuck_since: Family<PoolLabels, SecondsGauge>,
    pub(super) quarantined: Family<PoolLabels, Gauge>,
    pub(super) orphans: Family<AccountLabels, Gauge>,
    pub(super) sweep_blocked: Family<AccountLabels, Gauge>,
    pub(super) orphan_terminations: Family<SweepLabels, Counter>,
    pub(super) creates: Family<CreateLabels, Counter>,
    pub(super) terminations: Family<TerminationLabels, Counter>,
    pub(super) member_failures: Family<FailureLabels, Counter>,
    pub(super) breakers: Family<BreakerLabels, Gauge>,
    pub(super) writes: Family<WriteLabels, Counter>,
    pub(super) bind_conflicts: Counter,
    pub(super) holds_overridden: Counter,
    pub(super) provider_calls: Histograms<CallLabels>,
    pub(super) replacement_delay: Histogram,
    pub(super) reconciles: Histograms<ControllerLabels>,
    pub(super) reconcile_errors: Family<ControllerLabels, Counter>,
    pub(super) last_success: Family<ControllerLabels, SecondsGauge>,
    pub(super) last_turn: Family<QueueLabels, SecondsGauge>,
    pub(super) last_watch: Family<WatchLabels, SecondsGauge>,
    pub(super) leader: Gauge,
    pub(super) leader_transitions: Family<TransitionLabels, Counter>,
}

impl Families {
    /// All of them, every closed label set at 0.
    pub(super) fn new() -> Self {
        let families = Self {
            registry: Registry::with_prefix("bullpen"),
            claim_bind: Family::new_with_constructor(|| Histogram::new(BIND_SECONDS)),
            claim_held: Family::new_with_constructor(|| Histogram::new(HELD_SECONDS)),
            claims_ended: Family::default(),
            pool_stale_claims: Family::default(),
            pool_members: Family::default(),
            pool_waiting_claims: Family::default(),
            pool_target_size: Family::default(),
            stuck_terminations: Family::default(),
            stuck_since: Family::default(),
            quarantined: Family::default(),
            orphans: Family::default(),
            sweep_blocked: Family::default(),
            orphan_terminations: Family::default(),
            creates: Family::default(),
            terminations: Family::default(),
            member_failures: Family::default(),
            breakers: Family::default(),
            writes: Family::default(),
            bind_conflicts: Counter::default(),
            holds_overridden: Counter::default(),
            provider_calls: Family::new_with_constructor(|| Histogram::new(CALL_SECONDS)),
            replacement_delay: Histogram::new(REPLACEMENT_SECONDS),
            reconciles: Family::new_with_constructor(|| Histogram::new(RECONCILE_SECONDS)),
            reconcile_errors: Family::default(),
            last_success: Family::default(),
            last_turn: Family::default(),
            last_watch: Family::default(),
            leader: Gauge::default(),
            leader_transitions: Family::default(),
        };
        families.registered().zeroed()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register(
            "build",
            "The running version",
            Info::new(BuildLabels { version: env!("CARGO_PKG_VERSION") }),
        );
        registry.register_with_unit(
            "claim_bind_duration",
            "From a claim's creation as this operator saw it until Bound was written",
            Unit::Seconds,
            self.claim_bind.clone(),
        );
        registry.register_with_unit(
            "claim_held",
            "How long claims that have ended had held their machine",
            Unit::Seconds,
            self.claim_held.clone(),
        );
        registry.register("claims_ended", "Claims that came to their end, by how they did", self.claims_ended.clone());
        registry.register(
            "pool_stale_claims",
            "Claims that have held a machine of a pool for longer than its claims.staleAfterSeconds",
            self.pool_stale_claims.clone(),
        );
        registry.register("pool_members", "Members of a pool by state", self.pool_members.clone());
        registry.register(
            "pool_waiting_claims",
            "Claims that wait for a member of a pool",
            self.pool_waiting_claims.clone(),
        );
        registry.register("pool_target_size", "The targetSize of a pool", self.pool_target_size.clone());
        registry.register(
            "pool_stuck_terminations",
            "Members of a pool whose machine cannot be terminated",
            self.stuck_terminations.clone(),
        );
        registry.register_with_unit(
            "pool_oldest_stuck_termination_timestamp",
            "Since when the oldest of them is being deleted; 0: there is none",
            Unit::Seconds,
            self.stuck_since.clone(),
        );
        registry.register(
            "pool_quarantined_members",
            "Members that are kept from claims because their machine was claimed before, by its tags",
            self.quarantined.clone(),
        );
        registry.register(
            "orphans",
            "Machines of this installation that no member needs, at the last sweep",
            self.orphans.clone(),
        );
        registry.register(
            "sweep_blocked",
            "Whether the orphans are so many that a person has to confirm their end",
            self.sweep_blocked.clone(),
        );
        registry.register(
            "orphan_terminations",
            "Terminate calls for orphans by outcome",
            self.orphan_terminations.clone(),
        );
        self.registered_calls()
    }

    /// What is called and written, and whether this process lives and leads.
    fn registered_calls(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("instance_creates", "Create calls by outcome", self.creates.clone());
        registry.register("instance_terminations", "Terminations by outcome", self.terminations.clone());
        registry.register("member_failures", "Members that will never be ready by class", self.member_failures.clone());
        registry.register(
            "breaker_state",
            "1 for the state that the breaker of a launch config in a pool is in",
            self.breakers.clone(),
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
            "provider_call_duration",
            "Calls to clouds",
            Unit::Seconds,
            self.provider_calls.clone(),
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
        registry.register_with_unit(
            "last_successful_reconcile_timestamp",
            "When a controller last finished a pass without an error; 0: never yet",
            Unit::Seconds,
            self.last_success.clone(),
        );
        registry.register_with_unit(
            "queue_last_turn_timestamp",
            "When a beat last came through a queue of the controllers; 0: never yet",
            Unit::Seconds,
            self.last_turn.clone(),
        );
        registry.register_with_unit(
            "watch_last_answer_timestamp",
            "When the list or watch of a kind was last answered with success; 0: never yet",
            Unit::Seconds,
            self.last_watch.clone(),
        );
        registry.register("leader", "Whether this process leads", self.leader.clone());
        registry.register(
            "leader_transitions",
            "How often this process began to lead, and ceased to",
            self.leader_transitions.clone(),
        );
        self
    }

    fn zeroed(self) -> Self {
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
        for &transition in LeaderTransition::ALL {
            drop(self.leader_transitions.get_or_create(&TransitionLabels { transition }));
        }
        self
    }
}

pub(super) fn watch_labels(kind: WatchedKind, feed: &Feed) -> WatchLabels {
    WatchLabels { kind, namespace: feed.namespace().unwrap_or_default().to_owned() }
}

pub(super) fn pool_labels(namespace: &str, pool: &str) -> PoolLabels {
    PoolLabels { namespace: namespace.to_owned(), pool: pool.to_owned() }
}

pub(super) fn member_labels(namespace: &str, pool: &str, state: MemberLabel) -> PoolMemberLabels {
    PoolMemberLabels { namespace: namespace.to_owned(), pool: pool.to_owned(), state }
}

pub(super) fn end_labels(namespace: &str, pool: &str, end: ClaimEnd) -> ClaimEndLabels {
    ClaimEndLabels { namespace: namespace.to_owned(), pool: pool.to_owned(), end }
}

pub(super) fn create_labels(namespace: &str, launch_config: &str, outcome: CreateOutcome) -> CreateLabels {
    CreateLabels { namespace: namespace.to_owned(), launch_config: launch_config.to_owned(), outcome }
}

pub(super) fn failure_labels(namespace: &str, launch_config: &str, class: FailureClass) -> FailureLabels {
    FailureLabels { namespace: namespace.to_owned(), launch_config: launch_config.to_owned(), class }
}

pub(super) fn breaker_labels(namespace: &str, pool: &str, launch_config: &str, state: BreakerState) -> BreakerLabels {
    let (namespace, pool) = (namespace.to_owned(), pool.to_owned());
    BreakerLabels { namespace, pool, launch_config: launch_config.to_owned(), state }
}

pub(super) fn termination_labels(
    namespace: &str,
    launch_config: &str,
    outcome: TerminationOutcome,
) -> TerminationLabels {
    TerminationLabels { namespace: namespace.to_owned(), launch_config: launch_config.to_owned(), outcome }
}
