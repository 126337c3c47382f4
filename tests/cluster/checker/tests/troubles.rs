//! A bad cloud, recovery after troubles, clocks, finalizers of others, and a second installation.

use bullpen_simcloud::ledger::State;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::super::{Action, Promise};
use super::Scene;
use super::scene::at;

/// A claim of second 1 that is served at second `served`, in a pool with a cloud that works.
fn beside_a_bad_cloud(served: f64) -> Scene {
    let mut scene = Scene::new();
    scene.rules.beside_a_bad_cloud = Some(("ci", SignedDuration::from_secs(10)));
    scene.claim(1.0, 1.0, "one", "Pending", None);
    scene.ready(served - 1.0, "ci-a");
    scene.member(served, "ci-a", "Claimed", Some("one"));
    scene.claim(1.0, served + 0.1, "one", "Bound", Some("ci-a"));
    scene
}

#[test]
fn a_claim_that_waits_for_a_bad_cloud_is_found() {
    beside_a_bad_cloud(10.0).finds(&[]);
    let mut scene = beside_a_bad_cloud(13.0);
    scene.finds(&[Promise::GoodCloudServes]);
    scene.rules.beside_a_bad_cloud = Some(("other", SignedDuration::from_secs(10)));
    scene.finds(&[]);
}

#[test]
fn a_wait_beside_a_bad_cloud_does_not_count_while_operators_can_do_nothing() {
    let spans = [
        (Action::ApiServerStops, Action::ApiServerIsBack),
        (Action::PermissionGoes, Action::PermissionIsBack),
        (Action::LeaderIsTaken, Action::LeaderIsBack),
    ];
    for (begin, end) in spans {
        // Neither too short a trouble, nor one that was over long before, is an excuse.
        for (from, to, served, expected) in [
            (5.0, 15.0, 20.0, &[][..]),
            (5.0, 6.0, 50.0, &[Promise::GoodCloudServes]),
            (-60.0, -50.0, 20.0, &[Promise::GoodCloudServes]),
        ] {
            let mut scene = beside_a_bad_cloud(served);
            scene.does(from, begin.clone());
            scene.does(to, end.clone());
            scene.finds(expected);
        }
    }
}

#[test]
fn a_kill_is_no_excuse_for_a_wait_beside_a_bad_cloud() {
    let mut scene = beside_a_bad_cloud(13.0);
    scene.does(6.0, Action::OperatorStopsOrStarts);
    scene.finds(&[Promise::GoodCloudServes]);
}

/// A permission was missing until second 6; the claim of second 1 waits until this member is given to it at second
/// `served`, and `ci-a` is ready all the time.
fn after_a_refusal(served: f64, member: &str) -> Scene {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.does(0.8, Action::PermissionGoes);
    scene.claim(1.0, 1.0, "one", "Pending", None);
    scene.does(6.0, Action::PermissionIsBack);
    if member != "ci-a" {
        scene.ready(served - 1.0, member);
    }
    scene.member(served, member, "Claimed", Some("one"));
    scene.claim(1.0, served + 0.1, "one", "Bound", Some(member));
    // The record goes on.
    scene.ready(60.0, "ci-z");
    scene
}

#[test]
fn a_claim_that_is_not_given_what_is_ready_after_a_permission_is_back_is_found() {
    after_a_refusal(10.0, "ci-a").finds(&[]);
    after_a_refusal(25.0, "ci-a").finds(&[Promise::ServedAfterTrouble]);
}

#[test]
fn a_claim_whose_member_is_taken_and_that_is_not_bound_after_a_permission_is_back_is_found() {
    for (bound, expected) in [(9.0, &[][..]), (30.0, &[Promise::ServedAfterTrouble])] {
        let mut scene = Scene::new();
        scene.ready(0.0, "ci-a");
        scene.claim(1.0, 1.0, "one", "Pending", None);
        scene.does(1.1, Action::PermissionGoes);
        scene.member(1.2, "ci-a", "Claimed", Some("one"));
        scene.does(6.0, Action::PermissionIsBack);
        scene.claim(1.0, bound, "one", "Bound", Some("ci-a"));
        scene.ready(60.0, "ci-z");
        scene.finds(expected);
    }
}

