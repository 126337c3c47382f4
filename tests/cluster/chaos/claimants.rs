//! The claimants: most have a machine for a while, some delete their claim early, some do not wait. Some claims have a
//! ttl, which is renewed, expires, or is renewed too late; some want a Secret, and some are applied several times.

use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, PoolClaim};
use serde_json::{Value, json};

use super::dice::Dice;
use super::pools::{LARGE, SPOT, TWO_CLOUDS};
use super::stage::{INPUT, Stage};
use crate::checker::Action;
use crate::harness::objects::phase;

/// A claim is served after claims of a priority one higher that are made until this long after it. The highest is 10.
const LATER_BY_PRIORITY: Duration = Duration::from_secs(10);
/// How often the record is polled.
const POLL: Duration = Duration::from_millis(20);

/// How a claim ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// The claimant deletes it.
    Release,
    /// The claimant waits until it is Expired, perhaps renews it then, which is too late, and deletes it shortly after.
    Expiry { renewed_late: bool, then: Duration },
    /// The claimant renews it this often before deleting it, which may reach the pool's maxHoldSeconds.
    Renewals { times: u64, apart: Duration },
}

/// The plan for one claim.
#[derive(Clone, Debug)]
pub(super) struct Life {
    name: String,
    spec: Value,
    /// Delete it this long after its creation, bound or not.
    gives_up_after: Option<Duration>,
    hold: Duration,
    ending: Ending,
    /// Whether it is applied: at first, once it is served, and before it is deleted.
    is_applied: bool,
    /// How long it may take until it is served or has ended.
    patience: Duration,
}

/// The given number of random plans.
pub(super) fn lives(seed: u64, claims: u64, longest_hold: Duration, patience: Duration) -> Vec<Life> {
    let (mut dice, mut more) = (Dice::new(seed, "claims"), Dice::new(seed, "terms of claims"));
    let mut third = Dice::new(seed, "selectors of claims");
    let mut fourth = Dice::new(seed, "jobs of claims");
    (0..claims)
        .map(|number| {
            let mut life = life(number, &mut dice, longest_hold, patience);
            life.ask_for_more(&mut more);
            life.select(&mut third);
            life.have_input(&mut fourth);
            life
        })
        .collect()
}

fn life(number: u64, dice: &mut Dice, longest_hold: Duration, patience: Duration) -> Life {
    let kind = dice.between(1, 100);
    let pool = match dice.between(1, 100) {
        1..=60 => LARGE,
        61..=80 => SPOT,
        81..=98 => TWO_CLOUDS,
        _ => "nowhere",
    };
    let mut spec = json!({ "poolRef": { "name": pool } });
    if pool == "nowhere" || kind <= 12 {
        spec["waitTimeoutSeconds"] = json!(dice.between(2, 6));
    } else if kind <= 20 {
        spec["whenEmpty"] = json!("Fail");
    }
    let gives_up_after = (kind > 88).then(|| Duration::from_millis(dice.between(0, 400)));
    let hold = Duration::from_millis(dice.between(0, longest_hold.as_millis() as u64));
    let (name, ending, is_applied) = (format!("claim-{number}"), Ending::Release, false);
    Life { name, spec, gives_up_after, hold, ending, is_applied, patience }
}

impl Life {
    /// Priority, Secret, and a time to live.
    fn ask_for_more(&mut self, dice: &mut Dice) {
        let mut below_the_highest = 10;
        if dice.percent(40) {
            let priority = dice.between(0, 20);
            below_the_highest = 20 - priority;
            self.spec["priority"] = json!(priority as i64 - 10);
        }
        self.patience += LATER_BY_PRIORITY * below_the_highest as u32;
        if dice.percent(25) {
            self.spec["binding"] = json!("Secret");
        }
        self.is_applied = dice.percent(15);
        let (kind, ttl) = (dice.between(1, 100), dice.between(1, 6));
        let (then, apart) = (dice.between(0, 3_000), dice.between(700, 1_400));
        let (then, apart) = (Duration::from_millis(then), Duration::from_millis(apart));
        self.ending = match kind {
            1..=18 => Ending::Expiry { renewed_late: kind > 12, then },
            19..=32 => Ending::Renewals { times: dice.between(2, 9), apart },
            _ => Ending::Release,
        };
        if kind <= 45 {
            // A renewed claim has a ttl longer than the time between renewals; mostly, if the pool caps it.
            let shortest = if matches!(self.ending, Ending::Renewals { .. }) { 3 } else { 1 };
            self.spec["ttlSeconds"] = json!(ttl.max(shortest));
        }
    }

