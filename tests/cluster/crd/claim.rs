//! The rules of claims: what they ask for is fixed, and how they ended stays as it is.

use bullpen_api::ClaimPhase;
use serde_json::{Value, json};

use super::sandbox::{Case, Sandbox, assert_each_refused, assert_refused, manifest, with, without};

fn claim() -> Value {
    manifest("PoolClaim", &json!({"poolRef": {"name": "ci"}}))
}

/// A good status of a claim in `phase`.
fn status(phase: ClaimPhase) -> Value {
    let mut status = json!({
        "observedGeneration": 1,
        "phase": phase.as_str(),
        "conditions": [{
            "type": "Bound",
            "status": "False",
            "reason": "NoReadyMembers",
            "message": "target 5, ready 0, warming 5",
            "lastTransitionTime": "2026-11-21T12:00:00Z",
        }],
    });
    if matches!(phase, ClaimPhase::Bound | ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Released) {
        status["memberRef"] = json!({"namespace": "team", "name": "ci-7xk2p", "uid": "uid-of-ci-7xk2p"});
        status["instance"] = json!({"id": "i-1", "addresses": [{"type": "InternalIP", "address": "10.1.0.7"}]});
        status["boundAt"] = json!("2026-11-21T12:00:00.014000Z");
    }
    status
}

/// How a claim comes to `phase`.
fn way_to(phase: ClaimPhase) -> &'static [ClaimPhase] {
    use ClaimPhase::{Bound, Expired, Failed, Lost, Pending, Released};
    match phase {
        Pending => &[Pending],
        Bound => &[Bound],
        Expired => &[Bound, Expired],
        Lost => &[Bound, Lost],
        Released => &[Bound, Released],
        Failed => &[Failed],
    }
}

async fn claim_in(sandbox: &Sandbox, phase: ClaimPhase) -> Value {
    let mut current = sandbox.created(&claim()).await;
    for &step in way_to(phase) {
        let answer = sandbox.replace_status(&current, &status(step)).await;
        current = answer.unwrap_or_else(|error| panic!("on the way to {phase:?}: {error}"));
    }
    current
}

fn terminal_phases() -> impl Iterator<Item = ClaimPhase> {
    ClaimPhase::ALL.into_iter().filter(|phase| phase.is_terminal())
}

#[tokio::test]
async fn a_fresh_claim_is_pending_not_yet_observed_and_has_no_defaults_that_a_pool_could_have() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&claim()).await;
    let fresh = json!({"observedGeneration": -1, "phase": "Pending"});
    assert_eq!(created["status"], fresh);
    assert_eq!(sandbox.get(&created).await["status"], fresh);
    assert_eq!(created["spec"], json!({"poolRef": {"name": "ci"}}));
}

#[tokio::test]
async fn a_bad_claim_is_refused_with_a_message_that_names_the_field() {
    let sandbox = Sandbox::new().await;
    let cases: &[Case] = &[
        ("no pool", "/spec/poolRef", json!({}), &["spec.poolRef.name", "Required value"]),
        ("poolRef null", "/spec/poolRef", json!(null), &["exactly one of poolRef and poolSelector must be set"]),
        (
            "poolRef and poolSelector",
            "/spec/poolSelector",
            json!({"matchLabels": {"gpu": "yes"}}),
            &["exactly one of poolRef and poolSelector must be set"],
        ),
        ("an empty pool name", "/spec/poolRef/name", json!(""), &["spec.poolRef.name", "at least 1 chars long"]),
        (
            "a long pool name",
            "/spec/poolRef/name",
            json!("p".repeat(49)),
            &["spec.poolRef.name", "may not be more than 48"],
        ),
        (
            "an empty namespace",
            "/spec/poolRef/namespace",
            json!(""),
            &["spec.poolRef.namespace", "at least 1 chars long"],
        ),
        ("an unknown whenEmpty", "/spec/whenEmpty", json!("Cry"), &["spec.whenEmpty", "\"Wait\", \"Fail\""]),
        (
            "waitTimeoutSeconds 0",
            "/spec/waitTimeoutSeconds",
            json!(0),
            &["spec.waitTimeoutSeconds", "greater than or equal to 1"],
        ),
        (
            "waitTimeoutSeconds over 30 days",
            "/spec/waitTimeoutSeconds",
            json!(2_592_001),
            &["spec.waitTimeoutSeconds", "less than or equal to 2592000"],
        ),
        (
            "a long acquiredBy",
            "/spec/acquiredBy",
            json!("a".repeat(254)),
            &["spec.acquiredBy", "may not be more than 253"],
        ),
        (
            "a long acquiredFor",
            "/spec/acquiredFor",
            json!("a".repeat(1_025)),
            &["spec.acquiredFor", "may not be more than 1024"],
        ),
        ("an unknown field", "/spec/pool", json!("ci"), &["unknown field", "spec.pool"]),
    ];
    assert_each_refused(&sandbox, &claim(), cases).await;
}

