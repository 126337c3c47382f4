//! How long claims hold, and how long they stay as records.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::super::{Action, Promise};
use super::Scene;
use super::scene::at;

const WRONG: &[Promise] = &[Promise::TermsAreKept];

/// A claim `one` with a ttl of 10 s that holds `ci-a` since second 1.2, in a pool of these rules.
fn bound_in(rules: &Value) -> Scene {
    let mut scene = Scene::new();
    scene.rules.expiry_grace = SignedDuration::from_secs(2);
    scene.pool(-50.0, &json!({ "claims": rules }));
    scene.ready(0.0, "ci-a");
    scene.claim_as(1.0, "one", "Pending", &ttl(), &json!({}));
    scene.member(1.1, "ci-a", "Claimed", Some("one"));
    scene
}

fn bound() -> Scene {
    let mut scene = bound_in(&json!({}));
    scene.claim_as(1.2, "one", "Bound", &ttl(), &term(1.2, 11.2));
    scene
}

fn ttl() -> Value {
    json!({ "ttlSeconds": 10 })
}

fn term(renewed: f64, expires: f64) -> Value {
    json!({ "renewedAt": at(renewed).to_string(), "expiresAt": at(expires).to_string() })
}

/// The spec of the claim with the renewal of this second, and a status that has answered that of second `seen`.
fn renewed(asked: f64, seen: f64, expires: f64) -> (Value, Value) {
    let spec = json!({ "ttlSeconds": 10, "renewTime": at(asked).to_string() });
    let mut status = term(seen, expires);
    status["observedRenewTime"] = json!(at(seen).to_string());
    (spec, status)
}

#[test]
fn a_claim_that_expires_at_its_time_is_right_and_one_that_does_so_before_is_found() {
    for (expired, expected) in [(11.2, &[][..]), (11.1, WRONG)] {
        let mut scene = bound();
        scene.claim_as(expired, "one", "Expired", &ttl(), &term(1.2, 11.2));
        scene.terminate(expired + 0.1, "ci-a");
        scene.finds(expected);
    }
}

#[test]
fn a_claim_that_says_another_time_only_when_it_is_expired_is_found() {
    let mut scene = bound();
    scene.claim_as(8.0, "one", "Expired", &ttl(), &term(1.2, 7.0));
    scene.finds(WRONG);
}

#[test]
fn a_claim_that_expires_though_it_was_renewed_in_time_is_found() {
    let mut scene = bound();
    let (asks, _) = renewed(11.0, 0.0, 0.0);
    scene.claim_as(11.0, "one", "Bound", &asks, &term(1.2, 11.2));
    scene.claim_as(11.3, "one", "Expired", &asks, &term(1.2, 11.2));
    scene.finds(WRONG);
    // The renewal may have come after that.
    scene.relisted();
    scene.finds(&[]);
}

#[test]
fn a_renewal_after_the_end_changes_nothing() {
    let mut scene = bound();
    scene.claim_as(11.3, "one", "Expired", &ttl(), &term(1.2, 11.2));
    let (asks, _) = renewed(12.0, 0.0, 0.0);
    scene.claim_as(12.0, "one", "Expired", &asks, &term(1.2, 11.2));
    scene.finds(&[]);
}

#[test]
fn a_renewal_begins_the_ttl_anew() {
    let mut scene = bound();
    let (asks, answer) = renewed(5.0, 5.0, 15.0);
    scene.claim_as(5.0, "one", "Bound", &asks, &term(1.2, 11.2));
    scene.claim_as(5.1, "one", "Bound", &asks, &answer);
    scene.claim_as(15.1, "one", "Expired", &asks, &answer);
    scene.finds(&[]);
}

#[test]
fn a_renewal_that_does_not_move_renewed_at_is_found_and_a_move_without_a_renewal() {
    let (asks, mut answer) = renewed(5.0, 5.0, 11.2);
    answer["renewedAt"] = json!(at(1.2).to_string());
    let mut scene = bound();
    scene.claim_as(5.1, "one", "Bound", &asks, &answer);
    scene.finds(WRONG);
    let mut scene = bound();
    scene.claim_as(5.1, "one", "Bound", &ttl(), &term(5.0, 15.0));
    scene.finds(WRONG);
}

