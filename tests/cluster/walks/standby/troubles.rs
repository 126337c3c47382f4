//! What goes wrong with a stop or a start, and what comes of it.

use bullpen_api::{InstancePool, MemberState, PoolMember};
use bullpen_simcloud::ledger::{Method, State};
use bullpen_simcloud::wire::Phase;
use serde_json::{Value, json};

use super::{member_in, pool, rests_with, state_of};
use crate::harness::objects::{POOL, condition, machine, machine_of};
use crate::harness::{Operator, Walk};

/// The operator is killed once a call has met this fault, and comes back in a mended cloud.
async fn killed_at(walk: &Walk, operator: &mut Operator, on: &str, fault: Value, name: &str) {
    walk.simcloud.break_with(json!({ "calls": [{ "on": [on], "fault": fault }] })).await;
    match on {
        "stop" => drop(walk.set::<InstancePool>(POOL, json!({ "standby": { "size": 1 } })).await),
        _ => drop(walk.set::<InstancePool>(POOL, json!({ "targetSize": 2 })).await),
    }
    walk.simcloud.is_hit(name, 1).await;
    operator.kill_9();
    walk.simcloud.mend().await;
    operator.start_again().await;
}

#[tokio::test]
async fn an_operator_that_is_killed_before_or_after_its_stop_call_is_executed_makes_it_again() {
    for (name, done) in [("standby-stop-before", false), ("standby-stop-after", true)] {
        let walk = Walk::begin(name).await;
        let mut operator = Operator::start(&walk).await;
        pool(&walk, 0, json!({})).await;
        rests_with(&walk, 1, 0).await;
        let hang = json!({ "hang": { "milliseconds": 60_000, "done": done } });
        killed_at(&walk, &mut operator, "stop", hang, "hang").await;
        let standby = rests_with(&walk, 1, 1).await;
        let ledger = walk.simcloud.ledger().await;
        assert_eq!((ledger.bought(), ledger.reached(State::Stopping).len()), (2, 1));
        assert_eq!(walk.simcloud.machine(machine(&standby[0]).expect("a machine")).await.phase, Phase::Stopped);
    }
}

#[tokio::test]
async fn an_operator_that_is_killed_before_or_after_its_start_call_is_executed_makes_it_again() {
    for (name, done) in [("standby-start-before", false), ("standby-start-after", true)] {
        let walk = Walk::begin(name).await;
        let mut operator = Operator::start(&walk).await;
        pool(&walk, 1, json!({ "maxSize": 2 })).await;
        rests_with(&walk, 1, 1).await;
        let hang = json!({ "hang": { "milliseconds": 60_000, "done": done } });
        killed_at(&walk, &mut operator, "start", hang, "hang").await;
        rests_with(&walk, 2, 0).await;
        let ledger = walk.simcloud.ledger().await;
        assert_eq!((ledger.bought(), ledger.reached(State::Starting).len()), (2, 1));
    }
}

#[tokio::test]
async fn a_stop_call_that_arrives_late_meets_no_machine_of_a_claim() {
    let walk = Walk::begin("standby-late").await;
    let _operator = Operator::start(&walk).await;
    let late = json!({ "on": ["stop"], "when": { "times": 1 }, "fault": { "slow": { "milliseconds": 15_000 } } });
    walk.simcloud.break_with(json!({ "calls": [late] })).await;
    pool(&walk, 1, json!({ "maxSize": 2 })).await;
    let stopping = member_in(&walk, MemberState::Stopping).await;
    let id = machine(&stopping).expect("a machine").to_owned();
    walk.ledger_until("is stopped by another call", |ledger| ledger.reached(State::Stopped).len() == 1).await;
    walk.claim("first", json!({})).await;
    walk.claim("second", json!({})).await;
    let (first, second) = (walk.bound("first").await, walk.bound("second").await);
    assert!([&first, &second].iter().any(|claim| machine_of(claim) == id), "the stopped machine serves one of them");
    let ledger = walk.simcloud.ledger().await;
    assert_eq!(ledger.calls(Method::Stop), 2, "both calls were executed before");
    assert_eq!(walk.simcloud.machine(&id).await.phase, Phase::Running);
}

