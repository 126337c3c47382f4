//! Who holds what, states and phases, and how claims end.

use bullpen_simcloud::ledger::State;
use serde_json::json;

use super::super::{Action, Promise};
use super::Scene;

/// A claim `one` that is Bound to member `ci-a` at second 1.2.
fn bound() -> Scene {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.claim(1.0, 1.0, "one", "Pending", None);
    scene.member(1.1, "ci-a", "Claimed", Some("one"));
    scene.claim(1.0, 1.2, "one", "Bound", Some("ci-a"));
    scene
}

#[test]
fn a_member_that_two_claims_name_is_found() {
    let mut scene = bound();
    scene.claim(2.0, 2.0, "two", "Pending", None);
    scene.claim(2.0, 2.2, "two", "Bound", Some("ci-a"));
    scene.finds(&[Promise::OneHolder]);
}

#[test]
fn a_claim_that_names_two_members_is_found() {
    let mut scene = bound();
    scene.claim(1.0, 2.0, "one", "Bound", Some("ci-b"));
    scene.finds(&[Promise::OneHolder]);
}

#[test]
fn a_claim_that_names_the_machine_of_another_member_is_found() {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.ready(0.0, "ci-b");
    scene.mistake("ci-a", "ci-b");
    scene.claim(1.0, 1.0, "one", "Pending", None);
    scene.member(1.1, "ci-a", "Claimed", Some("one"));
    scene.claim(1.0, 1.2, "one", "Bound", Some("ci-a"));
    scene.finds(&[Promise::OneHolder]);
}

#[test]
fn a_member_that_was_named_and_is_claimed_again_is_found() {
    let mut scene = bound();
    scene.member(3.0, "ci-a", "Ready", None);
    scene.claim(2.0, 2.0, "two", "Pending", None);
    scene.member(4.0, "ci-a", "Claimed", Some("two"));
    scene.finds(&[Promise::OneHolder]);
}

#[test]
fn a_member_that_was_given_back_before_anybody_named_it_may_be_claimed_again() {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.claim(1.0, 1.0, "one", "Pending", None);
    scene.member(1.1, "ci-a", "Claimed", Some("one"));
    scene.member(2.0, "ci-a", "Ready", None);
    scene.claim(2.0, 2.0, "two", "Pending", None);
    scene.member(2.1, "ci-a", "Claimed", Some("two"));
    scene.claim(2.0, 2.2, "two", "Bound", Some("ci-a"));
    scene.finds(&[]);
}

#[test]
fn a_jump_of_a_member_is_found_but_not_one_over_a_gap_of_the_watch() {
    let mut scene = Scene::new();
    scene.member(0.0, "ci-a", "Pending", None);
    scene.member(1.0, "ci-a", "Ready", None);
    scene.finds(&[Promise::MemberStates]);
    let mut scene = Scene::new();
    scene.member(0.0, "ci-a", "Pending", None);
    scene.member(1.0, "ci-a", "Ready", None);
    scene.relisted();
    scene.finds(&[]);
    scene.member(2.0, "ci-a", "Pending", None);
    scene.relisted();
    scene.finds(&[Promise::MemberStates]);
}

#[test]
fn a_member_that_goes_from_one_claim_to_another_is_found() {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.member(1.1, "ci-a", "Claimed", Some("one"));
    scene.member(1.2, "ci-a", "Claimed", Some("two"));
    scene.finds(&[Promise::MemberStates]);
}

#[test]
fn a_claimed_member_without_a_claim_is_found() {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.member(1.1, "ci-a", "Claimed", None);
    scene.finds(&[Promise::MemberStates]);
}

#[test]
fn a_claim_that_goes_back_is_found() {
    let mut scene = bound();
    scene.claim(1.0, 3.0, "one", "Pending", None);
    scene.finds(&[Promise::ClaimPhases]);
}

