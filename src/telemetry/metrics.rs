//! The metrics, by typed methods. Units are base units (seconds); a closed set of label values is there at 0 before
//! the first event, so that `rate()` and `increase()` see the first one. Which there are is in [`families`](super::families).

use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{LaunchConfigIdentity, MemberCounts};
use bullpen_plan::operator::watched_namespaces::Feed;
use bullpen_plan::pool::attention::Attention;
use jiff::Timestamp;
use prometheus_client::encoding::text;

use super::families::{
    AccountLabels, CallLabels, ControllerLabels, Families, QueueLabels, SweepLabels, TransitionLabels, WriteLabels,
    breaker_labels, create_labels, end_labels, failure_labels, member_labels, pool_labels, termination_labels,
    watch_labels,
};
use super::labels::{
    BreakerState, ClaimEnd, Controller, CreateOutcome, FailureClass, LeaderTransition, MemberLabel, ProviderOperation,
    ProviderOutcome, Queue, TerminationOutcome, WatchedKind, WriteKind, WriteOutcome, WriteVerb,
};

/// The operator's metrics. A clone is another handle of the same ones.
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

    /// Everything as OpenMetrics text.
    ///
    /// # Errors
    /// When the text cannot be written; with a `String` to write to, it always can.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.0.registry)?;
        Ok(out)
    }

    /// A claim was written as Bound, `took` after this operator saw it made.
    pub fn claim_bound(&self, namespace: &str, pool: &str, took: Duration) {
        self.0.claim_bind.get_or_create(&pool_labels(namespace, pool)).observe(took.as_secs_f64());
    }

    /// A claim came to its end, after it had `held` a machine, if it had one.
    pub fn claim_ended(&self, namespace: &str, pool: &str, end: ClaimEnd, held: Option<Duration>) {
        self.0.claims_ended.get_or_create(&end_labels(namespace, pool, end)).inc();
        if let Some(held) = held {
            self.0.claim_held.get_or_create(&pool_labels(namespace, pool)).observe(held.as_secs_f64());
        }
    }

    /// The member of a compare-and-swap was taken by another, or had changed.
    pub fn bind_conflict(&self) {
        self.0.bind_conflicts.inc();
    }

    /// A member was held, and terminated all the same: its namespace ended.
    pub fn hold_overridden(&self) {
        self.0.holds_overridden.inc();
    }

    /// Begins the series of a pool, so that its histogram and gauges are there before anything happens to it.
    pub fn pool_known(&self, namespace: &str, pool: &str) {
        let labels = pool_labels(namespace, pool);
        drop(self.0.claim_bind.get_or_create(&labels));
        drop(self.0.claim_held.get_or_create(&labels));
        for &end in ClaimEnd::ALL {
            drop(self.0.claims_ended.get_or_create(&end_labels(namespace, pool, end)));
        }
        drop(self.0.pool_stale_claims.get_or_create(&labels));
        drop(self.0.pool_waiting_claims.get_or_create(&labels));
        drop(self.0.pool_target_size.get_or_create(&labels));
        drop(self.0.stuck_terminations.get_or_create(&labels));
        drop(self.0.stuck_since.get_or_create(&labels));
        drop(self.0.quarantined.get_or_create(&labels));
        for &state in MemberLabel::ALL {
            drop(self.0.pool_members.get_or_create(&member_labels(namespace, pool, state)));
        }
    }

    /// Drops all series of a pool that is gone.
    pub fn pool_gone(&self, namespace: &str, pool: &str) {
        let labels = pool_labels(namespace, pool);
        self.0.claim_bind.remove(&labels);
        self.0.claim_held.remove(&labels);
        for &end in ClaimEnd::ALL {
            self.0.claims_ended.remove(&end_labels(namespace, pool, end));
        }
        self.0.pool_stale_claims.remove(&labels);
        self.0.pool_waiting_claims.remove(&labels);
        self.0.pool_target_size.remove(&labels);
        self.0.stuck_terminations.remove(&labels);
        self.0.stuck_since.remove(&labels);
        self.0.quarantined.remove(&labels);
        for &state in MemberLabel::ALL {
            self.0.pool_members.remove(&member_labels(namespace, pool, state));
        }
    }

    /// The members of a pool, by state.
    pub fn set_pool_members(&self, namespace: &str, pool: &str, counts: &MemberCounts) {
        for &state in MemberLabel::ALL {
            let count = match state {
                MemberLabel::Pending => counts.pending,
                MemberLabel::Warming => counts.warming,
                MemberLabel::Ready => counts.ready,
                MemberLabel::Claimed => counts.claimed,
                MemberLabel::Errored => counts.errored,
                MemberLabel::Terminating => counts.terminating,
            };
            self.0.pool_members.get_or_create(&member_labels(namespace, pool, state)).set(i64::from(count));
        }
    }

    /// How many claims wait for a member of the pool.
    pub fn set_pool_waiting_claims(&self, namespace: &str, pool: &str, claims: i32) {
        self.0.pool_waiting_claims.get_or_create(&pool_labels(namespace, pool)).set(i64::from(claims));
    }

    /// How many claims have held a machine of the pool for long.
    pub fn set_pool_stale_claims(&self, namespace: &str, pool: &str, claims: usize) {
        let claims = i64::try_from(claims).unwrap_or(i64::MAX);
        self.0.pool_stale_claims.get_or_create(&pool_labels(namespace, pool)).set(claims);
    }

    /// The `spec.targetSize` of the pool.
    pub fn set_pool_target_size(&self, namespace: &str, pool: &str, size: i32) {
        self.0.pool_target_size.get_or_create(&pool_labels(namespace, pool)).set(i64::from(size));
    }

    /// The members of the pool that a person should look at.
    pub fn set_pool_attention(&self, namespace: &str, pool: &str, attention: &Attention) {
        let labels = pool_labels(namespace, pool);
        let count = |members: &[String]| i64::try_from(members.len()).unwrap_or(i64::MAX);
        let since = attention.stuck_since.map_or(0.0, |since| since.as_duration().as_secs_f64());
        self.0.stuck_terminations.get_or_create(&labels).set(count(&attention.stuck));
        self.0.stuck_since.get_or_create(&labels).set(since);
        self.0.quarantined.get_or_create(&labels).set(count(&attention.quarantined));
    }

    /// The machines of an account and region that have no member, and whether their sweep waits for a person.
    pub fn set_orphans(&self, provider: &'static str, identity: &LaunchConfigIdentity, orphans: usize, blocked: bool) {
        let labels = AccountLabels { provider, account: identity.account.clone(), region: identity.region.clone() };
        self.0.orphans.get_or_create(&labels).set(i64::try_from(orphans).unwrap_or(i64::MAX));
        self.0.sweep_blocked.get_or_create(&labels).set(blocked.into());
    }

    /// The end of a machine without a member was asked for.
    pub fn orphan_termination(&self, provider: &'static str, outcome: TerminationOutcome) {
        self.0.orphan_terminations.get_or_create(&SweepLabels { provider, outcome }).inc();
    }

    /// Begins the counters of a launch config at 0.
    pub fn launch_config_known(&self, namespace: &str, launch_config: &str) {
        for &outcome in CreateOutcome::ALL {
            drop(self.0.creates.get_or_create(&create_labels(namespace, launch_config, outcome)));
        }
        for &class in FailureClass::ALL {
            drop(self.0.member_failures.get_or_create(&failure_labels(namespace, launch_config, class)));
        }
        for &outcome in TerminationOutcome::ALL {
            drop(self.0.terminations.get_or_create(&termination_labels(namespace, launch_config, outcome)));
        }
    }

    /// Drops the counters of a launch config that is gone.
    pub fn launch_config_gone(&self, namespace: &str, launch_config: &str) {
        for &outcome in CreateOutcome::ALL {
            self.0.creates.remove(&create_labels(namespace, launch_config, outcome));
        }
        for &class in FailureClass::ALL {
            self.0.member_failures.remove(&failure_labels(namespace, launch_config, class));
        }
        for &outcome in TerminationOutcome::ALL {
            self.0.terminations.remove(&termination_labels(namespace, launch_config, outcome));
        }
    }

    /// A member will never be ready.
    pub fn member_failed(&self, namespace: &str, launch_config: &str, class: FailureClass) {
        self.0.member_failures.get_or_create(&failure_labels(namespace, launch_config, class)).inc();
    }

    /// The state of the breaker of a launch config in a pool: 1 for the one that it is in, 0 for the others.
    pub fn set_breaker(&self, namespace: &str, pool: &str, launch_config: &str, state: BreakerState) {
        for &each in BreakerState::ALL {
            let labels = breaker_labels(namespace, pool, launch_config, each);
            self.0.breakers.get_or_create(&labels).set(i64::from(each == state));
        }
    }

    /// Drops the breaker of a launch config that the pool does not use any more.
    pub fn breaker_gone(&self, namespace: &str, pool: &str, launch_config: &str) {
        for &state in BreakerState::ALL {
            self.0.breakers.remove(&breaker_labels(namespace, pool, launch_config, state));
        }
    }

    /// A machine was asked for.
    pub fn instance_create(&self, namespace: &str, launch_config: &str, outcome: CreateOutcome) {
        self.0.creates.get_or_create(&create_labels(namespace, launch_config, outcome)).inc();
    }

    /// A machine's end was asked for, or confirmed.
    pub fn instance_termination(&self, namespace: &str, launch_config: &str, outcome: TerminationOutcome) {
        self.0.terminations.get_or_create(&termination_labels(namespace, launch_config, outcome)).inc();
    }

    /// Something was written to the API server.
    pub fn api_write(&self, kind: WriteKind, verb: WriteVerb, outcome: WriteOutcome) {
        self.0.writes.get_or_create(&WriteLabels { kind, verb, outcome }).inc();
    }

    /// Begins the series of a kind of cloud.
    pub fn provider_known(&self, provider: &'static str) {
        for &operation in ProviderOperation::ALL {
            for &outcome in ProviderOutcome::ALL {
                drop(self.0.provider_calls.get_or_create(&CallLabels { provider, operation, outcome }));
            }
        }
        for &outcome in TerminationOutcome::ALL {
            drop(self.0.orphan_terminations.get_or_create(&SweepLabels { provider, outcome }));
        }
    }

    /// A cloud answered a call, or failed to.
    pub fn provider_call(
        &self,
        provider: &'static str,
        operation: ProviderOperation,
        outcome: ProviderOutcome,
        took: Duration,
    ) {
        let labels = CallLabels { provider, operation, outcome };
        self.0.provider_calls.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The create call of a replacement began, `delay` after a claim was given the member that it replaces.
    pub fn replacement_begun(&self, delay: Duration) {
        self.0.replacement_delay.observe(delay.as_secs_f64());
    }

    /// A controller went through one object without an error.
    pub fn reconcile_succeeded(&self, controller: Controller, took: Duration) {
        let labels = ControllerLabels { controller };
        self.0.reconciles.get_or_create(&labels).observe(took.as_secs_f64());
        self.0.last_success.get_or_create(&labels).set(Timestamp::now().as_duration().as_secs_f64());
    }

    /// A controller could not finish with one object.
    pub fn reconcile_failed(&self, controller: Controller, took: Duration) {
        let labels = ControllerLabels { controller };
        self.0.reconciles.get_or_create(&labels).observe(took.as_secs_f64());
        self.0.reconcile_errors.get_or_create(&labels).inc();
    }

    /// A beat came through a queue.
    pub fn queue_turned(&self, queue: Queue, at: Timestamp) {
        self.0.last_turn.get_or_create(&QueueLabels { queue }).set(at.as_duration().as_secs_f64());
    }

    /// The list or watch of a kind was answered with success.
    pub fn watch_answered(&self, kind: WatchedKind, feed: &Feed, at: Timestamp) {
        self.0.last_watch.get_or_create(&watch_labels(kind, feed)).set(at.as_duration().as_secs_f64());
    }

    /// The list or watch of a kind is awaited: its series is there, 0 until the first answer.
    pub fn watch_awaited(&self, kind: WatchedKind, feed: &Feed) {
        drop(self.0.last_watch.get_or_create(&watch_labels(kind, feed)));
    }

    /// This process leads from now on.
    pub fn leads(&self) {
        self.0.leader.set(1);
        self.0.leader_transitions.get_or_create(&TransitionLabels { transition: LeaderTransition::Gained }).inc();
    }

    /// This process leads no more.
    pub fn leads_no_more(&self) {
        self.0.leader.set(0);
        self.0.leader_transitions.get_or_create(&TransitionLabels { transition: LeaderTransition::Lost }).inc();
    }

    /// Drops all series of pools and launch configs: only who leads knows how they are.
    pub fn objects_unknown(&self) {
        self.0.claim_bind.clear();
        self.0.claim_held.clear();
        self.0.claims_ended.clear();
        self.0.pool_stale_claims.clear();
        self.0.pool_members.clear();
        self.0.pool_waiting_claims.clear();
        self.0.pool_target_size.clear();
        self.0.creates.clear();
        self.0.terminations.clear();
    }
}