#[tokio::test]
async fn a_start_without_capacity_ends_the_member_and_another_machine_is_bought() {
    let walk = Walk::begin("standby-capacity").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("other", json!({ "zone": "sim-1b" })).await;
    pool(&walk, 1, json!({ "launchConfigs": [{ "name": "sim" }, { "name": "other", "weight": 0 }] })).await;
    let standby = rests_with(&walk, 1, 1).await;
    let none = json!({ "on": ["start"], "fault": { "error": { "class": "Capacity", "scope": "Zone" } } });
    walk.simcloud.break_with(json!({ "calls": [none] })).await;
    let configs = json!([{ "name": "sim" }, { "name": "other" }]);
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 2, "launchConfigs": configs })).await;
    walk.ledger_until("ends it", |ledger| ledger.calls(Method::Terminate) >= 1).await;
    let filled = rests_with(&walk, 2, 1).await;
    assert_eq!(
        filled[0].spec.placement.launch_config, "other",
        "nothing is bought for the tier in the zone of its failure"
    );
    assert_eq!(walk.simcloud.ledger().await.bought(), 4);
    let id = machine(&standby[0]).expect("a machine");
    assert!(walk.list::<PoolMember>().await.iter().all(|member| machine(member) != Some(id)));
    assert_eq!(walk.simcloud.ledger().await.calls(Method::Start), 1);
}

#[tokio::test]
async fn a_ready_machine_that_others_stop_is_dead_and_a_standby_machine_that_others_start_too() {
    let walk = Walk::begin("standby-others").await;
    let _operator = Operator::start(&walk).await;
    pool(&walk, 1, json!({ "provisioning": { "cooldownSeconds": 1 } })).await;
    let standby = rests_with(&walk, 1, 1).await;
    let id = machine(&standby[0]).expect("a machine").to_owned();
    walk.simcloud.switch_on(&id).await;
    walk.ledger_until("ends it", |ledger| ledger.reached(State::Terminated).contains(&id.as_str())).await;
    rests_with(&walk, 1, 1).await;
    let ready = walk.list::<PoolMember>().await.into_iter().find(|member| state_of(member) == MemberState::Ready);
    let id = machine(&ready.expect("a ready member")).expect("a machine").to_owned();
    walk.simcloud.strike(&id, json!({ "stops": {} })).await;
    walk.ledger_until("ends it", |ledger| ledger.reached(State::Terminated).contains(&id.as_str())).await;
    rests_with(&walk, 1, 1).await;
}

#[tokio::test]
async fn a_machine_that_cannot_be_stopped_ends_and_the_tier_is_left_alone_for_a_while() {
    let walk = Walk::begin("standby-refused").await;
    let _operator = Operator::start(&walk).await;
    let refused = json!({ "on": ["stop"], "fault": { "error": { "class": "Invalid" } } });
    walk.simcloud.break_with(json!({ "calls": [refused] })).await;
    pool(&walk, 1, json!({})).await;
    walk.until(POOL, "says so", |pool: &InstancePool| condition(pool, "StandbyFilled").1 == "StandbyFailing").await;
    rests_with(&walk, 1, 0).await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.bought(), ledger.calls(Method::Stop)), (2, 1));
}

#[tokio::test]
async fn a_launch_config_whose_machines_cannot_be_stopped_keeps_no_other_from_filling_the_tier() {
    let walk = Walk::begin("standby-two").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("other", json!({ "zone": "sim-1b" })).await;
    let refused =
        json!({ "on": ["stop"], "where": { "zones": ["sim-1b"] }, "fault": { "error": { "class": "Invalid" } } });
    walk.simcloud.break_with(json!({ "calls": [refused] })).await;
    let two = json!([{ "name": "sim" }, { "name": "other" }]);
    let changes = json!({ "targetSize": 2, "launchConfigs": two, "provisioning": { "cooldownSeconds": 1 } });
    pool(&walk, 2, changes).await;
    rests_with(&walk, 2, 2).await;
    let ledger = walk.simcloud.ledger().await;
    assert!(ledger.calls(Method::Stop) <= 2 + 2, "it is not tried again and again: {}", ledger.calls(Method::Stop));
}

#[tokio::test]
async fn a_pool_that_is_deleted_while_stops_are_never_done_leaves_no_machine_and_a_lowered_max_size_no_standby_member()
{
    let walk = Walk::begin("standby-lowered").await;
    let _operator = Operator::start(&walk).await;
    pool(&walk, 2, json!({ "standby": { "mode": "Hibernated" } })).await;
    rests_with(&walk, 1, 2).await;
    walk.set::<InstancePool>(POOL, json!({ "maxSize": 2 })).await;
    rests_with(&walk, 1, 1).await;
    let never = json!({ "on": ["stop"], "fault": { "lingers": {} } });
    walk.simcloud.break_with(json!({ "calls": [never] })).await;
    walk.set::<InstancePool>(POOL, json!({ "maxSize": 10 })).await;
    member_in(&walk, MemberState::Stopping).await;
    walk.delete::<InstancePool>(POOL).await;
    walk.no_machine_left().await;
}
