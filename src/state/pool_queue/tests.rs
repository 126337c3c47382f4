use bullpen_api::InstancePool;
use bullpen_plan::operator::watched_namespaces::{Feed, WatchedNamespaces};
use kube::runtime::watcher::Event;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::state::ClusterState;
use crate::state::cluster_state::State;

const CLAIMS: usize = 4;
const MEMBERS: usize = 4;

/// A change of the cluster state.
#[derive(Clone, Debug)]
enum Action {
    Claim { number: usize, namespace: bool, phase: usize, deleting: bool, priority: i32 },
    ClaimGone(usize, bool),
    Member { number: usize, state: usize, holder: usize, deleting: bool, cordoned: bool },
    MemberGone(usize),
    Pool(Option<i32>),
    Reserved(usize, usize),
    Released(usize, usize),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let one = prop_oneof![
        (0..CLAIMS, any::<bool>(), 0..3_usize, proptest::bool::weighted(0.1), -2..3_i32).prop_map(
            |(number, namespace, phase, deleting, priority)| Action::Claim {
                number,
                namespace,
                phase,
                deleting,
                priority
            }
        ),
        (0..CLAIMS, any::<bool>()).prop_map(|(number, namespace)| Action::ClaimGone(number, namespace)),
        (0..MEMBERS, 0..4_usize, 0..CLAIMS, proptest::bool::weighted(0.2), proptest::bool::weighted(0.2)).prop_map(
            |(number, state, holder, deleting, cordoned)| Action::Member { number, state, holder, deleting, cordoned }
        ),
        (0..MEMBERS).prop_map(Action::MemberGone),
        proptest::option::of(-1..2_i32).prop_map(Action::Pool),
        (0..CLAIMS, 0..MEMBERS).prop_map(|(claim, member)| Action::Reserved(claim, member)),
        (0..CLAIMS, 0..MEMBERS).prop_map(|(claim, member)| Action::Released(claim, member)),
    ];
    proptest::collection::vec(one, 1..60)
}

fn namespace_of(other: bool) -> &'static str {
    if other { "other" } else { "ns" }
}

fn claim_key(number: usize, other: bool) -> ObjectKey {
    ObjectKey::new(namespace_of(other), format!("c{number}"))
}

fn member_key(number: usize) -> ObjectKey {
    ObjectKey::new("ns", format!("m{number}"))
}

