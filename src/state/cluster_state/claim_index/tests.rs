use bullpen_api::PoolMember;
use bullpen_plan::operator::watched_namespaces::{Feed, WatchedNamespaces};
use kube::runtime::watcher::Event;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::state::ClusterState;
use crate::state::cluster_state::indexing::StoredKind;
use crate::state::pool_queue::PoolQueue;

const POOLS: [&str; 3] = ["a", "b", "c"];
const CLAIMS: usize = 4;

/// A change of the cluster state.
#[derive(Clone, Debug)]
enum Action {
    Pool { number: usize, labelled: bool, spot: bool, paused: bool, quota: Option<i32>, max_size: i32 },
    PoolGone(usize),
    Claim { number: usize, spot: bool, phase: usize },
    ClaimGone(usize),
    Member { number: usize, pool: usize, ready: bool, holder: Option<usize> },
    Reserved(usize, usize),
    Released(usize, usize),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let often = || proptest::bool::weighted(0.8);
    let rarely = || proptest::bool::weighted(0.2);
    let one = prop_oneof![
        4 => (0..3_usize, often(), any::<bool>(), rarely(), proptest::option::of(1..3_i32), 1..6_i32).prop_map(
            |(number, labelled, spot, paused, quota, max_size)| Action::Pool { number, labelled, spot, paused, quota, max_size }
        ),
        1 => (0..3_usize).prop_map(Action::PoolGone),
        4 => (0..CLAIMS, rarely(), 0..5_usize).prop_map(|(number, spot, phase)| Action::Claim { number, spot, phase }),
        1 => (0..CLAIMS).prop_map(Action::ClaimGone),
        3 => (0..4_usize, 0..3_usize, any::<bool>(), proptest::option::of(0..CLAIMS)).prop_map(
            |(number, pool, ready, holder)| Action::Member { number, pool, ready, holder }
        ),
        1 => (0..CLAIMS, 0..4_usize).prop_map(|(claim, member)| Action::Reserved(claim, member)),
        1 => (0..CLAIMS, 0..4_usize).prop_map(|(claim, member)| Action::Released(claim, member)),
    ];
    proptest::collection::vec(one, 1..60)
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

fn claim_key(number: usize) -> ObjectKey {
    key(&format!("claim-{number}"))
}

fn member_key(pool: usize, number: usize) -> ObjectKey {
    key(&format!("{}-{number}", POOLS[pool]))
}

fn apply<K: StoredKind + serde::de::DeserializeOwned>(cluster: &ClusterState, object: serde_json::Value) {
    cluster.watched::<K>(&Feed::Everywhere, Event::Apply(serde_json::from_value(object).unwrap()));
}

fn meta(key: &ObjectKey, version: usize) -> serde_json::Value {
    // Created again after its deletion, it needs another uid: the cluster state remembers which uids are gone.
    json!({"namespace": key.namespace, "name": key.name, "uid": key.name, "resourceVersion": version.to_string(),
        "creationTimestamp": "2026-01-01T00:00:00Z"})
}

fn act(cluster: &ClusterState, action: &Action, version: usize) {
    match action {
        Action::Pool { number, labelled, spot, paused, quota, max_size } => {
            let mut meta = meta(&key(POOLS[*number]), version);
            if *labelled {
                meta["labels"] = json!({"gpu": "yes"});
            }
            let mut spec = json!({"targetSize": 0, "maxSize": max_size, "launchConfigs": [{"name": "sim"}],
                "lifecycleClass": if *spot { "Spot" } else { "Ephemeral" },
                "state": if *paused { "Paused" } else { "Active" }});
            if let Some(quota) = quota {
                spec["claims"] = json!({"perNamespace": quota});
            }
            apply::<InstancePool>(cluster, json!({"metadata": meta, "spec": spec}));
        }
        Action::PoolGone(number) => forget::<InstancePool>(cluster, &key(POOLS[*number])),
        Action::Claim { number, spot, phase } => {
            let mut selector = json!({"matchLabels": {"gpu": "yes"}});
            if *spot {
                selector["lifecycleClass"] = json!("Spot");
            }
            let phase = if *phase == 0 { "Failed" } else { "Pending" };
            let meta = meta(&claim_key(*number), version);
            let spec = json!({"poolSelector": selector});
            apply::<PoolClaim>(cluster, json!({"metadata": meta, "spec": spec, "status": {"phase": phase}}));
        }
        Action::ClaimGone(number) => forget::<PoolClaim>(cluster, &claim_key(*number)),
        Action::Member { number, pool, ready, holder } => {
            let mut status = json!({"state": if *ready { "Ready" } else { "Warming" }});
            if let Some(holder) = holder {
                let name = claim_key(*holder).name.clone();
                status = json!({"state": "Claimed", "claimRef": {"namespace": "ns", "name": name, "uid": name}});
            }
            let spec = json!({"poolRef": {"name": POOLS[*pool], "uid": POOLS[*pool]}, "templateHash": "h",
                "placement": {"launchConfig": "sim", "generation": 1, "image": "i", "zone": "z"}});
            let meta = meta(&member_key(*pool, *number), version);
            apply::<PoolMember>(cluster, json!({"metadata": meta, "spec": spec, "status": status}));
        }
        Action::Reserved(claim, member) => cluster.with(|state| {
            let member = (0..3).find_map(|pool| state.members.get(&member_key(pool, *member)));
            if let (Some(claim), Some(member)) = (state.claims.read(&claim_key(*claim)), member.cloned()) {
                state.reserve(&claim, &member);
            }
        }),
        Action::Released(claim, member) => cluster.with(|state| {
            let claim = claim_key(*claim);
            for pool in 0..3 {
                let member = member_key(pool, *member);
                state.release((&claim, &claim.name), (&member, &member.name));
            }
        }),
    }
}

/// A new list does not show the object.
fn forget<K: StoredKind>(cluster: &ClusterState, gone: &ObjectKey) {
    cluster.watched::<K>(&Feed::Everywhere, Event::Init);
    let others: Vec<_> = cluster.with(|state| K::store(state).keys().cloned().collect());
    for other in others.into_iter().filter(|other| other != gone) {
        cluster.with(|state| K::store(state).keep(&other));
    }
    cluster.watched::<K>(&Feed::Everywhere, Event::InitDone);
}

fn waits(state: &State, claim: &PoolClaim) -> bool {
    let uid = claim.uid().unwrap();
    let pending = claim.status.as_ref().is_none_or(|status| status.phase == bullpen_api::ClaimPhase::Pending);
    pending && !state.claims_reserved.contains(&uid) && state.members_claimed_by(&uid).next().is_none()
}

fn serves(state: &State, key: &ObjectKey) -> bool {
    let Some(pool) = state.pools.get(key) else { return false };
    let in_use = state.in_use(key, pool, "ns");
    pool.spec.state == PoolState::Active && in_use.is_below(pool.spec.claims.per_namespace)
}

fn nowhere() -> QueueKey {
    QueueKey::NoMatch("ns".into())
}

proptest! {
    #[test]
    fn a_claim_with_a_selector_waits_in_the_queue_of_each_pool_that_matches_and_has_one_home(actions in actions()) {
        let (cluster, _changes) = ClusterState::new(WatchedNamespaces::All);
        let mut homes: HashMap<ObjectKey, QueueKey> = HashMap::new();
        for (number, action) in actions.iter().enumerate() {
            act(&cluster, action, number + 1);
            cluster.with(|state| {
                let mut demand = 0;
                for (key, claim) in state.claims.keys().map(|key| (key, state.claims.read(key).unwrap())) {
                    if claim.status.as_ref().is_some_and(|status| status.phase.is_terminal()) {
                        prop_assert_eq!(state.queues.places(key).count(), 0, "{} after {:?}", key, action);
                        continue;
                    }
                    let selector = claim.spec.pool_selector.as_ref().unwrap();
                    let matching: BTreeSet<_> = state.pools.iter()
                        .filter(|(_, pool)| selects(selector, pool.metadata.labels.as_ref(), pool.spec.lifecycle_class))
                        .map(|(key, _)| key.clone()).collect();
                    let places: Vec<_> = state.queues.places(key).map(|(pool, home)| (pool.clone(), home)).collect();
                    if !waits(state, &claim) {
                        prop_assert!(places.is_empty(), "{key} after {action:?}: {places:?}");
                        continue;
                    }
                    demand += 1;
                    let stands: BTreeSet<_> = places.iter().map(|(pool, _)| pool.clone()).collect();
                    let expected = if matching.is_empty() { BTreeSet::from([nowhere()]) } else { matching.iter().cloned().map(QueueKey::Pool).collect() };
                    prop_assert_eq!(stands, expected, "{} after {:?}", key, action);
                    prop_assert_eq!(places.iter().filter(|(_, home)| *home).count(), 1);
                    let home = state.queues.home(key).unwrap().clone();
                    if matching.iter().any(|pool| serves(state, pool)) {
                        prop_assert!(home.pool().is_some_and(|home| serves(state, home)), "{key} is the demand of {home} after {action:?}");
                    }
                    if let Some(QueueKey::Pool(before)) = homes.get(key) && matching.contains(before) && serves(state, before) {
                        prop_assert_eq!(Some(before), home.pool(), "it moved without need after {:?}", action);
                    }
                }
                let counted: i32 = POOLS.iter().map(|pool| QueueKey::Pool(key(pool))).chain([nowhere()])
                    .filter_map(|pool| state.queues.at(&pool))
                    .flat_map(PoolQueue::namespaces).map(|(_, queue)| queue.patient(WhenEmpty::Wait)).sum();
                prop_assert_eq!(counted, demand, "after {:?}", action);
                homes = state.claims.keys().filter_map(|key| Some((key.clone(), state.queues.home(key)?.clone()))).collect();
                Ok(())
            })?;
        }
    }
}

#[test]
fn the_pairing_of_a_queue_is_woken_when_its_claims_change() {
    let (cluster, mut changes) = ClusterState::new(WatchedNamespaces::All);
    let pool = |number, paused, quota| Action::Pool { number, labelled: true, spot: false, paused, quota, max_size: 5 };
    act(&cluster, &pool(0, false, None), 1);
    act(&cluster, &pool(1, false, None), 2);
    act(&cluster, &Action::Claim { number: 0, spot: false, phase: 1 }, 3);
    let mut woken = || {
        let mut queues = BTreeSet::new();
        while let Ok(change) = changes.try_recv() {
            if let crate::state::Change::Queue(pool) = change {
                queues.insert(pool.pool().unwrap().name.clone());
            }
        }
        queues
    };
    assert_eq!(woken(), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    act(&cluster, &pool(1, false, Some(9)), 4);
    assert_eq!(woken(), BTreeSet::new(), "nothing moved by it");
    act(&cluster, &pool(0, true, None), 5);
    assert_eq!(woken(), BTreeSet::from(["a".to_owned(), "b".to_owned()]), "the demand went from one to the other");
    assert_eq!(cluster.with(|state| state.queues.home(&claim_key(0)).cloned()), Some(QueueKey::Pool(key("b"))));
}
