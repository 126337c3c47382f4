//! The rules of how long a claim holds its machine: what a pool and a claim may say of it, and what may change later.

use serde_json::{Value, json};

use super::pool::pool;
use super::sandbox::{Case, Sandbox, assert_each_refused, manifest, with, without};

fn claim() -> Value {
    let spec = json!({
        "poolRef": {"name": "ci"},
        "ttlSeconds": 60,
        "renewTime": "2026-11-21T12:00:00.000000Z",
        "priority": 5,
        "acquiredFor": "build 7",
    });
    manifest("PoolClaim", &spec)
}

#[tokio::test]
async fn a_bad_ttl_or_renew_time_of_a_claim_is_refused_with_a_message_that_names_the_field() {
    let sandbox = Sandbox::new().await;
    let cases: &[Case] = &[
        ("no time at all", "/spec/ttlSeconds", json!(0), &["spec.ttlSeconds", "greater than or equal to 1"]),
        ("years", "/spec/ttlSeconds", json!(31_536_001), &["spec.ttlSeconds", "less than or equal to 31536000"]),
        ("a ttl in words", "/spec/ttlSeconds", json!("2h"), &["spec.ttlSeconds", "integer"]),
        ("a day without its time", "/spec/renewTime", json!("2026-11-21"), &["spec.renewTime", "date-time"]),
        ("no moment", "/spec/renewTime", json!("now"), &["spec.renewTime", "date-time"]),
    ];
    assert_each_refused(&sandbox, &claim(), cases).await;
}

#[tokio::test]
async fn ttl_renewal_priority_and_purpose_of_a_claim_may_change_come_and_go() {
    let sandbox = Sandbox::new().await;
    for (field, value) in [
        ("ttlSeconds", json!(7_200)),
        ("renewTime", json!("2026-11-21T13:00:00.000000Z")),
        ("priority", json!(-5)),
        ("acquiredFor", json!("a post-mortem")),
    ] {
        let pointer = format!("/spec/{field}");
        let full = sandbox.created(&claim()).await;
        let changed = sandbox.replace(&with(&full, &pointer, value.clone())).await;
        let changed = changed.unwrap_or_else(|error| panic!("{field} changes: {error}"));
        assert_eq!(changed["spec"][field], value);
        let taken = sandbox.replace(&without(&changed, &pointer)).await;
        let taken = taken.unwrap_or_else(|error| panic!("{field} goes: {error}"));
        let added = sandbox.replace(&with(&taken, &pointer, value)).await;
        added.unwrap_or_else(|error| panic!("{field} comes: {error}"));
    }
}

#[tokio::test]
async fn bad_rules_of_a_pool_about_the_time_of_claims_are_refused_with_a_message_that_names_the_field() {
    let sandbox = Sandbox::new().await;
    let good = with(&pool(), "/spec/claims", json!({"defaultTtlSeconds": 60, "maxTtlSeconds": 60}));
    let fresh = sandbox.created(&good).await;
    assert_eq!(fresh["spec"]["claims"]["staleAfterSeconds"], 86_400, "the one that a pool has without asking");
    let year = "equal to 31536000";
    let cases: &[Case] = &[
        ("no default", "/spec/claims/defaultTtlSeconds", json!(0), &["spec.claims.defaultTtlSeconds", "equal to 1"]),
        ("no time at most", "/spec/claims/maxTtlSeconds", json!(0), &["spec.claims.maxTtlSeconds", "equal to 1"]),
        (
            "a default above the most",
            "/spec/claims/defaultTtlSeconds",
            json!(61),
            &["spec.claims.defaultTtlSeconds", "must not be above maxTtlSeconds"],
        ),
        ("no hold", "/spec/claims/maxHoldSeconds", json!(0), &["spec.claims.maxHoldSeconds", "equal to 1"]),
        ("years of hold", "/spec/claims/maxHoldSeconds", json!(31_536_001), &["spec.claims.maxHoldSeconds", year]),
        ("stale at once", "/spec/claims/staleAfterSeconds", json!(0), &["spec.claims.staleAfterSeconds", "equal to 1"]),
        (
            "gone before its end",
            "/spec/claims/ttlSecondsAfterFinished",
            json!(-1),
            &["spec.claims.ttlSecondsAfterFinished", "equal to 0"],
        ),
        ("a mistyped field", "/spec/claims/ttl", json!(5), &["unknown field", "spec.claims.ttl"]),
    ];
    assert_each_refused(&sandbox, &good, cases).await;
    sandbox.created(&with(&good, "/spec/claims/ttlSecondsAfterFinished", json!(0))).await;
}
