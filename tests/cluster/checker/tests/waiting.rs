//! Claims that wait: nobody is passed, and something happens.

use jiff::SignedDuration;
use serde_json::json;

use super::super::{Action, Promise};
use super::Scene;

/// A claim of second 1 waits while one of second `younger` is served at second 10.
fn passed(younger: f64) -> Scene {
    let mut scene = Scene::new();
    scene.claim(1.0, 1.0, "older", "Pending", None);
    scene.claim(younger, younger, "younger", "Pending", None);
    scene.ready(9.0, "ci-a");
    scene.member(10.0, "ci-a", "Claimed", Some("younger"));
    scene.claim(younger, 10.1, "younger", "Bound", Some("ci-a"));
    scene
}

#[test]
fn a_claim_that_is_passed_by_a_younger_one_is_found() {
    passed(4.0).finds(&[Promise::NobodyIsPassed]);
    passed(3.0).finds(&[]);
}

#[test]
fn a_claim_may_be_passed_by_one_of_higher_priority_as_far_as_the_pool_allows_priorities() {
    for (older, younger, highest, expected) in [
        (0, 5, json!(null), &[][..]),
        (5, 5, json!(null), &[Promise::NobodyIsPassed]),
        (5, 0, json!(null), &[Promise::NobodyIsPassed]),
        (3, 5, json!(3), &[Promise::NobodyIsPassed]),
        (3, 5, json!(4), &[]),
        (-5, 0, json!(-3), &[]),
    ] {
        let mut scene = Scene::new();
        scene.pool(-50.0, &json!({ "claims": { "maxPriority": highest } }));
        scene.claim_with(1.0, 1.0, "older", "Pending", None, &json!({ "priority": older }));
        scene.claim_with(5.0, 5.0, "younger", "Pending", None, &json!({ "priority": younger }));
        scene.ready(9.0, "ci-a");
        scene.member(10.0, "ci-a", "Claimed", Some("younger"));
        scene.finds(expected);
        // What the pool allowed a moment ago may still have been in force.
        scene.pool(8.0, &json!({ "claims": {} }));
        scene.finds(if younger > older { &[] } else { expected });
    }
}

#[test]
fn a_claim_whose_priority_was_lower_for_a_moment_may_be_passed() {
    let mut scene = passed(4.0);
    scene.claim_with(1.0, 5.0, "older", "Pending", None, &json!({ "priority": -1 }));
    scene.claim(1.0, 6.0, "older", "Pending", None);
    scene.finds(&[]);
}

#[test]
fn a_claim_that_is_served_in_the_same_moment_is_not_passed() {
    let mut scene = passed(4.0);
    scene.ready(9.0, "ci-b");
    scene.member(10.5, "ci-b", "Claimed", Some("older"));
    scene.finds(&[]);
}

#[test]
fn a_claim_that_was_released_is_not_passed() {
    let mut scene = passed(4.0);
    scene.release(9.9, "older");
    scene.finds(&[]);
}

#[test]
fn a_claim_may_be_passed_while_the_api_server_comes_back() {
    let mut scene = passed(4.0);
    scene.does(5.0, Action::ApiServerStops);
    scene.does(8.0, Action::ApiServerIsBack);
    scene.finds(&[]);
}

#[test]
fn a_claim_may_be_passed_by_one_that_was_paired_right_before_a_kill() {
    for (killed, expected) in [(10.5, &[][..]), (8.5, &[Promise::NobodyIsPassed])] {
        let mut scene = passed(4.0);
        scene.does(killed, Action::OperatorStopsOrStarts);
        scene.finds(expected);
    }
}

#[test]
fn a_claim_that_this_pool_may_serve_among_others_is_passed_as_those_that_name_it() {
    for (class, expected) in [("Ephemeral", &[Promise::NobodyIsPassed][..]), ("Spot", &[])] {
        let mut scene = passed(4.0);
        let selects = json!({ "poolRef": null, "poolSelector": { "lifecycleClass": class } });
        scene.claim_with(1.0, 1.0, "older", "Failed", None, &json!({ "waitTimeoutSeconds": 0 }));
        scene.claim_with(1.0, 1.0, "of any", "Pending", None, &selects);
        scene.finds(expected);
    }
}

#[test]
fn a_claim_on_another_pool_is_not_passed() {
    let mut scene = passed(4.0);
    scene.claim_with(0.0, 0.0, "elsewhere", "Pending", None, &json!({ "poolRef": { "name": "other" } }));
    scene.finds(&[Promise::NobodyIsPassed]);
}

/// A claim that waits from second 1 until it is served at second `served`.
fn standstill(served: f64) -> Scene {
    let mut scene = Scene::new();
    scene.rules.longest_standstill = Some(SignedDuration::from_secs(5));
    scene.claim(1.0, 1.0, "one", "Pending", None);
    scene.ready(served - 1.0, "ci-a");
    scene.member(served, "ci-a", "Claimed", Some("one"));
    scene.claim(1.0, served + 0.1, "one", "Bound", Some("ci-a"));
    scene
}

#[test]
fn a_standstill_while_a_claim_waits_is_found() {
    standstill(6.0).finds(&[]);
    standstill(8.0).finds(&[Promise::Progress]);
}

#[test]
fn a_standstill_is_excused_while_the_pool_says_that_it_is_held() {
    let mut scene = standstill(8.0);
    scene.pool_says(0.9, "ProvisioningHealthy", "False");
    scene.finds(&[]);
    scene.pool_says(0.95, "ProvisioningHealthy", "True");
    scene.finds(&[Promise::Progress]);
}

#[test]
fn a_standstill_is_excused_while_the_operator_comes_up() {
    let mut scene = standstill(8.0);
    scene.does(0.5, Action::OperatorStopsOrStarts);
    scene.finds(&[]);
}

#[test]
fn a_standstill_beside_a_ready_member_is_never_excused() {
    let mut scene = standstill(8.0);
    scene.ready(0.0, "ci-b");
    scene.pool_says(0.9, "ProvisioningHealthy", "False");
    scene.finds(&[Promise::Progress]);
}
