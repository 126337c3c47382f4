//! A member knows where its machine was bought, and no other cloud is believed about it.

use bullpen_api::{LaunchConfig, PoolClaim, PoolMember};
use bullpen_simcloud::ledger::Method;
use kube::ResourceExt as _;
use serde_json::json;

use crate::harness::objects::{condition, machine, machine_of, member_of, phase};
use crate::harness::{Operator, Walk};

/// Makes the launch config again under its name, as somebody does who takes its finalizer off by force.
async fn made_again(walk: &Walk, endpoint: &str) {
    walk.kubectl(&["delete", "lc", "sim", "--wait=false"]).await;
    walk.kubectl(&["patch", "lc", "sim", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]).await;
    walk.gone::<LaunchConfig>("sim").await;
    walk.launch_config("sim", json!({ "simulated": { "endpoint": endpoint } })).await;
}

#[tokio::test]
async fn a_launch_config_made_again_for_another_cloud_loses_no_machine_and_the_member_says_what_to_put_back() {
    let (walk, other) = (Walk::begin("leads-elsewhere").await, Walk::begin("elsewhere").await);
    let _operator = Operator::start(&walk).await;
    let [here, there] = [&walk, &other].map(|walk| format!("http://{}", walk.simcloud.address()));
    walk.ready_pool(1, json!({ "maxSize": 1 })).await;
    walk.claim("mine", json!({})).await;
    let claim = walk.bound("mine").await;
    let (name, instance) = (member_of(&claim).to_owned(), machine_of(&claim).to_owned());
    let cloud = walk.get::<PoolMember>(&name).await.spec.cloud.expect("it knows where it was bought");
    assert_eq!((cloud.endpoint.as_str(), cloud.account.as_str(), cloud.region.as_str()), (&*here, "sim-1", "r1"));

    made_again(&walk, &there).await;
    let refused = walk
        .until(&name, "says that its launch config leads elsewhere", |member: &PoolMember| {
            condition(member, "Reachable").1 == "LaunchConfigElsewhere"
        })
        .await;
    let message = condition(&refused, "Reachable").2;
    assert!(message.contains(&here) && message.contains(&there) && message.contains("put back"), "{message}");
    // Three questions for the machine would be a second apart.
    other.simcloud.is_called(Method::List, 1).await;
    walk.delete::<PoolClaim>("mine").await;
    walk.until(&name, "is to be ended", |member: &PoolMember| member.metadata.deletion_timestamp.is_some()).await;
    other.simcloud.is_called(Method::List, 3).await;
    let ledger = other.simcloud.ledger().await;
    assert_eq!((ledger.calls(Method::Get), ledger.calls(Method::Find), ledger.calls(Method::Terminate)), (0, 0, 0));
    assert_eq!(machine(&walk.get::<PoolMember>(&name).await), Some(&*instance), "its finalizer stays");
    assert!(walk.simcloud.ledger().await.living().contains_key(&*instance));

    made_again(&walk, &here).await;
    walk.gone::<PoolMember>(&name).await;
    assert!(walk.simcloud.ledger().await.ended(&instance));
}

#[tokio::test]
async fn a_launch_config_made_again_for_the_same_cloud_goes_on_with_its_members_and_no_claim_is_lost() {
    let walk = Walk::begin("leads-back").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("mine", json!({})).await;
    let claim = walk.bound("mine").await;
    made_again(&walk, &format!("http://{}", walk.simcloud.address())).await;
    walk.until("sim", "has its account again", |config: &LaunchConfig| {
        config.status.as_ref().is_some_and(|status| status.identity.is_some())
    })
    .await;
    walk.delete::<PoolClaim>("mine").await;
    walk.gone::<PoolMember>(member_of(&claim)).await;
    walk.claim("next", json!({})).await;
    assert_eq!(phase(&walk.bound("next").await).as_str(), "Bound");
}

#[tokio::test]
async fn ready_members_at_another_cloud_are_no_supply_so_claims_get_new_machines_until_it_is_put_back() {
    let (walk, other) = (Walk::begin("leads-away").await, Walk::begin("away").await);
    let _operator = Operator::start(&walk).await;
    let [here, there] = [&walk, &other].map(|walk| format!("http://{}", walk.simcloud.address()));
    walk.ready_pool(2, json!({ "maxSize": 6 })).await;
    made_again(&walk, &there).await;
    walk.claim("mine", json!({})).await;
    let claim = walk.bound("mine").await;
    assert!(other.simcloud.ledger().await.living().contains_key(machine_of(&claim)), "it was bought there");
    let kept: Vec<_> = walk
        .list::<PoolMember>()
        .await
        .into_iter()
        .filter(|member| condition(member, "Reachable").1 == "LaunchConfigElsewhere")
        .collect();
    assert_eq!(kept.len(), 2, "they wait for their launch config");
    let ledger = walk.simcloud.ledger().await;
    assert!(kept.iter().all(|member| ledger.living().contains_key(machine(member).expect("it was ready"))));

    walk.delete::<PoolClaim>("mine").await;
    walk.gone::<PoolMember>(member_of(&claim)).await;
    made_again(&walk, &here).await;
    for member in &kept {
        walk.until(&member.name_any(), "can be reached again", |member: &PoolMember| {
            condition(member, "Reachable").0 == "True"
        })
        .await;
    }
}

#[tokio::test]
async fn an_account_that_changed_just_before_the_first_member_is_noticed_before_its_create() {
    let walk = Walk::begin("swapped").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({})).await;
    walk.until("sim", "has an account", |config: &LaunchConfig| {
        config.status.as_ref().is_some_and(|status| status.identity.is_some())
    })
    .await;
    // The next confirmation would come within 15 s.
    walk.simcloud.break_with(json!({ "calls": [{ "fault": { "asAccount": { "account": "other" } } }] })).await;
    walk.pool("ci", json!({ "targetSize": 1, "maxSize": 1 })).await;
    walk.pool_has_ready(1).await;
    let members = walk.list::<PoolMember>().await;
    assert_eq!(members[0].spec.cloud.as_ref().map(|cloud| cloud.account.as_str()), Some("other"));
    assert_eq!(walk.simcloud.ledger().await.bought(), 1);
}
