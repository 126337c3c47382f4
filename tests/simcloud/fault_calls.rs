//! What befalls calls, as a client sees it.

use std::time::{Duration, Instant};

use bullpen::provider::{CapacityScope, InstancePhase, OwnTags, Provider, ProviderError};
use bullpen_simcloud::faults::FaultSet;
use bullpen_simcloud::wire::{ErrorBody, ErrorClass};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::server::{Server, request, until};

fn on(method: &str, fault: &Value) -> Value {
    json!({"calls": [{"on": [method], "when": {"times": 1}, "fault": fault}]})
}

#[tokio::test]
async fn a_create_is_refused_with_each_kind_of_error_and_makes_no_machine() {
    let server = Server::start().await;
    let cloud = server.provider("r1");
    for class in ["RateLimited", "Quota", "Auth", "Invalid", "NotFound", "Transient"] {
        server.faults(on("create", &json!({"error": {"class": class}}))).await;
        let error = cloud.create(&request("here", "a")).await.unwrap_err();
        assert_eq!(error.class().as_str(), class);
        assert_eq!(error.is_definite_refusal(), !matches!(class, "NotFound" | "Transient"));
    }
    let scopes = [
        ("Type", CapacityScope::Type),
        ("Zone", CapacityScope::Zone),
        ("Market", CapacityScope::Market),
        ("All", CapacityScope::All),
    ];
    for (name, expected) in scopes {
        server.faults(on("create", &json!({"error": {"class": "Capacity", "scope": name}}))).await;
        let error = cloud.create(&request("here", "a")).await.unwrap_err();
        assert!(matches!(error, ProviderError::Capacity { scope, .. } if scope == expected), "{error:?}");
    }
    assert_eq!((cloud.find("a").await.unwrap(), server.made().await), (None, 0));
    cloud.create(&request("here", "a")).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn an_ambiguous_create_ends_in_an_error_but_the_machine_is_there_and_a_retry_shows_it() {
    let server = Server::with(on("create", &json!({"answerLost": {}}))).await;
    let cloud = server.provider("r1");
    let error = cloud.create(&request("here", "a")).await.unwrap_err();
    assert!(matches!(error, ProviderError::Transient { .. }), "{error:?}");
    let found = cloud.find("a").await.unwrap().unwrap();
    assert_eq!(cloud.create(&request("here", "a")).await.unwrap().id, found.id);
    assert_eq!((server.made().await, server.injected().await), (1, vec!["answerLost".to_owned()]));
    server.stop().await;
}

#[tokio::test]
async fn a_create_that_hangs_has_no_answer_and_made_its_machine_or_not_as_the_fault_says() {
    for done in [true, false] {
        let server = Server::with(on("create", &json!({"hang": {"done": done}}))).await;
        let cloud = server.provider("r1");
        let patience = Duration::from_millis(500);
        assert!(timeout(patience, cloud.create(&request("here", "a"))).await.is_err(), "an answer");
        assert_eq!(cloud.find("a").await.unwrap().is_some(), done);
        assert_eq!(cloud.list("here").await.unwrap().len(), usize::from(done));
        server.stop().await;
    }
}

#[tokio::test]
async fn a_call_that_hangs_costs_nothing_once_its_client_has_given_up() {
    let server = Server::with(json!({"calls": [{"fault": {"hang": {"milliseconds": 600_000}}}]})).await;
    let cloud = server.provider("r1");
    let held = async || {
        let health = reqwest::get(server.url("/healthz")).await.unwrap();
        health.json::<Value>().await.unwrap()["held"].as_u64().unwrap()
    };
    let calls: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let cloud = cloud.clone();
                async move { cloud.identity().await }
            })
        })
        .collect();
    until(async || (held().await == 20).then_some(())).await;
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    until(async || (held().await == 0).then_some(())).await;
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_hangs_is_given_up_by_the_server_in_the_end() {
    let server = Server::with(on("get", &json!({"hang": {"milliseconds": 100}}))).await;
    let begun = Instant::now();
    let error = server.provider("r1").get("i-1").await.unwrap_err();
    assert!(matches!(error, ProviderError::Transient { .. }) && begun.elapsed() >= Duration::from_millis(100));
    server.stop().await;
}

