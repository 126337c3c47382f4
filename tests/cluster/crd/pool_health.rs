//! The rules of a pool's health probes, and of claims whose machine is taken away.

use serde_json::json;

use super::pool::pool;
use super::sandbox::{Case, Sandbox, assert_each_refused, with};

#[tokio::test]
async fn a_bad_health_probe_is_refused_with_a_message_that_names_the_field_and_the_rest_has_defaults() {
    let sandbox = Sandbox::new().await;
    let tcp = json!({"probe": {"tcpSocket": {"port": 22}}});
    let good = with(&pool(), "/spec/health", tcp);
    let at = "spec.health";
    let cases: &[Case] = &[
        ("no probe at all", "/spec/health", json!({}), &["spec.health.probe", "Required"]),
        (
            "a probe of no kind",
            "/spec/health/probe",
            json!({}),
            &[at, "exactly one of health.probe.tcpSocket, health.probe.httpGet and health.probe.heartbeat"],
        ),
        (
            "two kinds",
            "/spec/health/probe",
            json!({"tcpSocket": {"port": 22}, "httpGet": {"port": 80}}),
            &[at, "exactly one of health.probe.tcpSocket, health.probe.httpGet and health.probe.heartbeat"],
        ),
        (
            "a probe and heartbeats",
            "/spec/health/probe",
            json!({"tcpSocket": {"port": 22}, "heartbeat": {}}),
            &[at, "exactly one of health.probe.tcpSocket, health.probe.httpGet and health.probe.heartbeat"],
        ),
        (
            "heartbeats with a setting",
            "/spec/health/probe",
            json!({"heartbeat": {"seconds": 5}}),
            &["unknown field", "spec.health.probe.heartbeat.seconds"],
        ),
        ("no period", "/spec/health/periodSeconds", json!(0), &["spec.health.periodSeconds", "equal to 1"]),
        ("a period of hours", "/spec/health/periodSeconds", json!(3_601), &["periodSeconds", "equal to 3600"]),
        ("one failure", "/spec/health/failureThreshold", json!(1), &["failureThreshold", "equal to 2"]),
        (
            "none at once",
            "/spec/health/maxUnhealthyReplacements",
            json!(0),
            &["maxUnhealthyReplacements", "equal to 1"],
        ),
        ("a mistyped field", "/spec/health/period", json!(5), &["unknown field", "spec.health.period"]),
        (
            "another reaction",
            "/spec/claims/onInterrupt",
            json!("Keep"),
            &["spec.claims.onInterrupt", "\"Flag\", \"Release\""],
        ),
    ];
    let good = with(&good, "/spec/claims", json!({}));
    assert_each_refused(&sandbox, &good, cases).await;
    let made = sandbox.created(&good).await;
    let health = &made["spec"]["health"];
    assert_eq!(
        (&health["periodSeconds"], &health["failureThreshold"], &health["maxUnhealthyReplacements"]),
        (&json!(30), &json!(3), &json!(1))
    );
    assert_eq!(made["spec"]["claims"]["onInterrupt"], "Flag");
    sandbox.created(&with(&good, "/spec/health/probe", json!({"heartbeat": {}}))).await;
    sandbox.created(&with(&good, "/spec/health/probe", json!({"httpGet": {"port": 80, "path": "/up"}}))).await;
}
