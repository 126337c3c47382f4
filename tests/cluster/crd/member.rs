//! The rules of members: their spec is fixed, and their status moves by the state machine only.

use bullpen_api::MemberState;
use serde_json::{Value, json};

use super::sandbox::{Sandbox, assert_each_required, assert_refused, manifest, with, without};

fn member() -> Value {
    manifest(
        "PoolMember",
        &json!({
            "poolRef": {"name": "ci", "uid": "3c0f5a52-0000-4000-8000-000000000001"},
            "placement": {"launchConfig": "small", "generation": 1, "image": "debian-13", "zone": "sim-1a"},
            "templateHash": "5f3a9c",
        }),
    )
}

fn claim_ref(name: &str) -> Value {
    json!({"namespace": "team", "name": name, "uid": format!("uid-of-{name}")})
}

/// A good status of a member in `state`.
fn status(state: MemberState) -> Value {
    let mut status = json!({"observedGeneration": 1, "state": state.as_str()});
    if state == MemberState::Claimed {
        status["claimRef"] = claim_ref("build-1");
    }
    status
}

/// How a member comes to `state`.
fn way_to(state: MemberState) -> &'static [MemberState] {
    use MemberState::{Claimed, Errored, Pending, Ready, Resetting, Standby, Stopping, Warming};
    match state {
        Pending => &[Pending],
        Warming => &[Warming],
        Ready => &[Warming, Ready],
        Claimed => &[Warming, Ready, Claimed],
        Resetting => &[Warming, Ready, Claimed, Resetting],
        Stopping => &[Warming, Ready, Stopping],
        Standby => &[Warming, Ready, Stopping, Standby],
        Errored => &[Errored],
    }
}

async fn member_in(sandbox: &Sandbox, state: MemberState) -> Value {
    let mut current = sandbox.created(&member()).await;
    for &step in way_to(state) {
        let answer = sandbox.replace_status(&current, &status(step)).await;
        current = answer.unwrap_or_else(|error| panic!("on the way to {state:?}: {error}"));
    }
    current
}

#[tokio::test]
async fn a_fresh_member_is_pending_and_not_yet_observed() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&member()).await;
    let fresh = json!({"observedGeneration": -1, "state": "Pending"});
    assert_eq!(created["status"], fresh);
    assert_eq!(sandbox.get(&created).await["status"], fresh);
}

#[tokio::test]
async fn the_spec_of_a_member_is_immutable() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&member()).await;
    for (pointer, value) in [
        ("/spec/poolRef/name", json!("other")),
        ("/spec/poolRef/uid", json!("another-uid")),
        ("/spec/placement/launchConfig", json!("large")),
        ("/spec/placement/generation", json!(2)),
        ("/spec/placement/image", json!("debian-14")),
        ("/spec/placement/zone", json!("sim-1b")),
        ("/spec/templateHash", json!("000000")),
        ("/spec/ssh", json!({"user": "ci"})),
        ("/spec/adopted", json!("i-1")),
        ("/spec/phoneHome", json!({"url": "https://a", "keyId": "k1"})),
    ] {
        let answer = sandbox.replace(&with(&created, pointer, value)).await;
        assert_refused(pointer, answer, &["spec", "spec of a member is immutable"]);
    }
}