#[test]
fn a_claim_that_was_bound_without_a_member_is_found() {
    let mut scene = Scene::new();
    scene.claim(1.0, 1.0, "one", "Pending", None);
    scene.claim(1.0, 1.2, "one", "Bound", None);
    scene.finds(&[Promise::ClaimPhases]);
}

#[test]
fn a_claim_that_changes_after_its_end_is_found() {
    let mut scene = bound();
    scene.machine(4.0, "ci-a", State::Terminated);
    scene.claim(1.0, 5.0, "one", "Lost", Some("ci-a"));
    scene.finds(&[]);
    // Its boundAt is another.
    scene.claim(1.0, 6.0, "one", "Lost", Some("ci-a"));
    scene.finds(&[Promise::ClaimPhases]);
}

#[test]
fn a_claim_that_is_lost_while_its_machine_lives_is_found() {
    let mut scene = bound();
    scene.claim(1.0, 5.0, "one", "Lost", Some("ci-a"));
    scene.finds(&[Promise::OutcomeIsRight]);
}

#[test]
fn a_claim_that_failed_before_its_time_is_found_but_not_one_that_failed_at_it() {
    for (failed, expected) in [(5.0, &[Promise::OutcomeIsRight][..]), (6.1, &[])] {
        let mut scene = Scene::new();
        let patience = json!({ "waitTimeoutSeconds": 5 });
        scene.claim_with(1.0, 1.0, "one", "Pending", None, &patience);
        scene.claim_with(1.0, failed, "one", "Failed", None, &patience);
        scene.finds(expected);
    }
}

#[test]
fn a_claim_that_holds_a_machine_of_a_pool_that_it_did_not_ask_for_is_found() {
    for (class, expected) in [("Ephemeral", &[][..]), ("Spot", &[Promise::OutcomeIsRight])] {
        let mut scene = Scene::new();
        let selects = json!({ "poolRef": null, "poolSelector": { "lifecycleClass": class } });
        scene.ready(0.5, "ci-a");
        scene.claim_with(1.0, 1.0, "one", "Pending", None, &selects);
        scene.member(1.1, "ci-a", "Claimed", Some("one"));
        scene.claim_with(1.0, 1.2, "one", "Bound", Some("ci-a"), &selects);
        scene.finds(expected);
    }
}

#[test]
fn a_claim_that_failed_though_it_is_to_wait_for_ever_is_found() {
    let mut scene = Scene::new();
    scene.claim(1.0, 1.0, "one", "Pending", None);
    scene.claim(1.0, 900.0, "one", "Failed", None);
    scene.finds(&[Promise::OutcomeIsRight]);
}

#[test]
fn fail_beside_members_that_were_ready_is_found_but_not_beside_as_many_rivals() {
    let fail = json!({ "whenEmpty": "Fail" });
    let mut scene = Scene::new();
    scene.ready(-10.0, "ci-a");
    scene.ready(-10.0, "ci-b");
    scene.claim_with(1.0, 1.0, "one", "Pending", None, &fail);
    scene.claim_with(1.0, 1.1, "one", "Failed", None, &fail);
    scene.finds(&[Promise::OutcomeIsRight]);
    scene.claim(1.0, 0.9, "two", "Pending", None);
    scene.finds(&[]);
}

#[test]
fn fail_in_a_paused_pool_is_right() {
    let fail = json!({ "whenEmpty": "Fail" });
    let mut scene = Scene::new();
    scene.ready(-10.0, "ci-a");
    scene.ready(-10.0, "ci-b");
    scene.pool(0.5, &json!({ "state": "Paused" }));
    scene.claim_with(1.0, 1.0, "one", "Pending", None, &fail);
    scene.claim_with(1.0, 1.1, "one", "Failed", None, &fail);
    scene.finds(&[]);
}

#[test]
fn a_claim_that_was_waited_for_in_vain_is_found() {
    let mut scene = Scene::new();
    scene.claim(1.0, 1.0, "one", "Pending", None);
    scene.does(61.0, Action::GaveUp("one".to_owned()));
    scene.finds(&[Promise::EveryoneIsServed]);
}
