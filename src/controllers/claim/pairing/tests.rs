use std::time::Duration;

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
use crate::controllers::claim::requests::Requests;
use crate::controllers::claim::{queue_view, vanished};
use crate::controllers::common::{Common, ExpiryGrace, LeadershipTerm, Wakers};
use crate::controllers::first_boot::ssh_keys;
use crate::controllers::member::health::memory::HealthMemory;
use crate::controllers::member::machine_memory;
use crate::controllers::pool::memory::PoolMemories;
use crate::probes::Prober;
use crate::provider::Registry;
use crate::state::ClusterState;
use crate::state::cluster_state::indexing::StoredKind;
use crate::state::namespace_labels::Read;
use crate::state::store::looks::counted;
use crate::tasks::TermTasks;
use crate::telemetry::Metrics;

pub(super) fn controller() -> ClaimController {
    controller_of_server(500)
}

/// A controller whose API server gives every request this answer.
fn controller_of_server(code: u16) -> ClaimController {
    let server = tower::service_fn(move |_: http::Request<kube::client::Body>| async move {
        let answer = http::Response::builder().status(code).body(kube::client::Body::empty());
        Ok::<_, std::convert::Infallible>(answer.unwrap())
    });
    controller_of_client(kube::Client::new(server, "ci"))
}

/// A controller with this way to the API server.
pub(in crate::controllers::claim) fn controller_of_client(client: kube::Client) -> ClaimController {
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
        term: LeadershipTerm { started: Timestamp::UNIX_EPOCH, leadership, end: CancellationToken::new() },
        expiry: ExpiryGrace { grace: jiff::SignedDuration::ZERO, api_health: ApiHealth::new(Metrics::new()) },
        clouds: cloud::Clouds::new(Registry::built_in(), metrics, "test".into()),
        ssh_keys: ssh_keys::SshKeys::new(cluster, clients.direct, ObjectKey::new("operators", "bullpen-installation")),
        machines: machine_memory::Machines::new(Timestamp::UNIX_EPOCH),
        health: HealthMemory::default(),
        prober: Prober::new(),
        definition: vanished::DefinitionReader::default(),
        pool_memories: PoolMemories::default(),
        requests: Requests::default(),
    }
}

pub(in crate::controllers::claim) fn see<K: StoredKind + serde::de::DeserializeOwned>(
    controller: &ClaimController,
    object: Value,
) {
    controller.common.cluster.watched::<K>(&Feed::Everywhere, Event::Apply(serde_json::from_value(object).unwrap()));
}

pub(in crate::controllers::claim) fn pool(claims: &Value) -> Value {
    json!({
        "metadata": {"namespace": "ns", "name": "ci", "uid": "pool", "resourceVersion": "1"},
        "spec": {"targetSize": 5, "maxSize": 20_000, "launchConfigs": [{"name": "sim"}], "claims": claims},
    })
}

