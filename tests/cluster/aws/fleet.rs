//! A pool of EC2 machines from its first machine to its end.

use std::collections::BTreeSet;

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, PoolClaim, PoolMember};
use bullpen_ec2::InstanceState;
use serde_json::json;

use super::cloud::{ACCOUNT, Ec2, REGION, operator};
use crate::harness::objects::{POOL, machine_of, phase};
use crate::harness::{Walk, eventually};

#[tokio::test]
async fn a_pool_of_ec2_machines_is_claimed_released_replaced_and_drained() {
    let walk = Walk::begin("aws-fleet").await;
    let ec2 = Ec2::start(&walk, &[]).await;
    let _operator = operator(&walk, &[]).await;
    ec2.ready_pool(&walk, 2, json!({})).await;
    let config: LaunchConfig = walk.get("m5").await;
    let identity = config.status.and_then(|status| status.identity).expect("the account is known");
    assert_eq!((identity.account.as_str(), identity.region.as_str()), (ACCOUNT, REGION));

    walk.claim("job", json!({})).await;
    let claim = walk.bound("job").await;
    let id = machine_of(&claim).to_owned();
    let machines = ec2.machines(&walk).await;
    let claimed = machines.iter().find(|instance| instance.id == id).expect("the machine of the claim");
    let status = claim.status.as_ref().expect("a status");
    assert!(format!("{status:?}").contains(claimed.private_ip.as_deref().expect("it has an address")), "{status:?}");
    assert_eq!(claimed.tags.get("bullpen.dev/namespace"), Some(&walk.namespace));
    assert_eq!(claimed.zone, format!("{REGION}a"));

    walk.pool_has_ready(2).await;
    walk.delete::<PoolClaim>("job").await;
    eventually("the machine of the released claim ends", async || {
        let machines = ec2.machines(&walk).await;
        let state = machines.iter().find(|instance| instance.id == id).map(|instance| instance.state);
        if state == Some(InstanceState::Terminated) { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await;
    ec2.is_in_step(&walk).await;

    walk.delete::<InstancePool>(POOL).await;
    walk.gone::<InstancePool>(POOL).await;
    walk.none_left::<PoolMember>().await;
    assert_eq!(ec2.living(&walk).await, []);
}

#[tokio::test]
async fn another_launch_config_s_machines_follow_a_change_and_only_the_claimed_one_stays() {
    let walk = Walk::begin("aws-rollout").await;
    let ec2 = Ec2::start(&walk, &[]).await;
    let _operator = operator(&walk, &[]).await;
    ec2.ready_pool(&walk, 2, json!({})).await;
    walk.claim("stays", json!({})).await;
    let claim = walk.bound("stays").await;
    walk.pool_has_ready(2).await;
    let before: BTreeSet<_> = ec2.living(&walk).await.into_iter().map(|instance| instance.id).collect();
    walk.set::<LaunchConfig>("m5", json!({ "instanceType": "m5.xlarge" })).await;
    eventually("all but the claimed machine are of the new type", async || {
        let living = ec2.living(&walk).await;
        let old: Vec<_> = living.iter().filter(|instance| instance.instance_type != "m5.xlarge").collect();
        match old.as_slice() {
            [one] if one.id == machine_of(&claim) && living.len() == 3 => Ok(()),
            _ => Err(format!("{} of {} are old", old.len(), living.len())),
        }
    })
    .await;
    assert_eq!(phase(&walk.get("stays").await), ClaimPhase::Bound);
    assert!(before.contains(machine_of(&claim)));
    ec2.is_in_step(&walk).await;
}

#[tokio::test]
async fn a_machine_that_is_stopped_or_terminated_from_outside_is_replaced() {
    let walk = Walk::begin("aws-outside").await;
    let ec2 = Ec2::start(&walk, &[]).await;
    let _operator = operator(&walk, &[]).await;
    ec2.ready_pool(&walk, 2, json!({})).await;
    let living = ec2.living(&walk).await;
    let [one, other] = living.as_slice() else { panic!("{living:?}") };
    ec2.client.stop_instances(&one.id, false).await.expect("stopped");
    ec2.client.terminate_instances(&other.id).await.expect("terminated");
    eventually("both are replaced, and the stopped one ends", async || {
        let living = ec2.living(&walk).await;
        let old = living.iter().filter(|instance| [&one.id, &other.id].contains(&&instance.id)).count();
        if (old, living.len()) == (0, 2) { Ok(()) } else { Err(format!("{old} old of {}", living.len())) }
    })
    .await;
    walk.pool_has_ready(2).await;
    ec2.is_in_step(&walk).await;
}