#[tokio::test]
async fn a_claim_with_a_binding_has_a_name_that_leaves_room_for_its_secrets() {
    let sandbox = Sandbox::new().await;
    let wants = with(&claim(), "/spec/binding", json!("Secret"));
    let named = |length: usize, of: &Value| with(of, "/metadata/name", json!("n".repeat(length)));
    sandbox.created(&named(245, &wants)).await;
    assert_refused(
        "a long name",
        sandbox.create(&named(246, &wants)).await,
        &["metadata.name", "at most 245 characters"],
    );
    sandbox.created(&named(253, &claim())).await;
    let unknown = sandbox.create(&with(&claim(), "/spec/binding", json!("File"))).await;
    assert_refused("an unknown binding", unknown, &["spec.binding", "\"None\", \"Secret\""]);
}

#[tokio::test]
async fn what_a_claim_asks_for_is_immutable() {
    let sandbox = Sandbox::new().await;
    let full = json!({
        "poolRef": {"name": "ci", "namespace": "team"}, "whenEmpty": "Wait", "waitTimeoutSeconds": 60,
        "acquiredBy": "ann", "binding": "Secret",
    });
    let (full, bare) = (sandbox.created(&manifest("PoolClaim", &full)).await, sandbox.created(&claim()).await);
    let other_pool = sandbox.replace(&with(&bare, "/spec/poolRef/name", json!("gpu"))).await;
    assert_refused("poolRef changed", other_pool, &["spec.poolRef", "poolRef is immutable"]);
    for (what, changed) in [
        ("another namespace", with(&full, "/spec/poolRef/namespace", json!("other"))),
        ("no namespace", without(&full, "/spec/poolRef/namespace")),
        ("a namespace", with(&bare, "/spec/poolRef/namespace", json!("team"))),
        ("no pool", without(&full, "/spec/poolRef")),
    ] {
        assert_refused(what, sandbox.replace(&changed).await, &["spec.poolRef", "poolRef is immutable"]);
    }
    let both = sandbox.replace(&with(&bare, "/spec/poolSelector", json!({"lifecycleClass": "Spot"}))).await;
    assert_refused("a selector as well", both, &["spec.poolSelector", "poolSelector is immutable"]);
    for (field, value) in [
        ("whenEmpty", json!("Fail")),
        ("waitTimeoutSeconds", json!(61)),
        ("acquiredBy", json!("bob")),
        ("binding", json!("None")),
    ] {
        let (pointer, path) = (format!("/spec/{field}"), format!("spec.{field}"));
        let words: &[&str] = &[&path, &format!("{field} is immutable")];
        assert_refused(
            &format!("{field} changed"),
            sandbox.replace(&with(&full, &pointer, value.clone())).await,
            words,
        );
        assert_refused(&format!("{field} taken away"), sandbox.replace(&without(&full, &pointer)).await, words);
        assert_refused(&format!("{field} added"), sandbox.replace(&with(&bare, &pointer, value)).await, words);
    }
    sandbox.replace(&with(&bare, "/spec/acquiredFor", json!("build 7"))).await.expect("acquiredFor is for the record");
}