#[test]
fn a_renewed_at_that_goes_back_is_found() {
    let mut scene = bound();
    let (asks, answer) = renewed(5.0, 0.5, 10.5);
    scene.claim_as(5.1, "one", "Bound", &asks, &answer);
    scene.finds(WRONG);
}

#[test]
fn an_expires_at_that_changes_without_a_reason_is_found_but_not_by_another_ttl() {
    let mut scene = bound();
    scene.claim_as(5.0, "one", "Bound", &ttl(), &term(1.2, 9.2));
    scene.finds(WRONG);
    let mut scene = bound();
    let shorter = json!({ "ttlSeconds": 8 });
    scene.claim_as(4.9, "one", "Bound", &shorter, &term(1.2, 11.2));
    scene.claim_as(5.0, "one", "Bound", &shorter, &term(1.2, 9.2));
    scene.finds(&[]);
}

#[test]
fn a_term_that_is_not_as_claim_and_pool_say_is_found() {
    for (rules, expires, expected) in [
        (json!({}), 11.2, &[][..]),
        (json!({}), 12.0, WRONG),
        (json!({ "maxTtlSeconds": 5 }), 6.2, &[]),
        (json!({ "maxTtlSeconds": 5 }), 11.2, WRONG),
        (json!({ "defaultTtlSeconds": 5 }), 11.2, &[]),
        (json!({ "maxHoldSeconds": 7 }), 8.2, &[]),
        (json!({ "maxHoldSeconds": 7 }), 11.2, WRONG),
    ] {
        let mut scene = bound_in(&rules);
        scene.claim_as(1.2, "one", "Bound", &ttl(), &term(1.2, expires));
        scene.finds(expected);
    }
}

#[test]
fn a_renewal_beyond_the_longest_hold_is_found() {
    for (expires, expected) in [(14.2, &[][..]), (15.0, WRONG)] {
        let mut scene = bound_in(&json!({ "maxHoldSeconds": 13 }));
        scene.claim_as(1.2, "one", "Bound", &ttl(), &term(1.2, 11.2));
        let (asks, answer) = renewed(5.0, 5.0, expires);
        scene.claim_as(5.1, "one", "Bound", &asks, &answer);
        scene.finds(expected);
    }
}

#[test]
fn rules_that_were_in_force_a_moment_ago_may_count_and_older_ones_not() {
    for (changed, expected) in [(0.5, &[][..]), (-20.0, WRONG)] {
        let mut scene = bound();
        scene.pool(changed, &json!({ "claims": { "maxTtlSeconds": 5 } }));
        scene.finds(expected);
    }
}

#[test]
fn a_claim_without_any_ttl_never_has_an_end() {
    let mut scene = bound_in(&json!({}));
    scene.claim_as(1.2, "one", "Bound", &json!({}), &json!({}));
    scene.claim_as(500.0, "one", "Bound", &json!({}), &json!({}));
    scene.finds(&[]);
    let mut scene = bound_in(&json!({}));
    scene.claim_as(1.2, "one", "Bound", &json!({}), &term(1.2, 11.2));
    scene.finds(WRONG);
    let mut scene = bound_in(&json!({}));
    scene.claim_as(1.2, "one", "Bound", &json!({}), &json!({}));
    scene.claim_as(9.0, "one", "Expired", &json!({}), &json!({}));
    scene.finds(WRONG);
}

#[test]
fn a_claim_that_stays_bound_long_after_its_time_is_found_unless_nobody_could_end_it() {
    let mut scene = bound();
    scene.claim_as(50.0, "one", "Bound", &ttl(), &term(1.2, 11.2));
    scene.finds(&[]);
    let mut scene = bound();
    scene.claim_as(60.0, "one", "Expired", &ttl(), &term(1.2, 11.2));
    scene.finds(WRONG);
    scene.does(30.0, Action::OperatorStopsOrStarts);
    scene.finds(&[]);
}

#[test]
fn a_claim_that_was_released_need_not_expire() {
    let mut scene = bound();
    scene.release(20.0, "one");
    scene.ready(100.0, "ci-b");
    scene.finds(&[]);
}

