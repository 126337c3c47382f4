//! The API server goes back in time, or gets its objects anew, while the machines live on.

use std::collections::BTreeSet;

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use bullpen_devkit::control_plane::{ControlPlane, Options};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::harness::objects::{POOL, condition, machine, machine_of, member_of};
use crate::harness::{Ground, Judge, Operator, Walk, eventually};
use crate::walks::cloud::sweep::{all_end, confirm};

#[tokio::test]
async fn after_a_restore_no_machine_is_handed_out_twice_and_no_fleet_is_swept() {
    let mut control_plane = ControlPlane::start(Options::default()).await.expect("a control plane");
    let ground = Ground::on(&control_plane).await;
    let walk = Walk::begin_at(&ground, "restore", &[]).await;
    let backup = tempfile::tempdir().expect("a folder");
    let backup = backup.path().join("store");
    let mut operator = Operator::start_with(&walk, &[("--sweep-grace-seconds", "1")]).await;
    walk.ready_pool(8, json!({})).await;
    operator.kill_9();
    control_plane.save_store(&backup).await.expect("a backup");

    operator.start_again().await;
    let mut given = BTreeSet::new();
    for name in ["held-1", "held-2"] {
        walk.claim(name, json!({})).await;
        let claim = walk.bound(name).await;
        given.insert((member_of(&claim).to_owned(), machine_of(&claim).to_owned()));
        tagged(&walk, &claim).await;
    }
    walk.pool_until(POOL, "has bought two more", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (8, 2, 10))
    })
    .await;
    let known: BTreeSet<String> =
        walk.list::<PoolMember>().await.iter().filter_map(machine).map(str::to_owned).collect();
    operator.kill_9();
    control_plane.restore_store(&backup).await.expect("a restore");
    assert!(walk.list::<PoolClaim>().await.is_empty(), "they were made after the backup");
    let remembered: BTreeSet<String> =
        walk.list::<PoolMember>().await.iter().filter_map(machine).map(str::to_owned).collect();
    assert_eq!(remembered.len(), 8);

    // The claim is there before the operator is: it is the worst that can happen.
    walk.claim("after", json!({})).await;
    operator.start_again().await;
    let after = walk.bound("after").await;
    assert!(given.iter().all(|(_, id)| id != machine_of(&after)), "somebody works on those");
    for (member, _) in &given {
        walk.until(member, "is quarantined", |member: &PoolMember| condition(member, "Quarantined").0 == "True").await;
    }
    let pool = walk
        .until(POOL, "is whole again and says which are quarantined", |pool: &InstancePool| {
            let members = pool.status.as_ref().and_then(|status| status.members).unwrap_or_default();
            (members.ready, members.claimed, members.total) == (8, 1, 11) && condition(pool, "Quarantined").0 == "True"
        })
        .await;
    assert!(given.iter().all(|(member, _)| condition(&pool, "Quarantined").2.contains(member.as_str())));
    let judge = Judge::new(&walk).await;
    judge.sees::<InstancePool>(&walk, POOL, ("Degraded", "2 members are kept back"), "Current").await;
    for (member, _) in &given {
        judge.sees::<PoolMember>(&walk, member, ("Degraded", "was claimed before"), "InProgress").await;
    }
    let forgotten: BTreeSet<&String> = known.difference(&remembered).collect();
    assert_eq!(forgotten.len(), 2, "true orphans: their members came after the backup");
    let ledger =
        walk.ledger_until("the true orphans are swept", |ledger| forgotten.iter().all(|id| ledger.ended(id))).await;
    assert!(remembered.iter().all(|id| !ledger.ended(id)), "and nothing else");

    for name in ["next-1", "next-2", "next-3"] {
        walk.claim(name, json!({})).await;
        let claim = walk.bound(name).await;
        assert!(given.iter().all(|(_, id)| id != machine_of(&claim)));
    }
    // A person ends them.
    for (member, id) in &given {
        end(&walk, member, id).await;
    }
    walk.until(POOL, "says that none is quarantined", |pool: &InstancePool| {
        condition(pool, "Quarantined").0 == "False"
    })
    .await;
    walk.pool_until(POOL, "has eight ready and four claimed", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (8, 4, 12))
    })
    .await;
    assert_eq!(walk.simcloud.ledger().await.tokens_that_bought_twice(), BTreeSet::new());
    drop(operator);
    control_plane.stop().await;
}

