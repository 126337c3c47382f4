//! Machines, their members, and their claims; members that are stopped and started again.

use bullpen_simcloud::ledger::State;
use serde_json::json;

use super::super::{Action, Promise};
use super::Scene;

#[test]
fn a_machine_without_a_member_is_found() {
    let mut scene = Scene::new();
    scene.create(1.0, "ci-a");
    scene.finds(&[Promise::MachineHasMember]);
    // Gone before anybody could have seen its member.
    scene.machine(2.0, "ci-a", State::Terminated);
    scene.finds(&[]);
}

#[test]
fn a_member_that_came_and_went_while_the_watch_was_broken_is_believed() {
    let mut scene = Scene::new();
    scene.blind(0.5, 20.0);
    scene.create(1.0, "ci-a");
    scene.machine(19.0, "ci-a", State::Terminated);
    scene.finds(&[]);
    scene.create(2.0, "ci-b");
    scene.finds(&[Promise::MachineHasMember]);
}

#[test]
fn a_machine_that_was_bought_before_its_member_was_written_is_found() {
    let mut scene = Scene::new();
    scene.create(1.0, "ci-a");
    scene.member(4.0, "ci-a", "Pending", None);
    scene.finds(&[Promise::MachineHasMember]);
}

#[test]
fn a_member_that_goes_before_its_machine_is_found() {
    for (ended, expected) in [(4.9, &[][..]), (5.1, &[Promise::MemberOutlivesMachine])] {
        let mut scene = Scene::new();
        scene.ready(0.0, "ci-a");
        scene.member_is_deleted(4.0, "ci-a", "Ready", None);
        scene.terminate(4.1, "ci-a");
        scene.machine(4.1, "ci-a", State::ShuttingDown);
        scene.machine(ended, "ci-a", State::Terminated);
        scene.member_goes(5.0, "ci-a");
        scene.finds(expected);
    }
}

#[test]
fn a_machine_that_comes_after_its_member_went_is_found() {
    let mut scene = Scene::new();
    scene.member(0.0, "ci-a", "Pending", None);
    scene.member_is_deleted(1.0, "ci-a", "Pending", None);
    scene.member_goes(2.0, "ci-a");
    scene.create_is_held_back(0.5, "ci-a");
    scene.create(3.0, "ci-a");
    scene.finds(&[Promise::MachineHasMember]);
}

#[test]
fn a_machine_that_vanished_needs_no_member() {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.machine(3.0, "ci-a", State::Forgotten);
    scene.member_is_deleted(4.0, "ci-a", "Errored", None);
    scene.member_goes(5.0, "ci-a");
    scene.finds(&[]);
}

/// A claim that is Bound to `ci-a` from second 1.2 on.
fn bound() -> Scene {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.claim(1.0, 1.0, "one", "Pending", None);
    scene.member(1.1, "ci-a", "Claimed", Some("one"));
    scene.claim(1.0, 1.2, "one", "Bound", Some("ci-a"));
    scene
}

#[test]
fn a_claimed_machine_that_is_terminated_is_found() {
    let mut scene = bound();
    scene.terminate(5.0, "ci-a");
    scene.finds(&[Promise::ClaimedMachineStays]);
}

#[test]
fn a_claimed_machine_may_be_terminated_once_its_claim_was_released() {
    let mut scene = bound();
    scene.release(5.0, "one");
    scene.terminate(5.01, "ci-a");
    scene.finds(&[]);
}

#[test]
fn a_machine_that_is_terminated_after_its_own_end_was_not_ended_by_anybody() {
    let mut scene = bound();
    scene.machine(4.0, "ci-a", State::Terminated);
    scene.claim(1.0, 5.0, "one", "Lost", Some("ci-a"));
    scene.terminate(6.0, "ci-a");
    scene.finds(&[]);
}

#[test]
fn a_member_that_was_taken_and_not_yet_named_is_claimed_too() {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.claim(1.0, 1.0, "one", "Pending", None);
    scene.member(1.1, "ci-a", "Claimed", Some("one"));
    scene.terminate(5.0, "ci-a");
    scene.finds(&[Promise::ClaimedMachineStays]);
    scene.member(5.2, "ci-a", "Ready", None);
    scene.finds(&[]);
}