#[tokio::test]
async fn a_slow_create_is_answered_late_and_made_though_its_client_is_gone() {
    let server = Server::with(on("create", &json!({"slow": {"milliseconds": 1000}}))).await;
    let cloud = server.provider("r1");
    assert!(timeout(Duration::from_millis(300), cloud.create(&request("here", "a"))).await.is_err());
    assert_eq!(cloud.find("a").await.unwrap(), None, "not yet");
    until(async || cloud.find("a").await.unwrap()).await;

    server.faults(on("create", &json!({"slow": {"milliseconds": 1000, "doneFirst": true}}))).await;
    assert!(timeout(Duration::from_millis(300), cloud.create(&request("here", "b"))).await.is_err());
    assert!(cloud.find("b").await.unwrap().is_some(), "only the answer is late");

    server.faults(on("create", &json!({"slow": {"milliseconds": 100}}))).await;
    let begun = Instant::now();
    cloud.create(&request("here", "c")).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(100));
    server.stop().await;
}

#[tokio::test]
async fn a_create_before_the_minimum_gap_is_rate_limited_and_told_how_long_to_wait() {
    let server = Server::with(json!({"rates": [{"on": ["create"], "everyMilliseconds": 5000}]})).await;
    let cloud = server.provider("r1");
    cloud.create(&request("here", "a")).await.unwrap();
    let error = cloud.create(&request("here", "b")).await.unwrap_err();
    let ProviderError::RateLimited { retry_after: Some(wait), .. } = error else { panic!("{error:?}") };
    assert!(wait > Duration::from_secs(3) && wait <= Duration::from_secs(5), "{wait:?}");
    assert_eq!(cloud.list("here").await.unwrap().len(), 1, "lists have no limit");
    server.stop().await;
}

#[tokio::test]
async fn a_quota_frees_up_when_a_machine_has_ended() {
    let server = Server::with(json!({"limits": [{"machines": 1}]})).await;
    let cloud = server.provider("r1");
    let first = cloud.create(&request("here", "a")).await.unwrap();
    let error = cloud.create(&request("here", "b")).await.unwrap_err();
    assert!(matches!(error, ProviderError::Quota { .. }), "{error:?}");
    cloud.terminate(&first.id).await.unwrap();
    until(async || cloud.create(&request("here", "b")).await.ok()).await;
    server.stop().await;
}

#[tokio::test]
async fn revoked_credentials_refuse_every_call_until_they_are_given_back() {
    let server = Server::start().await;
    let cloud = server.provider("r1");
    let machine = cloud.create(&request("here", "a")).await.unwrap();
    server.faults(json!({"calls": [{"fault": {"error": {"class": "Auth"}}}]})).await;
    let errors = [
        cloud.create(&request("here", "a")).await.unwrap_err(),
        cloud.find("a").await.unwrap_err(),
        cloud.list("here").await.unwrap_err(),
        cloud.get(&machine.id).await.unwrap_err(),
        cloud.terminate(&machine.id).await.unwrap_err(),
        cloud.identity().await.unwrap_err(),
    ];
    assert!(errors.iter().all(|error| matches!(error, ProviderError::Auth { .. })), "{errors:?}");
    server.faults(json!({})).await;
    assert!(!cloud.get(&machine.id).await.unwrap().phase.is_ending());
    server.stop().await;
}

