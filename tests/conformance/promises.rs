//! Each check finds the provider or the cloud that breaks its promise, and whatever is found, no machine stays.

use std::collections::BTreeSet;

use bullpen::conformance::{Calls, Check, Ends, MACHINES, Outcome, Run, Settings, run};
use bullpen_plan::member::reports::AdvertisedUrl;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::broken::{Breaks, Broken};
use crate::cloud::Cloud;

/// The checks with this outcome.
fn with(outcome: Outcome, run: &Run) -> Vec<Check> {
    run.findings.iter().filter(|finding| finding.outcome == outcome).map(|finding| finding.check).collect()
}

fn told(run: &Run) -> String {
    run.findings.iter().map(|finding| finding.text() + "\n").collect()
}

async fn nothing_stays(cloud: &Cloud, of: &str) {
    let (living, most) = cloud.living().await;
    assert!(living.is_empty(), "{of}: {living:?} are left");
    assert!(most <= MACHINES as usize, "{of}: {most} machines at a time");
}

#[tokio::test]
async fn a_cloud_that_keeps_its_promises_fails_no_check() {
    let cloud = Cloud::start().await;
    let found = cloud.check(&Broken::new(cloud.provider(), Breaks::Nothing)).await;
    assert_eq!(with(Outcome::Failed, &found), [], "{}", told(&found));
    assert_eq!(
        with(Outcome::Skipped, &found),
        [Check::Image, Check::UserData, Check::UnknownImage, Check::UnknownType]
    );
    assert_eq!((found.account.as_deref(), found.left.len()), (Some("sim-1"), 0));
    nothing_stays(&cloud, "no fault").await;
}

#[tokio::test]
async fn a_provider_that_breaks_a_promise_is_found_first_by_the_check_of_that_promise_and_leaves_nothing() {
    // Boxed: all of them together are too large for the stack of a thread.
    let checked = Breaks::ALL.into_iter().map(|(breaks, check)| {
        Box::pin(async move {
            let cloud = Cloud::start().await;
            let found = cloud.check(&Broken::new(cloud.provider(), breaks)).await;
            let failed = with(Outcome::Failed, &found);
            assert_eq!(failed.first(), Some(&check), "{breaks:?}:\n{}", told(&found));
            if breaks == Breaks::DoesNotEnd {
                let (living, _) = cloud.living().await;
                assert_eq!(found.left.iter().cloned().collect::<BTreeSet<_>>(), living, "{}", told(&found));
                assert!(!living.is_empty() && failed.last() == Some(&Check::CleanUp), "{failed:?}");
            } else {
                nothing_stays(&cloud, &format!("{breaks:?}")).await;
                assert_eq!(found.left, Vec::<String>::new());
            }
        })
    });
    join_all(checked).await;
}

/// Faults of the simulated cloud, each with the check that finds it.
fn faults() -> Vec<(Value, Check)> {
    let call = |on: &str, fault: Value| json!({ "calls": [{ "on": [on], "fault": fault }] });
    let machine = |fault: Value| json!({ "machines": [{ "fault": fault }] });
    let create_of = |field: &str, value: &str, class: &str| json!({ "calls": [{ "on": ["create"], "where": { field: [value] }, "fault": { "error": { "class": class } } }] });
    vec![
        (call("identity", json!({ "error": { "class": "Auth" } })), Check::Identity),
        (call("list", json!({ "error": { "class": "Transient" } })), Check::LeftOver),
        (call("create", json!({ "error": { "class": "Quota" } })), Check::Create),
        (call("list", json!({ "stale": { "milliseconds": 60_000 } })), Check::Listed),
        (machine(json!({ "hidden": { "milliseconds": 60_000, "from": ["list"] } })), Check::Listed),
        (call("find", json!({ "empty": {} })), Check::Find),
        (machine(json!({ "hidden": { "milliseconds": 60_000, "from": ["find"] } })), Check::Find),
        (call("list", json!({ "omit": { "percent": 60 } })), Check::ListWhole),
        (call("list", json!({ "duplicate": { "percent": 100 } })), Check::ListWhole),
        (
            json!({ "pageSize": 1, "calls": [
                { "on": ["list"], "when": { "laterPages": true }, "fault": { "error": { "class": "Transient" } } },
            ] }),
            Check::ListWhole,
        ),
        (
            json!({ "pageSize": 1, "calls": [
                { "on": ["list"], "when": { "laterPages": true }, "fault": { "omitPage": {} } },
            ] }),
            Check::ListWhole,
        ),
        (machine(json!({ "neverBoots": {} })), Check::Boots),
        (machine(json!({ "neverReady": {} })), Check::Boots),
        (machine(json!({ "stops": { "milliseconds": 0, "since": "Running" } })), Check::Boots),
        (call("tag", json!({ "error": { "class": "Auth" } })), Check::TagLater),
        (call("stop", json!({ "error": { "class": "Transient" } })), Check::Stop),
        (call("start", json!({ "error": { "class": "Quota" } })), Check::Start),
        (create_of("images", "img-unknown", "Transient"), Check::UnknownImage),
        (create_of("images", "img-unknown", "Quota"), Check::UnknownImage),
        (create_of("instanceTypes", "unknown", "Transient"), Check::UnknownType),
    ]
}

