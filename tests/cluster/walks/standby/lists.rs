//! Lists that are old, or leave machines out, while machines are stopped and started: nobody is believed dead, nothing is started
//! or bought twice, and no claim gets a machine that does not run.

use bullpen_api::{InstancePool, PoolClaim};
use bullpen_simcloud::ledger::{Method, State};
use bullpen_simcloud::wire::Phase;
use serde_json::{Value, json};

use super::{pool, rests_with};
use crate::harness::objects::{POOL, machine_of};
use crate::harness::{Operator, Walk};

/// Machines of a pool of three are started, stopped and started again under such lists, and then claimed. `stops`: whether
/// machines are stopped as well, which only those are that a list shows.
async fn nobody_is_deceived(name: &str, mode: &str, fault: Value, stops: bool) {
    let walk = Walk::begin(name).await;
    let _operator = Operator::start(&walk).await;
    pool(&walk, 2, json!({ "maxSize": 3, "standby": { "mode": mode } })).await;
    let before = rests_with(&walk, 1, 2).await;
    walk.simcloud.break_with(json!({ "calls": [{ "on": ["list"], "fault": fault }] })).await;
    let target = async |size: i32| drop(walk.set::<InstancePool>(POOL, json!({ "targetSize": size })).await);
    target(3).await;
    rests_with(&walk, 3, 0).await;
    let mut started = 2;
    if stops {
        target(1).await;
        let after = rests_with(&walk, 1, 2).await;
        assert_eq!(after.len(), before.len());
        target(3).await;
        rests_with(&walk, 3, 0).await;
        started += 2;
    }
    for number in 0..3 {
        walk.claim(&format!("c{number}"), json!({})).await;
    }
    for number in 0..3 {
        let claim = walk.bound(&format!("c{number}")).await;
        let machine = walk.simcloud.machine(machine_of(&claim)).await;
        assert_eq!(machine.phase, Phase::Running, "{machine:?}");
    }
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.bought(), ledger.calls(Method::Terminate)), (3, 0), "nobody is believed dead");
    assert_eq!(ledger.reached(State::Starting).len(), started);
    target(1).await;
    for number in 0..3 {
        walk.delete::<PoolClaim>(&format!("c{number}")).await;
    }
    walk.simcloud.mend().await;
    rests_with(&walk, 1, 2).await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.living().len(), ledger.bought()), (3, 6));
}

#[tokio::test]
async fn lists_from_before_a_stop_or_a_start_deceive_nobody() {
    nobody_is_deceived("standby-stale", "Stopped", json!({ "stale": { "milliseconds": 6_000 } }), true).await;
}

#[tokio::test]
async fn lists_from_before_a_hibernation_or_its_end_deceive_nobody() {
    nobody_is_deceived("standby-stale-hibernated", "Hibernated", json!({ "stale": { "milliseconds": 6_000 } }), true)
        .await;
}

#[tokio::test]
async fn lists_that_leave_stopped_machines_out_deceive_nobody() {
    nobody_is_deceived("standby-omit", "Stopped", json!({ "omit": { "percent": 60 } }), true).await;
}

#[tokio::test]
async fn empty_lists_deceive_nobody_about_hibernated_machines() {
    nobody_is_deceived("standby-empty", "Hibernated", json!({ "empty": {} }), false).await;
}
