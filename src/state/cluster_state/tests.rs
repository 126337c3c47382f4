use bullpen_api::FINALIZER_INSTANCE;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::state::planned::PlannedMember;
use crate::state::store::looks::counted;

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
    cluster.with(|state| {
        let mut fresh = MemberIndex::default();
        for (key, member) in state.members.iter() {
            fresh.update(key, (None, Some(member)), &state.watched);
        }
        assert_eq!(state.member_index, fresh, "nothing is left of members that are gone");
    });
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
    let known = || {
        cluster.with(|state| (state.members.iter().count(), usize::from(state.member_index != MemberIndex::default())))
    };
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

fn ended_claim(number: usize) -> PoolClaim {
    let name = format!("claim-{number}");
    of(json!({
        "metadata": {
            "namespace": "team", "name": name, "uid": format!("uid-of-{name}"), "resourceVersion": "77",
            "labels": { "a": "b" }, "finalizers": [],
        },
        "spec": { "poolRef": { "name": "ci", "namespace": "ns" }, "acquiredFor": "a long text", "ttlSeconds": 60 },
        "status": {
            "phase": "Expired", "finishedAt": "2026-11-24T08:01:30.000000Z",
            "memberRef": { "namespace": "ns", "name": "m", "uid": "uid-of-m" },
            "conditions": [{ "type": "Bound", "status": "False", "reason": "Expired", "message": "its time is over",
                "lastTransitionTime": "2026-11-24T08:01:30Z" }],
        },
    }))
}

#[test]
fn nothing_that_is_asked_of_an_idle_launch_config_or_of_a_pool_for_its_status_looks_at_what_does_not_concern_it() {
    let (cluster, _changes) = ClusterState::new(WatchedNamespaces::All);
    for number in 0..500 {
        cluster.answered(member(&format!("m{number}"), "new", 1));
        cluster.answered(ended_claim(number));
    }
    cluster.with(|state| {
        let (idle, busy, ci) = ["idle", "sim", "ci"].map(|name| ObjectKey::new("ns", name)).into();
        state.planned.add(&ci, [PlannedMember { name: "next".into(), launch_config: "sim".into() }]);
        let (looks, ()) = counted(|| {
            assert!(!state.uses_launch_config(&idle) && state.uses_launch_config(&busy));
            assert_eq!((state.count_of_launch_config(&idle), state.count_of_launch_config(&busy)), (0, 500));
            assert_eq!(state.members_of_launch_config(&idle).count(), 0);
            assert_eq!((state.notable_members_of_name(&ci).count(), state.stale_claims_on(&ci)), (0, 0));
            assert_eq!(state.members_of_former(&ci, Some("new")).count(), 0);
            assert_eq!(state.claims_on(&ci).count(), 500);
        });
        assert_eq!(looks, 0);
        assert_eq!((state.unwritten_of_launch_config(&busy), state.unwritten_of_launch_config(&idle)), (1, 0));
        assert_eq!(state.members_of_former(&ci, Some("newer")).count(), 500);
    });
}

#[test]
fn an_ended_claim_is_kept_short_once_no_member_names_it_and_still_has_what_its_end_needs() {
    let (cluster, _changes) = ClusterState::new(WatchedNamespaces::All);
    let (whole, key) = (ended_claim(1), ObjectKey::new("team", "claim-1"));
    let uid = whole.metadata.uid.clone().unwrap();
    let claim_ref = json!({ "namespace": "team", "name": "claim-1", "uid": uid });
    let mut holder = member("m", "new", 1);
    holder.status = Some(of(json!({ "state": "Claimed", "claimRef": claim_ref })));
    cluster.answered(holder);
    cluster.answered(whole.clone());
    let stored = || cluster.with(|state| state.claims.read(&key)).unwrap();
    assert!(!stored().status.as_ref().unwrap().conditions.is_empty(), "its member's end is decided by it");
    cluster.answered_gone::<PoolMember>(&ObjectKey::new("ns", "m"), "m");

    let short = stored();
    let (status, had) = (short.status.clone().unwrap(), whole.status.clone().unwrap());
    assert!(status.conditions.is_empty() && short.spec.acquired_for.is_none());
    assert_eq!((status.phase, status.finished_at), (had.phase, had.finished_at));
    assert_eq!((&short.metadata.name, &short.metadata.namespace), (&whole.metadata.name, &whole.metadata.namespace));
    assert_eq!((&short.metadata.uid, short.resource_version()), (&whole.metadata.uid, whole.resource_version()));
    assert_eq!(short.pool(), whole.pool());
    cluster.with(|state| {
        assert_eq!(state.claims.uid(&key), Some(uid.as_str()));
        assert_eq!(state.claims_on(&ObjectKey::new("ns", "ci")).count(), 1);
    });

    cluster.answered(whole);
    assert!(stored().status.as_ref().unwrap().conditions.is_empty(), "the same version again");
    cluster.answered_gone::<PoolClaim>(&key, &uid);
    cluster.with(|state| {
        assert!(state.claims.read(&key).is_none() && state.claims.saw_deleted(&uid));
        assert_eq!(state.claims_on(&ObjectKey::new("ns", "ci")).count(), 0);
    });
}