#[tokio::test]
async fn a_claim_goes_from_phase_to_phase_exactly_as_the_protocol_says() {
    let sandbox = Sandbox::new().await;
    for from in ClaimPhase::ALL {
        for to in ClaimPhase::ALL {
            let current = claim_in(&sandbox, from).await;
            let what = format!("{from:?} to {to:?}");
            let answer = sandbox.replace_status(&current, &status(to)).await;
            if from.may_become(to) {
                let now = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(now["status"]["phase"], to.as_str(), "{what}");
            } else {
                assert_refused(&what, answer, &["status.phase", "does not go from its present phase"]);
                assert_eq!(sandbox.get(&current).await["status"]["phase"], from.as_str(), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_claim_names_its_member_exactly_from_bound_on() {
    let sandbox = Sandbox::new().await;
    let member = status(ClaimPhase::Bound)["memberRef"].clone();
    let words = ["status.memberRef", "exactly when the claim was bound"];
    for (from, to) in [
        (ClaimPhase::Pending, ClaimPhase::Bound),
        (ClaimPhase::Bound, ClaimPhase::Bound),
        (ClaimPhase::Bound, ClaimPhase::Expired),
        (ClaimPhase::Bound, ClaimPhase::Lost),
        (ClaimPhase::Bound, ClaimPhase::Released),
    ] {
        let current = claim_in(&sandbox, from).await;
        let answer = sandbox.replace_status(&current, &without(&status(to), "/memberRef")).await;
        assert_refused(&format!("{from:?} to {to:?} without memberRef"), answer, &words);
    }
    for to in [ClaimPhase::Pending, ClaimPhase::Failed] {
        let current = claim_in(&sandbox, ClaimPhase::Pending).await;
        let answer = sandbox.replace_status(&current, &with(&status(to), "/memberRef", member.clone())).await;
        assert_refused(&format!("{to:?} with memberRef"), answer, &words);
    }
}

#[tokio::test]
async fn the_member_of_a_claim_is_set_once() {
    let sandbox = Sandbox::new().await;
    let bound = claim_in(&sandbox, ClaimPhase::Bound).await;
    for phase in [ClaimPhase::Bound, ClaimPhase::Expired, ClaimPhase::Lost, ClaimPhase::Released] {
        for field in ["namespace", "name", "uid"] {
            let other = with(&status(phase), &format!("/memberRef/{field}"), json!("other"));
            let answer = sandbox.replace_status(&bound, &other).await;
            assert_refused(&format!("{phase:?}, another {field}"), answer, &["status.memberRef", "is set once"]);
        }
    }
}

#[tokio::test]
async fn nothing_changes_in_a_claim_that_has_ended() {
    let sandbox = Sandbox::new().await;
    for phase in terminal_phases() {
        let ended = claim_in(&sandbox, phase).await;
        for (pointer, value) in [
            ("/observedGeneration", json!(2)),
            ("/conditions", json!([])),
            ("/conditions/0/message", json!("something else")),
            ("/instance", json!({"id": "i-2"})),
            ("/boundAt", json!("2026-11-21T12:00:01.000000Z")),
        ] {
            let answer = sandbox.replace_status(&ended, &with(&status(phase), pointer, value)).await;
            assert_refused(&format!("{phase:?}, {pointer}"), answer, &["status", "has ended stays as it is"]);
        }
        sandbox.replace_status(&ended, &status(phase)).await.expect("the same again");
    }
}

#[tokio::test]
async fn the_user_can_still_write_to_a_claim_that_has_ended() {
    let sandbox = Sandbox::new().await;
    for phase in terminal_phases() {
        let ended = claim_in(&sandbox, phase).await;
        let noted = sandbox.replace(&with(&ended, "/spec/acquiredFor", json!("a post-mortem"))).await.expect("a note");
        let mut labelled = noted;
        labelled["metadata"]["labels"] = json!({"seen": "yes"});
        sandbox.replace(&labelled).await.expect("a label");
    }
}

#[tokio::test]
async fn a_status_that_is_taken_away_counts_as_pending_and_is_refused() {
    let sandbox = Sandbox::new().await;
    for phase in ClaimPhase::ALL.into_iter().filter(|phase| *phase != ClaimPhase::Pending) {
        let current = claim_in(&sandbox, phase).await;
        let answer = sandbox.replace_status(&current, &Value::Null).await;
        assert_refused(&format!("{phase:?}"), answer, &["status.phase", "does not go from its present phase"]);
    }
}
