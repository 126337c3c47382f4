//! Every two objects that are deleted or replaced together come to an end, in whatever order, or say whom they wait for.

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use futures::future::join_all;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::json;

use crate::harness::objects::{Kind, condition};
use crate::harness::{Operator, Walk};

/// An object that is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Object {
    Pool,
    LaunchConfig,
    Claim,
    /// An unclaimed one.
    Member,
}

use Object::{Claim, LaunchConfig as Config, Member, Pool};

/// Two objects in the order of their deletion, and whether a claim holds a machine meanwhile.
type Case = (Object, Object, bool);

const CASES: [Case; 18] = [
    (Pool, Config, false),
    (Config, Pool, false),
    (Pool, Member, false),
    (Member, Pool, false),
    (Config, Member, false),
    (Member, Config, false),
    (Pool, Config, true),
    (Config, Pool, true),
    (Pool, Member, true),
    (Member, Pool, true),
    (Config, Member, true),
    (Member, Config, true),
    (Pool, Claim, true),
    (Claim, Pool, true),
    (Config, Claim, true),
    (Claim, Config, true),
    (Member, Claim, true),
    (Claim, Member, true),
];

/// Asks for a deletion. A member may have been deleted with its pool by then.
async fn delete<K: Kind>(walk: &Walk, name: &str) {
    match walk.api::<K>().delete(name, &DeleteParams::background()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => panic!("{} {name} is not deleted: {error}", K::kind(&())),
    }
}

/// A launch config, a pool of one machine and perhaps a claim, all of this name. Returns the unclaimed member.
async fn begin(walk: &Walk, name: &str, claimed: bool) -> String {
    walk.launch_config(name, json!({})).await;
    walk.pool(name, json!({ "targetSize": 1, "launchConfigs": [{ "name": name }] })).await;
    if claimed {
        walk.claim(name, json!({ "poolRef": { "name": name } })).await;
        walk.bound(name).await;
    }
    let expected = i32::from(claimed);
    walk.pool_until(name, "has its members", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed) == (1, expected))
    })
    .await;
    let members = walk.list::<PoolMember>().await;
    let unclaimed = |member: &&PoolMember| {
        member.spec.pool_ref.name == name && member.status.as_ref().is_none_or(|status| status.claim_ref.is_none())
    };
    members.iter().find(unclaimed).expect("an unclaimed member").name_any()
}

/// Waits until the object names the claim that it waits for.
async fn names_the_claim<K: Kind>(walk: &Walk, name: &str) {
    let claim = format!("{}/{name}", walk.namespace);
    let named = |object: &K| condition(object, "Drained").2.contains(&claim);
    walk.until(name, "names the claim that it waits for", named).await;
}

async fn run(walk: &Walk, number: usize, (first, second, claimed): Case) {
    let name = format!("n{number}");
    let member = begin(walk, &name, claimed).await;
    let both = [first, second];
    for object in both {
        match object {
            Pool => delete::<InstancePool>(walk, &name).await,
            Config => delete::<LaunchConfig>(walk, &name).await,
            Claim => delete::<PoolClaim>(walk, &name).await,
            Member => delete::<PoolMember>(walk, &member).await,
        }
    }
    if claimed && !both.contains(&Claim) {
        if both.contains(&Pool) {
            names_the_claim::<InstancePool>(walk, &name).await;
        }
        if both.contains(&Config) {
            names_the_claim::<LaunchConfig>(walk, &name).await;
        }
        walk.delete::<PoolClaim>(&name).await;
    }
    walk.gone::<PoolMember>(&member).await;
    if both.contains(&Pool) {
        walk.gone::<InstancePool>(&name).await;
    }
    if both.contains(&Config) {
        walk.gone::<LaunchConfig>(&name).await;
        // As `kubectl replace --force` does, which waits until now.
        walk.launch_config(&name, json!({})).await;
    }
    if both.contains(&Pool) {
        walk.pool(&name, json!({ "targetSize": 1, "launchConfigs": [{ "name": name }] })).await;
    }
    let ready = |pool: &InstancePool| {
        let status = pool.status.as_ref();
        let there = status.and_then(|status| status.members).is_some_and(|members| members.ready == 1);
        there && condition(pool, "Ready").0 == "True"
    };
    walk.until(&name, &format!("is ready after {first:?} and {second:?} ended (claimed: {claimed})"), ready).await;
}

#[tokio::test]
async fn every_two_objects_that_are_deleted_together_end_in_either_order_or_name_the_claim_that_they_wait_for() {
    let walk = Walk::begin("pairs").await;
    let _operator = Operator::start(&walk).await;
    join_all(CASES.iter().enumerate().map(|(number, case)| run(&walk, number, *case))).await;
    walk.ledger_until("one machine of each pool is left", |ledger| ledger.living().len() == CASES.len()).await;
}

#[tokio::test]
async fn a_launch_config_that_is_deleted_beside_another_is_replaced_machine_by_machine() {
    let walk = Walk::begin("deleted-beside").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("old", json!({})).await;
    walk.launch_config("new", json!({ "image": "img-2" })).await;
    // By itself such a pool replaces nobody for a new template.
    let configs = json!([{ "name": "old" }, { "name": "new", "weight": 1 }]);
    let rollout = json!({ "type": "OnReplenish" });
    walk.pool("ci", json!({ "targetSize": 2, "minSize": 2, "launchConfigs": configs, "rollout": rollout })).await;
    walk.pool_has_ready(2).await;
    walk.delete::<LaunchConfig>("old").await;
    walk.gone::<LaunchConfig>("old").await;
    walk.pool_has_ready(2).await;
    let members = walk.list::<PoolMember>().await;
    assert!(members.iter().all(|member| member.spec.placement.launch_config == "new"), "{members:?}");
}
