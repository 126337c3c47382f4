//! The operator is killed at each step of a reset.

use bullpen_api::MemberState;
use bullpen_simcloud::ledger::State;
use serde_json::{Value, json};

use super::{holds, member_in, pool_of_one, uses};
use crate::harness::{Operator, Walk};

/// The operator is killed once its reset call has met this fault. Returns the machine, which is Resetting.
async fn killed(walk: &Walk, operator: &mut Operator, name: &str, fault: Value) -> String {
    pool_of_one(walk, json!({})).await;
    walk.simcloud.break_with(json!({ "calls": [{ "on": ["reset"], "fault": fault }] })).await;
    let machine = uses(walk, "first").await;
    member_in(walk, MemberState::Resetting, 1).await;
    walk.simcloud.is_hit(name, 1).await;
    operator.kill_9();
    walk.simcloud.mend().await;
    machine
}

async fn comes_back_once(walk: &Walk, operator: &mut Operator, machine: &str) {
    operator.start_again().await;
    assert_eq!(holds(walk, "second").await, machine);
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.reached(State::Resetting).len(), ledger.reached(State::Reset).len()), (1, 1));
    assert_eq!(ledger.bought(), 1);
}

#[tokio::test]
async fn an_operator_that_is_killed_before_its_call_is_executed_makes_it_again() {
    let walk = Walk::begin("reuse-killed-before").await;
    let mut operator = Operator::start(&walk).await;
    let hang = json!({ "hang": { "milliseconds": 60_000 } });
    let machine = killed(&walk, &mut operator, "hang", hang).await;
    comes_back_once(&walk, &mut operator, &machine).await;
}

#[tokio::test]
async fn an_operator_that_is_killed_after_its_call_was_executed_makes_it_again_without_effect() {
    let walk = Walk::begin("reuse-killed-after").await;
    let mut operator = Operator::start(&walk).await;
    let lost = json!({ "hang": { "milliseconds": 60_000, "done": true } });
    let machine = killed(&walk, &mut operator, "hang", lost).await;
    comes_back_once(&walk, &mut operator, &machine).await;
}

#[tokio::test]
async fn an_operator_that_is_killed_while_the_machine_is_reset_waits_for_the_proof() {
    let walk = Walk::begin("reuse-killed-while").await;
    let mut operator = Operator::start(&walk).await;
    let slow = json!({ "lingers": { "milliseconds": 4000 } });
    let machine = killed(&walk, &mut operator, "lingers", slow).await;
    comes_back_once(&walk, &mut operator, &machine).await;
}
