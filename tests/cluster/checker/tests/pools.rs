//! How many machines a pool may buy, and when; and the floor.

use bullpen_simcloud::ledger::{Outcome, State};
use bullpen_simcloud::wire::ErrorClass;
use serde_json::json;

use super::super::{Action, Promise, of_budget};
use super::Scene;

/// Three members with machines, which is all that the pool may have.
fn full() -> Scene {
    let mut scene = Scene::new();
    for name in ["ci-a", "ci-b", "ci-c"] {
        scene.ready(0.0, name);
    }
    scene.member(4.0, "ci-d", "Pending", None);
    scene
}

#[test]
fn a_machine_beyond_max_size_is_found() {
    let mut scene = full();
    scene.create(5.0, "ci-d");
    scene.finds(&[Promise::MaxSize]);
}

#[test]
fn a_machine_may_be_bought_once_another_is_gone() {
    let mut scene = full();
    scene.end(4.2, "ci-a", None);
    scene.create(5.0, "ci-d");
    scene.finds(&[]);
}

#[test]
fn one_that_only_began_to_end_still_bills() {
    let mut scene = full();
    scene.terminate(4.2, "ci-a");
    scene.machine(4.2, "ci-a", State::ShuttingDown);
    scene.create(5.0, "ci-d");
    scene.finds(&[Promise::MaxSize]);
}

#[test]
fn a_limit_that_was_raised_counts_at_once_and_one_that_was_lowered_after_a_second() {
    let mut scene = full();
    scene.pool(4.9, &json!({ "maxSize": 4 }));
    scene.create(5.0, "ci-d");
    scene.finds(&[]);
    scene.pool(6.0, &json!({ "maxSize": 3 }));
    scene.finds(&[]);

    for (lowered, expected) in [(4.5, &[][..]), (3.5, &[Promise::MaxSize])] {
        let mut scene = full();
        scene.pool(1.0, &json!({ "maxSize": 4 }));
        scene.pool(lowered, &json!({ "maxSize": 3 }));
        scene.create(5.0, "ci-d");
        scene.finds(expected);
    }
}

#[test]
fn a_call_that_was_held_back_counts_from_when_it_came() {
    let mut scene = full();
    scene.pool(1.0, &json!({ "maxSize": 4 }));
    scene.create_is_held_back(4.1, "ci-d");
    scene.pool(4.2, &json!({ "maxSize": 3 }));
    scene.create(8.0, "ci-d");
    scene.finds(&[]);
}

#[test]
fn a_create_in_a_pool_that_is_not_active_is_found_after_a_second() {
    for state in ["Paused", "Draining"] {
        for (paused, expected) in [(4.5, &[][..]), (3.5, &[Promise::InactivePoolBuysNothing])] {
            let mut scene = Scene::new();
            scene.pool(paused, &json!({ "state": state }));
            scene.member(4.0, "ci-a", "Pending", None);
            scene.create_call(5.0, "ci-a", Outcome::Refused(ErrorClass::Transient));
            scene.finds(expected);
        }
    }
}

#[test]
fn a_create_in_a_pool_that_is_active_again_is_right() {
    let mut scene = Scene::new();
    scene.pool(1.0, &json!({ "state": "Paused" }));
    scene.member(4.0, "ci-a", "Pending", None);
    scene.pool(5.2, &json!({ "state": "Active" }));
    scene.create(5.0, "ci-a");
    scene.finds(&[]);
}

#[test]
fn a_create_in_a_pool_that_is_being_deleted_or_gone_is_found() {
    let mut scene = Scene::new();
    scene.member(4.0, "ci-a", "Pending", None);
    scene.pool_is_deleted(3.0);
    scene.create(5.0, "ci-a");
    scene.finds(&[Promise::InactivePoolBuysNothing]);
    let mut scene = Scene::new();
    scene.member(4.0, "ci-a", "Pending", None);
    scene.pool_goes(3.0);
    scene.create(5.0, "ci-a");
    scene.finds(&[Promise::InactivePoolBuysNothing]);
}

#[test]
fn while_the_api_server_is_away_a_pause_has_eleven_seconds() {
    for (create, expected) in [(13.5, &[][..]), (14.5, &[Promise::InactivePoolBuysNothing])] {
        let mut scene = Scene::new();
        scene.member(2.0, "ci-a", "Pending", None);
        scene.pool(3.0, &json!({ "state": "Paused" }));
        scene.does(3.1, Action::ApiServerStops);
        scene.does(30.0, Action::ApiServerIsBack);
        scene.blind(3.1, 31.0);
        scene.create_call(create, "ci-a", Outcome::Refused(ErrorClass::Transient));
        scene.finds(expected);
    }
}

