//! How many members the claims of one namespace hold.

use bullpen_simcloud::ledger::State;
use serde_json::json;

use super::super::{Action, Promise};
use super::Scene;

/// A pool of which a namespace may hold two members, and three claims of one, the third at second 20.
fn third() -> Scene {
    let mut scene = Scene::new();
    scene.pool(-50.0, &json!({ "claims": { "perNamespace": 2 } }));
    for (name, claim, when) in [("ci-a", "one", 1.0), ("ci-b", "two", 2.0), ("ci-c", "three", 20.0)] {
        scene.ready(0.0, name);
        scene.claim(when, when, claim, "Pending", None);
        scene.member(when + 0.1, name, "Claimed", Some(claim));
        scene.claim(when, when + 0.2, claim, "Bound", Some(name));
    }
    scene
}

#[test]
fn a_claim_beyond_the_quota_is_found() {
    third().finds(&[Promise::Quota]);
}

#[test]
fn a_quota_that_was_reached_and_no_more_is_right() {
    let mut scene = third();
    scene.pool(-50.0, &json!({ "claims": { "perNamespace": 3 } }));
    scene.finds(&[]);
}

#[test]
fn the_place_of_a_claim_that_was_released_or_ended_is_free() {
    let mut scene = third();
    scene.release(19.9, "two");
    scene.finds(&[]);
    let mut scene = third();
    scene.release(20.5, "two");
    scene.finds(&[Promise::Quota]);
    let mut scene = third();
    scene.member_is_deleted(19.9, "ci-b", "Claimed", Some("two"));
    scene.finds(&[]);
    let mut scene = third();
    scene.claim_as(19.0, "one", "Expired", &json!({}), &json!({ "expiresAt": super::scene::at(18.0).to_string() }));
    // That one had no ttl is another matter.
    scene.finds(&[Promise::TermsAreKept]);
}

#[test]
fn a_claim_of_another_namespace_has_its_own_quota() {
    let mut scene = third();
    scene.member_of(19.0, "ci-b", "two", "elsewhere");
    scene.finds(&[]);
}

#[test]
fn a_quota_that_is_lowered_takes_nothing_away_and_one_of_a_moment_ago_may_be_in_force() {
    let mut scene = third();
    scene.pool(17.0, &json!({ "claims": { "perNamespace": 3 } }));
    scene.pool(21.0, &json!({ "claims": { "perNamespace": 1 } }));
    scene.finds(&[]);
    scene.pool(18.0, &json!({ "claims": { "perNamespace": 2 } }));
    scene.finds(&[]);
    let mut scene = third();
    scene.pool(5.0, &json!({ "claims": { "perNamespace": 3 } }));
    scene.pool(6.0, &json!({ "claims": { "perNamespace": 2 } }));
    scene.finds(&[Promise::Quota]);
}

#[test]
fn a_kill_in_that_moment_is_an_excuse() {
    for (killed, expected) in [(19.5, &[][..]), (15.0, &[Promise::Quota])] {
        let mut scene = third();
        scene.does(killed, Action::OperatorStopsOrStarts);
        scene.finds(expected);
    }
}

#[test]
fn a_claim_that_is_given_two_members_counts_once() {
    let mut scene = Scene::new();
    scene.pool(-50.0, &json!({ "claims": { "perNamespace": 2 } }));
    for name in ["ci-a", "ci-b", "ci-c"] {
        scene.ready(0.0, name);
    }
    for claim in ["one", "two"] {
        scene.claim(1.0, 1.0, claim, "Pending", None);
    }
    scene.member(1.1, "ci-a", "Claimed", Some("one"));
    scene.member(1.2, "ci-b", "Claimed", Some("one"));
    scene.member(20.0, "ci-c", "Claimed", Some("two"));
    scene.finds(&[]);
}

#[test]
fn fail_is_right_where_the_namespace_holds_what_it_may() {
    let fail = json!({ "whenEmpty": "Fail" });
    for (quota, expected) in [(2, &[][..]), (4, &[Promise::OutcomeIsRight])] {
        let mut scene = Scene::new();
        scene.pool(-50.0, &json!({ "claims": { "perNamespace": quota } }));
        scene.ready(-10.0, "ci-a");
        scene.ready(-10.0, "ci-b");
        scene.ready(-10.0, "ci-c");
        scene.claim(1.0, 1.0, "one", "Pending", None);
        scene.member(1.1, "ci-c", "Claimed", Some("one"));
        scene.claim(1.0, 1.2, "one", "Bound", Some("ci-c"));
        scene.claim_with(10.0, 10.0, "two", "Pending", None, &fail);
        scene.claim_with(10.0, 10.1, "two", "Failed", None, &fail);
        scene.finds(expected);
    }
}

#[test]
fn a_machine_of_a_deleted_claim_counts_until_it_is_gone_unless_the_pool_has_room() {
    for (max_size, gone, expected) in [(3, 30.0, &[Promise::Quota][..]), (5, 30.0, &[]), (3, 16.0, &[])] {
        let mut scene = third();
        scene.pool(-40.0, &json!({ "maxSize": max_size }));
        scene.release(10.0, "two");
        scene.member_is_deleted(10.2, "ci-b", "Claimed", Some("two"));
        scene.terminate(10.3, "ci-b");
        scene.machine(gone - 0.1, "ci-b", State::Terminated);
        scene.member_goes(gone, "ci-b");
        scene.ready(60.0, "ci-z");
        scene.finds(expected);
    }
}
