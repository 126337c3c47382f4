//! What befalls single machines, and their way to the operators, beside the weather.

use std::time::Duration;

use bullpen_api::{MemberState, PoolMember};
use serde_json::{Value, json};

use super::dice::{Deck, Dice};
use super::pools::{LARGE, SPOT};
use super::stage::Stage;
use crate::checker::Action;
use crate::harness::objects::machine;

/// Time between two troubles, and how long one lasts, in milliseconds.
const APART: (u64, u64) = (1_000, 3_000);
const LASTS: (u64, u64) = (2_000, 7_000);
/// How long before it takes a machine away a cloud announces that, in milliseconds.
const NOTICE: (u64, u64) = (1_000, 15_000);
/// How long machines reach no operator, in milliseconds.
const GAP: (u64, u64) = (2_000, 8_000);

/// What befalls machines.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// One is dead for good.
    Dies,
    /// One is dead for a while.
    Pauses,
    /// All of a pool are dead for a while.
    AllPause,
    /// None reaches an operator for a while.
    Gap,
    /// The cloud announces to take one away.
    Notice,
    /// One ends, or is switched off.
    Ends,
}

/// The faults by which a machine of this pool is dead.
fn dead(pool: &str) -> &'static [&'static str] {
    if pool == LARGE { &["heartbeatsStop"] } else { &["agentDown", "agentHangs"] }
}

/// Lets machines die and come back until it is dropped.
pub(super) async fn die(stage: &Stage, seed: u64) {
    let mut dice = Dice::new(seed, "machines");
    let mut deck = Deck::new(vec![
        Trouble::Dies,
        Trouble::Dies,
        Trouble::Dies,
        Trouble::Pauses,
        Trouble::Pauses,
        Trouble::AllPause,
        Trouble::Gap,
        Trouble::Notice,
        Trouble::Notice,
        Trouble::Notice,
        Trouble::Notice,
        Trouble::Ends,
        Trouble::Ends,
    ]);
    loop {
        wait(&mut dice, APART).await;
        let (trouble, pool) = (deck.draw(&mut dice), *dice.one_of(&[LARGE, SPOT]));
        let there = machines(stage, pool).await;
        if there.is_empty() {
            continue;
        }
        let (one, fault) = (dice.one_of(&there).clone(), json!({ *dice.one_of(dead(pool)): {} }));
        match trouble {
            Trouble::Dies => strike(stage, &one, &fault).await,
            Trouble::Pauses => pause(stage, &[one], &fault, &mut dice).await,
            Trouble::AllPause => pause(stage, &there, &fault, &mut dice).await,
            Trouble::Notice => {
                let left = dice.between(NOTICE.0, NOTICE.1);
                strike(
                    stage,
                    &one,
                    &json!({ "interrupted": { "notice": {}, "milliseconds": left, "reason": "Maintenance" } }),
                )
                .await;
            }
            Trouble::Ends => strike(stage, &one, &json!({ *dice.one_of(&["dies", "stops", "vanishes"]): {} })).await,
            Trouble::Gap => {
                stage.does(Action::MachinesAreCutOff);
                stage.gateway.cut();
                wait(&mut dice, GAP).await;
                stage.gateway.mend();
                stage.does(Action::MachinesReachOperators);
            }
        }
    }
}

async fn pause(stage: &Stage, machines: &[String], fault: &Value, dice: &mut Dice) {
    for id in machines {
        strike(stage, id, fault).await;
    }
    wait(dice, LASTS).await;
    for id in machines {
        strike(stage, id, &json!({ "agentAnswers": { "status": 200 } })).await;
    }
}

/// Strikes a machine of the stage's cloud, unless it is past that.
async fn strike(stage: &Stage, id: &str, fault: &Value) {
    let url = format!("http://{}/v1/faults/instances/{id}", stage.walk.simcloud.address());
    let _ = reqwest::Client::new().post(url).json(fault).send().await;
}

/// The machines of a pool that somebody has, or may get.
async fn machines(stage: &Stage, pool: &str) -> Vec<String> {
    let is_there = |member: &&PoolMember| {
        let phase = member.status.as_ref().map(|status| status.state);
        let is_up = matches!(phase, Some(MemberState::Ready | MemberState::Claimed));
        member.spec.pool_ref.name == pool && is_up && member.metadata.deletion_timestamp.is_none()
    };
    let members = stage.members().await;
    members.iter().filter(is_there).filter_map(machine).map(str::to_owned).collect()
}

async fn wait(dice: &mut Dice, (low, high): (u64, u64)) {
    tokio::time::sleep(Duration::from_millis(dice.between(low, high))).await;
}