#[tokio::test]
async fn a_cloud_that_is_away_for_a_while_comes_back_by_itself() {
    let away = json!({"when": {"untilMilliseconds": 1000}, "fault": {"error": {"class": "Transient"}}});
    let server = Server::with(json!({"calls": [away]})).await;
    let cloud = server.provider("r1");
    assert!(matches!(cloud.list("here").await, Err(ProviderError::Transient { .. })));
    assert!(matches!(cloud.identity().await, Err(ProviderError::Transient { .. })));
    until(async || cloud.identity().await.ok()).await;
    cloud.list("here").await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_terminate_that_fails_or_hangs_leaves_the_machine_or_ends_it_as_the_fault_says() {
    let faults = [
        (json!({"error": {"class": "Transient"}}), false),
        (json!({"answerLost": {}}), true),
        (json!({"hang": {"done": false}}), false),
        (json!({"hang": {"done": true}}), true),
    ];
    let server = Server::start().await;
    let cloud = server.provider("r1");
    for (number, (fault, ends)) in faults.into_iter().enumerate() {
        let machine = cloud.create(&request("here", &format!("t{number}"))).await.unwrap();
        server.faults(on("terminate", &fault)).await;
        let answer = timeout(Duration::from_millis(500), cloud.terminate(&machine.id)).await;
        assert!(!matches!(answer, Ok(Ok(()))), "{answer:?}");
        let shown = cloud.get(&machine.id).await.unwrap();
        assert_eq!(shown.phase.is_ending(), ends);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_terminate_is_accepted_but_the_machine_stays_until_it_is_asked_again() {
    let server = Server::with(on("terminate", &json!({"ignored": {}}))).await;
    let cloud = server.provider("r1");
    let machine = cloud.create(&request("here", "a")).await.unwrap();
    cloud.terminate(&machine.id).await.unwrap();
    assert!(!cloud.get(&machine.id).await.unwrap().phase.is_ending());
    cloud.terminate(&machine.id).await.unwrap();
    assert!(cloud.get(&machine.id).await.unwrap().phase.is_ending());

    server.faults(on("terminate", &json!({"lingers": {}}))).await;
    let machine = cloud.create(&request("here", "b")).await.unwrap();
    cloud.terminate(&machine.id).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(cloud.get(&machine.id).await.unwrap().phase, InstancePhase::ShuttingDown);
    cloud.terminate(&machine.id).await.unwrap();
    let terminated = async || (cloud.get(&machine.id).await.ok()?.phase == InstancePhase::Terminated).then_some(());
    until(terminated).await;
    server.stop().await;
}

#[tokio::test]
async fn a_token_may_buy_two_machines_of_which_the_answer_names_the_second() {
    let server = Server::with(on("create", &json!({"twice": {}}))).await;
    let cloud = server.provider("r1");
    let named = cloud.create(&request("here", "a")).await.unwrap();
    assert_eq!(cloud.create(&request("here", "a")).await.unwrap().id, named.id, "a retry buys no third one");
    assert_eq!(cloud.find("a").await.unwrap().unwrap().id, named.id);
    let listed = cloud.list("here").await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed[0].id != named.id && listed[1].id == named.id && listed[0].token == named.token);
    server.stop().await;
}

#[tokio::test]
async fn a_machine_ends_as_slowly_as_the_fault_says() {
    let server = Server::with(on("terminate", &json!({"lingers": {"milliseconds": 300}}))).await;
    let cloud = server.provider("r1");
    let machine = cloud.create(&request("here", "a")).await.unwrap();
    let begun = Instant::now();
    cloud.terminate(&machine.id).await.unwrap();
    let terminated = async || (cloud.get(&machine.id).await.ok()?.phase == InstancePhase::Terminated).then_some(());
    until(terminated).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    server.stop().await;
}

#[tokio::test]
async fn faults_are_shown_replaced_and_refused_by_the_name_of_the_field_without_a_change() {
    let server = Server::with(json!({"pageSize": 5})).await;
    let get = async || reqwest::get(server.url("/v1/faults")).await.unwrap().json::<FaultSet>().await.unwrap();
    assert_eq!(get().await.page_size, Some(5));
    let client = reqwest::Client::new();
    let wrong = json!({"calls": [{"percent": 101, "fault": {"empty": {}}}]}).to_string();
    let refused = client.put(server.url("/v1/faults")).body(wrong).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 400);
    let ErrorBody { error } = refused.json().await.unwrap();
    assert!(error.class == ErrorClass::Invalid && error.message.starts_with("calls[0].percent: "), "{}", error.message);
    assert_eq!(get().await.page_size, Some(5));
    server.faults(json!({})).await;
    assert_eq!(get().await, FaultSet::default());
    server.stop().await;
}

#[tokio::test]
async fn a_tag_call_that_fails_leaves_the_tags_and_one_that_works_adds_its_own() {
    let server = Server::with(on("tag", &json!({"error": {"class": "Transient"}}))).await;
    let cloud = server.provider("r1");
    let made = cloud.create(&request("here", "a")).await.unwrap();
    let claim = [("bullpen.dev/claim".to_owned(), "c-1".to_owned())].into();
    assert!(cloud.can_tag());
    assert_eq!(cloud.tag(&made.id, &claim).await.unwrap_err().class().as_str(), "Transient");
    assert_eq!(cloud.get(&made.id).await.unwrap().tags, made.tags);
    cloud.tag(&made.id, &claim).await.unwrap();
    let tags = cloud.get(&made.id).await.unwrap().tags;
    assert_eq!(tags, OwnTags { claim: Some("c-1".into()), ..made.tags });
    server.stop().await;
}
