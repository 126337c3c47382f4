//! Records metrics by typed methods. Units are base units (seconds). A closed set of label values exists at 0 before
//! the first event, so that `rate()` and `increase()` see the first one. [`families`](super::families) lists the
//! metrics.

mod health;
mod reuse;

use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{LaunchConfigIdentity, MemberCounts};
use bullpen_plan::operator::watched_namespaces::Feed;
use bullpen_plan::pool::attention::Attention;
use jiff::{SignedDuration, Timestamp};
use parking_lot::MutexGuard;
use prometheus_client::encoding::text;

use super::families::Families;
use super::families::clouds::{AccountLabels, CallLabels, SweepLabels};
use super::families::known::{Kind, Objects};
use super::families::launch_configs::{create_labels, failure_labels, launch_config_labels, termination_labels};
use super::families::machines::RequestLabels;
use super::families::pools::{end_labels, member_labels, pool_labels};
use super::families::process::{
    ControllerLabels, KindLabels, QueueLabels, TaskLabels, TransitionLabels, WriteLabels, watch_labels,
};
use super::labels::{
    BreakerState, ClaimEnd, Controller, CreateOutcome, FailureClass, LeaderTransition, MachineResult, MachineRoute,
    MemberLabel, ProviderOperation, ProviderOutcome, Queue, Task, TerminationOutcome, WatchedKind, WriteKind,
    WriteOutcome, WriteVerb,
};

pub use reuse::ResetResult;

