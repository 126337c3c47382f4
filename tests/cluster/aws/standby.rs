//! Stopped EC2 machines behind the ready ones.

use std::time::Duration;

use bullpen_api::{InstancePool, LaunchConfig, MemberState, PoolMember};
use bullpen_ec2::{Instance, InstanceState};
use serde_json::{Value, json};

use super::cloud::{Ec2, operator};
use super::troubles::{refused, rule};
use crate::harness::objects::{POOL, condition, machine, machine_of};
use crate::harness::{Walk, eventually, eventually_within};

/// A machine is bought, boots, is stopped and perhaps started, each seen by a list of every 5 s.
pub(super) const WHOLE_WAY: Duration = Duration::from_mins(2);

/// Waits until the pool has so many ready and standby members, none in between, and returns those on standby.
pub(super) async fn rests_with(walk: &Walk, ready: usize, standby: usize) -> Vec<PoolMember> {
    eventually_within(WHOLE_WAY, &format!("{ready} members are ready and {standby} on standby"), async || {
        let members = walk.list::<PoolMember>().await;
        let count = |state| members.iter().filter(|member| state_of(member) == state).count();
        let seen = (count(MemberState::Ready), count(MemberState::Standby), count(MemberState::Claimed));
        if (seen.0, seen.1) == (ready, standby) && seen.0 + seen.1 + seen.2 == members.len() {
            Ok(members.into_iter().filter(|member| state_of(member) == MemberState::Standby).collect())
        } else {
            Err(format!("{seen:?} of {}", members.len()))
        }
    })
    .await
}

fn state_of(member: &PoolMember) -> MemberState {
    member.status.as_ref().map(|status| status.state).unwrap_or_default()
}

/// The only member on standby, and how EC2 shows its machine.
async fn the_stopped_one(walk: &Walk, ec2: &Ec2, standby: &[PoolMember]) -> (String, Instance) {
    let [member] = standby else { panic!("{} on standby", standby.len()) };
    let id = machine(member).expect("a machine").to_owned();
    let shown = shown(walk, ec2, &id).await;
    assert_eq!(shown.state, InstanceState::Stopped);
    (id, shown)
}

async fn shown(walk: &Walk, ec2: &Ec2, id: &str) -> Instance {
    let machines = ec2.machines(walk).await;
    machines.into_iter().find(|machine| machine.id == id).expect("EC2 shows it")
}

#[tokio::test]
async fn a_claim_gets_a_started_machine_at_its_new_address_and_none_is_bought() {
    let walk = Walk::begin("aws-standby").await;
    let ec2 = Ec2::start(&walk, &[]).await;
    let _operator = operator(&walk, &[]).await;
    ec2.pool(&walk, 1, json!({ "maxSize": 2, "standby": { "size": 1 } })).await;
    let standby = rests_with(&walk, 1, 1).await;
    let (id, stopped) = the_stopped_one(&walk, &ec2, &standby).await;
    let launched = standby[0].status.as_ref().and_then(|status| status.instance.as_ref()?.launch_time.clone());
    let before = standby[0].status.as_ref().and_then(|status| status.instance.clone()).expect("a machine").addresses;

    walk.claim("first", json!({})).await;
    assert_ne!(machine_of(&walk.bound("first").await), id, "no claim gets a stopped machine");
    walk.claim("second", json!({})).await;
    let second = walk.bound("second").await;
    assert_eq!(machine_of(&second), id, "maxSize leaves only the started one");
    assert_eq!(ec2.machines(&walk).await.len(), 2, "none was bought");
    let started = shown(&walk, &ec2, &id).await;
    assert_eq!((started.state, started.private_ip.as_deref()), (InstanceState::Running, stopped.private_ip.as_deref()));
    assert!(started.launch_time > stopped.launch_time, "EC2 tells the last start");
    let members = walk.list::<PoolMember>().await;
    let member = members.iter().find(|member| machine(member) == Some(&*id)).expect("its member");
    let recorded = member.status.as_ref().and_then(|status| status.instance.clone()).expect("a machine");
    assert_eq!(recorded.launch_time, launched, "a start is no launch");
    let public = started.public_ip.as_deref().expect("a public address");
    assert!(recorded.addresses.iter().any(|address| address.address == public), "{public}: {recorded:?}");
    assert_ne!(recorded.addresses, before, "EC2 gives another public address at each start");
    let told = second.status.as_ref().map(|status| format!("{status:?}")).unwrap_or_default();
    assert!(told.contains(public), "{public}: {told}");
}

