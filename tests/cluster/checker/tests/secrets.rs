//! The Secret of a claim.

use bullpen_simcloud::ledger::State;
use serde_json::{Value, json};

use super::super::Promise;
use super::Scene;

fn wants() -> Value {
    json!({ "binding": "Secret" })
}

fn names() -> Value {
    json!({ "binding": { "name": "one-binding" } })
}

/// A claim that asks for a Secret and has its member, but is not Bound yet.
fn taken() -> Scene {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.claim_as(1.0, "one", "Pending", &wants(), &json!({}));
    scene.member(1.1, "ci-a", "Claimed", Some("one"));
    scene
}

#[test]
fn a_secret_that_is_there_before_bound_is_said_is_right() {
    let mut scene = taken();
    scene.secret(1.1, "one-binding", "one", false);
    scene.claim_as(1.2, "one", "Bound", &wants(), &names());
    scene.finds(&[]);
    scene.release(5.0, "one");
    scene.secret(5.2, "one-binding", "one", true);
    scene.finds(&[]);
}

#[test]
fn a_secret_that_is_made_after_bound_was_said_is_found_by_its_version() {
    let mut scene = taken();
    scene.claim_as(1.2, "one", "Bound", &wants(), &names());
    scene.secret(1.1, "one-binding", "one", false);
    scene.finds(&[Promise::SecretBeforeBound]);
}

#[test]
fn a_bound_claim_whose_secret_nobody_saw_is_found() {
    let mut scene = taken();
    scene.claim_as(1.2, "one", "Bound", &wants(), &names());
    scene.finds(&[Promise::SecretBeforeBound]);
    scene.blind(1.1, 30.0);
    scene.finds(&[]);
}

#[test]
fn a_bound_claim_that_names_no_secret_though_it_asks_for_one_is_found_and_the_other_way_round() {
    let mut scene = taken();
    scene.secret(1.1, "one-binding", "one", false);
    scene.claim_as(1.2, "one", "Bound", &wants(), &json!({}));
    scene.finds(&[Promise::SecretBeforeBound]);
    let mut scene = taken();
    scene.claim_as(1.2, "one", "Bound", &json!({}), &names());
    scene.finds(&[Promise::SecretBeforeBound]);
}

#[test]
fn a_secret_of_somebody_else_is_found() {
    let mut scene = taken();
    scene.secret(1.1, "one-binding", "another", false);
    scene.claim_as(1.2, "one", "Bound", &wants(), &names());
    scene.finds(&[Promise::SecretBeforeBound]);
}

#[test]
fn a_secret_of_an_earlier_claim_of_the_same_name_is_no_excuse_and_no_matter() {
    let mut scene = taken();
    scene.secret(0.5, "one-binding", "another", false);
    scene.secret(1.0, "one-binding", "another", true);
    scene.secret(1.1, "one-binding", "one", false);
    scene.claim_as(1.2, "one", "Bound", &wants(), &names());
    scene.finds(&[]);
}

#[test]
fn a_secret_that_is_deleted_while_its_claim_is_there_is_found() {
    let mut scene = taken();
    scene.secret(1.1, "one-binding", "one", false);
    scene.claim_as(1.2, "one", "Bound", &wants(), &names());
    scene.secret(5.0, "one-binding", "one", true);
    scene.finds(&[Promise::SecretBeforeBound]);
    // Its claim was seen to go a little later than it went.
    scene.release(8.0, "one");
    scene.finds(&[]);
}

#[test]
fn a_secret_that_is_left_without_its_claim_is_found_where_garbage_is_collected() {
    for (over, collected, expected) in
        [(200.0, true, &[Promise::NothingIsLeft][..]), (200.0, false, &[]), (30.0, true, &[])]
    {
        let mut scene = taken();
        scene.rules.garbage_is_collected = collected;
        scene.secret(1.1, "one-binding", "one", false);
        scene.claim_as(1.2, "one", "Bound", &wants(), &names());
        scene.release(5.0, "one");
        scene.end(5.2, "ci-a", Some("one"));
        scene.over(over);
        scene.finds(expected);
    }
}

#[test]
fn a_claim_may_fail_when_the_machine_is_gone_that_its_secret_speaks_of() {
    let mut scene = taken();
    scene.secret(1.1, "one-binding", "one", false);
    scene.claim_as(9.0, "one", "Failed", &wants(), &json!({}));
    scene.finds(&[Promise::OutcomeIsRight]);
    scene.machine(5.0, "ci-a", State::Terminated);
    scene.finds(&[]);
}
