//! Pools that do not get their machines: the API server refuses the members, or machines that do not end use up the
//! limit. The pool and the claims that wait say why.

use bullpen_api::{InstancePool, MemberCounts, PoolClaim, PoolMember};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::objects::{POOL, condition};
use crate::harness::{Operator, Walk};
use crate::walks::claims::queue::{place, says};

/// Lets the namespace have this many members. Without its controller, a quota counts no deletions.
async fn quota(walk: &Walk, members: u32) {
    let hard = json!({ "count/poolmembers.bullpen.dev": members.to_string() });
    let quotas: Api<ResourceQuota> = walk.api();
    let spec = json!({ "hard": hard });
    if quotas.get_opt("few").await.expect("an answer").is_none() {
        walk.create::<ResourceQuota>(json!({ "metadata": { "name": "few" }, "spec": spec })).await;
    } else {
        walk.set::<ResourceQuota>("few", spec).await;
    }
    let used = json!({ "count/poolmembers.bullpen.dev": "0" });
    let status = Patch::Merge(json!({ "status": { "hard": hard, "used": used } }));
    quotas.patch_status("few", &PatchParams::default(), &status).await.expect("its status");
}

#[tokio::test]
async fn a_pool_whose_members_the_api_server_refuses_says_so_with_its_message_and_so_do_waiting_claims() {
    let walk = Walk::begin("refused-members").await;
    quota(&walk, 0).await;
    let mut operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 3 })).await;
    walk.claim("build", json!({})).await;
    let refused = |pool: &InstancePool| condition(pool, "ProvisioningHealthy").1 == "MembersRefused";
    let pool = walk.until(POOL, "says that its members are refused", refused).await;
    let message = condition(&pool, "ProvisioningHealthy").2;
    assert!(message.starts_with("the API server refuses new members: poolmembers.bullpen.dev \"ci-*\" is forbidden"));
    assert_eq!(message.matches("exceeded quota: few").count(), 1, "{message}");
    let (status, reason, message) = condition(&pool, "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "FirstMachinesAwaited"), "{message}");
    assert_eq!(condition(&pool, "Reconciling").0, "True");
    let status = pool.status.expect("a status");
    assert_eq!((status.last_replenish_time, status.filled_time), (None, None), "what is refused is no purchase");
    let build = says(&walk, "build", "exceeded quota: few").await;
    assert_eq!(place(&build).reason, "MembersRefused");
    assert_eq!(walk.has_event("MembersRefused").await, 1);

    // An operator that is started again repeats neither the Event nor the good news from before.
    operator.kill_9();
    operator.start_again().await;
    operator.is_ready().await;
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 4 })).await;
    let pool = walk.pool_until(POOL, "is looked at", |_| true).await;
    assert!(refused(&pool), "{:?}", condition(&pool, "ProvisioningHealthy"));

    quota(&walk, 50).await;
    walk.bound("build").await;
    let pool = walk.pool_has_ready(4).await;
    assert_eq!(condition(&pool, "ProvisioningHealthy").0, "True");
    walk.has_event("MembersAccepted").await;
    assert_eq!(walk.has_event("MembersRefused").await, 1, "it is said once");
    walk.pool_until(POOL, "was filled", |status| status.filled_time.is_some()).await;
}

#[tokio::test]
async fn a_pool_that_is_full_of_machines_that_do_not_end_says_so_to_its_waiting_claims() {
    let walk = Walk::begin("full-of-endings").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "maxSize": 2 })).await;
    let fault = json!({ "calls": [{ "on": ["terminate"], "fault": { "error": { "class": "Transient" } } }] });
    walk.simcloud.break_with(fault).await;
    for name in ["first", "second"] {
        walk.claim(name, json!({})).await;
        walk.bound(name).await;
    }
    for name in ["first", "second"] {
        walk.delete::<PoolClaim>(name).await;
    }
    let ending = MemberCounts { terminating: 2, total: 2, ..MemberCounts::default() };
    walk.pool_until(POOL, "counts no claimed machine any more", |status| status.members == Some(ending)).await;
    walk.claim("waits", json!({})).await;
    says(&walk, "waits", "position 1 of 1; pool at maxSize 2: 2 terminating").await;
    let told = says(&walk, "waits", "2 terminating; 2 machines cannot be terminated and may bill: members ci-").await;
    let message = condition(&told, "Bound").2;
    assert!(message.contains("injected by calls[0]"), "the cloud's message: {message}");
    let none = |pool: &InstancePool| condition(pool, "Ready").1 == "NoMachines";
    let pool = walk.until(POOL, "is not ready any more", none).await;
    assert!(condition(&pool, "Ready").2.starts_with("0 of 1 ready: the pool is at maxSize 2: 2 terminating"));
    assert!(condition(&pool, "AtMaxSize").2.ends_with("what it wants: 2 terminating"));

    walk.simcloud.mend().await;
    walk.bound("waits").await;
    let members = walk.list::<PoolMember>().await;
    assert!(members.iter().any(|member| member.metadata.deletion_timestamp.is_none()));
}