fn meta(key: &ObjectKey, version: usize, deleting: bool) -> serde_json::Value {
    let mut meta = json!({"namespace": key.namespace, "name": key.name, "uid": format!("{key}"),
        "resourceVersion": version.to_string(), "creationTimestamp": "2026-01-01T00:00:00Z"});
    if deleting {
        meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    meta
}

fn apply<K: crate::state::cluster_state::indexing::StoredKind + serde::de::DeserializeOwned>(
    cluster: &ClusterState,
    object: serde_json::Value,
) {
    cluster.watched::<K>(&Feed::Everywhere, Event::Apply(serde_json::from_value(object).unwrap()));
}

fn act(cluster: &ClusterState, action: &Action, version: usize) {
    match action {
        Action::Claim { number, namespace, phase, deleting, priority } => {
            let key = claim_key(*number, *namespace);
            let spec = json!({"poolRef": {"name": "ci", "namespace": "ns"}, "priority": priority});
            let status = json!({"phase": (["Pending", "Bound", "Failed"][*phase])});
            let meta = meta(&key, version, *deleting);
            apply::<PoolClaim>(cluster, json!({"metadata": meta, "spec": spec, "status": status}));
        }
        // Gone by an uncached 404, whose uid is not remembered, so the same object may appear again.
        Action::ClaimGone(number, namespace) => forget::<PoolClaim>(cluster, &claim_key(*number, *namespace)),
        Action::Member { number, state, holder, deleting, cordoned } => {
            let key = member_key(*number);
            let holder = claim_key(*holder, *holder % 2 == 0);
            let mut status = json!({"state": (["Pending", "Warming", "Ready", "Claimed"][*state])});
            if *state == 3 {
                let uid = holder.to_string();
                status["claimRef"] = json!({"namespace": holder.namespace, "name": holder.name, "uid": uid});
            }
            let spec = json!({
                "poolRef": {"name": "ci", "uid": "pool"}, "templateHash": "h", "cordoned": cordoned,
                "placement": {"launchConfig": "sim", "generation": 1, "image": "i", "zone": "z"},
            });
            let meta = meta(&key, version, *deleting);
            apply::<PoolMember>(cluster, json!({"metadata": meta, "spec": spec, "status": status}));
        }
        Action::MemberGone(number) => forget::<PoolMember>(cluster, &member_key(*number)),
        Action::Pool(max_priority) => {
            let mut claims = json!({});
            if let Some(max) = max_priority {
                claims["maxPriority"] = json!(max);
            }
            let spec = json!({"targetSize": 1, "maxSize": 9, "launchConfigs": [{"name": "sim"}], "claims": claims});
            let meta = meta(&ObjectKey::new("ns", "ci"), version, false);
            apply::<InstancePool>(cluster, json!({"metadata": meta, "spec": spec}));
        }
        Action::Reserved(claim, member) => cluster.with(|state| {
            let found =
                (state.claims.read(&claim_key(*claim, false)), state.members.get(&member_key(*member)).cloned());
            if let (Some(claim), Some(member)) = found {
                state.reserve(&claim, &member);
            }
        }),
        Action::Released(claim, member) => cluster.with(|state| {
            let (claim, member) = (claim_key(*claim, false), member_key(*member));
            state.release((&claim, &claim.to_string()), (&member, &member.to_string()));
        }),
    }
}

/// A new list does not show the object.
fn forget<K: crate::state::cluster_state::indexing::StoredKind>(cluster: &ClusterState, key: &ObjectKey) {
    cluster.watched::<K>(&Feed::Everywhere, Event::Init);
    let others: Vec<_> = cluster.with(|state| K::store(state).keys().cloned().collect());
    for other in others.into_iter().filter(|other| other != key) {
        cluster.with(|state| K::store(state).keep(&other));
    }
    cluster.watched::<K>(&Feed::Everywhere, Event::InitDone);
}

/// The queues computed from scratch from all objects.
fn rebuilt(state: &State) -> PoolQueues {
    let mut queues = PoolQueues::default();
    let pool = ObjectKey::new("ns", "ci");
    let max_priority = state.pools.get(&pool).and_then(|pool| pool.spec.claims.max_priority);
    for key in state.claims.keys() {
        let claim = state.claims.read(key).unwrap();
        let uid = claim.uid().unwrap();
        let named = state.members_claimed_by(&uid).next().is_some();
        let waits = waiting(&claim, named, state.claims.arrival(key), max_priority);
        let waits = waits.filter(|_| !state.claims_reserved.contains(&uid));
        queues.put_claim(key, waits.map(|waits| (pool.clone().into(), waits)).into_iter().collect());
    }
    for (key, member) in state.members.iter() {
        let given = state.members_reserved.contains(&member.uid().unwrap()).then(|| "ns".to_owned());
        let holder = member.status.as_ref().and_then(|status| status.claim_ref.as_ref());
        let ended = holder
            .is_some_and(|claim| !state.claims.keys().any(|key| state.claims.uid(key) == Some(claim.uid.as_str())));
        queues.put_member(key, &pool, classify(member, given.as_ref(), ended));
    }
    queues
}

proptest! {
    #[test]
    fn after_any_changes_the_queues_follow_from_the_objects(actions in actions()) {
        let (cluster, _changes) = ClusterState::new(WatchedNamespaces::All);
        for (number, action) in actions.iter().enumerate() {
            act(&cluster, action, number + 1);
            cluster.with(|state| {
                let (stored, fresh) = (&state.queues, rebuilt(state));
                prop_assert_eq!(&stored.claims, &fresh.claims, "after {:?}", action);
                prop_assert_eq!(&stored.members, &fresh.members, "after {:?}", action);
                let pool = ObjectKey::new("ns", "ci");
                prop_assert_eq!(format!("{:?}", counts(stored.at_pool(&pool))), format!("{:?}", counts(fresh.at_pool(&pool))));
                Ok(())
            })?;
        }
    }
}

/// The counts of a queue.
fn counts(queue: Option<&PoolQueue>) -> impl std::fmt::Debug {
    let Some(queue) = queue else { return (Vec::new(), [0; 3], [InUse::default(); 2]) };
    let claims: Vec<_> = queue
        .namespaces()
        .map(|(name, queue)| {
            let turns: Vec<_> = queue.turns().map(|(turn, key)| (turn.uid().to_owned(), key.to_string())).collect();
            (name.clone(), turns, queue.priorities().clone(), queue.patient(WhenEmpty::Wait))
        })
        .collect();
    let patient = queue.namespaces().map(|(_, queue)| queue.patient(WhenEmpty::Wait)).sum::<i32>();
    assert_eq!(queue.patient(WhenEmpty::Wait), patient);
    assert_eq!(queue.count(), queue.namespaces().map(|(_, queue)| queue.count()).sum::<usize>());
    (claims, [queue.ready(), queue.warming(), queue.pending()], [queue.in_use("ns"), queue.in_use("other")])
}
