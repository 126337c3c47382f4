use std::sync::atomic::{AtomicU32, Ordering};

use bullpen_plan::operator::watched_namespaces::WatchedNamespaces;

use super::*;

fn error(code: u16, name: &str) -> kube::Error {
    let status = json!({"code": code, "details": {"name": name}});
    kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))
}

pub(super) fn member() -> PoolMember {
    serde_json::from_value(json!({
        "metadata": {"namespace": "ci", "name": "linux-x7", "uid": "u", "resourceVersion": "4"},
        "spec": {
            "poolRef": {"name": "linux", "uid": "p"},
            "placement": {"launchConfig": "sim", "generation": 1, "image": "i", "zone": "z"},
            "templateHash": "h",
        },
    }))
    .unwrap()
}

/// Writes to a server that answers each request by its method, with a code and a body.
pub(super) fn writes(answer: impl Fn(&http::Method) -> (u16, serde_json::Value) + Send + Sync + 'static) -> Writes {
    let answer = Arc::new(answer);
    let server = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (code, body) = answer(request.method());
        let body = kube::client::Body::from(serde_json::to_vec(&body).unwrap());
        async move { Ok::<_, std::convert::Infallible>(http::Response::builder().status(code).body(body).unwrap()) }
    });
    let client = kube::Client::new(server, "ci");
    let clients = Clients { watching: client.clone(), direct: client.clone(), lease: client };
    Writes::new(clients, ClusterState::new(WatchedNamespaces::All).0, Metrics::new(), Leadership::always())
}

#[tokio::test]
async fn without_the_lease_no_member_is_made_or_deleted_and_every_other_write_is_sent() {
    let sent = Arc::new(AtomicU32::new(0));
    let counted = sent.clone();
    let server = tower::service_fn(move |_: http::Request<kube::client::Body>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let answer = http::Response::builder().status(500).body(kube::client::Body::empty());
        async move { Ok::<_, std::convert::Infallible>(answer.unwrap()) }
    });
    let client = kube::Client::new(server, "ci");
    let clients = Clients { watching: client.clone(), direct: client.clone(), lease: client };
    let lease = || Leadership::acquired(crate::cluster::lease::leadership::boottime());
    let in_term = |leadership| {
        Writes::new(clients.clone(), ClusterState::new(WatchedNamespaces::All).0, Metrics::new(), leadership)
    };
    let leadership = lease();
    let (writes, member) = (in_term(leadership.clone()), member());

    leadership.end();
    assert!(writes.create_member(&member).await.unwrap_err().is_not_leading());
    assert!(writes.try_delete(&member).await.unwrap_err().is_not_leading());
    assert_eq!(sent.load(Ordering::SeqCst), 0);
    assert!(!writes.try_update_status(&member).await.unwrap_err().is_not_leading());
    assert_eq!(sent.load(Ordering::SeqCst), 1, "a compare-and-swap is safe in anybody's hands");
    assert!(!in_term(lease()).try_delete(&member).await.unwrap_err().is_not_leading());
    assert_eq!(sent.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn upkeep_stands_back_while_many_bindings_go_on_but_never_stops_nor_where_claims_wait_for_it() {
    let server = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::empty()))
    });
    let client = kube::Client::new(server, "ci");
    let clients = Clients { watching: client.clone(), direct: client.clone(), lease: client };
    let leadership = Leadership::acquired(crate::cluster::lease::leadership::boottime());
    let cluster = ClusterState::new(WatchedNamespaces::All).0;
    let (writes, member) = (Writes::new(clients, cluster.clone(), Metrics::new(), leadership), member());
    let at_once = || {
        let turns = std::iter::from_fn(|| futures::FutureExt::now_or_never(writes.upkeep_turn(&member)).flatten());
        turns.collect::<Vec<_>>().len()
    };
    assert_eq!(at_once(), 64);
    let bindings: Vec<_> = (0..16).map(|_| writes.binding()).collect();
    assert_eq!(at_once(), 4);
    let claim = json!({
        "metadata": {"namespace": "ci", "name": "build", "uid": "c", "resourceVersion": "5"},
        "spec": {"poolRef": {"name": "linux"}},
    });
    let claim: PoolClaim = serde_json::from_value(claim).unwrap();
    cluster.answered(claim.clone());
    // What a task may do in one go is bounded.
    tokio::task::yield_now().await;
    assert_eq!(at_once(), 64, "a claim waits for what upkeep brings");
    cluster.answered_gone::<PoolClaim>(&ObjectKey::of(&claim), "c");
    assert_eq!(at_once(), 4);
    tokio::task::yield_now().await;
    drop(bindings);
    assert_eq!(at_once(), 64);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_reported_once_and_tried_once_a_minute_and_waits_in_no_queue() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let claim = json!({
        "metadata": {"namespace": "ci", "name": "build", "uid": "c", "resourceVersion": "5"},
        "spec": {"poolRef": {"name": "linux"}},
    });
    let mut later = claim.clone();
    (later["metadata"]["resourceVersion"], later["status"]) = (json!("6"), json!({"phase": "Suspended"}));
    let server = tower::service_fn(move |_: http::Request<kube::client::Body>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let body = kube::client::Body::from(later.to_string().into_bytes());
        async move { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
    });
    let client = kube::Client::new(server, "ci");
    let clients = Clients { watching: client.clone(), direct: client.clone(), lease: client };
    let (cluster, mut changes) = ClusterState::new(WatchedNamespaces::All);
    let writes = Writes::new(clients, cluster.clone(), Metrics::new(), Leadership::always());
    let claim: PoolClaim = serde_json::from_value(claim).unwrap();
    let key = ObjectKey::of(&claim);
    cluster.answered(claim.clone());
    let waits = || cluster.with(|state| state.is_waited_for(&ObjectKey::new("ci", "linux")));
    assert!(waits());

    assert!(matches!(writes.get::<PoolClaim>(&key).await, Found::Unproved));
    assert_eq!((asked.load(Ordering::SeqCst), waits()), (1, false));
    assert!(matches!(writes.get::<PoolClaim>(&key).await, Found::Unproved));
    let error = writes.try_update_status(&claim).await.unwrap_err();
    assert!(error.answer == Answer::Ambiguous && error.to_string().contains("cannot be read"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "not again within a minute");
    let mut news = Vec::new();
    while let Ok(change) = changes.try_recv() {
        if let crate::state::Change::Unreadable(one) = change {
            news.push((one.present, one.report));
        }
    }
    let [(1, Some((object, trouble)))] = &news[..] else { panic!("{news:?}") };
    assert!(object.name.as_deref() == Some("build") && trouble.contains("Suspended"), "{object:?} {trouble}");

    cluster.answered::<PoolClaim>({
        let mut mended = claim.clone();
        mended.metadata.resource_version = Some("7".into());
        mended
    });
    assert!(waits() && !cluster.was_unreadable::<PoolClaim>(&key));
}

#[test]
fn only_a_404_that_names_the_object_proves_that_it_is_gone() {
    assert_eq!(answer_of(&error(404, "a"), "a"), Answer::NotFound);
    assert_eq!(answer_of(&error(404, ""), "a"), Answer::Ambiguous);
    assert_eq!(answer_of(&error(403, "a"), "a"), Answer::Refused);
    assert_eq!(answer_of(&error(504, "a"), "a"), Answer::Ambiguous);
}