/// Deletes a member, whose machine ends with it.
async fn end(walk: &Walk, member: &str, machine: &str) {
    walk.delete::<PoolMember>(member).await;
    walk.gone::<PoolMember>(member).await;
    assert!(walk.simcloud.ledger().await.ended(machine));
}

async fn tagged(walk: &Walk, claim: &PoolClaim) {
    let uid = claim.uid().expect("a uid");
    eventually("the machine is tagged with its claim", async || {
        let tags = walk.simcloud.machine(machine_of(claim)).await.tags;
        if tags.get("bullpen.dev/claim") == Some(&uid) { Ok(()) } else { Err(format!("{tags:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_tag_that_failed_is_set_later_and_one_that_is_there_is_not_set_again() {
    let walk = Walk::begin("tag-later").await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let failing = json!({ "calls": [{ "on": ["tag"], "fault": { "error": { "class": "Transient" } } }] });
    walk.simcloud.break_with(failing).await;
    walk.claim("held", json!({})).await;
    let claim = walk.bound("held").await;
    walk.simcloud.is_hit("error", 1).await;
    operator.kill_9();
    walk.simcloud.mend().await;
    operator.start_again().await;
    tagged(&walk, &claim).await;
    let mark = walk.simcloud.ledger().await.last();
    operator.kill_9();
    operator.start_again().await;
    operator.is_ready().await;
    walk.simcloud.is_called(bullpen_simcloud::ledger::Method::List, 2).await;
    let ledger = walk.simcloud.ledger().await.since(mark);
    assert_eq!(ledger.calls(bullpen_simcloud::ledger::Method::Tag), 0);
}

/// The kinds, in kubectl's words.
const KINDS: &str = "ipool,lc,pclaim,pm";

/// What a tool keeps that backs up objects: no uids, and no status.
async fn backup_of_objects(walk: &Walk) -> Value {
    let mut list: Value = serde_json::from_str(&walk.kubectl(&["get", KINDS, "-o", "json"]).await).expect("JSON");
    for object in list["items"].as_array_mut().expect("a list") {
        object.as_object_mut().expect("an object").remove("status");
        let metadata = object["metadata"].as_object_mut().expect("metadata");
        for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
            metadata.remove(field);
        }
    }
    list
}

/// All objects go in a moment, whatever their finalizers say.
async fn lose_all_objects(walk: &Walk) {
    for name in walk.kubectl(&["get", KINDS, "-o", "name"]).await.lines() {
        walk.kubectl(&["patch", name, "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]).await;
        walk.try_kubectl(&["delete", name, "--ignore-not-found"]).await;
    }
    walk.none_left::<PoolMember>().await;
    walk.none_left::<InstancePool>().await;
}

#[tokio::test]
async fn objects_restored_with_new_uids_get_new_machines_and_the_old_machines_wait_for_a_word() {
    let walk = Walk::begin("restore-objects").await;
    let mut operator = Operator::start_with(&walk, &[("--sweep-grace-seconds", "1")]).await;
    walk.ready_pool(6, json!({})).await;
    walk.claim("held", json!({})).await;
    let before = walk.bound("held").await;
    tagged(&walk, &before).await;
    walk.pool_has_ready(6).await;
    let members = walk.list::<PoolMember>().await;
    let old: Vec<String> = members.iter().filter_map(machine).map(str::to_owned).collect();
    assert_eq!(operator.stop().await, Some(0), "{}", operator.output());
    let backup = backup_of_objects(&walk).await;
    lose_all_objects(&walk).await;

    let file = walk.folder().join("backup.json");
    std::fs::write(&file, backup.to_string()).expect("written");
    walk.kubectl(&["create", "-f", &file.display().to_string()]).await;
    operator.start_again().await;
    // The claim is another one now.
    let after = walk.bound("held").await;
    assert_ne!(machine_of(&after), machine_of(&before));
    for member in &members {
        walk.gone::<PoolMember>(&member.name_any()).await;
    }
    walk.pool_has_ready(6).await;
    let blocked = |config: &LaunchConfig| {
        let message = condition(config, "SweepBlocked").2;
        message.starts_with("1 machines") && message.contains(". 6 machines")
    };
    let config = walk.until("sim", "says that seven machines wait for a word, one of them claimed", blocked).await;
    let orphans = config.status.as_ref().and_then(|status| status.orphans.clone()).expect("they are listed");
    let claimed = orphans.claimed.first().expect("the claimed one").clone();
    assert_eq!((claimed.instance.as_str(), claimed.claim_uid), (machine_of(&before), before.uid().expect("a uid")));
    assert_eq!(claimed.claim, format!("{}/held", walk.namespace));
    let ledger = walk.simcloud.ledger().await;
    assert!(old.iter().all(|id| !ledger.ended(id)), "somebody may work on them");
    assert_eq!((ledger.bought(), ledger.living().len()), (14, 14), "the restored members themselves bought nothing");

    confirm(&walk, &config).await;
    let (served, unclaimed): (Vec<_>, Vec<_>) = old.into_iter().partition(|id| *id == machine_of(&before));
    all_end(&walk, &unclaimed).await;
    walk.simcloud.is_called(bullpen_simcloud::ledger::Method::List, 2).await;
    let ledger = walk.simcloud.ledger().await;
    assert!(!ledger.ended(&served[0]), "somebody works on it, whatever the uid in its tags");
    assert_eq!(ledger.living().len(), 8);

    // It is adopted: recorded again, but for nobody, and it ends with its member.
    let listed = walk.plugin_says(&["orphans"]).await;
    assert!(listed.contains(&served[0]) && listed.contains("--adopt MACHINE --pool POOL"), "{listed}");
    walk.plugin_says(&["orphans", "--adopt", &served[0], "--pool", POOL]).await;
    let adopted = eventually("a quarantined member has it", async || {
        let members = walk.list::<PoolMember>().await;
        let found = members.into_iter().find(|member| machine(member) == Some(&*served[0]));
        let found = found.filter(|member| condition(member, "Quarantined").0 == "True");
        found.ok_or_else(|| "there is none".to_owned())
    })
    .await;
    eventually("it is tagged with its member", async || {
        let tags = walk.simcloud.machine(&served[0]).await.tags;
        if tags.get("bullpen.dev/member-uid") == adopted.uid().as_ref() { Ok(()) } else { Err(format!("{tags:?}")) }
    })
    .await;
    walk.until("sim", "says that no machine waits for a word", |config: &LaunchConfig| {
        condition(config, "SweepBlocked").0 == "False"
    })
    .await;
    assert_eq!(walk.simcloud.ledger().await.living().len(), 8);
    end(&walk, &adopted.name_any(), &served[0]).await;
    assert_eq!(walk.simcloud.ledger().await.living().len(), 7);
}

#[tokio::test]
async fn a_claimed_machine_without_a_member_ends_only_by_a_persons_word_for_just_this_one() {
    let walk = Walk::begin("claimed-orphans").await;
    let owner = |name: &'static str| {
        let namespace = walk.namespace.as_str();
        [
            ("bullpen.dev/installation", namespace),
            ("bullpen.dev/namespace", namespace),
            ("bullpen.dev/name", name),
            ("bullpen.dev/member-uid", "00000000-0000-0000-0000-000000000000"),
            ("bullpen.dev/claim", "11111111-0000-0000-0000-000000000000"),
        ]
    };
    let one = walk.simcloud.buy("one", &owner("ci-one")).await;
    let two = walk.simcloud.buy("two", &owner("ci-two")).await;
    let plain = walk.simcloud.buy("three", &owner("ci-three")[..4]).await;
    let _operator = Operator::start_with(&walk, &[("--sweep-grace-seconds", "1")]).await;
    walk.launch_config("sim", json!({})).await;
    let config = walk
        .until("sim", "lists both", |config: &LaunchConfig| {
            let orphans = config.status.as_ref().and_then(|status| status.orphans.as_ref());
            orphans.is_some_and(|orphans| orphans.claimed.len() == 2)
        })
        .await;
    assert_eq!(condition(&config, "SweepBlocked").1, "ClaimedMachines");
    all_end(&walk, &[plain]).await;
    walk.plugin_says(&["orphans", "--end", &one]).await;
    all_end(&walk, std::slice::from_ref(&one)).await;
    walk.simcloud.is_called(bullpen_simcloud::ledger::Method::List, 2).await;
    assert!(!walk.simcloud.ledger().await.ended(&two));
}