#[cfg(test)]
mod tests {
    use bullpen_api::ErrorClass;

    use super::*;

    fn has_line(metrics: &Metrics, line: &str) -> bool {
        metrics.encode().unwrap().lines().any(|candidate| candidate == line)
    }

    #[test]
    fn every_counter_of_a_closed_set_is_there_at_zero_before_the_first_event() {
        let metrics = Metrics::new();
        for line in [
            r#"bullpen_api_writes_total{kind="PoolMember",verb="update_status",outcome="conflict"} 0"#,
            r#"bullpen_api_writes_total{kind="Event",verb="create",outcome="ok"} 0"#,
            "bullpen_bind_conflicts_total 0",
            "bullpen_replacement_delay_seconds_count 0",
            r#"bullpen_reconcile_duration_seconds_count{controller="launch_config"} 0"#,
            r#"bullpen_reconcile_errors_total{controller="pool"} 0"#,
            r#"bullpen_last_successful_reconcile_timestamp_seconds{controller="claim"} 0.0"#,
            r#"bullpen_queue_last_turn_timestamp_seconds{queue="launch_configs"} 0.0"#,
            "bullpen_leader 0",
            r#"bullpen_leader_transitions_total{transition="lost"} 0"#,
        ] {
            assert!(has_line(&metrics, line), "{line} is missing in:\n{}", metrics.encode().unwrap());
        }
    }