#[test]
fn after_a_trouble_a_claim_may_wait_where_nothing_is_ready_or_a_pool_is_paused_or_an_operator_is_killed() {
    let mut scene = after_a_refusal(25.0, "ci-b");
    scene.finds(&[Promise::ServedAfterTrouble]);
    scene.member(7.0, "ci-a", "Errored", None);
    scene.finds(&[]);
    let mut scene = after_a_refusal(25.0, "ci-b");
    scene.set_aside(5.5, "ci-a");
    scene.finds(&[]);
    let mut scene = after_a_refusal(25.0, "ci-a");
    scene.pool(8.0, &json!({ "state": "Paused" }));
    scene.pool(26.0, &json!({ "state": "Active" }));
    scene.finds(&[]);
    let mut scene = after_a_refusal(25.0, "ci-a");
    scene.does(9.0, Action::OperatorStopsOrStarts);
    scene.finds(&[]);
}

#[test]
fn a_claim_that_is_not_given_what_is_ready_after_an_outage_is_found() {
    for (served, expected) in [(25.0, &[][..]), (50.0, &[Promise::ServedAfterTrouble])] {
        let mut scene = Scene::new();
        scene.ready(0.0, "ci-a");
        scene.claim(1.0, 1.0, "one", "Pending", None);
        scene.does(1.1, Action::ApiServerStops);
        scene.does(9.0, Action::ApiServerIsBack);
        scene.does(11.0, Action::OperatorStopsOrStarts);
        scene.member(served, "ci-a", "Claimed", Some("one"));
        scene.claim(1.0, served + 0.1, "one", "Bound", Some("ci-a"));
        scene.ready(80.0, "ci-z");
        scene.finds(expected);
    }
}

#[test]
fn a_claim_may_be_passed_while_a_permission_is_missing_or_its_member_is_removed_by_force() {
    let passed = || {
        let mut scene = Scene::new();
        scene.claim(1.0, 1.0, "older", "Pending", None);
        scene.claim(4.0, 4.0, "younger", "Pending", None);
        scene.ready(9.0, "ci-a");
        scene.member(10.0, "ci-a", "Claimed", Some("younger"));
        scene.claim(4.0, 10.1, "younger", "Bound", Some("ci-a"));
        scene.ready(3.0, "ci-b");
        scene.member_goes(9.5, "ci-b");
        scene.machine(9.4, "ci-b", State::Terminated);
        scene
    };
    passed().finds(&[Promise::NobodyIsPassed]);
    for (removed, expected) in [(9.3, &[][..]), (3.9, &[Promise::NobodyIsPassed])] {
        let mut scene = passed();
        scene.does(removed, Action::Orphans("ci-b".to_owned()));
        scene.finds(expected);
    }
    let mut scene = passed();
    scene.does(5.0, Action::PermissionGoes);
    scene.does(8.0, Action::PermissionIsBack);
    scene.finds(&[]);
}

/// A claim that is Bound, and was so at second 1.2 by its status.
fn bound_at(bound: f64) -> Scene {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.claim_as(1.0, "one", "Pending", &json!({}), &json!({}));
    scene.member(1.1, "ci-a", "Claimed", Some("one"));
    scene.claim_as(1.5, "one", "Bound", &json!({}), &json!({ "boundAt": at(bound).to_string() }));
    scene
}

#[test]
fn a_time_of_a_wrong_clock_is_found() {
    for (bound, expected) in [
        (1.2, &[][..]),
        (1.6, &[]),
        (121.2, &[Promise::TimesAreTrue]),
        (-118.8, &[Promise::TimesAreTrue]),
        (3601.2, &[Promise::TimesAreTrue]),
    ] {
        bound_at(bound).finds(expected);
    }
}