#[tokio::test]
async fn what_a_member_may_have_neither_changes_nor_goes_nor_comes() {
    let sandbox = Sandbox::new().await;
    let cloud = json!({"provider": "simulated", "account": "a", "region": "r1"});
    let mut full = with(&member(), "/spec/cloud", cloud);
    full = with(&full, "/spec/ssh", json!({"user": "ci", "keyId": "k1"}));
    full = with(&full, "/spec/phoneHome", json!({"url": "https://a", "keyId": "k1"}));
    let created = sandbox.created(&with(&full, "/spec/adopted", json!("i-1"))).await;
    for (what, changed) in [
        ("another user", with(&created, "/spec/ssh/user", json!("root"))),
        ("no key", without(&created, "/spec/ssh/keyId")),
        ("no ssh", without(&created, "/spec/ssh")),
        ("another machine", with(&created, "/spec/adopted", json!("i-2"))),
        ("another URL", with(&created, "/spec/phoneHome/url", json!("https://b"))),
        ("no call", without(&created, "/spec/phoneHome")),
        ("no machine", without(&created, "/spec/adopted")),
        ("another provider", with(&created, "/spec/cloud/provider", json!("other"))),
        ("an endpoint", with(&created, "/spec/cloud/endpoint", json!("http://cloud:1"))),
        ("a cloud for an ssh", with(&without(&created, "/spec/ssh"), "/spec/cloud/endpoint", json!("http://cloud:1"))),
    ] {
        assert_refused(what, sandbox.replace(&changed).await, &["spec", "spec of a member is immutable"]);
    }
    let created = sandbox.created(&with(&full, "/spec/cloud/endpoint", json!("http://cloud:1"))).await;
    let answer = sandbox.replace(&without(&created, "/spec/cloud/endpoint")).await;
    assert_refused("no endpoint", answer, &["spec", "spec of a member is immutable"]);
}

#[tokio::test]
async fn a_member_is_given_its_cloud_once() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&member()).await;
    let cloud = json!({"provider": "simulated", "endpoint": "http://cloud:1", "account": "a", "region": "r1"});
    let recorded = sandbox.replace(&with(&created, "/spec/cloud", cloud)).await.expect("it had none");
    for (pointer, value) in
        [("/spec/cloud/account", "b"), ("/spec/cloud/endpoint", "http://cloud:2"), ("/spec/cloud/region", "r2")]
    {
        let answer = sandbox.replace(&with(&recorded, pointer, json!(value))).await;
        assert_refused(pointer, answer, &["spec", "spec of a member is immutable"]);
    }
    let answer = sandbox.replace(&without(&recorded, "/spec/cloud")).await;
    assert_refused("without it", answer, &["spec", "spec of a member is immutable"]);
}

#[tokio::test]
async fn what_a_machine_reported_is_bounded_and_its_first_word_stays() {
    let sandbox = Sandbox::new().await;
    let warming = member_in(&sandbox, MemberState::Warming).await;
    let reported = |report: Value| with(&status(MemberState::Warming), "/reported", report);
    for (what, report, words) in [
        ("a long text", json!({"progress": "x".repeat(513)}), "reported.progress"),
        ("a key with a line end", json!({"hostKeys": ["ssh-rsa AAAA\n* ssh-rsa BBBB"]}), "reported.hostKeys"),
        ("a key with a mark", json!({"hostKeys": ["@revoked ssh-rsa AAAA"]}), "reported.hostKeys"),
        ("a list of names", json!({"hostname": "a,b"}), "reported.hostname"),
        ("five keys", json!({"hostKeys": vec!["ssh-rsa AAAA"; 5]}), "reported.hostKeys"),
    ] {
        assert_refused(what, sandbox.replace_status(&warming, &reported(report)).await, &[words]);
    }
    let first = json!({"readyAt": "2026-01-01T00:00:00.000000Z", "hostname": "vm-1", "hostKeys": ["ssh-rsa AAAA"]});
    let ready = sandbox.replace_status(&warming, &reported(first)).await.expect("it had not reported");
    let again = reported(json!({"readyAt": "2026-01-02T00:00:00.000000Z"}));
    let answer = sandbox.replace_status(&ready, &again).await;
    assert_refused("ready twice", answer, &["reported.readyAt", "a machine reports this once"]);
    let broken = json!({"readyAt": "2026-01-01T00:00:00.000000Z", "broken": "no disk"});
    let broken = sandbox.replace_status(&ready, &reported(broken)).await.expect("it was not broken");
    let other = json!({"readyAt": "2026-01-01T00:00:00.000000Z", "broken": "no network"});
    let answer = sandbox.replace_status(&broken, &reported(other)).await;
    assert_refused("broken twice", answer, &["reported.broken", "a machine reports this once"]);
    // A version from before this field writes a status without it.
    sandbox.replace_status(&broken, &status(MemberState::Warming)).await.expect("it may go");
}

