use bullpen_api::ErrorClass;

use bullpen_plan::member::health::Tally;

use super::*;
use crate::telemetry::labels::ProbeOutcome;

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
            &format!(r#"bullpen_instance_creates_total{{namespace="ci",launch_config="small",outcome="{outcome}"}} 0"#)
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
    metrics.pool_known("ci", "linux");
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
fn the_boot_of_a_machine_and_what_comes_after_it_are_measured_apart() {
    let metrics = Metrics::new();
    metrics.launch_config_known("ci", "small");
    let labels = r#"{namespace="ci",launch_config="small"}"#;
    assert!(has_line(&metrics, &format!("bullpen_member_launch_duration_seconds_count{labels} 0")));
    metrics.member_ready("ci", "small", Some(Duration::from_secs(41)), Some(Duration::from_secs(95)));
    metrics.member_ready("ci", "small", None, None);
    for (family, seconds) in [("launch", "41.0"), ("warming", "95.0")] {
        let name = format!("bullpen_member_{family}_duration_seconds");
        assert!(has_line(&metrics, &format!("{name}_sum{labels} {seconds}")), "{}", metrics.encode().unwrap());
        assert!(has_line(&metrics, &format!("{name}_count{labels} 1")));
    }
    metrics.launch_config_gone("ci", "small");
    metrics.member_ready("ci", "small", None, Some(Duration::from_secs(1)));
    assert!(!metrics.encode().unwrap().contains(r#"launch_config="small""#));
}

#[test]
fn a_known_provider_has_every_operation_and_outcome_at_zero() {
    let metrics = Metrics::new();
    metrics.provider_known("simulated");
    let text = metrics.encode().unwrap();
    let series = text.lines().filter(|line| line.starts_with("bullpen_provider_call_duration_seconds_count")).count();
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
    metrics.claim_paired("ci", "linux", Duration::from_micros(700));
    metrics.claim_bound("ci", "linux", Duration::from_millis(14));
    for line in [
        r#"bullpen_pool_members{namespace="ci",pool="linux",state="ready"} 5"#,
        r#"bullpen_pool_waiting_claims{namespace="ci",pool="linux"} 2"#,
        r#"bullpen_pool_target_size{namespace="ci",pool="linux"} 7"#,
        r#"bullpen_claim_pairing_duration_seconds_bucket{le="0.0005",namespace="ci",pool="linux"} 0"#,
        r#"bullpen_claim_pairing_duration_seconds_bucket{le="0.001",namespace="ci",pool="linux"} 1"#,
        r#"bullpen_claim_pairing_duration_seconds_count{namespace="ci",pool="linux"} 1"#,
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
    metrics.clone().api_write(WriteKind::PoolClaim, WriteVerb::UpdateStatus, WriteOutcome::Conflict);
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

#[test]
fn a_process_that_stopped_leading_shows_no_series_of_any_object() {
    let metrics = Metrics::new();
    let fresh = metrics.encode().unwrap();
    metrics.pool_known("ci", "linux");
    metrics.set_breaker("ci", "linux", "small", BreakerState::Open);
    metrics.set_pool_attention(
        "ci",
        "linux",
        &Attention { stuck: vec!["linux-a".into()], quarantined: vec!["linux-b".into()], ..Attention::default() },
    );
    metrics.claim_ended("ci", "linux", ClaimEnd::Released, Some(Duration::from_secs(5)));
    metrics.launch_config_known("ci", "small");
    metrics.member_failed("ci", "small", FailureClass::Capacity);
    let identity = LaunchConfigIdentity { account: "sim".into(), region: "r1".into() };
    metrics.set_orphans("simulated", &identity, 3, true);
    assert_ne!(metrics.encode().unwrap(), fresh);
    metrics.objects_unknown();
    assert_eq!(metrics.encode().unwrap(), fresh);
}

#[test]
fn a_pool_that_is_gone_takes_its_breakers_with_it() {
    let metrics = Metrics::new();
    for pool in ["linux", "gpu"] {
        metrics.pool_known("ci", pool);
        metrics.set_breaker("ci", pool, "small", BreakerState::Open);
    }
    metrics.pool_gone("ci", "linux");
    let text = metrics.encode().unwrap();
    assert!(!text.contains(r#"pool="linux""#), "{text}");
    assert!(text.contains(r#"breaker_state{namespace="ci",pool="gpu""#), "{text}");
}

#[test]
fn what_is_recorded_of_an_object_that_is_gone_or_after_the_term_brings_no_series_back() {
    let metrics = Metrics::new();
    metrics.leads();
    let nothing = metrics.encode().unwrap();
    let record = || {
        metrics.set_pool_members("ci", "linux", &MemberCounts { ready: 5, total: 5, ..MemberCounts::default() });
        metrics.set_pool_attention("ci", "linux", &Attention { stuck: vec!["a".into()], ..Attention::default() });
        metrics.set_pool_stale_claims("ci", "linux", 1);
        metrics.set_pool_health("ci", "linux", Tally { probed: 5, failing: 3 }, true);
        metrics.health_probe("ci", "linux", ProbeOutcome::Failed);
        metrics.interruption_notice("ci", "linux");
        metrics.set_breaker("ci", "linux", "small", BreakerState::Open);
        metrics.claim_ended("ci", "linux", ClaimEnd::Lost, None);
        metrics.claim_bound("ci", "linux", Duration::from_secs(1));
        metrics.member_failed("ci", "small", FailureClass::Quota);
        metrics.instance_create("ci", "small", CreateOutcome::Accepted);
        metrics.instance_termination("ci", "small", TerminationOutcome::Gone);
    };
    record();
    assert_eq!(metrics.encode().unwrap(), nothing);
    metrics.pool_known("ci", "linux");
    metrics.launch_config_known("ci", "small");
    record();
    metrics.pool_gone("ci", "linux");
    metrics.launch_config_gone("ci", "small");
    record();
    assert_eq!(metrics.encode().unwrap(), nothing);
    metrics.pool_known("ci", "linux");
    metrics.objects_unknown();
    metrics.pool_known("ci", "linux");
    let account = LaunchConfigIdentity { account: "sim".into(), region: "r1".into() };
    metrics.set_orphans("simulated", &account, 3, true);
    record();
    assert_eq!(metrics.encode().unwrap(), nothing);
    metrics.leads();
    metrics.set_orphans("simulated", &account, 3, true);
    metrics.orphans_unknown("simulated", &account);
    assert!(!metrics.encode().unwrap().contains("account="), "an account that is closed");
}