pub(in crate::controllers::claim) fn member(number: usize, state: &str, claim: Option<Value>) -> Value {
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

pub(in crate::controllers::claim) fn claim(namespace: &str, number: usize, spec: &Value) -> Value {
    let mut whole = json!({"poolRef": {"name": "ci", "namespace": "ns"}});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({
        "metadata": {"namespace": namespace, "name": format!("c{number}"), "uid": format!("{namespace}-c{number}"),
            "resourceVersion": (number + 10).to_string(), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": whole,
    })
}

pub(in crate::controllers::claim) fn synced(controller: &ClaimController) {
    fn list<K: StoredKind>(controller: &ClaimController) {
        controller.common.cluster.watched::<K>(&Feed::Everywhere, Event::Init);
        controller.common.cluster.watched::<K>(&Feed::Everywhere, Event::InitDone);
    }
    list::<InstancePool>(controller);
    list::<LaunchConfig>(controller);
    list::<PoolMember>(controller);
    list::<PoolClaim>(controller);
}

pub(super) fn key() -> ObjectKey {
    ObjectKey::new("ns", "ci")
}

pub(super) fn pass(controller: &ClaimController) -> Option<Pass> {
    plan(controller, &key().into(), Timestamp::now())
}

/// A controller of a pool with this many ready members and waiting claims.
pub(super) fn controller_of(members: usize, claims: usize) -> ClaimController {
    filled(controller(), members, claims)
}

fn filled(controller: ClaimController, members: usize, claims: usize) -> ClaimController {
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

#[tokio::test]
async fn a_pass_over_a_long_queue_without_ready_members_looks_at_no_claim_until_they_are_judged_again() {
    let controller = controller_of(0, 0);
    see::<InstancePool>(&controller, {
        let mut changed = pool(&json!({"allowedNamespaces": {"from": "All"}}));
        changed["metadata"]["resourceVersion"] = json!("2");
        changed
    });
    for number in 0..100 {
        see::<PoolClaim>(&controller, claim(&format!("team-{number}"), number, &json!({})));
    }
    let looks = || counted(|| plan(&controller, &key().into(), Timestamp::UNIX_EPOCH).unwrap()).0;
    let first = looks();
    assert!(first >= 100, "{first}");
    let again = looks();
    assert!(again <= 4, "{again} looks, {first} when they were judged");
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

/// Releases a claim and a member, both of this number, whose binding failed.
fn come_to_nothing(controller: &ClaimController, number: usize, refusal: Option<&str>) {
    let (claim, member) = (ObjectKey::new("ns", format!("c{number}")), ObjectKey::new("ns", format!("ci-{number}")));
    let (claim_uid, member_uid) = (format!("ns-c{number}"), format!("m{number}"));
    let refusal = refusal.map(str::to_owned);
    controller.common.cluster.with(|state| {
        state.binding_troubles.not_claimed((&claim, &claim_uid), &member_uid, refusal, Timestamp::now());
        state.release((&claim, &claim_uid), (&member, &member_uid));
    });
}

fn names(pass: &Pass) -> Vec<(String, String)> {
    let name = |pair: &Pair| (ObjectKey::of(pair.claim.as_ref()).name.clone(), convert::uid(pair.member.as_ref()));
    pass.pairs.iter().map(name).collect()
}

#[tokio::test]
async fn a_refused_claim_delays_nobody_and_is_paired_again_by_itself() {
    let controller = controller_of(2, 1);
    assert_eq!(names(&pass(&controller).unwrap()), [("c0".to_owned(), "m0".to_owned())]);
    come_to_nothing(&controller, 0, Some("forbidden"));
    let resting = pass(&controller).unwrap();
    assert!(resting.pairs.is_empty(), "it does not burn through the members");
    let again = resting.look_again_at.expect("a moment");
    assert!(again <= Timestamp::now().checked_add(Duration::from_millis(251)).unwrap(), "{again}");
    see::<PoolClaim>(&controller, claim("ns", 1, &json!({})));
    assert_eq!(names(&pass(&controller).unwrap()), [("c1".to_owned(), "m1".to_owned())], "the next claim passes it");
    let later = Timestamp::now().checked_add(Duration::from_millis(300)).unwrap();
    let retried = plan(&controller, &key().into(), later).unwrap();
    assert_eq!(names(&retried), [("c0".to_owned(), "m0".to_owned())]);
}

#[tokio::test]
async fn a_claim_that_may_have_a_member_already_keeps_its_turn() {
    let controller = controller_of(2, 2);
    controller.common.cluster.with(|state| {
        let claim = ObjectKey::new("ns", "c0");
        state.binding_troubles.not_claimed((&claim, "ns-c0"), "m0", None, Timestamp::now());
    });
    assert!(pass(&controller).unwrap().pairs.is_empty(), "the second member is for the first claim");
}

#[tokio::test]
async fn a_refused_claim_says_what_is_refused() {
    let controller = controller_of(1, 1);
    pass(&controller);
    come_to_nothing(&controller, 0, Some("poolmembers/status is forbidden"));
    let later = Timestamp::now().checked_add(Duration::from_millis(150)).unwrap();
    let mut impatient = claim("ns", 0, &json!({"whenEmpty": "Fail", "waitTimeoutSeconds": 1}));
    impatient["metadata"]["resourceVersion"] = json!("500");
    see::<PoolClaim>(&controller, impatient);
    let update = plan(&controller, &key().into(), later).unwrap().updates.pop().expect("its time is over");
    assert!(update.is_failure());
    assert!(update.message().contains("poolmembers/status is forbidden"), "{}", update.message());
}

#[tokio::test]
async fn only_a_claim_that_the_last_pass_did_not_see_is_fresh() {
    let controller = controller_of(1, 2);
    let first = pass(&controller).unwrap();
    assert!(first.pairs[0].fresh, "the first pass after a start");
    // The second one waits for a member, the first one comes back.
    let (claim_key, member_key) = (ObjectKey::new("ns", "c0"), ObjectKey::new("ns", "ci-0"));
    controller.common.cluster.with(|state| state.release((&claim_key, "ns-c0"), (&member_key, "m0")));
    assert!(!pass(&controller).unwrap().pairs[0].fresh);
    see::<PoolMember>(&controller, member(7, "Ready", None));
    see::<PoolMember>(&controller, member(8, "Ready", None));
    see::<PoolClaim>(&controller, claim("ns", 2, &json!({})));
    let pairs = pass(&controller).unwrap().pairs;
    assert_eq!(pairs.iter().map(|pair| pair.fresh).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn claims_that_fail_go_first_and_no_queue_takes_the_room_of_another() {
    let controller = controller_of(0, 0);
    // What these say is not so any more.
    let told = json!({"phase": "Pending", "conditions": [{"type": "Bound", "status": "False", "reason": "PoolNotActive",
        "message": "pool ci is paused", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let waits = |number: usize, spec: &Value| {
        let mut claim = claim("ns", number, spec);
        claim["status"] = told.clone();
        claim
    };
    for number in 0..200 {
        see::<PoolClaim>(&controller, waits(number, &json!({})));
    }
    see::<PoolClaim>(&controller, claim("ns", 200, &json!({"whenEmpty": "Fail"})));
    see::<PoolClaim>(&controller, waits(201, &json!({"poolRef": {"name": "none", "namespace": "ns"}})));
    let of_ci = pass(&controller).unwrap();
    let expected = [[true].as_slice(), &[false; 10]].concat();
    assert_eq!(of_ci.updates.iter().map(StatusUpdate::is_failure).collect::<Vec<_>>(), expected);
    assert!(of_ci.look_again_at.is_some(), "the others are told soon");
    let of_other = plan(&controller, &ObjectKey::new("ns", "none").into(), Timestamp::now()).unwrap();
    assert_eq!(of_other.updates.len(), 1);
}

#[tokio::test]
async fn a_refused_swap_leaves_claim_and_member_alone_and_is_timed() {
    let controller = filled(controller_of_server(403), 1, 1);
    let pair = pass(&controller).unwrap().pairs.pop().unwrap();
    bind::bind(&controller, &key(), &pair).await;
    controller.common.cluster.with(|state| {
        assert!(state.binding_troubles.is_refused("ns-c0", Timestamp::now()));
        assert!(state.binding_troubles.parked_until("m0", Timestamp::now()).is_some());
    });
    let text = controller.common.metrics.encode().unwrap();
    let counted = r#"bullpen_claim_pairing_duration_seconds_count{namespace="ns",pool="ci"} 1"#;
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn a_swap_without_a_definite_answer_is_not_looked_into_for_ever_and_not_at_all_after_the_term() {
    let controller = controller_of(1, 1);
    let pair = pass(&controller).unwrap().pairs.pop().unwrap();
    bind::bind(&controller, &key(), &pair).await;
    assert!(controller.common.cluster.with(|state| state.binding_troubles.is_unclear("ns-c0", Timestamp::now())));
    let controller = controller_of(1, 1);
    let pair = pass(&controller).unwrap().pairs.pop().unwrap();
    controller.term.end.cancel();
    bind::bind(&controller, &key(), &pair).await;
    assert!(controller.common.cluster.with(|state| state.binding_troubles.paused(Timestamp::now()).next().is_none()));
    assert!(
        controller
            .common
            .metrics
            .encode()
            .unwrap()
            .contains(r#"kind="PoolMember",verb="update_status",outcome="error"} 0"#)
    );
}
