//! Machines that get another address.

use bullpen_api::{PoolClaim, PoolMember};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use serde_json::json;

use crate::harness::objects::{machine, machine_of, member_of};
use crate::harness::{Operator, Walk, eventually};

/// The first address in the status of a claim.
fn address_of(claim: &PoolClaim) -> String {
    let machine = claim.status.as_ref().and_then(|status| status.instance.as_ref());
    machine.map(|machine| machine.addresses[0].address.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_new_address_of_a_machine_comes_to_its_member_its_claim_and_its_secret() {
    let walk = Walk::begin("moves").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("mine", json!({ "binding": "Secret" })).await;
    let claim = walk.bound("mine").await;
    let (id, before) = (machine_of(&claim).to_owned(), address_of(&claim));
    walk.simcloud.strike(&id, json!({ "moves": {} })).await;
    let now = walk.simcloud.machine(&id).await.addresses[0].address.clone();
    assert_ne!(now, before);

    let told = walk.until("mine", "has the new address", |claim: &PoolClaim| address_of(claim) == now).await;
    assert_eq!(machine_of(&told), id, "it is the same machine");
    let member: PoolMember = walk.get(member_of(&told)).await;
    let recorded = member.status.and_then(|status| status.instance).expect("a machine");
    assert_eq!(recorded.addresses[0].address, now);
    // The claim says it after its Secret.
    let secret: Secret = walk.get("mine-binding").await;
    let host = secret.data.as_ref().and_then(|data| data.get("host")).expect("a host");
    assert_eq!(String::from_utf8_lossy(&host.0), now);
    assert_eq!(secret.annotations().get("bullpen.dev/host"), Some(&now));
    assert!(secret.annotations().contains_key("bullpen.dev/host-changed-at"));
    walk.has_event("AddressChanged").await;
}

#[tokio::test]
async fn a_claim_gets_the_address_that_its_machine_has_when_it_is_claimed() {
    let walk = Walk::begin("moved").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let members = walk.list::<PoolMember>().await;
    let id = machine(&members[0]).expect("a machine").to_owned();
    walk.simcloud.strike(&id, json!({ "moves": {} })).await;
    let now = walk.simcloud.machine(&id).await.addresses[0].address.clone();
    eventually("the ready member has the new address", async || {
        let member: PoolMember = walk.get(&members[0].name_any()).await;
        let recorded = member.status.and_then(|status| status.instance).expect("a machine");
        if recorded.addresses[0].address == now { Ok(()) } else { Err(recorded.addresses[0].address.clone()) }
    })
    .await;
    walk.claim("mine", json!({})).await;
    let claim = walk.bound("mine").await;
    assert_eq!((machine_of(&claim), address_of(&claim)), (id.as_str(), now));
}
