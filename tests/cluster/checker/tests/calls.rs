//! Machines that die, are taken away, or call.

use bullpen_simcloud::ledger::{Call, Fault, Method, Outcome, Report, State, Told, What};
use serde_json::{Value, json};

use super::super::{Action, Promise};
use super::Scene;

impl Scene {
    /// A list shows that the member's machine is leaving.
    fn shown_leaving(&mut self, when: f64, member: &str) {
        let leaving = vec![format!("i-{member}")];
        let (method, outcome) = (Method::List, Outcome::Ok);
        self.log(
            when,
            What::Call(Call { method, outcome, token: None, id: None, count: Some(3), leaving, message: None }),
        );
    }

    /// A fault befalls a list.
    fn list_fails(&mut self, when: f64) {
        let fault = Fault { fault: "omit".to_owned(), method: Some(Method::List), ..Fault::default() };
        self.log(when, What::Fault(fault));
    }

    /// A fault befalls the member's machine.
    fn strike(&mut self, when: f64, member: &str, fault: &str) {
        let fault = Fault { fault: fault.to_owned(), id: Some(format!("i-{member}")), ..Fault::default() };
        self.log(when, What::Fault(fault));
    }

    /// The member's machine calls, and is answered.
    fn calls(&mut self, when: f64, member: &str, report: &str, claim: Option<Told>) {
        let (id, report) = (format!("i-{member}"), report.to_owned());
        self.log(when, What::Report(Report { id, report, status: 200, claim }));
    }

    /// The claim `one` of second 10 gets this member.
    fn takes(&mut self, member: &str) {
        self.claim(10.0, 10.0, "one", "Pending", None);
        self.member(10.1, member, "Claimed", Some("one"));
        self.claim(10.0, 10.2, "one", "Bound", Some(member));
    }

    fn pool_has(&mut self, health: &Value, claims: &Value) {
        self.pool(0.0, &json!({ "health": health, "claims": claims }));
    }
}

fn asked() -> Value {
    json!({ "probe": { "httpGet": { "port": 80 } }, "periodSeconds": 1 })
}

fn beats() -> Value {
    json!({ "probe": { "heartbeat": {} }, "periodSeconds": 1 })
}

#[test]
fn a_claim_on_a_machine_that_the_cloud_had_shown_as_leaving_is_found() {
    for (shown, expected) in [(8.9, &[Promise::NoDeadMachine][..]), (9.3, &[])] {
        let mut scene = Scene::new();
        scene.ready(1.0, "ci-a");
        scene.shown_leaving(shown, "ci-a");
        scene.takes("ci-a");
        scene.finds(expected);
    }
}

#[test]
fn what_the_cloud_showed_does_not_count_if_an_operator_may_have_missed_it() {
    let excuses: [fn(&mut Scene); 4] = [
        |scene| scene.list_fails(8.5),
        |scene| scene.list_fails(9.5),
        |scene| scene.does(9.0, Action::OperatorStopsOrStarts),
        |scene| {
            scene.does(-5.0, Action::LeaderIsTaken);
            scene.does(9.0, Action::LeaderIsBack);
        },
    ];
    for excuse in excuses {
        let mut scene = Scene::new();
        scene.ready(1.0, "ci-a");
        scene.shown_leaving(8.0, "ci-a");
        excuse(&mut scene);
        scene.takes("ci-a");
        scene.finds(&[]);
    }
}

#[test]
fn a_claim_on_a_machine_that_answers_no_look_is_found_unless_health_is_suspended() {
    let mut scene = Scene::new();
    scene.pool_has(&asked(), &json!({}));
    scene.ready(1.0, "ci-a");
    scene.strike(7.0, "ci-a", "agentHangs");
    scene.takes("ci-a");
    scene.finds(&[Promise::NoDeadMachine]);
    scene.pool_says(11.0, "HealthSuspended", "True");
    scene.finds(&[]);
}

#[test]
fn a_machine_that_answers_again_or_has_answered_just_before_may_be_claimed() {
    for (died, back) in [(7.0, Some(9.0)), (8.5, None)] {
        let mut scene = Scene::new();
        scene.pool_has(&asked(), &json!({}));
        scene.ready(1.0, "ci-a");
        scene.strike(died, "ci-a", "agentDown");
        if let Some(back) = back {
            scene.strike(back, "ci-a", "agentAnswers");
        }
        scene.takes("ci-a");
        scene.finds(&[]);
    }
}

#[test]
fn a_claim_on_a_silent_machine_is_found_only_if_another_one_was_free_and_heard() {
    // Of the other machine: since when it is ready, and when it fell silent.
    let others = [
        (Some(0.0), None, &[Promise::NoDeadMachine][..]),
        (Some(0.0), Some(2.0), &[]),
        (Some(8.0), None, &[]),
        (None, None, &[]),
    ];
    for (ready, silent, expected) in others {
        let mut scene = Scene::new();
        scene.pool_has(&beats(), &json!({}));
        scene.ready(-1.0, "ci-a");
        if let Some(ready) = ready {
            scene.ready(ready - 0.5, "ci-b");
        }
        scene.strike(2.0, "ci-a", "heartbeatsStop");
        if let Some(silent) = silent {
            scene.strike(silent, "ci-b", "heartbeatsStop");
        }
        scene.takes("ci-a");
        scene.finds(expected);
        // Neither a new leader nor one that machines cannot reach knows who is silent.
        scene.does(8.0, Action::OperatorStopsOrStarts);
        scene.finds(&[]);
    }
}