#[tokio::test]
async fn an_operator_that_is_killed_before_or_after_a_start_is_executed_starts_the_machine_once() {
    // A call that hangs before EC2 has it, and an answer that does not come through.
    let before = json!({ "timeout_ms": 120_000 });
    let after = json!({ "response": { "bandwidth_kbps": 0.001 } });
    for (name, effect, done) in [("aws-start-before", before, false), ("aws-start-after", after, true)] {
        let walk = Walk::begin(name).await;
        let ec2 = Ec2::start(&walk, &[]).await.behind_a_proxy(&walk).await;
        let mut operator = operator(&walk, &[]).await;
        ec2.pool(&walk, 1, json!({ "maxSize": 2, "standby": { "size": 1 } })).await;
        let standby = rests_with(&walk, 1, 1).await;
        let (id, stopped) = the_stopped_one(&walk, &ec2, &standby).await;
        ec2.break_with(json!([rule("StartInstances", 1, &effect)])).await;
        walk.set::<InstancePool>(POOL, json!({ "targetSize": 2, "standby": { "size": 0 } })).await;
        eventually("the call is made", async || {
            let executed = shown(&walk, &ec2, &id).await.state != InstanceState::Stopped;
            let made = walk.list::<PoolMember>().await.iter().any(|member| state_of(member) == MemberState::Warming);
            if made && executed == done { Ok(()) } else { Err(format!("{made} {executed}")) }
        })
        .await;
        operator.kill_9();
        ec2.break_with(json!([])).await;
        operator.start_again().await;
        rests_with(&walk, 2, 0).await;
        let started = shown(&walk, &ec2, &id).await;
        assert!(started.launch_time > stopped.launch_time);
        assert_eq!(ec2.machines(&walk).await.len(), 2, "none was bought");
    }
}

#[tokio::test]
async fn a_start_that_ec2_has_no_capacity_for_ends_the_member_and_another_machine_is_bought() {
    let walk = Walk::begin("aws-start-capacity").await;
    let ec2 = Ec2::start(&walk, &[]).await.behind_a_proxy(&walk).await;
    let _operator = operator(&walk, &[]).await;
    // Nothing more is bought where a start was refused, before that refusal is over.
    ec2.launch_config(&walk, "other", json!({ "instanceType": "m5.xlarge" })).await;
    let configs = |other: i32| json!([{ "name": "m5" }, { "name": "other", "weight": other }]);
    let spec = json!({ "maxSize": 5, "standby": { "size": 1 }, "launchConfigs": configs(0) });
    ec2.pool(&walk, 1, spec).await;
    let (id, _) = the_stopped_one(&walk, &ec2, &rests_with(&walk, 1, 1).await).await;
    ec2.break_with(json!([rule("StartInstances", 1000, &refused("InsufficientInstanceCapacity"))])).await;
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 2, "launchConfigs": configs(1) })).await;
    ec2.ends(&walk, &id).await;
    walk.pool_has_ready(2).await;
    assert_eq!(ec2.counted().await.get("ec2:StartInstances"), Some(&1), "it was refused for good");
    let bought = ec2.living(&walk).await;
    assert!(bought.iter().any(|machine| machine.instance_type == "m5.xlarge"), "{bought:?}");
}