/// The operator's metrics. Clones share the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics with every closed label set at 0.
    pub fn new() -> Self {
        Self(Arc::new(Families::new()))
    }

    /// All metrics as OpenMetrics text.
    ///
    /// # Errors
    /// When the text cannot be written, which does not happen with a `String`.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.0.registry)?;
        Ok(out)
    }

    /// A claim became Bound, `took` after this operator first saw it.
    pub fn claim_bound(&self, namespace: &str, pool: &str, took: Duration) {
        let Some(_known) = self.known(Kind::Pool, namespace, pool) else { return };
        self.0.pools.claim_bind.get_or_create(&pool_labels(namespace, pool)).observe(took.as_secs_f64());
    }

    /// The compare-and-swap for a claim begins, `took` after this operator first saw the claim. Only for claims that did
    /// not wait for a member.
    pub fn claim_paired(&self, namespace: &str, pool: &str, took: Duration) {
        self.0.pools.claim_pairing.get_or_create(&pool_labels(namespace, pool)).observe(took.as_secs_f64());
    }

    /// A claim ended, after it had `held` a machine, if it had one.
    pub fn claim_ended(&self, namespace: &str, pool: &str, end: ClaimEnd, held: Option<Duration>) {
        let Some(_known) = self.known(Kind::Pool, namespace, pool) else { return };
        self.0.pools.claims_ended.get_or_create(&end_labels(namespace, pool, end)).inc();
        if let Some(held) = held {
            self.0.pools.claim_held.get_or_create(&pool_labels(namespace, pool)).observe(held.as_secs_f64());
        }
    }

    /// Sets how many objects of a kind cannot be read.
    pub fn set_unreadable_objects(&self, kind: &str, present: usize) {
        if let Some(&kind) = WatchedKind::ALL.iter().find(|known| known.as_str() == kind) {
            let present = i64::try_from(present).unwrap_or(i64::MAX);
            self.0.process.unreadable.get_or_create(&KindLabels { kind }).set(present);
        }
    }

    /// The compare-and-swap of a binding found that the member was claimed or had changed.
    pub fn bind_conflict(&self) {
        self.0.process.bind_conflicts.inc();
    }

    /// A held member was terminated because its namespace ended.
    pub fn hold_overridden(&self) {
        self.0.process.holds_overridden.inc();
    }

    /// Creates the series of a pool, so that its histogram and gauges exist before anything happens to it.
    pub fn pool_known(&self, namespace: &str, pool: &str) {
        if self.0.known.lock().add(Kind::Pool, namespace, pool) {
            self.0.pools.begin(namespace, pool);
            self.0.health.begin(namespace, pool);
            self.0.reuse.begin(namespace, pool);
        }
    }

    /// Drops all series of a pool that is gone.
    pub fn pool_gone(&self, namespace: &str, pool: &str) {
        let mut known = self.0.known.lock();
        known.remove(Kind::Pool, namespace, pool);
        self.0.pools.remove(namespace, pool);
        self.0.health.remove(namespace, pool);
        self.0.reuse.remove(namespace, pool);
    }

    /// Sets the members of a pool, by state.
    pub fn set_pool_members(&self, namespace: &str, pool: &str, counts: &MemberCounts) {
        let Some(_known) = self.known(Kind::Pool, namespace, pool) else { return };
        for &state in MemberLabel::ALL {
            let count = match state {
                MemberLabel::Pending => counts.pending,
                MemberLabel::Warming => counts.warming,
                MemberLabel::Ready => counts.ready,
                MemberLabel::Standby => counts.standby,
                MemberLabel::Claimed => counts.claimed,
                MemberLabel::Errored => counts.errored,
                MemberLabel::Terminating => counts.terminating,
            };
            self.0.pools.members.get_or_create(&member_labels(namespace, pool, state)).set(i64::from(count));
        }
    }

    /// Sets how many claims wait for a member of the pool.
    pub fn set_pool_waiting_claims(&self, namespace: &str, pool: &str, claims: i32) {
        let Some(_known) = self.known(Kind::Pool, namespace, pool) else { return };
        self.0.pools.waiting_claims.get_or_create(&pool_labels(namespace, pool)).set(i64::from(claims));
    }

    /// Sets how many claims have held a machine of the pool for long.
    pub fn set_pool_stale_claims(&self, namespace: &str, pool: &str, claims: usize) {
        let Some(_known) = self.known(Kind::Pool, namespace, pool) else { return };
        let claims = i64::try_from(claims).unwrap_or(i64::MAX);
        self.0.pools.stale_claims.get_or_create(&pool_labels(namespace, pool)).set(claims);
    }

    /// Sets the `spec.targetSize` of the pool.
    pub fn set_pool_target_size(&self, namespace: &str, pool: &str, size: i32) {
        let Some(_known) = self.known(Kind::Pool, namespace, pool) else { return };
        self.0.pools.target_size.get_or_create(&pool_labels(namespace, pool)).set(i64::from(size));
    }

    /// Sets the size that was found for the pool; `None`: none is known.
    pub fn set_pool_recommended_target(&self, namespace: &str, pool: &str, size: Option<i32>) {
        let Some(_known) = self.known(Kind::Pool, namespace, pool) else { return };
        let (family, labels) = (&self.0.pools.recommended_target, pool_labels(namespace, pool));
        match size {
            Some(size) => drop(family.get_or_create(&labels).set(i64::from(size))),
            None => drop(family.remove(&labels)),
        }
    }

    /// Sets the members of the pool that need a person.
    pub fn set_pool_attention(&self, namespace: &str, pool: &str, attention: &Attention) {
        let Some(_known) = self.known(Kind::Pool, namespace, pool) else { return };
        let labels = pool_labels(namespace, pool);
        let count = |members: &[String]| i64::try_from(members.len()).unwrap_or(i64::MAX);
        let since = attention.stuck_since.map_or(0.0, |since| since.as_duration().as_secs_f64());
        self.0.pools.stuck_terminations.get_or_create(&labels).set(count(&attention.stuck));
        self.0.pools.stuck_since.get_or_create(&labels).set(since);
        self.0.pools.quarantined.get_or_create(&labels).set(count(&attention.quarantined));
    }

    /// Sets the machines of an account and region that have no member, and whether their sweep waits for a person.
    pub fn set_orphans(&self, provider: &'static str, identity: &LaunchConfigIdentity, orphans: usize, blocked: bool) {
        let known = self.0.known.lock();
        if !known.is_open() {
            return;
        }
        let labels = account_labels(provider, identity);
        self.0.clouds.orphans.get_or_create(&labels).set(i64::try_from(orphans).unwrap_or(i64::MAX));
        self.0.clouds.sweep_blocked.get_or_create(&labels).set(blocked.into());
    }

    /// Drops the orphans of an account and region that is not in use any more, or not accessible.
    pub fn orphans_unknown(&self, provider: &'static str, identity: &LaunchConfigIdentity) {
        let labels = account_labels(provider, identity);
        self.0.clouds.orphans.remove(&labels);
        self.0.clouds.sweep_blocked.remove(&labels);
    }

    /// A terminate call for an orphan was made.
    pub fn orphan_termination(&self, provider: &'static str, outcome: TerminationOutcome) {
        self.0.clouds.orphan_terminations.get_or_create(&SweepLabels { provider, outcome }).inc();
    }

    /// Creates the counters of a launch config at 0.
    pub fn launch_config_known(&self, namespace: &str, launch_config: &str) {
        if self.0.known.lock().add(Kind::LaunchConfig, namespace, launch_config) {
            self.0.launch_configs.begin(namespace, launch_config);
        }
    }

    /// Sets how many members a launch config has, and what a machine of it costs for an hour, if that is known.
    pub fn launch_config_counted(&self, namespace: &str, launch_config: &str, instances: i32, price: Option<f64>) {
        // Held until the end: otherwise a series could come back after its launch config is gone.
        let mut known = self.0.known.lock();
        if !known.has(Kind::LaunchConfig, namespace, launch_config) {
            return;
        }
        let (families, labels) = (&self.0.launch_configs, launch_config_labels(namespace, launch_config));
        families.instances.get_or_create(&labels).set(instances.into());
        match price {
            Some(price) => drop(families.hourly_prices.get_or_create(&labels).set(price)),
            None => drop(families.hourly_prices.remove(&labels)),
        }
    }

    /// Drops the counters of a launch config that is gone.
    pub fn launch_config_gone(&self, namespace: &str, launch_config: &str) {
        let mut known = self.0.known.lock();
        known.remove(Kind::LaunchConfig, namespace, launch_config);
        self.0.launch_configs.remove(namespace, launch_config);
    }

    /// A member became ready: how long its machine took from its launch to its boot, and from there until now. What the
    /// cloud did not tell is `None`.
    pub fn member_ready(
        &self,
        namespace: &str,
        launch_config: &str,
        launch: Option<Duration>,
        warming: Option<Duration>,
    ) {
        let Some(_known) = self.known(Kind::LaunchConfig, namespace, launch_config) else { return };
        let (labels, families) = (launch_config_labels(namespace, launch_config), &self.0.launch_configs);
        for (family, took) in [(&families.launches, launch), (&families.warmings, warming)] {
            if let Some(took) = took {
                family.get_or_create(&labels).observe(took.as_secs_f64());
            }
        }
    }

    /// A member will never be ready.
    pub fn member_failed(&self, namespace: &str, launch_config: &str, class: FailureClass) {
        let Some(_known) = self.known(Kind::LaunchConfig, namespace, launch_config) else { return };
        self.0.launch_configs.member_failures.get_or_create(&failure_labels(namespace, launch_config, class)).inc();
    }

    /// Sets the breaker state of a launch config in a pool: 1 for its state, 0 for the others.
    pub fn set_breaker(&self, namespace: &str, pool: &str, launch_config: &str, state: BreakerState) {
        let Some(_known) = self.known(Kind::Pool, namespace, pool) else { return };
        self.0.pools.set_breaker(namespace, pool, launch_config, state);
    }

    /// Drops the breaker series of a launch config that the pool does not use any more.
    pub fn breaker_gone(&self, namespace: &str, pool: &str, launch_config: &str) {
        self.0.pools.remove_breaker(namespace, pool, launch_config);
    }

    /// A create call was made.
    pub fn instance_create(&self, namespace: &str, launch_config: &str, outcome: CreateOutcome) {
        let Some(_known) = self.known(Kind::LaunchConfig, namespace, launch_config) else { return };
        self.0.launch_configs.creates.get_or_create(&create_labels(namespace, launch_config, outcome)).inc();
    }

    /// A terminate call was made, or the end of a machine was confirmed.
    pub fn instance_termination(&self, namespace: &str, launch_config: &str, outcome: TerminationOutcome) {
        let Some(_known) = self.known(Kind::LaunchConfig, namespace, launch_config) else { return };
        self.0.launch_configs.terminations.get_or_create(&termination_labels(namespace, launch_config, outcome)).inc();
    }

    /// A write to the API server was answered or failed.
    pub fn api_write(&self, kind: WriteKind, verb: WriteVerb, outcome: WriteOutcome) {
        self.0.process.writes.get_or_create(&WriteLabels { kind, verb, outcome }).inc();
    }

    /// A machine that waited for its claim was told of it, so long after the claim was bound.
    pub fn machine_told(&self, after: Duration) {
        self.0.machines.assignments.observe(after.as_secs_f64());
    }

    /// A request of a machine was answered.
    pub fn machine_request(&self, route: MachineRoute, result: MachineResult) {
        self.0.machines.requests.get_or_create(&RequestLabels { route, result }).inc();
    }

    /// Creates the series of a kind of cloud.
    pub fn provider_known(&self, provider: &'static str) {
        self.0.clouds.begin(provider);
    }

    /// A call to a cloud was answered or failed.
    pub fn provider_call(
        &self,
        provider: &'static str,
        operation: ProviderOperation,
        outcome: ProviderOutcome,
        took: Duration,
    ) {
        let labels = CallLabels { provider, operation, outcome };
        self.0.clouds.calls.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The create call of a replacement began, `delay` after the claim got the member that it replaces.
    pub fn replacement_begun(&self, delay: Duration) {
        self.0.process.replacement_delay.observe(delay.as_secs_f64());
    }

    /// A pass of a controller succeeded.
    pub fn reconcile_succeeded(&self, controller: Controller, took: Duration) {
        let labels = ControllerLabels { controller };
        self.0.process.reconciles.get_or_create(&labels).observe(took.as_secs_f64());
        self.0.process.last_success.get_or_create(&labels).set(Timestamp::now().as_duration().as_secs_f64());
    }

    /// A pass of a controller failed.
    pub fn reconcile_failed(&self, controller: Controller, took: Duration) {
        let labels = ControllerLabels { controller };
        self.0.process.reconciles.get_or_create(&labels).observe(took.as_secs_f64());
        self.0.process.reconcile_errors.get_or_create(&labels).inc();
    }

    /// A task of the operator panicked.
    pub fn panicked(&self, task: Task) {
        self.0.process.panics.get_or_create(&TaskLabels { task }).inc();
    }

    /// A heartbeat came through a queue.
    pub fn queue_turned(&self, queue: Queue, at: Timestamp) {
        self.0.process.last_turn.get_or_create(&QueueLabels { queue }).set(at.as_duration().as_secs_f64());
    }

    /// The list or watch of a kind was answered with success.
    pub fn watch_answered(&self, kind: WatchedKind, feed: &Feed, at: Timestamp) {
        self.0.process.last_watch.get_or_create(&watch_labels(kind, feed)).set(at.as_duration().as_secs_f64());
    }

    /// Creates the series of a watch, at 0 until its first answer.
    pub fn watch_awaited(&self, kind: WatchedKind, feed: &Feed) {
        drop(self.0.process.last_watch.get_or_create(&watch_labels(kind, feed)));
    }

    /// Sets how far the wall clock is ahead of the API server's.
    pub fn set_clock_skew(&self, skew: SignedDuration) {
        self.0.process.clock_skew.set(skew.as_secs_f64());
    }

    /// This process began to lead.
    pub fn leads(&self) {
        self.0.known.lock().open();
        self.0.process.leader.set(1);
        self.0
            .process
            .leader_transitions
            .get_or_create(&TransitionLabels { transition: LeaderTransition::Gained })
            .inc();
    }

    /// This process stopped leading.
    pub fn leads_no_more(&self) {
        self.0.process.leader.set(0);
        self.0.process.leader_transitions.get_or_create(&TransitionLabels { transition: LeaderTransition::Lost }).inc();
    }

    /// Drops what only the leader knows: the series of pools and launch configs, and the number of orphans.
    pub fn objects_unknown(&self) {
        self.0.clear_objects();
    }

    /// Keeps the series of this object from being removed meanwhile; `None` if it has none.
    fn known(&self, kind: Kind, namespace: &str, name: &str) -> Option<MutexGuard<'_, Objects>> {
        let mut known = self.0.known.lock();
        known.has(kind, namespace, name).then_some(known)
    }
}

fn account_labels(provider: &'static str, identity: &LaunchConfigIdentity) -> AccountLabels {
    AccountLabels { provider, account: identity.account.clone(), region: identity.region.clone() }
}

#[cfg(test)]
mod tests;