#[test]
fn a_claim_that_becomes_lost_by_a_terminate_is_found() {
    let mut scene = bound();
    scene.terminate(5.0, "ci-a");
    scene.machine(5.0, "ci-a", State::ShuttingDown);
    scene.machine(5.2, "ci-a", State::Terminated);
    scene.claim(1.0, 5.5, "one", "Lost", Some("ci-a"));
    scene.finds(&[Promise::OutcomeIsRight]);
}

#[test]
fn two_machines_for_one_member_are_found() {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.create_as(1.0, "ci-a", "i-another");
    scene.finds(&[Promise::OneMachineForOneToken]);
}

#[test]
fn what_is_left_at_the_end_is_found() {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.over(9.0);
    scene.finds(&[Promise::NothingIsLeft, Promise::NothingIsLeft]);
    let mut scene = Scene::new();
    scene.claim(1.0, 1.0, "one", "Pending", None);
    scene.does(9.0, Action::Over);
    scene.finds(&[Promise::NothingIsLeft, Promise::NothingIsLeft]);
}

#[test]
fn a_machine_whose_member_was_removed_by_force_is_the_sweeps_and_may_not_be_left() {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.member_goes(5.0, "ci-a");
    scene.finds(&[Promise::MemberOutlivesMachine]);
    scene.does(4.9, Action::Orphans("ci-a".to_owned()));
    scene.finds(&[]);
    scene.over(20.0);
    scene.finds(&[Promise::NothingIsLeft]);
    scene.machine(9.0, "ci-a", State::Terminated);
    scene.finds(&[]);
}

/// The member `ci-a` is stopped from second 2 to 3, and its machine runs again at second 5.
fn stopped() -> Scene {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.ready(0.0, "ci-b");
    scene.member(2.0, "ci-a", "Stopping", None);
    scene.machine(2.1, "ci-a", State::Stopping);
    scene.machine(2.6, "ci-a", State::Stopped);
    scene.member(3.0, "ci-a", "Standby", None);
    scene.member(4.0, "ci-a", "Warming", None);
    scene.machine(4.1, "ci-a", State::Starting);
    scene.machine(5.0, "ci-a", State::Running);
    scene
}

fn is_taken(scene: &mut Scene, when: f64) {
    scene.claim(when, when, "one", "Pending", None);
    scene.member(when + 0.1, "ci-a", "Claimed", Some("one"));
    scene.claim(when, when + 0.2, "one", "Bound", Some("ci-a"));
}

#[test]
fn a_machine_may_be_claimed_once_it_runs_again() {
    let mut scene = stopped();
    scene.member(5.2, "ci-a", "Ready", None);
    is_taken(&mut scene, 6.0);
    scene.finds(&[]);
}

#[test]
fn a_claim_that_gets_a_machine_before_it_runs_again_is_found() {
    let mut scene = stopped();
    scene.member(4.2, "ci-a", "Ready", None);
    is_taken(&mut scene, 4.5);
    scene.finds(&[Promise::NoStoppedMachine]);
}

#[test]
fn a_late_stop_of_a_machine_that_a_claim_has_is_found_and_one_after_the_claim_is_not() {
    let mut scene = stopped();
    scene.member(5.2, "ci-a", "Ready", None);
    is_taken(&mut scene, 6.0);
    scene.release(9.0, "one");
    scene.machine(9.5, "ci-a", State::Stopping);
    scene.finds(&[]);
    scene.machine(7.0, "ci-a", State::Stopping);
    scene.finds(&[Promise::ClaimedMachineStays]);
}

#[test]
fn a_machine_that_a_fault_switches_off_was_not_stopped() {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.machine(2.0, "ci-a", State::Stopped);
    is_taken(&mut scene, 2.5);
    scene.finds(&[]);
}

#[test]
fn a_stop_that_leaves_fewer_ready_members_than_the_floor_is_found() {
    let mut scene = Scene::new();
    scene.pool(0.0, &json!({ "minSize": 1 }));
    scene.ready(10.0, "ci-a");
    scene.member(20.0, "ci-a", "Stopping", None);
    scene.finds(&[Promise::Floor]);
}

#[test]
fn a_member_goes_from_standby_to_a_claim_only_by_a_start() {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.ready(0.0, "ci-b");
    scene.member(2.0, "ci-a", "Stopping", None);
    scene.member(3.0, "ci-a", "Standby", None);
    is_taken(&mut scene, 4.0);
    scene.finds(&[Promise::MemberStates]);
}
