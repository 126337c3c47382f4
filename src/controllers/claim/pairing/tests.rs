use std::time::{Duration, Instant};

use bullpen_api::LaunchConfig;
use bullpen_plan::operator::watched_namespaces::{Feed, WatchedNamespaces};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cloud;
use crate::cluster::api_health::ApiHealth;
use crate::cluster::client::Clients;
use crate::cluster::events::Events;
use crate::cluster::{Leadership, Writes};
use crate::controllers::claim::{queue_view, vanished};
use crate::controllers::common::{Common, ExpiryGrace, LeadershipTerm, Wakers};
use crate::controllers::first_boot::ssh_keys;
use crate::controllers::member::machine_memory;
use crate::controllers::pool::memory::PoolMemories;
use crate::provider::Registry;
use crate::state::ClusterState;
use crate::state::cluster_state::indexing::StoredKind;
use crate::state::namespace_labels::Read;
use crate::tasks::TermTasks;
use crate::telemetry::Metrics;

pub(super) fn controller() -> ClaimController {
    let server = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        let answer = http::Response::builder().status(500).body(kube::client::Body::empty());
        Ok::<_, std::convert::Infallible>(answer.unwrap())
    });
    let client = kube::Client::new(server, "ci");
    let clients = Clients { watching: client.clone(), direct: client.clone(), lease: client };
    let (cluster, metrics, leadership) =
        (ClusterState::new(WatchedNamespaces::All).0, Metrics::new(), Leadership::always());
    let tasks = TermTasks::new(metrics.clone(), CancellationToken::new());
    ClaimController {
        common: Common {
            cluster: cluster.clone(),
            writes: Writes::new(clients.clone(), cluster.clone(), metrics.clone(), leadership.clone()),
            events: Events::new(clients.direct.clone(), "test".into(), tasks.clone()),
            metrics: metrics.clone(),
            wakers: Wakers::new().0,
            tasks,
        },
        // So long ago that the grace for unlisted machines is over.
        term: LeadershipTerm { started: Timestamp::UNIX_EPOCH, leadership },
        expiry: ExpiryGrace { grace: jiff::SignedDuration::ZERO, api_health: ApiHealth::new(Metrics::new()) },
        clouds: cloud::Clouds::new(Registry::built_in(), metrics, "test".into()),
        ssh_keys: ssh_keys::SshKeys::new(cluster, clients.direct, ObjectKey::new("operators", "bullpen-installation")),
        machines: machine_memory::Machines::new(Timestamp::UNIX_EPOCH),
        definition: vanished::DefinitionReader::default(),
        pool_memories: PoolMemories::default(),
    }
}

pub(super) fn see<K: StoredKind + serde::de::DeserializeOwned>(controller: &ClaimController, object: Value) {
    controller.common.cluster.watched::<K>(&Feed::Everywhere, Event::Apply(serde_json::from_value(object).unwrap()));
}

fn pool(claims: &Value) -> Value {
    json!({
        "metadata": {"namespace": "ns", "name": "ci", "uid": "pool", "resourceVersion": "1"},
        "spec": {"targetSize": 5, "maxSize": 20_000, "launchConfigs": [{"name": "sim"}], "claims": claims},
    })
}

pub(super) fn member(number: usize, state: &str, claim: Option<Value>) -> Value {
    let mut status = json!({"state": state, "warmingStartedAt": "2026-01-01T00:00:00.000000Z"});
    if let Some(claim) = claim {
        status["claimRef"] = claim;
    }
    json!({
        "metadata": {"namespace": "ns", "name": format!("ci-{number}"), "uid": format!("m{number}"),
            "resourceVersion": (number + 10).to_string()},
        "spec": {
            "poolRef": {"name": "ci", "uid": "pool"},
            "placement": {"launchConfig": "sim", "generation": 1, "image": "i", "zone": "z"},
            "templateHash": "h",
        },
        "status": status,
    })
}