    #[test]
    fn a_known_launch_config_has_every_outcome_at_zero() {
        let metrics = Metrics::new();
        metrics.launch_config_known("ci", "small");
        for outcome in CreateOutcome::ALL {
            let outcome = outcome.as_str();
            assert!(has_line(
                &metrics,
                &format!(
                    r#"bullpen_instance_creates_total{{namespace="ci",launch_config="small",outcome="{outcome}"}} 0"#
                )
            ));
        }
        metrics.instance_termination("ci", "small", TerminationOutcome::Gone);
        assert!(has_line(
            &metrics,
            r#"bullpen_instance_terminations_total{namespace="ci",launch_config="small",outcome="gone"} 1"#
        ));
        metrics.launch_config_gone("ci", "small");
        assert!(!metrics.encode().unwrap().contains(r#"launch_config="small""#));
    }

    #[test]
    fn a_breaker_is_in_one_state_and_failures_are_counted_by_class_until_they_are_gone() {
        let metrics = Metrics::new();
        metrics.launch_config_known("ci", "small");
        assert!(has_line(
            &metrics,
            r#"bullpen_member_failures_total{namespace="ci",launch_config="small",class="warming_timeout"} 0"#
        ));
        metrics.member_failed("ci", "small", ErrorClass::Capacity.into());
        assert!(has_line(
            &metrics,
            r#"bullpen_member_failures_total{namespace="ci",launch_config="small",class="capacity"} 1"#
        ));
        metrics.set_breaker("ci", "linux", "small", BreakerState::Open);
        metrics.set_breaker("ci", "linux", "small", BreakerState::HalfOpen);
        for (state, value) in [("closed", 0), ("open", 0), ("half_open", 1)] {
            let line = format!(
                r#"bullpen_breaker_state{{namespace="ci",pool="linux",launch_config="small",state="{state}"}} {value}"#
            );
            assert!(has_line(&metrics, &line), "{line}");
        }
        metrics.breaker_gone("ci", "linux", "small");
        metrics.launch_config_gone("ci", "small");
        assert!(!metrics.encode().unwrap().contains(r#"launch_config="small""#));
    }

    #[test]
    fn a_known_provider_has_every_operation_and_outcome_at_zero() {
        let metrics = Metrics::new();
        metrics.provider_known("simulated");
        let text = metrics.encode().unwrap();
        let series =
            text.lines().filter(|line| line.starts_with("bullpen_provider_call_duration_seconds_count")).count();
        assert_eq!(series, ProviderOperation::ALL.len() * ProviderOutcome::ALL.len());
    }

    #[test]
    fn the_members_of_a_pool_are_counted_by_state_until_the_pool_is_gone() {
        let metrics = Metrics::new();
        metrics.pool_known("ci", "linux");
        assert!(has_line(&metrics, r#"bullpen_pool_members{namespace="ci",pool="linux",state="errored"} 0"#));
        metrics.set_pool_members("ci", "linux", &MemberCounts { ready: 5, total: 5, ..MemberCounts::default() });
        metrics.set_pool_waiting_claims("ci", "linux", 2);
        metrics.set_pool_target_size("ci", "linux", 7);
        metrics.claim_bound("ci", "linux", Duration::from_millis(14));
        for line in [
            r#"bullpen_pool_members{namespace="ci",pool="linux",state="ready"} 5"#,
            r#"bullpen_pool_waiting_claims{namespace="ci",pool="linux"} 2"#,
            r#"bullpen_pool_target_size{namespace="ci",pool="linux"} 7"#,
            r#"bullpen_claim_bind_duration_seconds_bucket{le="0.01",namespace="ci",pool="linux"} 0"#,
            r#"bullpen_claim_bind_duration_seconds_bucket{le="0.025",namespace="ci",pool="linux"} 1"#,
        ] {
            assert!(has_line(&metrics, line), "{line} is missing in:\n{}", metrics.encode().unwrap());
        }
        metrics.pool_known("ci", "linux-large");
        metrics.pool_gone("ci", "linux");
        let text = metrics.encode().unwrap();
        assert!(!text.contains(r#"pool="linux""#));
        assert!(text.contains(r#"pool="linux-large""#));
    }

    #[test]
    fn a_clone_counts_into_the_same_metrics() {
        let metrics = Metrics::new();
        metrics.clone().bind_conflict();
        metrics.clone().api_write(WriteKind::PoolClaim, WriteVerb::UpdateStatus, WriteOutcome::of_status(409));
        assert!(has_line(&metrics, "bullpen_bind_conflicts_total 1"));
        assert!(has_line(
            &metrics,
            r#"bullpen_api_writes_total{kind="PoolClaim",verb="update_status",outcome="conflict"} 1"#
        ));
    }

    #[test]
    fn a_failed_pass_counts_as_an_error_and_leaves_the_last_success() {
        let metrics = Metrics::new();
        metrics.reconcile_failed(Controller::Pool, Duration::from_millis(3));
        assert!(has_line(&metrics, r#"bullpen_reconcile_errors_total{controller="pool"} 1"#));
        assert!(has_line(&metrics, r#"bullpen_last_successful_reconcile_timestamp_seconds{controller="pool"} 0.0"#));
        metrics.reconcile_succeeded(Controller::Pool, Duration::from_millis(3));
        assert!(has_line(&metrics, r#"bullpen_reconcile_duration_seconds_count{controller="pool"} 2"#));
        assert!(!has_line(&metrics, r#"bullpen_last_successful_reconcile_timestamp_seconds{controller="pool"} 0.0"#));
    }

    #[test]
    fn all_names_have_the_prefix_and_the_text_ends_as_openmetrics_ends() {
        let text = Metrics::new().encode().unwrap();
        assert!(text.lines().filter(|line| !line.starts_with('#')).all(|line| line.starts_with("bullpen_")));
        assert!(text.contains(concat!(r#"bullpen_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#)));
        assert!(text.ends_with("# EOF\n"));
    }
}