#[tokio::test]
async fn cordoned_and_hold_are_the_two_fields_of_a_member_that_a_person_sets() {
    let sandbox = Sandbox::new().await;
    let mut current = sandbox.created(&member()).await;
    assert_eq!((&current["spec"]["cordoned"], &current["spec"]["hold"]), (&json!(false), &json!(false)));
    for (field, value) in [("cordoned", true), ("hold", true), ("cordoned", false), ("hold", false)] {
        let changed = with(&current, &format!("/spec/{field}"), json!(value));
        current = sandbox.replace(&changed).await.unwrap_or_else(|error| panic!("{field} {value}: {error}"));
        assert_eq!(current["spec"][field], value);
    }
    let text = sandbox.replace(&with(&current, "/spec/hold", json!("yes"))).await;
    assert_refused("hold: yes", text, &["spec.hold", "boolean"]);
    let both = with(&with(&current, "/spec/hold", json!(true)), "/spec/templateHash", json!("000000"));
    assert_refused("along with another", sandbox.replace(&both).await, &["spec of a member is immutable"]);
}

#[tokio::test]
async fn a_bad_member_is_refused_with_a_message_that_names_the_field() {
    let sandbox = Sandbox::new().await;
    assert_each_required(&sandbox, &member(), &["poolRef", "placement", "templateHash"]).await;
    let long_hash = sandbox.create(&with(&member(), "/spec/templateHash", json!("h".repeat(64)))).await;
    assert_refused("a long hash", long_hash, &["spec.templateHash", "may not be more than 63"]);
    let unknown = sandbox.create(&with(&member(), "/spec/subnet", json!("a"))).await;
    assert_refused("an unknown field", unknown, &["unknown field", "spec.subnet"]);
}

