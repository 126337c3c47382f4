//! Members that serve several claims, one after the other.

use bullpen_simcloud::ledger::State;
use serde_json::json;

use super::super::Promise;
use super::Scene;

/// The claim `one` had `ci-a` and was deleted at second 2, in a pool whose machines serve so many claims.
fn used(max_uses: i32) -> Scene {
    let mut scene = Scene::new();
    scene.pool(0.0, &json!({ "reuse": { "afterReset": "Reimage", "maxUses": max_uses } }));
    scene.ready(0.1, "ci-a");
    has(&mut scene, 1.0, "one");
    scene.release(2.0, "one");
    scene.claim_goes(2.1, "one");
    scene
}

fn has(scene: &mut Scene, when: f64, claim: &str) {
    scene.claim(when, when, claim, "Pending", None);
    scene.member(when + 0.1, "ci-a", "Claimed", Some(claim));
    scene.claim(when, when + 0.2, claim, "Bound", Some("ci-a"));
}

/// A reset whose machine stops and runs anew at these times.
fn reset(scene: &mut Scene, began: f64, done: f64) {
    scene.machine(began, "ci-a", State::Resetting);
    scene.machine(done, "ci-a", State::Reset);
}

fn ready_again(scene: &mut Scene, when: f64) {
    for (late, state) in [(0.0, "Resetting"), (0.1, "Warming"), (0.2, "Ready")] {
        scene.member(when + late, "ci-a", state, None);
    }
}

#[test]
fn a_member_serves_another_claim_after_a_reset() {
    let mut scene = used(2);
    reset(&mut scene, 2.5, 3.0);
    ready_again(&mut scene, 3.0);
    has(&mut scene, 4.0, "two");
    scene.finds(&[]);
}

#[test]
fn a_claim_on_a_machine_that_was_not_reset_or_not_in_time_is_found() {
    for resets in [None, Some((2.5, 4.5))] {
        let mut scene = used(2);
        if let Some((began, done)) = resets {
            reset(&mut scene, began, done);
        }
        ready_again(&mut scene, 3.0);
        has(&mut scene, 4.0, "two");
        scene.finds(&[Promise::OneHolder]);
    }
}

#[test]
fn a_reset_that_began_before_the_end_of_the_claim_proves_nothing_and_took_the_machine_from_it() {
    let mut scene = used(2);
    reset(&mut scene, 1.5, 3.0);
    ready_again(&mut scene, 3.0);
    has(&mut scene, 4.0, "two");
    scene.finds(&[Promise::ClaimedMachineStays, Promise::OneHolder]);
}

#[test]
fn a_machine_that_serves_more_claims_than_its_pool_allows_is_found() {
    let mut scene = used(2);
    for (number, when) in [(2, 3.0), (3, 13.0)] {
        reset(&mut scene, when, when + 0.5);
        ready_again(&mut scene, when + 0.5);
        let claim = format!("claim-{number}");
        has(&mut scene, when + 2.0, &claim);
        scene.release(when + 5.0, &claim);
        scene.claim_goes(when + 5.1, &claim);
    }
    scene.finds(&[Promise::OneHolder]);
}
