//! Metrics of each pool: its members, claims and breakers.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Amount, Histograms};
use crate::telemetry::labels::{BreakerState, ClaimEnd, MemberLabel};

/// Claim to Bound takes milliseconds if a member is ready, and a boot or more otherwise.
const BIND_SECONDS: [f64; 19] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    1_800.0,
];
/// What the operator does before its first write for a claim, from a tenth of a millisecond. Longer than some seconds it
/// only takes if the API server does not answer.
const PAIRING_SECONDS: [f64; 15] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0];
/// From a quick test to a training of a week.
const HELD_SECONDS: [f64; 13] =
    [10.0, 30.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 86_400.0, 259_200.0, 604_800.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct PoolLabels {
    pub(in crate::telemetry) namespace: String,
    pub(in crate::telemetry) pool: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct PoolMemberLabels {
    pub(in crate::telemetry) namespace: String,
    pub(in crate::telemetry) pool: String,
    pub(in crate::telemetry) state: MemberLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct ClaimEndLabels {
    pub(in crate::telemetry) namespace: String,
    pub(in crate::telemetry) pool: String,
    pub(in crate::telemetry) end: ClaimEnd,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::telemetry) struct BreakerLabels {
    pub(in crate::telemetry) namespace: String,
    pub(in crate::telemetry) pool: String,
    pub(in crate::telemetry) launch_config: String,
    pub(in crate::telemetry) state: BreakerState,
}

/// The families with a series for each pool.
#[derive(Debug)]
pub(in crate::telemetry) struct PoolFamilies {
    pub(in crate::telemetry) claim_bind: Histograms<PoolLabels>,
    pub(in crate::telemetry) claim_pairing: Histograms<PoolLabels>,
    pub(in crate::telemetry) claim_held: Histograms<PoolLabels>,
    pub(in crate::telemetry) claims_ended: Family<ClaimEndLabels, Counter>,
    pub(in crate::telemetry) stale_claims: Family<PoolLabels, Gauge>,
    pub(in crate::telemetry) members: Family<PoolMemberLabels, Gauge>,
    pub(in crate::telemetry) waiting_claims: Family<PoolLabels, Gauge>,
    pub(in crate::telemetry) target_size: Family<PoolLabels, Gauge>,
    pub(in crate::telemetry) stuck_terminations: Family<PoolLabels, Gauge>,
    pub(in crate::telemetry) stuck_since: Family<PoolLabels, Amount>,
    pub(in crate::telemetry) quarantined: Family<PoolLabels, Gauge>,
    breakers: Family<BreakerLabels, Gauge>,
    /// The launch configs that each pool has a breaker series for.
    with_breaker: Mutex<HashMap<PoolLabels, BTreeSet<String>>>,
}

impl PoolFamilies {
    pub(super) fn new() -> Self {
        Self {
            claim_bind: Family::new_with_constructor(|| Histogram::new(BIND_SECONDS)),
            claim_pairing: Family::new_with_constructor(|| Histogram::new(PAIRING_SECONDS)),
            claim_held: Family::new_with_constructor(|| Histogram::new(HELD_SECONDS)),
            claims_ended: Family::default(),
            stale_claims: Family::default(),
            members: Family::default(),
            waiting_claims: Family::default(),
            target_size: Family::default(),
            stuck_terminations: Family::default(),
            stuck_since: Family::default(),
            quarantined: Family::default(),
            breakers: Family::default(),
            with_breaker: Mutex::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "claim_bind_duration",
            "From a claim's creation as this operator saw it until Bound was written",
            Unit::Seconds,
            self.claim_bind.clone(),
        );
        registry.register_with_unit(
            "claim_pairing_duration",
            "From the event of a claim that found a ready member until the compare-and-swap for it began",
            Unit::Seconds,
            self.claim_pairing.clone(),
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
            self.stale_claims.clone(),
        );
        registry.register("pool_members", "Members of a pool by state", self.members.clone());
        registry.register(
            "pool_waiting_claims",
            "Claims that wait for a member of a pool",
            self.waiting_claims.clone(),
        );
        registry.register(
            "pool_target_size",
            "The targetSize of a pool, or the target of the schedule that is on",
            self.target_size.clone(),
        );
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
            "breaker_state",
            "1 for the state that the breaker of a launch config in a pool is in",
            self.breakers.clone(),
        );
    }

    /// Creates the series of a pool at 0.
    pub(in crate::telemetry) fn begin(&self, namespace: &str, pool: &str) {
        let labels = pool_labels(namespace, pool);
        // Breaker series are created with their launch configs.
        let Self { claim_bind, claim_pairing, claim_held, claims_ended, stale_claims, members, waiting_claims, .. } =
            self;
        let Self { target_size, stuck_terminations, stuck_since, quarantined, .. } = self;
        drop(claim_bind.get_or_create(&labels));
        drop(claim_pairing.get_or_create(&labels));
        drop(claim_held.get_or_create(&labels));
        for gauge in [stale_claims, waiting_claims, target_size, stuck_terminations, quarantined] {
            drop(gauge.get_or_create(&labels));
        }
        drop(stuck_since.get_or_create(&labels));
        for &end in ClaimEnd::ALL {
            drop(claims_ended.get_or_create(&end_labels(namespace, pool, end)));
        }
        for &state in MemberLabel::ALL {
            drop(members.get_or_create(&member_labels(namespace, pool, state)));
        }
    }

    /// Drops the series of a pool.
    pub(in crate::telemetry) fn remove(&self, namespace: &str, pool: &str) {
        let labels = pool_labels(namespace, pool);
        // Every field is named, so that none is forgotten.
        let Self { claim_bind, claim_pairing, claim_held, claims_ended, stale_claims, members, waiting_claims, .. } =
            self;
        let Self { target_size, stuck_terminations, stuck_since, quarantined, with_breaker, .. } = self;
        claim_bind.remove(&labels);
        claim_pairing.remove(&labels);
        claim_held.remove(&labels);
        for gauge in [stale_claims, waiting_claims, target_size, stuck_terminations, quarantined] {
            gauge.remove(&labels);
        }
        stuck_since.remove(&labels);
        for &end in ClaimEnd::ALL {
            claims_ended.remove(&end_labels(namespace, pool, end));
        }
        for &state in MemberLabel::ALL {
            members.remove(&member_labels(namespace, pool, state));
        }
        let with_breaker = with_breaker.lock().remove(&labels).unwrap_or_default();
        for launch_config in with_breaker {
            self.remove_breaker(namespace, pool, &launch_config);
        }
    }

    /// Drops the series of all pools.
    pub(super) fn clear(&self) {
        // Every field is named, so that none is forgotten.
        let Self {
            claim_bind,
            claim_pairing,
            claim_held,
            claims_ended,
            stale_claims,
            members,
            waiting_claims,
            target_size,
            stuck_terminations,
            stuck_since,
            quarantined,
            breakers,
            with_breaker,
        } = self;
        claim_bind.clear();
        claim_pairing.clear();
        claim_held.clear();
        claims_ended.clear();
        members.clear();
        stuck_since.clear();
        for gauge in [stale_claims, waiting_claims, target_size, stuck_terminations, quarantined] {
            gauge.clear();
        }
        breakers.clear();
        with_breaker.lock().clear();
    }

    /// Sets the breaker state of a launch config: 1 for its state, 0 for the others.
    pub(in crate::telemetry) fn set_breaker(
        &self,
        namespace: &str,
        pool: &str,
        launch_config: &str,
        state: BreakerState,
    ) {
        for &each in BreakerState::ALL {
            let labels = breaker_labels(namespace, pool, launch_config, each);
            self.breakers.get_or_create(&labels).set(i64::from(each == state));
        }
        let mut with_breaker = self.with_breaker.lock();
        with_breaker.entry(pool_labels(namespace, pool)).or_default().insert(launch_config.to_owned());
    }

    /// Drops the breaker series of a launch config that the pool does not use any more.
    pub(in crate::telemetry) fn remove_breaker(&self, namespace: &str, pool: &str, launch_config: &str) {
        for &state in BreakerState::ALL {
            self.breakers.remove(&breaker_labels(namespace, pool, launch_config, state));
        }
        if let Some(with_breaker) = self.with_breaker.lock().get_mut(&pool_labels(namespace, pool)) {
            with_breaker.remove(launch_config);
        }
    }
}

pub(in crate::telemetry) fn pool_labels(namespace: &str, pool: &str) -> PoolLabels {
    PoolLabels { namespace: namespace.to_owned(), pool: pool.to_owned() }
}

pub(in crate::telemetry) fn member_labels(namespace: &str, pool: &str, state: MemberLabel) -> PoolMemberLabels {
    PoolMemberLabels { namespace: namespace.to_owned(), pool: pool.to_owned(), state }
}

pub(in crate::telemetry) fn end_labels(namespace: &str, pool: &str, end: ClaimEnd) -> ClaimEndLabels {
    ClaimEndLabels { namespace: namespace.to_owned(), pool: pool.to_owned(), end }
}

fn breaker_labels(namespace: &str, pool: &str, launch_config: &str, state: BreakerState) -> BreakerLabels {
    let (namespace, pool) = (namespace.to_owned(), pool.to_owned());
    BreakerLabels { namespace, pool, launch_config: launch_config.to_owned(), state }
}