#[tokio::test]
async fn a_member_goes_from_state_to_state_exactly_as_the_state_machine_says() {
    let sandbox = Sandbox::new().await;
    for from in MemberState::ALL {
        for to in MemberState::ALL {
            let current = member_in(&sandbox, from).await;
            let what = format!("{from:?} to {to:?}");
            let answer = sandbox.replace_status(&current, &status(to)).await;
            if from.may_become(to) {
                let now = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(now["status"]["state"], to.as_str(), "{what}");
            } else {
                assert_refused(&what, answer, &["status.state", "does not go from its present state"]);
                assert_eq!(sandbox.get(&current).await["status"]["state"], from.as_str(), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_member_names_a_claim_exactly_while_it_is_claimed() {
    let sandbox = Sandbox::new().await;
    let words = ["status.claimRef", "exactly while the state is Claimed"];
    for from in MemberState::ALL {
        let current = member_in(&sandbox, from).await;
        for to in MemberState::ALL.into_iter().filter(|to| from.may_become(*to)) {
            let mut wrong = status(to);
            if to == MemberState::Claimed {
                wrong = without(&wrong, "/claimRef");
            } else {
                wrong["claimRef"] = claim_ref("build-1");
            }
            let answer = sandbox.replace_status(&current, &wrong).await;
            assert_refused(&format!("{from:?} to {to:?}, claimRef the wrong way round"), answer, &words);
        }
    }
}

#[tokio::test]
async fn uses_are_counted_one_by_one() {
    let sandbox = Sandbox::new().await;
    let uses = |uses: i64| with(&status(MemberState::Resetting), "/uses", json!(uses));
    let claimed = member_in(&sandbox, MemberState::Claimed).await;
    // The operator always writes it.
    let none = with(&status(MemberState::Claimed), "/uses", json!(0));
    let claimed = sandbox.replace_status(&claimed, &none).await.expect("none so far");
    assert_refused("two at once", sandbox.replace_status(&claimed, &uses(2)).await, &["status.uses", "one by one"]);
    let reset = sandbox.replace_status(&claimed, &uses(1)).await.expect("one more");
    for wrong in [0, 3, -1] {
        let answer = sandbox.replace_status(&reset, &uses(wrong)).await;
        assert_refused(&format!("1 to {wrong}"), answer, &["status.uses"]);
    }
}

#[tokio::test]
async fn a_claimed_member_never_goes_from_one_claim_to_another() {
    let sandbox = Sandbox::new().await;
    let claimed = member_in(&sandbox, MemberState::Claimed).await;
    for (field, value) in [("namespace", "other"), ("name", "build-2"), ("uid", "uid-of-build-2")] {
        let stolen = with(&status(MemberState::Claimed), &format!("/claimRef/{field}"), json!(value));
        let answer = sandbox.replace_status(&claimed, &stolen).await;
        assert_refused(
            &format!("another {field}"),
            answer,
            &["status.claimRef", "never goes from one claim to another"],
        );
    }
    let given_back = sandbox.replace_status(&claimed, &status(MemberState::Ready)).await.expect("a give-back");
    assert_eq!(given_back["status"].get("claimRef"), None);
    let next = with(&status(MemberState::Claimed), "/claimRef", claim_ref("build-2"));
    sandbox.replace_status(&given_back, &next).await.expect("the next claim of a member that was given back");
}

#[tokio::test]
async fn a_claimed_member_goes_to_a_claim_of_the_same_name_only_if_it_says_which_one_had_it() {
    let sandbox = Sandbox::new().await;
    let claimed = member_in(&sandbox, MemberState::Claimed).await;
    let again = |name: &str, former: &str| {
        let mut reference = claim_ref("build-1");
        reference["formerUid"] = json!(former);
        (reference["uid"], reference["name"]) = (json!("applied-again"), json!(name));
        with(&status(MemberState::Claimed), "/claimRef", reference)
    };
    let former = claimed["status"]["claimRef"]["uid"].as_str().expect("a uid").to_owned();
    for (what, wrong) in
        [("of no claim that had it", again("build-1", "x")), ("another name", again("build-2", &former))]
    {
        let answer = sandbox.replace_status(&claimed, &wrong).await;
        assert_refused(what, answer, &["status.claimRef", "never goes from one claim to another"]);
    }
    let returned = sandbox.replace_status(&claimed, &again("build-1", &former)).await.expect("it returns");
    assert_eq!(returned["status"]["claimRef"]["formerUid"], former);
}

#[tokio::test]
async fn a_claim_ref_without_all_of_its_fields_is_refused() {
    let sandbox = Sandbox::new().await;
    let ready = member_in(&sandbox, MemberState::Ready).await;
    for field in ["namespace", "name", "uid"] {
        let part = without(&status(MemberState::Claimed), &format!("/claimRef/{field}"));
        let answer = sandbox.replace_status(&ready, &part).await;
        assert_refused(&format!("without {field}"), answer, &[&format!("status.claimRef.{field}"), "Required value"]);
    }
}

#[tokio::test]
async fn a_status_without_or_with_another_state_is_refused() {
    let sandbox = Sandbox::new().await;
    let created = sandbox.created(&member()).await;
    let stateless = sandbox.replace_status(&created, &json!({"observedGeneration": 1})).await;
    assert_refused("no state", stateless, &["status", "state"]);
    let draining = sandbox.replace_status(&created, &json!({"observedGeneration": 1, "state": "Draining"})).await;
    assert_refused("Draining is not a state", draining, &["status.state", "\"Pending\", \"Warming\", \"Ready\""]);
}

#[tokio::test]
async fn a_status_that_is_taken_away_counts_as_pending_and_is_refused() {
    let sandbox = Sandbox::new().await;
    for state in MemberState::ALL.into_iter().filter(|state| *state != MemberState::Pending) {
        let current = member_in(&sandbox, state).await;
        let answer = sandbox.replace_status(&current, &Value::Null).await;
        assert_refused(&format!("{state:?}"), answer, &["status.state", "does not go from its present state"]);
    }
}
