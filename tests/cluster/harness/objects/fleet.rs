//! A varied set of pools and claims, and a snapshot of what an upgrade must not change.

use std::collections::BTreeMap;

use bullpen_api::{ConditionType, InstancePool, PoolClaim, PoolMember, condition_is_true};
use bullpen_simcloud::ledger::State;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::harness::Walk;
use crate::harness::objects::{LAUNCH_CONFIG, POOL, machine, phase};

/// The pools of the fleet, and how many members of each are ready.
const POOLS: [(&str, i32); 4] = [(POOL, 3), ("keyed", 2), ("plain", 1), ("full", 0)];

/// The claims that are Bound. `waiting` waits for as long as `full` may have no machine.
const BOUND: [(&str, &str); 3] = [("held", POOL), ("kept", "keyed"), ("other", "plain")];

/// Creates the fleet: pools of four templates, including user data of both kinds and SSH keys; Bound claims, one with a
/// Secret; and one claim that waits.
pub(crate) async fn put_up(walk: &Walk) {
    walk.launch_config(LAUNCH_CONFIG, json!({ "maxInstances": 40 })).await;
    walk.launch_config("sim-b", json!({ "zone": "r1-b", "instanceType": "large", "image": "img-2" })).await;
    walk.create::<Secret>(json!({ "metadata": { "name": "boot" }, "stringData": { "script": "#!/bin/sh\ntrue\n" } }))
        .await;
    let templates = [
        json!({
            "labels": { "team": "web" },
            "tags": { "cost-centre": "42", "team": "web" },
            "userData": "#!/bin/sh\necho \"grüß\"\n",
        }),
        json!({
            "userDataFrom": { "secretKeyRef": { "name": "boot", "key": "script" } },
            "ssh": { "user": "ci", "generateKey": true },
        }),
        json!({}),
        json!({ "ssh": {} }),
    ];
    for ((name, ready), template) in POOLS.into_iter().zip(templates) {
        let limit = if ready == 0 { 0 } else { 20 };
        let configs = json!([{ "name": LAUNCH_CONFIG, "weight": 60 }, { "name": "sim-b", "weight": 40 }]);
        let spec = json!({ "targetSize": ready, "maxSize": limit, "launchConfigs": configs, "template": template });
        walk.pool(name, spec).await;
    }
    is_steady(walk).await;
    for (name, pool) in BOUND {
        let binding = (pool == "keyed").then_some("Secret");
        walk.claim(name, json!({ "poolRef": { "name": pool }, "binding": binding })).await;
        walk.bound(name).await;
    }
    walk.claim("waiting", json!({ "poolRef": { "name": "full" } })).await;
    walk.pool_until("full", "knows of the claim that waits", |status| status.waiting_claims == 1).await;
    is_steady(walk).await;
}

/// Waits until every pool has its ready members, all of the current template.
pub(crate) async fn is_steady(walk: &Walk) {
    for (name, ready) in POOLS {
        walk.pool_until(name, &format!("has {ready} ready members, all current"), |status| {
            let counted = status.members.is_some_and(|members| members.ready == ready && members.warming == 0);
            let current =
                status.updated_ready == ready && condition_is_true(&status.conditions, ConditionType::TemplateCurrent);
            counted && (current || ready == 0)
        })
        .await;
    }
}

/// Requests an immediate pass over every pool from the leader.
pub(crate) async fn is_looked_at(walk: &Walk, by: &str) {
    for (name, _) in POOLS {
        walk.request_a_pass(name, by).await;
    }
    is_steady(walk).await;
}

/// A snapshot of all that an upgrade must not change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    /// Template hash of each pool.
    pools: BTreeMap<String, String>,
    /// Uid, template hash and machine of each member.
    members: BTreeMap<String, (String, String, String)>,
    /// Of each claim its uid, its phase, and which member and machine it holds since when.
    claims: BTreeMap<String, (String, String, [Value; 3])>,
}

impl Picture {
    /// Takes the snapshot, with the number of the ledger's last line.
    pub(crate) async fn take(walk: &Walk) -> (Self, u64) {
        let mark = walk.simcloud.ledger().await.last();
        let pools = walk.list::<InstancePool>().await.into_iter();
        let pools = pools.map(|pool| (pool.name_any(), pool.status.unwrap_or_default().template_hash));
        let members = walk.list::<PoolMember>().await.into_iter().map(|member| {
            let uid = member.uid().expect("a uid");
            let instance = machine(&member).unwrap_or_default().to_owned();
            (member.name_any(), (uid, member.spec.template_hash.clone(), instance))
        });
        let claims = walk.list::<PoolClaim>().await.into_iter().map(|claim| {
            let status = serde_json::to_value(&claim.status).expect("JSON");
            let holds = [&status["memberRef"], &status["instance"]["id"], &status["boundAt"]].map(Value::clone);
            (claim.name_any(), (claim.uid().expect("a uid"), phase(&claim).as_str().to_owned(), holds))
        });
        (Self { pools: pools.collect(), members: members.collect(), claims: claims.collect() }, mark)
    }

    /// Asserts that the fleet is still the same, and that no machine was bought or terminated since.
    pub(crate) async fn is_undisturbed(&self, walk: &Walk, since: u64) {
        assert_eq!(Self::take(walk).await.0, *self);
        let ledger = walk.simcloud.ledger().await.since(since);
        for state in [State::Created, State::ShuttingDown, State::Terminated] {
            assert_eq!(ledger.reached(state), Vec::<&str>::new(), "{state:?}");
        }
    }
}