/// `cargo test --lib a_hundred_thousand -- --ignored --nocapture`, alone: other tests use memory as well.
#[test]
#[ignore = "prints how much memory ended claims take, for which it has to run alone"]
fn a_hundred_thousand_ended_claims_take_less_than_half_a_kilobyte_each() {
    const CLAIMS: usize = 100_000;
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
    };
    let (cluster, mut changes) = ClusterState::new(WatchedNamespaces::All);
    let before = resident();
    for number in 0..CLAIMS {
        cluster.answered(ended_claim(number));
        while changes.try_recv().is_ok() {}
    }
    let each = (resident() - before) / CLAIMS;
    println!("{each} bytes for each ended claim");
    assert!(each < 500);
}

fn bound_claim(number: usize, pool: &str, stale: bool, version: usize) -> PoolClaim {
    let conditions = if stale {
        json!([{ "type": "Stale", "status": "True", "reason": "HeldForLong", "message": "",
            "lastTransitionTime": "2026-11-24T08:01:30Z" }])
    } else {
        json!([])
    };
    let name = format!("c{number}");
    of(json!({
        "metadata": { "namespace": "ns", "name": name, "uid": name, "resourceVersion": version.to_string() },
        "spec": { "poolRef": { "name": pool } },
        "status": { "phase": "Bound", "conditions": conditions },
    }))
}

/// A member that may be quarantined, or claimed from a namespace that is not watched.
fn member_of(number: usize, pool: &str, config: &str, kind: usize, version: usize) -> PoolMember {
    let status = match kind {
        0 => json!({ "state": "Ready" }),
        1 => json!({ "state": "Claimed", "claimRef": { "namespace": "ns", "name": "c0", "uid": "c0" } }),
        2 => json!({ "state": "Claimed", "claimRef": { "namespace": "far", "name": "c0", "uid": "far-c0" } }),
        _ => json!({ "state": "Ready", "conditions": [{ "type": "Quarantined", "status": "True", "reason": "X",
            "message": "", "lastTransitionTime": "2026-11-24T08:01:30Z" }] }),
    };
    let name = format!("m{number}");
    of(json!({
        "metadata": { "namespace": "ns", "name": name, "uid": name, "resourceVersion": version.to_string() },
        "spec": {
            "poolRef": { "name": pool, "uid": pool },
            "placement": { "launchConfig": config, "generation": 1, "image": "i", "zone": "z" },
            "templateHash": "h",
        },
        "status": status,
    }))
}

proptest! {
    #[test]
    fn after_any_changes_the_indexes_follow_from_the_objects(
        changes in proptest::collection::vec((0..5_usize, 0..2_usize, 0..2_usize, 0..5_usize), 1..40),
    ) {
        let (cluster, _changes) = ClusterState::new(WatchedNamespaces::of(["ns".to_owned()]));
        let feed = Feed::Namespace("ns".into());
        for (step, (number, pool, config, kind)) in changes.into_iter().enumerate() {
            let (pool, config) = (["a", "b"][pool], ["x", "y"][config]);
            if kind == 4 {
                // A new list shows nothing of it, so the same object may appear again.
                for watch in [Event::Init, Event::InitDone] {
                    cluster.watched::<PoolMember>(&feed, watch);
                }
                for watch in [Event::Init, Event::InitDone] {
                    cluster.watched::<PoolClaim>(&feed, watch);
                }
            } else {
                cluster.answered(member_of(number, pool, config, kind, step + 1));
                cluster.answered(bound_claim(number, pool, kind > 1, step + 1));
            }
            cluster.with(|state| {
                let mut fresh = MemberIndex::default();
                for (key, member) in state.members.iter() {
                    fresh.update(key, (None, Some(member)), &state.watched);
                }
                prop_assert_eq!(&state.member_index, &fresh);
                for pool in ["a", "b"] {
                    let key = ObjectKey::new("ns", pool);
                    let flagged = |claim: &ObjectKey| {
                        let claim = state.claims.read(claim).unwrap();
                        !claim.status.as_ref().unwrap().conditions.is_empty()
                    };
                    prop_assert_eq!(state.stale_claims_on(&key), state.claims_on(&key).filter(|key| flagged(key)).count());
                    let to_note = |member: &&Arc<PoolMember>| {
                        let status = member.status.as_ref().unwrap();
                        !status.conditions.is_empty() || status.claim_ref.as_ref().is_some_and(|claim| claim.namespace == "far")
                    };
                    let walked = state.members_of_name(&key).filter(to_note).count();
                    prop_assert_eq!(state.notable_members_of_name(&key).count(), walked);
                }
                Ok(())
            })?;
        }
    }
}