#[test]
fn a_claim_that_waits_long_beyond_its_time_is_found() {
    for (failed, expected) in [(40.0, &[][..]), (50.0, &[Promise::TermsAreKept])] {
        let mut scene = Scene::new();
        let patience = json!({ "waitTimeoutSeconds": 5 });
        scene.claim_with(1.0, 1.0, "one", "Pending", None, &patience);
        scene.claim_with(1.0, failed, "one", "Failed", None, &patience);
        scene.finds(expected);
        scene.does(30.0, Action::OperatorStopsOrStarts);
        scene.finds(&[]);
    }
}

/// A member that somebody else's finalizer keeps from second 5 on, with a machine that ended at second `ended`.
fn kept(ended: f64) -> Scene {
    let mut scene = Scene::new();
    scene.ready(0.0, "ci-a");
    scene.member_is_deleted(4.0, "ci-a", "Ready", None);
    scene.terminate(4.1, "ci-a");
    scene.machine(ended, "ci-a", State::Terminated);
    scene.member_is_kept_by_others(5.0, "ci-a");
    scene.member_goes(60.0, "ci-a");
    scene
}

#[test]
fn a_member_that_is_done_with_before_its_machine_ended_is_found_though_somebody_keeps_it() {
    kept(4.8).finds(&[]);
    kept(5.2).finds(&[Promise::MemberOutlivesMachine]);
}

#[test]
fn a_machine_that_is_terminated_again_while_somebody_keeps_its_member_is_found() {
    let mut scene = kept(4.8);
    scene.terminate(5.1, "ci-a");
    scene.finds(&[]);
    scene.terminate(30.0, "ci-a");
    scene.finds(&[Promise::EndedIsDone]);
}

#[test]
fn a_member_that_is_counted_while_only_somebody_else_keeps_it_is_found() {
    let counted = |total: i32| -> Value {
        json!({ "observedGeneration": 1, "members": {
            "pending": 0, "warming": 0, "ready": 1, "claimed": 0, "errored": 0, "terminating": total - 1, "total": total,
        } })
    };
    for (when, total, expected) in [(30.0, 1, &[][..]), (30.0, 2, &[Promise::EndedIsDone]), (6.0, 2, &[])] {
        let mut scene = kept(4.8);
        scene.ready(0.0, "ci-b");
        scene.pool_status(when, &counted(total), &json!({}));
        scene.finds(expected);
    }
}

fn marked(id: &str) -> Value {
    json!({ "observedGeneration": 1, "installation": id })
}

#[test]
fn a_machine_that_another_installation_bought_is_found() {
    for (tag, expected) in [("one", &[][..]), ("two", &[Promise::OneInstallation])] {
        let mut scene = Scene::new();
        scene.pool_status(-50.0, &marked("one"), &json!({}));
        scene.installed_as(tag);
        scene.ready(0.0, "ci-a");
        scene.finds(expected);
    }
}

#[test]
fn a_call_that_failed_under_the_former_installation_says_nothing_of_who_bought_the_machine() {
    for (again, expected) in [(4.0, &[][..]), (-3.9, &[Promise::OneInstallation])] {
        let mut scene = Scene::new();
        let word = json!({ "bullpen.dev/take-over": "one" });
        scene.pool_status(-50.0, &marked("two"), &word);
        scene.pool_status(3.0, &marked("one"), &word);
        scene.installed_as("one");
        scene.member(-4.0, "ci-a", "Pending", None);
        scene.create_is_held_back(-4.0, "ci-a");
        scene.create(again, "ci-a");
        scene.finds(expected);
    }
}

#[test]
fn another_installation_is_recorded_by_a_persons_word_only() {
    for (word, expected) in [("two", &[][..]), ("three", &[Promise::OneInstallation])] {
        let mut scene = Scene::new();
        scene.pool_status(-50.0, &marked("one"), &json!({}));
        scene.pool_status(-40.0, &marked("one"), &json!({ "bullpen.dev/take-over": word }));
        scene.pool_status(-39.0, &marked("two"), &json!({ "bullpen.dev/take-over": word }));
        scene.installed_as("two");
        scene.ready(0.0, "ci-a");
        scene.finds(expected);
    }
}
