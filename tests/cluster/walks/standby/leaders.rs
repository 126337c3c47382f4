//! The leader is suspended between what it has written about a machine and the call for it, another one leads, and then it goes
//! on. No machine of a claim is stopped, none is bought twice, and none is forgotten.

use std::time::Duration;

use bullpen_api::{InstancePool, MemberState, PoolClaim};
use bullpen_simcloud::ledger::State;
use bullpen_simcloud::wire::Phase;
use serde_json::{Value, json};

use super::{member_in, pool, rests_with};
use crate::harness::objects::{POOL, machine_of};
use crate::harness::{Operator, Walk, eventually};

/// From the suspension of a leader until another leads: the lease, how late the other saw its last renewal, and what busy cores add.
const FAILOVER: Duration = Duration::from_secs(25);
/// For so long a call is on its way that arrives after another operator has begun to lead.
const LATE_MILLISECONDS: i32 = 25_000;

/// Two operators, of which the first leads.
async fn two_operators(walk: &Walk) -> (Operator, Operator) {
    let one = Operator::start(walk).await;
    one.comes_to_lead().await;
    let two = Operator::start_beside(walk, "two", "two").await;
    two.is_ready().await;
    (one, two)
}

/// The call is on its way for long, and is executed whoever leads by then.
fn late(on: &str) -> Value {
    json!({ "calls": [{ "on": [on], "when": { "times": 1 }, "fault": { "slow": { "milliseconds": LATE_MILLISECONDS } } }] })
}

/// Calls of this kind are made once a minute: the leader waits before it sends the second one.
fn once_a_minute(on: &str) -> Value {
    json!({ "rates": [{ "on": [on], "everyMilliseconds": 60_000 }] })
}

/// The leader is suspended, and the other operator leads a cloud that is mended.
async fn one_is_suspended(walk: &Walk, one: &mut Operator, two: &Operator, mend: bool) {
    one.freeze();
    two.leads_within(FAILOVER).await;
    if mend {
        walk.simcloud.mend().await;
    }
}

/// Waits until the cloud has executed all calls that reached it.
async fn nothing_is_on_its_way(walk: &Walk) {
    let health = format!("http://{}/healthz", walk.simcloud.address());
    eventually("no call is held back", async || {
        let answer = reqwest::get(&health).await.map_err(|error| error.to_string())?;
        let held = answer.json::<Value>().await.map_err(|error| error.to_string())?["held"].clone();
        if held == 0 { Ok(()) } else { Err(format!("{held} are")) }
    })
    .await;
}

/// Claims come for all machines of the pool, then the suspended leader goes on. Each claim has a machine that runs, and none was
/// bought beside those.
async fn claims_have_all_machines_while_it_goes_on(walk: &Walk, one: &mut Operator, machines: usize) {
    for number in 0..machines {
        walk.claim(&format!("c{number}"), json!({})).await;
    }
    let mut bound = Vec::new();
    for number in 0..machines {
        bound.push(walk.bound(&format!("c{number}")).await);
    }
    let before = walk.simcloud.ledger().await;
    one.thaw();
    one.says("leads no more, and begins nothing").await;
    one.stops_leading().await;
    one.is_ready().await;
    nothing_is_on_its_way(walk).await;
    for claim in &bound {
        assert_eq!(walk.simcloud.machine(machine_of(claim)).await.phase, Phase::Running);
    }
    let ledger = walk.simcloud.ledger().await;
    assert_eq!(ledger.bought(), machines, "none is bought twice");
    assert!(ledger.since(before.last()).reached(State::Stopping).is_empty());
    for claim in bound {
        walk.delete::<PoolClaim>(&claim.metadata.name.expect("a name")).await;
    }
    walk.delete::<InstancePool>(POOL).await;
    walk.no_machine_left().await;
    assert!(one.is_running());
}

#[tokio::test]
async fn a_stop_call_of_a_suspended_leader_that_arrives_late_meets_no_machine_of_a_claim() {
    let walk = Walk::begin("standby-lead-stop").await;
    let (mut one, two) = two_operators(&walk).await;
    pool(&walk, 0, json!({ "maxSize": 2 })).await;
    rests_with(&walk, 1, 0).await;
    walk.simcloud.break_with(late("stop")).await;
    walk.set::<InstancePool>(POOL, json!({ "standby": { "size": 1 } })).await;
    walk.simcloud.is_hit("slow", 1).await;
    one_is_suspended(&walk, &mut one, &two, false).await;
    walk.ledger_until("another call stops it", |ledger| !ledger.reached(State::Stopped).is_empty()).await;
    rests_with(&walk, 1, 1).await;
    claims_have_all_machines_while_it_goes_on(&walk, &mut one, 2).await;
}

#[tokio::test]
async fn a_stop_that_a_suspended_leader_has_written_and_not_sent_is_made_by_the_next_one() {
    let walk = Walk::begin("standby-lead-unstopped").await;
    let (mut one, two) = two_operators(&walk).await;
    pool(&walk, 0, json!({ "maxSize": 3 })).await;
    rests_with(&walk, 1, 0).await;
    walk.simcloud.break_with(once_a_minute("stop")).await;
    walk.set::<InstancePool>(POOL, json!({ "standby": { "size": 2 } })).await;
    walk.simcloud.is_hit("rate", 1).await;
    member_in(&walk, MemberState::Stopping).await;
    one_is_suspended(&walk, &mut one, &two, true).await;
    rests_with(&walk, 1, 2).await;
    claims_have_all_machines_while_it_goes_on(&walk, &mut one, 3).await;
}

#[tokio::test]
async fn a_start_call_of_a_suspended_leader_that_arrives_late_starts_nothing_anew() {
    let walk = Walk::begin("standby-lead-start").await;
    let (mut one, two) = two_operators(&walk).await;
    pool(&walk, 1, json!({ "maxSize": 2 })).await;
    rests_with(&walk, 1, 1).await;
    walk.simcloud.break_with(late("start")).await;
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 2 })).await;
    walk.simcloud.is_hit("slow", 1).await;
    one_is_suspended(&walk, &mut one, &two, false).await;
    rests_with(&walk, 2, 0).await;
    claims_have_all_machines_while_it_goes_on(&walk, &mut one, 2).await;
    assert_eq!(walk.simcloud.ledger().await.reached(State::Starting).len(), 1);
}

#[tokio::test]
async fn a_start_that_a_suspended_leader_has_written_and_not_sent_is_made_by_the_next_one() {
    let walk = Walk::begin("standby-lead-unstarted").await;
    let (mut one, two) = two_operators(&walk).await;
    pool(&walk, 2, json!({ "maxSize": 3 })).await;
    rests_with(&walk, 1, 2).await;
    walk.simcloud.break_with(once_a_minute("start")).await;
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 3 })).await;
    walk.simcloud.is_hit("rate", 1).await;
    one_is_suspended(&walk, &mut one, &two, true).await;
    rests_with(&walk, 3, 0).await;
    claims_have_all_machines_while_it_goes_on(&walk, &mut one, 3).await;
    assert_eq!(walk.simcloud.ledger().await.reached(State::Starting).len(), 2);
}