#[tokio::test]
async fn each_fault_of_the_simulated_cloud_is_found_first_by_the_check_that_is_about_it() {
    let checked = faults().into_iter().map(|(fault, check)| async move {
        let cloud = Cloud::with(&fault).await;
        let found = cloud.check(&Broken::new(cloud.provider(), Breaks::Nothing)).await;
        assert_eq!(with(Outcome::Failed, &found).first(), Some(&check), "{fault}:\n{}", told(&found));
        nothing_stays(&cloud, &fault.to_string()).await;
    });
    join_all(checked).await;
}

#[tokio::test]
async fn what_a_cloud_refuses_for_good_is_fine_for_an_image_and_a_type_that_are_not_there() {
    let refused = json!({ "class": "Invalid" });
    let cloud = Cloud::with(&json!({ "calls": [
        { "on": ["create"], "where": { "images": ["img-unknown"] }, "fault": { "error": refused } },
        { "on": ["create"], "where": { "instanceTypes": ["unknown"] }, "fault": { "error": refused } },
    ] }))
    .await;
    let found = cloud.check(&cloud.provider()).await;
    assert_eq!(with(Outcome::Failed, &found), [], "{}", told(&found));
    assert_eq!(with(Outcome::Skipped, &found), [Check::Image, Check::UserData]);
    nothing_stays(&cloud, "refusals").await;
}

#[tokio::test]
async fn terminates_that_are_ignored_or_take_for_ever_leave_machines_whose_ids_are_named() {
    for fault in ["ignored", "lingers"] {
        let cloud = Cloud::with(&json!({ "calls": [{ "on": ["terminate"], "fault": { fault: {} } }] })).await;
        let found = cloud.check(&Broken::new(cloud.provider(), Breaks::Nothing)).await;
        assert_eq!(with(Outcome::Failed, &found), [Check::Terminate, Check::CleanUp], "{fault}: {}", told(&found));
        assert!(!found.left.is_empty() && told(&found).contains(&found.left[0]), "{}", told(&found));
    }
}

#[tokio::test]
async fn whether_user_data_arrives_is_seen_by_the_call_of_the_machine() {
    for (fault, expected) in [(json!({}), Outcome::Ok), (json!({ "never": true }), Outcome::Failed)] {
        let cloud = Cloud::with(&json!({ "machines": [{ "fault": { "phonesHome": fault } }] })).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/machines/", listener.local_addr().unwrap());
        let calls = Calls::new(AdvertisedUrl::parse(&url).unwrap());
        let server = tokio::spawn(calls.clone().serve(listener));
        let settings = Settings { calls: Some(calls), ..cloud.settings() };
        let provider = Broken::new(cloud.provider(), Breaks::Nothing);
        let found = run(&provider, &settings, &Ends::default(), |_| ()).await;
        let seen = found.findings.iter().find(|finding| finding.check == Check::UserData).unwrap();
        assert_eq!(seen.outcome, expected, "{}", told(&found));
        server.abort();
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_now_and_then_breaks_no_promise() {
    let cloud = Cloud::with(&json!({ "calls": [
        { "on": ["create"], "when": { "times": 2 }, "fault": { "answerLost": {} } },
        { "on": ["terminate"], "when": { "times": 2 }, "fault": { "answerLost": {} } },
        { "on": ["list"], "when": { "skip": 3, "times": 2 }, "fault": { "error": { "class": "RateLimited" } } },
    ] }))
    .await;
    let found = cloud.check(&Broken::new(cloud.provider(), Breaks::Nothing)).await;
    assert_eq!(with(Outcome::Failed, &found), [], "{}", told(&found));
    nothing_stays(&cloud, "lost answers").await;
}

#[tokio::test]
async fn a_machine_whose_create_never_had_an_answer_is_ended_by_its_token() {
    let cloud = Cloud::with(&json!({ "calls": [{ "on": ["create"], "fault": { "answerLost": {} } }], "machines": [
            { "fault": { "hidden": { "milliseconds": 5_000, "from": ["list"] } } },
        ] }))
    .await;
    let found = cloud.check(&Broken::new(cloud.provider(), Breaks::Nothing)).await;
    assert_eq!(with(Outcome::Failed, &found), [Check::Create], "{}", told(&found));
    assert_eq!(cloud.bought_by("conformance-1").await, 1);
    nothing_stays(&cloud, "a create without an answer").await;
}

#[test]
fn every_check_is_found_wanting_by_some_test() {
    let found: BTreeSet<Check> =
        Breaks::ALL.into_iter().map(|(_, check)| check).chain(faults().into_iter().map(|(_, check)| check)).collect();
    let without: Vec<_> = Check::ALL.into_iter().filter(|check| !found.contains(check)).collect();
    assert_eq!(without, [Check::Image, Check::UserData, Check::CleanUp], "these have tests of their own");
}
