//! What lists get wrong, as a client sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use bullpen::provider::{Provider, ProviderError, SimulatedProvider};
use bullpen_simcloud::ledger::What;
use serde_json::{Value, json};

use crate::server::{Server, request, until};

/// A cloud of ten machines in pages of three, and what a list shows under this fault: by number, in order.
async fn listed(rule: Value) -> Result<Vec<usize>, ProviderError> {
    let (server, cloud, ids) = ten().await;
    server.faults(json!({"pageSize": 3, "calls": [rule]})).await;
    let list = cloud.list("here").await;
    server.stop().await;
    let number = |id: &String| ids.iter().position(|known| known == id).unwrap();
    list.map(|list| list.iter().map(|instance| number(&instance.id)).collect())
}

async fn ten() -> (Server, SimulatedProvider, Vec<String>) {
    let server = Server::start().await;
    let cloud = server.provider("r1");
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(cloud.create(&request("here", &format!("t{n}"))).await.unwrap().id);
    }
    (server, cloud, ids)
}

#[tokio::test]
async fn small_pages_alone_lose_nothing() {
    assert_eq!(listed(json!({"percent": 0, "fault": {"empty": {}}})).await, Ok((0..10).collect()));
}

#[tokio::test]
async fn a_list_that_fails_on_a_later_page_fails_as_a_whole() {
    let fault = json!({"error": {"class": "Transient"}});
    let rule = json!({"on": ["list"], "when": {"laterPages": true, "skip": 1}, "fault": fault});
    let error = listed(rule).await.unwrap_err();
    assert!(matches!(error, ProviderError::Transient { .. }), "{error:?}");
}

#[tokio::test]
async fn a_list_is_silently_partial_by_a_page_or_by_its_end() {
    let second = json!({"when": {"skip": 1, "times": 1}, "fault": {"omitPage": {}}});
    assert_eq!(listed(second).await.unwrap(), [0, 1, 2, 6, 7, 8, 9]);
    let second = json!({"when": {"skip": 1}, "fault": {"cutShort": {}}});
    assert_eq!(listed(second).await.unwrap(), [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_list_is_empty_though_machines_live() {
    assert_eq!(listed(json!({"fault": {"empty": {}}})).await.unwrap(), [0; 0]);
}

#[tokio::test]
async fn a_list_omits_live_machines_while_a_get_shows_them_and_the_ledger_names_them() {
    let (server, cloud, ids) = ten().await;
    server.faults(json!({"calls": [{"on": ["list"], "fault": {"omit": {"percent": 50}}}]})).await;
    let shown: BTreeSet<_> = cloud.list("here").await.unwrap().into_iter().map(|instance| instance.id).collect();
    assert!(!shown.is_empty() && shown.len() < 10, "{shown:?}");
    let omitted = server.ledger(0).await.into_iter().find_map(|entry| match entry.what {
        What::Fault(fault) => Some(fault.ids),
        _ => None,
    });
    let omitted = omitted.unwrap();
    assert_eq!(shown.len() + omitted.len(), 10);
    for id in &omitted {
        assert!(ids.contains(id) && !shown.contains(id) && cloud.get(id).await.is_ok());
    }
    assert!(cloud.find("t0").await.unwrap().is_some(), "find is not in the rule");
    server.stop().await;
}

#[tokio::test]
async fn a_list_shows_machines_twice() {
    let twice: Vec<_> = (0..10).flat_map(|n| [n, n]).collect();
    assert_eq!(listed(json!({"fault": {"duplicate": {"percent": 100}}})).await.unwrap(), twice);
    let some = listed(json!({"fault": {"duplicate": {"percent": 50}}})).await.unwrap();
    assert!(some.len() > 10 && some.len() < 20 && some.is_sorted(), "{some:?}");
}

#[tokio::test]
async fn foreign_machines_in_a_list_do_not_become_ours_unless_they_carry_our_tag_and_then_nothing_knows_them() {
    let (server, cloud, ids) = ten().await;
    let foreign = |fault: Value| json!({"calls": [{"on": ["list"], "fault": {"foreign": fault}}]});
    server.faults(foreign(json!({"count": 3, "tags": {"bullpen.dev/installation": "elsewhere"}}))).await;
    assert_eq!(cloud.list("here").await.unwrap().len(), 10);
    let raw = reqwest::get(server.url("/v1/instances")).await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(raw["items"].as_array().unwrap().len(), 13);

    server.faults(foreign(json!({"count": 3, "tagsAskedFor": true}))).await;
    let strangers: Vec<_> =
        cloud.list("here").await.unwrap().into_iter().filter(|instance| !ids.contains(&instance.id)).collect();
    assert_eq!(strangers.len(), 3);
    let error = cloud.get(&strangers[0].id).await.unwrap_err();
    assert!(matches!(error, ProviderError::NotFound { .. }), "{error:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_stale_list_shows_machines_as_they_were_while_a_get_shows_them_as_they_are() {
    let (server, cloud, ids) = ten().await;
    server.faults(json!({"calls": [{"fault": {"stale": {"milliseconds": 1500}}}]})).await;
    tokio::time::sleep(Duration::from_millis(1600)).await;
    cloud.terminate(&ids[0]).await.unwrap();
    let late = cloud.create(&request("here", "late")).await.unwrap();
    let list = cloud.list("here").await.unwrap();
    assert_eq!(list.iter().map(|instance| &instance.id).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    assert!(!list[0].phase.is_ending() && cloud.get(&ids[0]).await.unwrap().phase.is_ending());
    assert!(cloud.find("late").await.unwrap().is_none() && cloud.get(&late.id).await.is_ok());
    until(async || cloud.find("late").await.unwrap()).await;
    assert!(cloud.list("here").await.unwrap()[0].phase.is_ending());
    server.stop().await;
}

#[tokio::test]
async fn with_another_accounts_credentials_the_identity_is_another_and_no_machine_of_ours_is_known() {
    let (server, cloud, ids) = ten().await;
    server.faults(json!({"calls": [{"fault": {"asAccount": {"account": "sim-2"}}}]})).await;
    assert_eq!(cloud.identity().await.unwrap().account, "sim-2");
    assert_eq!((cloud.list("here").await.unwrap(), cloud.find("t0").await.unwrap()), (Vec::new(), None));
    assert!(matches!(cloud.get(&ids[0]).await, Err(ProviderError::NotFound { .. })));
    cloud.terminate(&ids[0]).await.unwrap();
    let theirs = cloud.create(&request("here", "t0")).await.unwrap();
    assert_ne!(theirs.id, ids[0], "a token is of one account");
    assert_eq!(cloud.list("here").await.unwrap().len(), 1);

    server.faults(json!({})).await;
    assert_eq!(cloud.identity().await.unwrap().account, "sim-1");
    assert!(matches!(cloud.get(&theirs.id).await, Err(ProviderError::NotFound { .. })));
    let ours = cloud.list("here").await.unwrap();
    assert_eq!(ours.iter().filter(|instance| !instance.phase.is_ending()).count(), 10);
    server.stop().await;
}