    /// Some accept a machine of any pool, or of any pool of a class; a few of these match no pool.
    fn select(&mut self, dice: &mut Dice) {
        let (selects, kind) = (dice.percent(20), dice.between(1, 100));
        if !selects || ["nowhere", TWO_CLOUDS].iter().any(|pool| self.spec["poolRef"]["name"] == *pool) {
            return;
        }
        let selector = match kind {
            1..=70 => json!({ "matchLabels": { "machines": "any" } }),
            71..=96 => json!({ "matchLabels": { "machines": "any" }, "lifecycleClass": "Spot" }),
            _ => {
                self.spec["waitTimeoutSeconds"] = json!(2);
                json!({ "matchLabels": { "machines": "none" } })
            }
        };
        self.spec["poolSelector"] = selector;
        self.spec.as_object_mut().expect("a map").remove("poolRef");
    }

    /// Some give their machine something to do, and a few of these name a Secret that is not there.
    fn have_input(&mut self, dice: &mut Dice) {
        let name = match dice.between(1, 100) {
            1..=40 => INPUT,
            41..=45 => "nowhere",
            _ => return,
        };
        self.spec["inputSecretRef"] = json!({ "name": name });
        self.spec["acquiredFor"] = json!(format!("the job of {}", self.name));
    }

    /// From the claim's creation to its deletion.
    pub(super) async fn run(self, stage: &Stage) {
        if self.is_applied {
            stage.apply_claim(&self.name, &self.spec).await;
        } else {
            stage.claim(&self.name, self.spec.clone()).await;
        }
        match self.gives_up_after {
            Some(soon) => tokio::time::sleep(soon).await,
            None if self.comes_to(stage, |phase| phase != ClaimPhase::Pending).await => self.hold(stage).await,
            None => stage.does(Action::GaveUp(self.name.clone())),
        }
        stage.release(&self.name).await;
    }

    /// From when it is served or has ended until it is deleted. Lost claims are deleted too.
    async fn hold(&self, stage: &Stage) {
        if self.is_applied {
            stage.apply_claim(&self.name, &self.spec).await;
        }
        match self.ending {
            Ending::Release => tokio::time::sleep(self.hold).await,
            Ending::Expiry { renewed_late, then } => {
                if !self.comes_to(stage, has_ended).await {
                    stage.does(Action::NeverExpired(self.name.clone()));
                }
                if renewed_late {
                    stage.renew(&self.name).await;
                }
                tokio::time::sleep(then).await;
            }
            Ending::Renewals { times, apart } => {
                for _ in 0..times {
                    tokio::time::sleep(apart).await;
                    if stage.recorder.claim(&self.name).is_none_or(|claim| has_ended(phase(&claim))) {
                        break;
                    }
                    stage.renew(&self.name).await;
                }
                tokio::time::sleep(self.hold).await;
            }
        }
        if self.is_applied {
            // If the pool has deleted the ended claim, this creates a new one.
            stage.apply_claim(&self.name, &self.spec).await;
        }
    }

    /// Waits until the claim was seen in such a phase, or gone. Returns whether that happened in time.
    async fn comes_to(&self, stage: &Stage, holds: impl Fn(ClaimPhase) -> bool) -> bool {
        let mut was_there = false;
        sees(stage, &self.name, self.patience, |claim| {
            was_there |= claim.is_some();
            claim.map_or(was_there, |claim| holds(phase(claim)))
        })
        .await
    }
}

const fn has_ended(phase: ClaimPhase) -> bool {
    matches!(phase, ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Failed | ClaimPhase::Released)
}

/// Waits until a claim was seen in such a phase. Returns whether that happened in time.
pub(super) async fn reaches(stage: &Stage, name: &str, patience: Duration, holds: impl Fn(ClaimPhase) -> bool) -> bool {
    sees(stage, name, patience, |claim| claim.is_some_and(|claim| holds(phase(claim)))).await
}

async fn sees(
    stage: &Stage,
    name: &str,
    patience: Duration,
    mut holds: impl FnMut(Option<&PoolClaim>) -> bool,
) -> bool {
    let began = Instant::now();
    while began.elapsed() < patience {
        if holds(stage.recorder.claim(name).as_ref()) {
            return true;
        }
        tokio::time::sleep(POLL).await;
    }
    false
}