fn claim(namespace: &str, number: usize, spec: &Value) -> Value {
    let mut whole = json!({"poolRef": {"name": "ci", "namespace": "ns"}});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({
        "metadata": {"namespace": namespace, "name": format!("c{number}"), "uid": format!("{namespace}-c{number}"),
            "resourceVersion": (number + 10).to_string(), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": whole,
    })
}

pub(super) fn synced(controller: &ClaimController) {
    fn list<K: StoredKind>(controller: &ClaimController) {
        controller.common.cluster.watched::<K>(&Feed::Everywhere, Event::Init);
        controller.common.cluster.watched::<K>(&Feed::Everywhere, Event::InitDone);
    }
    list::<InstancePool>(controller);
    list::<LaunchConfig>(controller);
    list::<PoolMember>(controller);
    list::<PoolClaim>(controller);
}

fn key() -> ObjectKey {
    ObjectKey::new("ns", "ci")
}

pub(super) fn pass(controller: &ClaimController) -> Option<Pass> {
    plan(controller, &key().into(), Timestamp::now())
}

/// A controller of a pool with this many ready members and waiting claims.
fn controller_of(members: usize, claims: usize) -> ClaimController {
    let controller = controller();
    synced(&controller);
    see::<InstancePool>(&controller, pool(&json!({})));
    for number in 0..members {
        see::<PoolMember>(&controller, member(number, "Ready", None));
    }
    for number in 0..claims {
        see::<PoolClaim>(&controller, claim("ns", number, &json!({})));
    }
    controller
}

#[tokio::test]
async fn what_a_pass_pairs_is_reserved_and_no_pass_pairs_it_again() {
    let controller = controller_of(5, 3);
    assert_eq!(pass(&controller).unwrap().pairs.len(), 3);
    assert!(pass(&controller).is_none(), "nobody waits any more");
    assert_eq!(controller.common.cluster.with(|state| queue_view::waiting(state, &key())), 0);
    let (claim_key, member_key) = (ObjectKey::new("ns", "c0"), ObjectKey::new("ns", "ci-0"));
    controller.common.cluster.with(|state| state.release((&claim_key, "ns-c0"), (&member_key, "m0")));
    assert_eq!(
        controller.common.cluster.with(|state| queue_view::waiting(state, &key())),
        1,
        "a pair that came to nothing waits again"
    );
    assert_eq!(pass(&controller).unwrap().pairs.len(), 1);
}

#[tokio::test]
async fn claimed_and_reserved_members_count_for_the_quota_of_their_namespace() {
    let controller = controller_of(4, 5);
    see::<InstancePool>(&controller, {
        let mut changed = pool(&json!({"perNamespace": 3}));
        changed["metadata"]["resourceVersion"] = json!("2");
        changed
    });
    let holder = json!({"namespace": "ns", "name": "held", "uid": "held"});
    see::<PoolMember>(&controller, member(100, "Claimed", Some(holder.clone())));
    assert_eq!(controller.common.cluster.with(|state| queue_view::waiting(state, &key())), 2);
    assert_eq!(pass(&controller).unwrap().pairs.len(), 2);
    assert!(pass(&controller).unwrap().pairs.is_empty());
    assert_eq!(controller.common.cluster.with(|state| queue_view::waiting(state, &key())), 0);

    // Its claim is gone and it is being deleted: it stops counting for the quota before its machine is gone.
    let mut ending = member(100, "Claimed", Some(holder));
    ending["metadata"]["resourceVersion"] = json!("500");
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    see::<PoolMember>(&controller, ending);
    assert_eq!(pass(&controller).unwrap().pairs.len(), 1);
}

#[tokio::test]
async fn claims_of_other_namespaces_are_in_no_queue_of_a_pool_that_does_not_serve_them() {
    let controller = controller_of(4, 0);
    see::<PoolClaim>(&controller, claim("other", 1, &json!({})));
    assert!(pass(&controller).unwrap().pairs.is_empty());
    assert_eq!(controller.common.cluster.with(|state| queue_view::waiting(state, &key())), 0);
    see::<InstancePool>(&controller, {
        let mut changed = pool(&json!({"allowedNamespaces": {"from": "All"}}));
        changed["metadata"]["resourceVersion"] = json!("2");
        changed
    });
    assert_eq!(controller.common.cluster.with(|state| queue_view::waiting(state, &key())), 1);
    assert_eq!(pass(&controller).unwrap().pairs.len(), 1);
}

#[tokio::test]
async fn a_namespace_whose_labels_are_not_known_yet_is_read_once_and_waits_for_that() {
    let controller = controller_of(4, 0);
    let by_labels = json!({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}});
    see::<InstancePool>(&controller, {
        let mut changed = pool(&by_labels);
        changed["metadata"]["resourceVersion"] = json!("2");
        changed
    });
    see::<PoolClaim>(&controller, claim("other", 1, &json!({})));
    let first = pass(&controller).unwrap();
    assert_eq!((first.unread.as_slice(), first.pairs.len(), first.updates.len()), (&["other".to_owned()][..], 0, 0));
    assert!(pass(&controller).unwrap().unread.is_empty(), "it is being read");
    let labels = [("a".to_owned(), "b".to_owned())].into();
    let (waited, _) = controller.common.cluster.with(|state| state.namespaces.put("other", Read::Labels(labels)));
    assert!(waited.contains(&key()));
    assert_eq!(pass(&controller).unwrap().pairs.len(), 1);
}

/// Times passes over many members and claims. A debug build on a busy machine is many times slower than a release
/// build, so the bounds only distinguish an index from a walk over everything.
#[tokio::test]
async fn a_pass_costs_what_it_pairs_and_not_what_exists() {
    let timed = |what: &str, controller: &ClaimController, times: u32, each: &dyn Fn(u32)| {
        let mut took = Duration::ZERO;
        for time in 0..times {
            each(time);
            let began = Instant::now();
            let _ = std::hint::black_box(pass(controller));
            took += began.elapsed();
        }
        eprintln!("{what}: {:?} a pass", took / times);
        took / times
    };
    let ready = controller_of(5_000, 0);
    let one = timed("5,000 ready members, one claim comes", &ready, 50, &|time| {
        see::<PoolClaim>(&ready, claim("ns", 10_000 + time as usize, &json!({})));
    });
    let burst = controller_of(5_000, 2_000);
    timed("5,000 ready members, 2,000 claims at once", &burst, 1, &|_| {});
    let crowd = controller_of(0, 2_000);
    drop(pass(&crowd));
    let served = timed("2,000 claims wait, one member gets ready", &crowd, 50, &|time| {
        see::<PoolMember>(&crowd, member(20_000 + time as usize, "Ready", None));
    });
    let began = Instant::now();
    for _ in 0..50 {
        std::hint::black_box(crowd.common.cluster.with(|state| queue_view::waiting(state, &key())));
    }
    eprintln!("2,000 claims wait: counted in {:?}", began.elapsed() / 50);
    assert!(one < Duration::from_millis(20) && served < Duration::from_millis(20), "{one:?}, {served:?}");
}
