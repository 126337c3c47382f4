//! What befalls machines, as a client sees it.

use std::time::Duration;

use bullpen::provider::{CreateRequest, InstancePhase, Market, Provider, ProviderError};
use serde_json::{Value, json};

use crate::server::{Server, request, until};

fn machines(fault: &Value) -> Value {
    json!({"machines": [{"fault": fault}]})
}

#[tokio::test]
async fn a_created_machine_is_not_listed_or_found_at_first_but_a_get_and_a_retry_show_it() {
    let server = Server::with(machines(&json!({"hidden": {"milliseconds": 1000}}))).await;
    let cloud = server.provider("r1");
    let made = cloud.create(&request("here", "a")).await.unwrap();
    assert_eq!((cloud.list("here").await.unwrap(), cloud.find("a").await.unwrap()), (Vec::new(), None));
    assert_eq!(cloud.get(&made.id).await.unwrap().id, made.id);
    assert_eq!(cloud.create(&request("here", "a")).await.unwrap().id, made.id);
    until(async || cloud.find("a").await.unwrap()).await;
    assert_eq!(cloud.list("here").await.unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_machine_hidden_from_get_and_terminate_is_not_found_by_them() {
    let hidden = json!({"hidden": {"milliseconds": 1000, "from": ["get", "terminate"]}});
    let server = Server::with(machines(&hidden)).await;
    let cloud = server.provider("r1");
    let made = cloud.create(&request("here", "a")).await.unwrap();
    assert!(matches!(cloud.get(&made.id).await, Err(ProviderError::NotFound { .. })));
    cloud.terminate(&made.id).await.unwrap();
    let shown = until(async || cloud.get(&made.id).await.ok()).await;
    assert!(!shown.phase.is_ending(), "not found is success, but nothing was done");
    server.stop().await;
}

#[tokio::test]
async fn a_machine_that_never_boots_is_pending_and_one_that_is_never_ready_runs() {
    let server = Server::with(machines(&json!({"neverBoots": {}}))).await;
    let cloud = server.provider("r1");
    let never_boots = cloud.create(&request("here", "a")).await.unwrap().id;
    server.faults(machines(&json!({"neverReady": {}}))).await;
    let never_ready = cloud.create(&request("here", "b")).await.unwrap().id;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(cloud.get(&never_boots).await.unwrap().phase, InstancePhase::Pending);
    let shown = cloud.get(&never_ready).await.unwrap();
    assert_eq!((shown.phase, shown.ready), (InstancePhase::Running, false));
    server.stop().await;
}

#[tokio::test]
async fn a_ready_machine_dies_stops_or_reports_broken_by_itself() {
    let faults = [
        ("dies", InstancePhase::Terminated),
        ("stops", InstancePhase::Stopped),
        ("reportsBroken", InstancePhase::Running),
    ];
    for (fault, phase) in faults {
        let server = Server::with(machines(&json!({fault: {"milliseconds": 500}}))).await;
        let cloud = server.provider("r1");
        let id = cloud.create(&request("here", "a")).await.unwrap().id;
        until(async || cloud.get(&id).await.ok().filter(|instance| instance.ready)).await;
        let struck = until(async || cloud.get(&id).await.ok().filter(|instance| !instance.ready)).await;
        assert_eq!(struck.phase, phase);
        let raw = reqwest::get(server.url(&format!("/v1/instances/{id}"))).await.unwrap();
        let impaired = raw.json::<Value>().await.unwrap().get("impaired").is_some();
        assert_eq!(impaired, fault == "reportsBroken");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_machine_flaps_between_ready_and_not_ready() {
    let flaps = json!({"flaps": {"readyMilliseconds": 200, "notReadyMilliseconds": 200}});
    let server = Server::with(machines(&flaps)).await;
    let cloud = server.provider("r1");
    let id = cloud.create(&request("here", "a")).await.unwrap().id;
    for ready in [true, false, true, false] {
        until(async || cloud.get(&id).await.ok().filter(|instance| instance.ready == ready)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_spot_machine_is_noticed_and_then_taken_back() {
    let interrupted = json!({"interrupted": {"notice": {"milliseconds": 50}, "milliseconds": 1000}});
    let server = Server::with(machines(&interrupted)).await;
    let cloud = server.provider("r1");
    let spot = CreateRequest { market: Market::Spot, ..request("here", "a") };
    let id = cloud.create(&spot).await.unwrap().id;
    let noticed = until(async || {
        let raw = reqwest::get(server.url(&format!("/v1/instances/{id}"))).await.unwrap();
        let raw = raw.json::<Value>().await.unwrap();
        raw.get("interruptionTime").is_some().then_some(raw)
    });
    assert_eq!(noticed.await["phase"], "Running");
    until(async || cloud.get(&id).await.ok().filter(|instance| instance.phase.is_ending())).await;
    server.stop().await;
}

#[tokio::test]
async fn machines_vanish_at_a_rate_or_by_call_and_then_no_call_knows_them() {
    let server = Server::with(json!({"machines": [{"percent": 40, "fault": {"vanishes": {}}}]})).await;
    let cloud = server.provider("r1");
    for n in 0..20 {
        cloud.create(&request("here", &format!("t{n}"))).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    let left = cloud.list("here").await.unwrap();
    assert!((5..20).contains(&left.len()), "{}", left.len());
    assert_eq!(left.len() + server.injected().await.len(), 20);

    let id = &left[0].id;
    let client = reqwest::Client::new();
    let strike = async |body: &str| {
        let post = client.post(server.url(&format!("/v1/faults/instances/{id}"))).body(body.to_owned());
        post.send().await.unwrap().status().as_u16()
    };
    assert_eq!(strike(r#"{"vanishes": {"soon": true}}"#).await, 400);
    assert_eq!(strike(r#"{"vanishes": {}}"#).await, 200);
    assert!(matches!(cloud.get(id).await, Err(ProviderError::NotFound { .. })));
    assert_eq!(cloud.list("here").await.unwrap().len(), left.len() - 1);
    cloud.terminate(id).await.unwrap();
    assert_eq!(strike(r#"{"vanishes": {}}"#).await, 404);
    server.stop().await;
}