#[test]
fn a_ready_member_that_is_given_up_under_the_floor_is_found() {
    for (floor, expected) in [(1, &[][..]), (2, &[Promise::Floor])] {
        let mut scene = Scene::new();
        scene.pool(-50.0, &json!({ "targetSize": 2, "minSize": floor }));
        scene.ready(0.0, "ci-a");
        scene.ready(0.0, "ci-b");
        scene.end(9.0, "ci-a", None);
        scene.finds(expected);
    }
}

#[test]
fn whoever_removes_a_ready_member_by_force_does_not_ask_for_the_floor_and_the_operator_does() {
    for (forced, expected) in [(8.9, &[][..]), (9.1, &[Promise::Floor])] {
        let mut scene = Scene::new();
        scene.pool(-50.0, &json!({ "targetSize": 2, "minSize": 2 }));
        scene.ready(0.0, "ci-a");
        scene.ready(0.0, "ci-b");
        scene.does(forced, Action::Orphans("ci-a".to_owned()));
        scene.end(9.0, "ci-a", None);
        scene.finds(expected);
    }
}

#[test]
fn the_floor_does_not_hold_in_a_pool_that_empties_or_whose_limit_fell() {
    for change in [json!({ "state": "Draining" }), json!({ "maxSize": 1 })] {
        let mut scene = Scene::new();
        scene.pool(-50.0, &json!({ "targetSize": 2, "minSize": 2 }));
        scene.ready(0.0, "ci-a");
        scene.ready(0.0, "ci-b");
        scene.pool(8.9, &change);
        scene.end(9.0, "ci-a", None);
        scene.finds(&[]);
    }
}

#[test]
fn a_rule_of_its_own_can_set_another_floor() {
    let mut scene = Scene::new();
    scene.rules.floor = |pool, _taken| pool.spec.target_size;
    scene.pool(-50.0, &json!({ "targetSize": 2 }));
    scene.ready(0.0, "ci-a");
    scene.ready(0.0, "ci-b");
    scene.end(9.0, "ci-a", None);
    scene.finds(&[Promise::Floor]);
}

#[test]
fn the_floor_of_the_budget_is_what_the_target_less_the_missing_leaves() {
    let of = |spec: &serde_json::Value, taken| {
        let mut scene = Scene::new();
        scene.pool(-50.0, spec);
        of_budget(&scene.last_pool(), taken)
    };
    let spec = json!({ "targetSize": 4, "maxSize": 8, "disruption": { "maxSurge": 1, "maxUnavailable": 0 } });
    assert_eq!((of(&spec, 0), of(&spec, 3)), (4, 4), "there is room for a replacement");
    assert_eq!((of(&spec, 4), of(&spec, 6)), (3, 1), "there is none");
    let spec =
        json!({ "targetSize": 4, "maxSize": 8, "minSize": 3, "disruption": { "maxSurge": 1, "maxUnavailable": 2 } });
    assert_eq!((of(&spec, 0), of(&spec, 6)), (3, 2), "never less than minSize, as far as there is room");
}

#[test]
fn a_ready_member_that_is_set_aside_does_not_count_for_the_floor() {
    for (aside, expected) in [(false, &[][..]), (true, &[Promise::Floor])] {
        let mut scene = Scene::new();
        scene.pool(-50.0, &json!({ "targetSize": 2, "minSize": 1 }));
        scene.ready(0.0, "ci-a");
        scene.ready(0.0, "ci-b");
        if aside {
            scene.set_aside(0.6, "ci-b");
        }
        scene.end(9.0, "ci-a", None);
        scene.finds(expected);
    }
}

#[test]
fn a_size_that_is_found_is_within_the_limits_of_the_spec_that_the_status_speaks_of() {
    for (size, generation, expected) in [(3, 1, &[][..]), (4, 1, &[Promise::SizeIsInLimits]), (4, 0, &[])] {
        let mut scene = Scene::new();
        let status = json!({ "observedGeneration": generation, "recommendedTarget": size });
        scene.pool_status_of(1.0, 1, &status);
        scene.finds(expected);
    }
    let mut scene = Scene::new();
    let followed = json!({ "observedGeneration": 1, "effectiveTarget": { "size": 4, "source": "Autosize" } });
    scene.pool_status_of(1.0, 1, &followed);
    scene.finds(&[Promise::SizeIsInLimits]);
}