#[tokio::test]
async fn a_machine_that_cannot_be_stopped_ends_and_a_spot_machine_is_not_asked() {
    let walk = Walk::begin("aws-stop-refused").await;
    let ec2 = Ec2::start(&walk, &[]).await.behind_a_proxy(&walk).await;
    let _operator = operator(&walk, &[]).await;
    ec2.break_with(json!([rule("StopInstances", 1000, &refused("UnsupportedOperation"))])).await;
    ec2.pool(&walk, 1, json!({ "maxSize": 5, "standby": { "size": 1 } })).await;
    let says = async |name: &str, reason: &str| {
        walk.until(name, &format!("says {reason}"), |pool: &InstancePool| condition(pool, "StandbyFilled").1 == reason)
            .await
    };
    says(POOL, "StandbyFailing").await;
    assert_eq!(ec2.counted().await.get("ec2:StopInstances"), Some(&1), "it was refused for good");
    ec2.launch_config(&walk, "spot", json!({ "market": "Spot" })).await;
    let spec: Value = json!({ "targetSize": 0, "maxSize": 5, "standby": { "size": 1 }, "lifecycleClass": "Spot",
        "launchConfigs": [{ "name": "spot" }] });
    walk.pool("of-spot", spec).await;
    says("of-spot", "ProviderCannotStop").await;
}

#[tokio::test]
async fn a_machine_is_hibernated_once_it_can_be_if_it_was_launched_for_that_and_goes_on_for_a_claim() {
    let walk = Walk::begin("aws-hibernated").await;
    let ec2 = Ec2::start(&walk, &[("BULLPEN_EC2_HIBERNATES_AFTER_MS", "20000")]).await.behind_a_proxy(&walk).await;
    ec2.record().await;
    let _operator = operator(&walk, &[]).await;
    let standby = json!({ "size": 1, "mode": "Hibernated" });
    ec2.pool(&walk, 1, json!({ "maxSize": 2, "standby": standby })).await;
    let pool = walk
        .until(POOL, "says so", |pool: &InstancePool| condition(pool, "StandbyFilled").1 == "ProviderCannotHibernate")
        .await;
    assert!(condition(&pool, "StandbyFilled").2.contains("spec.aws.hibernation"));
    rests_with(&walk, 1, 0).await;
    assert_eq!((ec2.living(&walk).await.len(), ec2.counted().await.get("ec2:StopInstances")), (1, None));

    walk.set::<LaunchConfig>("m5", json!({ "aws": { "hibernation": true } })).await;
    let (id, hibernated) = the_stopped_one(&walk, &ec2, &rests_with(&walk, 1, 1).await).await;
    assert_eq!(hibernated.state_reason.as_deref(), Some("Client.UserInitiatedHibernate"));
    assert!(ec2.counted().await.get("ec2:StopInstances").is_some_and(|stops| *stops > 1), "EC2 refuses it for a while");
    walk.claim("first", json!({})).await;
    assert_ne!(machine_of(&walk.bound("first").await), id, "no claim gets a hibernated machine");
    walk.claim("second", json!({})).await;
    assert_eq!(machine_of(&walk.bound("second").await), id, "maxSize leaves only the one that goes on");
    assert!(shown(&walk, &ec2, &id).await.launch_time > hibernated.launch_time);
}

#[tokio::test]
async fn a_ready_machine_that_others_stop_is_dead_and_a_standby_machine_that_others_start_too() {
    let walk = Walk::begin("aws-standby-others").await;
    let ec2 = Ec2::start(&walk, &[]).await;
    let _operator = operator(&walk, &[]).await;
    let spec = json!({ "maxSize": 5, "standby": { "size": 1 }, "provisioning": { "cooldownSeconds": 1 } });
    ec2.pool(&walk, 1, spec).await;
    let (id, _) = the_stopped_one(&walk, &ec2, &rests_with(&walk, 1, 1).await).await;
    ec2.client.start_instances(&id).await.expect("started");
    ended(&walk, &ec2, &id).await;
    rests_with(&walk, 1, 1).await;
    let members = walk.list::<PoolMember>().await;
    let ready = members.iter().find(|member| state_of(member) == MemberState::Ready).expect("a ready member");
    let id = machine(ready).expect("a machine").to_owned();
    ec2.client.stop_instances(&id, false).await.expect("stopped");
    ended(&walk, &ec2, &id).await;
    rests_with(&walk, 1, 1).await;
}

/// Waits until a machine is terminated. While nothing changes, the operator lists once a minute only.
async fn ended(walk: &Walk, ec2: &Ec2, id: &str) {
    eventually_within(WHOLE_WAY, "it ends", async || match shown(walk, ec2, id).await.state {
        InstanceState::Terminated => Ok(()),
        state => Err(format!("{state:?}")),
    })
    .await;
}
