use bullpen_api::FINALIZER_INSTANCE;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;

fn of<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn pool(uid: &str) -> InstancePool {
    of(json!({
        "metadata": { "namespace": "ns", "name": "ci", "uid": uid },
        "spec": { "targetSize": 1, "maxSize": 9, "launchConfigs": [{ "name": "sim" }] },
    }))
}

fn member(name: &str, pool: &str, version: u64) -> PoolMember {
    of(json!({
        "metadata": { "namespace": "ns", "name": name, "uid": name, "resourceVersion": version.to_string() },
        "spec": {
            "poolRef": { "name": "ci", "uid": pool },
            "placement": { "launchConfig": "sim", "generation": 1, "image": "i", "zone": "z" },
            "templateHash": "h",
        },
    }))
}

#[test]
fn the_count_of_other_members_equals_a_walk_over_all_members() {
    let (cluster, _changes) = ClusterState::new(WatchedNamespaces::All);
    let (present, former) = (pool("new"), pool("old"));
    let counts = |name: &str, uid: &str| {
        let member = member(name, uid, 0);
        cluster.with(|state| {
            let others = |pool: &InstancePool| {
                let looked = state.members_of(pool).filter(|other| other.metadata.uid != member.metadata.uid).count();
                assert_eq!(state.others_of(pool, &member), looked);
                looked
            };
            (others(&present), others(&former))
        })
    };
    assert_eq!(counts("a", "new"), (0, 0));
    cluster.answered(member("a", "new", 1));
    cluster.answered(member("b", "new", 2));
    cluster.answered(member("c", "old", 3));
    cluster.answered(member("a", "new", 4));
    assert_eq!(counts("a", "new"), (1, 1));
    assert_eq!(counts("c", "old"), (2, 0));
    assert_eq!(counts("not-written-yet", "new"), (2, 1));
    cluster.answered_gone::<PoolMember>(&ObjectKey::new("ns", "b"), "b");
    cluster.answered_gone::<PoolMember>(&ObjectKey::new("ns", "c"), "c");
    assert_eq!(counts("a", "new"), (0, 0));
    assert!(cluster.with(|state| state.member_counts.len()) == 1);
}

#[test]
fn a_member_that_only_a_foreign_finalizer_keeps_is_gone() {
    let (cluster, mut changes) = ClusterState::new(WatchedNamespaces::All);
    let ending = |version: u64, finalizers: &[&str]| {
        let mut member = member("a", "new", version);
        member.metadata.deletion_timestamp = Some("2026-01-01T00:00:00Z".parse().map(Time).unwrap());
        member.metadata.finalizers = Some(finalizers.iter().map(|&name| name.to_owned()).collect());
        member
    };
    let known = || cluster.with(|state| (state.members.iter().count(), state.member_counts.len()));
    cluster.answered(ending(1, &["example.com/audit", FINALIZER_INSTANCE]));
    assert_eq!(known(), (1, 1), "its machine may be there");
    // As the answer of the write, by the watch, and in the first list of the next operator.
    cluster.answered(ending(2, &["example.com/audit"]));
    assert_eq!(known(), (0, 0));
    cluster.watched(&Feed::Everywhere, Event::Apply(ending(3, &["example.com/audit"])));
    assert_eq!(known(), (0, 0));
    let seen = std::iter::from_fn(|| changes.try_recv().ok()).collect::<Vec<_>>();
    assert!(matches!(&seen[..], [Change::Member(_), Change::Member(gone)] if gone.new.is_none()), "{seen:?}");
    let (next, mut changes) = ClusterState::new(WatchedNamespaces::All);
    next.watched::<PoolMember>(&Feed::Everywhere, Event::Init);
    next.watched(&Feed::Everywhere, Event::InitApply(ending(3, &["example.com/audit"])));
    next.watched::<PoolMember>(&Feed::Everywhere, Event::InitDone);
    assert!(next.with(|state| state.members.iter().count() == 0) && changes.try_recv().is_err());
}

