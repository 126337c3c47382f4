//! The end of a namespace while claims of another one hold machines of its pools.

use bullpen_api::{InstancePool, PoolClaim, PoolMember};
use bullpen_devkit::control_plane::{ControlPlane, Options};
use serde_json::json;

use crate::harness::objects::{POOL, condition, machine_of, member_of};
use crate::harness::{Ground, Operator, Walk, eventually};

#[tokio::test]
async fn a_namespace_that_ends_names_the_claims_of_others_and_tells_them_and_goes_with_the_last() {
    let control_plane = ControlPlane::start(Options::default()).await.expect("a control plane of its own");
    let ground = Ground::on(&control_plane).await;
    let (infra, red) = (Walk::begin_at(&ground, "infra", &[]).await, Walk::begin_at(&ground, "red", &[]).await);
    let mut operator = Operator::start_everywhere(&infra).await;
    infra.ready_pool(1, json!({ "claims": { "allowedNamespaces": { "from": "All" } } })).await;
    let mut held = Vec::new();
    for name in ["build-1", "build-2"] {
        red.claim(name, json!({ "poolRef": { "name": POOL, "namespace": infra.namespace } })).await;
        held.push(red.bound(name).await);
    }
    infra.claim("own", json!({})).await;
    let own = infra.bound("own").await;
    infra.pool_has_ready(1).await;

    infra.kubectl(&["delete", "namespace", &infra.namespace, "--wait=false"]).await;
    infra.gone::<PoolClaim>("own").await;
    infra.gone::<PoolMember>(member_of(&own)).await;
    let both = format!("members are claimed and finish with their claims: {0}/build-1, {0}/build-2", red.namespace);
    says_who_is_waited_for(&infra, &format!("the namespace is being deleted, but 2 {both}")).await;
    let told = async |count: usize| {
        eventually(&format!("{count} claims are told"), async || {
            let found = red.has_event("PoolBeingDeleted").await;
            if found == count { Ok(()) } else { Err(found.to_string()) }
        })
        .await;
    };
    told(2).await;
    let events =
        red.kubectl(&["get", "events", "-o", "jsonpath={range .items[*]}{.reason} {.message}{\"\\n\"}{end}"]).await;
    let words = format!("namespace {0} with pool ci is being deleted and waits for this claim", infra.namespace);
    assert!(events.contains(&words), "{events}");
    for claim in &held {
        let member: PoolMember = infra.get(member_of(claim)).await;
        let (_, _, message) = condition(&member, "Ready");
        assert!(message.contains(&format!("of namespace {}", red.namespace)), "{message}");
        assert!(!infra.simcloud.ledger().await.ended(machine_of(claim)), "its claimant works on it");
    }
    // Another operator tells nobody again.
    operator.kill_9();
    operator.start_again().await;
    operator.is_ready().await;
    red.delete::<PoolClaim>("build-1").await;
    infra.gone::<PoolMember>(member_of(&held[0])).await;
    let one = format!("member is claimed and finishes with its claim: {}/build-2", red.namespace);
    says_who_is_waited_for(&infra, &format!("the namespace is being deleted, but 1 {one}")).await;
    told(2).await;
    red.delete::<PoolClaim>("build-2").await;
    infra.namespace_is_gone().await;
    infra.no_machine_left().await;
    drop(operator);
    control_plane.stop().await;
}

async fn says_who_is_waited_for(walk: &Walk, words: &str) {
    let says = |pool: &InstancePool| condition(pool, "Drained").2 == words;
    walk.until(POOL, &format!("says {words:?}"), says).await;
}