#[test]
fn a_claim_on_a_member_whose_status_says_that_it_is_unhealthy_is_found() {
    for (type_, status, expected) in [
        ("Healthy", "False", &[Promise::NoDeadMachine][..]),
        ("Interrupted", "True", &[Promise::NoDeadMachine]),
        ("Interrupted", "False", &[]),
    ] {
        let mut scene = Scene::new();
        scene.ready(1.0, "ci-a");
        scene.member_says(5.0, "ci-a", type_, status);
        scene.takes("ci-a");
        scene.finds(expected);
    }
}

/// The claim `one` holds `ci-a` from second 10 to 30, and the cloud shows a notice at second 12.
fn noticed(claims: &Value) -> Scene {
    let mut scene = Scene::new();
    scene.pool_has(&asked(), claims);
    scene.ready(1.0, "ci-a");
    scene.takes("ci-a");
    scene.machine(11.9, "ci-a", State::InterruptionNotice);
    scene.shown_leaving(12.0, "ci-a");
    scene
}

#[test]
fn a_claim_that_does_not_say_that_its_machine_is_taken_away_is_found() {
    let mut scene = noticed(&json!({}));
    scene.release(30.0, "one");
    scene.finds(&[Promise::InterruptionIsTold]);
    let condition = json!([{
        "type": "Interrupted", "status": "True", "reason": "SpotInterruption", "message": "",
        "lastTransitionTime": "2027-01-15T08:00:12Z",
    }]);
    scene.claim_as(13.0, "one", "Bound", &json!({}), &json!({ "conditions": condition }));
    scene.finds(&[]);
}

#[test]
fn a_claim_that_was_released_soon_or_whose_operators_were_disturbed_need_not_say_it() {
    let mut scene = noticed(&json!({}));
    scene.release(16.0, "one");
    scene.finds(&[]);
    let mut scene = noticed(&json!({}));
    for when in [15.0, 19.0, 23.0, 27.0] {
        scene.does(when, Action::OperatorStopsOrStarts);
    }
    scene.release(30.0, "one");
    scene.finds(&[]);
}

#[test]
fn a_claim_may_be_lost_while_its_machine_lives_only_after_a_notice_and_by_the_pools_rule() {
    for (rule, expected) in [("Release", &[][..]), ("Flag", &[Promise::OutcomeIsRight])] {
        let mut scene = noticed(&json!({ "onInterrupt": rule }));
        scene.claim(10.0, 13.0, "one", "Lost", Some("ci-a"));
        scene.terminate(13.5, "ci-a");
        scene.machine(13.5, "ci-a", State::ShuttingDown);
        scene.finds(expected);
    }
}

/// The claim `one` holds `ci-a` from second 10 on, and its machine says at second 12 that its job is done.
fn done(release_on_done: bool) -> Scene {
    let mut scene = Scene::new();
    scene.pool_has(&asked(), &json!({ "releaseOnDone": release_on_done }));
    scene.ready(1.0, "ci-a");
    scene.takes("ci-a");
    scene.calls(11.0, "ci-a", "assignment", Some(told("one", &[])));
    scene.calls(12.0, "ci-a", "done", None);
    scene
}

fn told(claim: &str, input: &[&str]) -> Told {
    let input = input.iter().map(|key| (*key).to_owned()).collect();
    Told { uid: claim.to_owned(), name: claim.to_owned(), acquired_for: None, input }
}

#[test]
fn a_claim_that_outlasts_its_job_is_found_where_its_pool_ends_such_claims() {
    let mut scene = done(true);
    scene.release(40.0, "one");
    scene.finds(&[Promise::DoneEndsClaim]);
    let mut scene = done(true);
    scene.release(20.0, "one");
    scene.finds(&[]);
    let mut scene = done(false);
    scene.release(40.0, "one");
    scene.finds(&[]);
}

#[test]
fn a_machine_that_is_told_of_the_claim_of_another_one_is_found() {
    for (member, expected) in [("ci-a", &[][..]), ("ci-b", &[Promise::AssignmentIsItsOwn])] {
        let mut scene = Scene::new();
        scene.ready(1.0, "ci-a");
        scene.ready(2.0, "ci-b");
        scene.takes("ci-a");
        scene.calls(11.0, member, "assignment", Some(told("one", &[])));
        scene.finds(expected);
    }
}

#[test]
fn a_machine_gets_an_input_exactly_if_its_claim_has_one() {
    for (wanted, input) in [(true, &["token"][..]), (false, &[]), (true, &[]), (false, &["token"])] {
        let mut scene = Scene::new();
        scene.ready(1.0, "ci-a");
        let spec = if wanted { json!({ "inputSecretRef": { "name": "input" } }) } else { json!({}) };
        scene.claim_with(10.0, 10.0, "one", "Pending", None, &spec);
        scene.member(10.1, "ci-a", "Claimed", Some("one"));
        scene.claim_with(10.0, 10.2, "one", "Bound", Some("ci-a"), &spec);
        scene.calls(11.0, "ci-a", "assignment", Some(told("one", input)));
        let expected = if wanted == input.is_empty() { &[Promise::AssignmentIsItsOwn][..] } else { &[] };
        scene.finds(expected);
    }
}

#[test]
fn a_machine_that_is_told_of_a_claim_that_nobody_saw_is_found() {
    let mut scene = Scene::new();
    scene.ready(1.0, "ci-a");
    scene.calls(11.0, "ci-a", "assignment", Some(told("nobody", &[])));
    scene.finds(&[Promise::AssignmentIsItsOwn]);
    scene.blind(10.0, 12.0);
    scene.finds(&[]);
}