#[test]
fn a_renewal_that_nobody_answers_is_found() {
    let mut scene = bound();
    let (asks, _) = renewed(11.0, 0.0, 0.0);
    scene.claim_as(11.0, "one", "Bound", &asks, &term(1.2, 11.2));
    scene.ready(60.0, "ci-b");
    scene.finds(WRONG);
    scene.does(20.0, Action::ApiServerStops);
    scene.does(30.0, Action::ApiServerIsBack);
    scene.finds(&[]);
}

#[test]
fn a_claim_that_was_waited_for_in_vain_to_expire_is_found() {
    let mut scene = bound();
    scene.does(30.0, Action::NeverExpired("one".to_owned()));
    scene.finds(WRONG);
}

#[test]
fn a_machine_that_is_terminated_long_before_its_claim_expires_is_found() {
    let mut scene = bound();
    scene.terminate(5.0, "ci-a");
    scene.claim_as(11.2, "one", "Expired", &ttl(), &term(1.2, 11.2));
    scene.finds(&[Promise::ClaimedMachineStays]);
}

#[test]
fn a_machine_that_is_terminated_a_moment_before_its_claim_expires_is_found_by_when_the_claim_says_it_ended() {
    for (terminated, expected) in [(10.5, &[Promise::ClaimedMachineStays][..]), (11.3, &[])] {
        let mut scene = bound();
        scene.terminate(terminated, "ci-a");
        let mut status = term(1.2, 11.2);
        status["conditions"] = json!([{
            "type": "Stalled", "status": "True", "reason": "Test", "message": "", "lastTransitionTime": at(11.0).to_string(),
        }]);
        // Seen late.
        scene.claim_as(12.0, "one", "Expired", &ttl(), &status);
        scene.finds(expected);
    }
}

/// A Bound claim with the flag Stale, as of this second.
fn stale(since: f64) -> Value {
    json!({ "conditions": [{
        "type": "Stale", "status": "True", "reason": "Test", "message": "", "lastTransitionTime": at(since).to_string(),
    }] })
}

#[test]
fn a_flag_that_comes_once_is_right_and_one_that_goes_back_comes_again_or_comes_early_is_found() {
    let held = || {
        let mut scene = bound_in(&json!({ "staleAfterSeconds": 4 }));
        scene.claim_as(1.2, "one", "Bound", &json!({}), &json!({}));
        scene
    };
    for (flagged, then, expected) in
        [(6.0, stale(6.0), &[][..]), (6.0, json!({}), WRONG), (6.0, stale(9.0), WRONG), (5.0, stale(5.0), WRONG)]
    {
        let mut scene = held();
        scene.claim_as(flagged, "one", "Bound", &json!({}), &stale(flagged));
        scene.claim_as(9.0, "one", "Bound", &json!({}), &then);
        scene.finds(expected);
    }
}

/// A claim that was Expired at second 11.2, whose record goes at second `gone`.
fn record(rules: &Value, gone: f64) -> Scene {
    let mut scene = bound_in(rules);
    scene.claim_as(1.2, "one", "Bound", &ttl(), &term(1.2, 11.2));
    scene.claim_as(11.2, "one", "Expired", &ttl(), &term(1.2, 11.2));
    scene.claim_goes(gone, "one");
    scene
}

#[test]
fn a_record_that_goes_before_its_time_is_found() {
    let kept = json!({ "ttlSecondsAfterFinished": 5 });
    record(&kept, 16.3).finds(&[]);
    record(&kept, 15.0).finds(&[Promise::RecordStays]);
}

#[test]
fn a_record_that_the_pool_keeps_and_a_claim_that_had_not_ended_go_by_their_users_only() {
    let mut scene = record(&json!({}), 90.0);
    scene.finds(&[Promise::RecordStays]);
    scene.does(89.0, Action::Release("one".to_owned()));
    scene.finds(&[]);
    let mut scene = bound_in(&json!({ "ttlSecondsAfterFinished": 0 }));
    scene.claim_as(1.2, "one", "Bound", &ttl(), &term(1.2, 11.2));
    scene.claim_goes(5.0, "one");
    scene.finds(&[Promise::RecordStays]);
}