#[test]
fn what_a_list_does_not_show_although_a_write_was_answered_meanwhile_is_to_be_read() {
    let (cluster, mut changes) = ClusterState::new(WatchedNamespaces::All);
    cluster.watched::<PoolMember>(&Feed::Everywhere, Event::Init);
    cluster.watched(&Feed::Everywhere, Event::InitApply(member("listed", "new", 1)));
    cluster.answered(member("listed", "new", 2));
    cluster.answered(member("written", "new", 3));
    cluster.watched::<PoolMember>(&Feed::Everywhere, Event::InitDone);
    let seen = std::iter::from_fn(|| changes.try_recv().ok());
    let doubtful: Vec<_> = seen
        .filter_map(|change| match change {
            Change::Doubtful(kind, key, uid) => Some((kind, key.to_string(), uid)),
            _ => None,
        })
        .collect();
    assert_eq!(doubtful, [(WatchedKind::PoolMember, "ns/written".to_owned(), "written".to_owned())]);
}

fn lists<K: StoredKind>(cluster: &ClusterState, feed: &Feed) {
    cluster.watched::<K>(feed, Event::Init);
    cluster.watched::<K>(feed, Event::InitDone);
}

fn lists_all(cluster: &ClusterState, feed: &Feed) {
    lists::<InstancePool>(cluster, feed);
    lists::<LaunchConfig>(cluster, feed);
    lists::<PoolMember>(cluster, feed);
    lists::<PoolClaim>(cluster, feed);
}

fn of_two() -> (ClusterState, mpsc::UnboundedReceiver<Change>, [Feed; 2]) {
    let (cluster, changes) = ClusterState::new(WatchedNamespaces::of(["a".to_owned(), "b".to_owned()]));
    (cluster, changes, ["a", "b"].map(|name| Feed::Namespace(name.into())))
}

fn knows(cluster: &ClusterState) -> (bool, bool) {
    cluster.with(|state| (state.knows("a"), state.knows("b")))
}

#[test]
fn the_state_is_whole_when_every_kind_was_listed_in_every_namespace() {
    let (cluster, mut changes, [a, b]) = of_two();
    lists_all(&cluster, &a);
    lists::<InstancePool>(&cluster, &b);
    lists::<LaunchConfig>(&cluster, &b);
    lists::<PoolMember>(&cluster, &b);
    assert_eq!(knows(&cluster), (false, false));
    assert!(changes.try_recv().is_err());
    lists::<PoolClaim>(&cluster, &b);
    assert_eq!(knows(&cluster), (true, true));
    assert!(matches!(changes.try_recv(), Ok(Change::Synced)));
    lists_all(&cluster, &b);
    assert!(changes.try_recv().is_err(), "sent once");
    assert!(cluster.watches("a") && !cluster.watches("c") && !cluster.with(|state| state.knows("c")));
}

#[test]
fn a_namespace_that_may_not_be_listed_delays_no_other_and_is_added_once_it_may() {
    let (cluster, mut changes, [a, b]) = of_two();
    lists::<InstancePool>(&cluster, &b);
    cluster.refused::<PoolMember>(&b);
    assert_eq!(knows(&cluster), (false, false), "nothing at all was listed whole");
    lists_all(&cluster, &a);
    assert_eq!(knows(&cluster), (true, false), "without its members, its pools would seem to be empty");
    assert!(matches!(changes.try_recv(), Ok(Change::Synced)));
    lists_all(&cluster, &b);
    assert_eq!(knows(&cluster), (true, true));
    assert!(matches!(changes.try_recv(), Ok(Change::Whole)));
}

#[test]
fn what_may_not_be_listed_at_all_is_waited_for() {
    let (cluster, _changes) = ClusterState::new(WatchedNamespaces::of(["a".to_owned()]));
    let a = Feed::Namespace("a".into());
    cluster.refused::<PoolMember>(&a);
    lists::<InstancePool>(&cluster, &a);
    assert!(!cluster.with(|state| state.is_synced()));
    lists_all(&cluster, &a);
    assert!(cluster.with(|state| state.knows("a")));
}

#[test]
fn pools_are_heard_of_by_namespace() {
    let (cluster, _changes, [a, b]) = of_two();
    cluster.record_pools_answer(&a);
    assert!(cluster.pools_last_answered("a").is_some() && cluster.pools_last_answered("b").is_none());
    cluster.record_pools_answer(&b);
    assert!(cluster.pools_last_answered("b").is_some());
}
