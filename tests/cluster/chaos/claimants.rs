//! Those who claim machines: most hold one for a while, some change their minds, some do not wait.

use std::time::{Duration, Instant};

use bullpen::api::{ClaimPhase, PoolClaim};
use serde_json::{Value, json};

use super::dice::Dice;
use super::pools::{LARGE, SPOT};
use super::stage::Stage;
use crate::checker::Deed;
use crate::harness::objects::phase;

/// How often the record is looked at.
const POLL: Duration = Duration::from_millis(20);

/// So many claims in a hundred have a ttl. Half of those are renewed; the others are held for longer than it.
const EXPIRING: u64 = 20;
/// A third of the shortest ttl.
const RENEWED_EVERY: Duration = Duration::from_millis(330);

/// One claim's life.
#[derive(Clone, Debug)]
pub(super) struct Life {
    name: String,
    spec: Value,
    /// Deleted so soon after it was made, bound or not.
    gives_up_after: Option<Duration>,
    hold: Duration,
    /// Renews its claim while it holds it.
    renews: bool,
    /// How long it may take until it is served, or has ended.
    patience: Duration,
}

/// So many lives, by chance.
pub(super) fn lives(seed: u64, claims: u64, longest_hold: Duration, patience: Duration) -> Vec<Life> {
    let mut dice = Dice::new(seed, "claims");
    (0..claims).map(|number| life(number, &mut dice, longest_hold, patience)).collect()
}

fn life(number: u64, dice: &mut Dice, longest_hold: Duration, patience: Duration) -> Life {
    let kind = dice.between(1, 100);
    let pool = match dice.between(1, 100) {
        1..=75 => LARGE,
        76..=98 => SPOT,
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
    let ttl = dice.percent(EXPIRING).then(|| dice.between(1, 2));
    if let Some(ttl) = ttl {
        spec["ttlSeconds"] = json!(ttl);
    }
    let renews = ttl.is_some() && dice.percent(50);
    // Who forgets to renew forgets to let go, too.
    let hold = ttl.filter(|_| !renews).map_or(hold, |ttl| Duration::from_secs(ttl + 2));
    Life { name: format!("claim-{number}"), spec, gives_up_after, hold, renews, patience }
}

impl Life {
    /// From the claim's creation to its deletion.
    pub(super) async fn run(self, stage: &Stage) {
        stage.claim(&self.name, self.spec.clone()).await;
        match self.gives_up_after {
            Some(soon) => tokio::time::sleep(soon).await,
            None if reaches(stage, &self.name, self.patience, |phase| phase != ClaimPhase::Pending).await => {
                // One that is lost or expires meanwhile is let go too.
                let end = Instant::now() + self.hold;
                while self.renews && Instant::now() + RENEWED_EVERY < end {
                    tokio::time::sleep(RENEWED_EVERY).await;
                    stage.renew(&self.name).await;
                }
                tokio::time::sleep(end.saturating_duration_since(Instant::now())).await;
            }
            None => stage.does(Deed::GaveUp(self.name.clone())),
        }
        stage.release(&self.name).await;
    }
}

/// Waits until a claim was seen in such a phase, and says whether that came in time.
pub(super) async fn reaches(stage: &Stage, name: &str, patience: Duration, holds: impl Fn(ClaimPhase) -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < patience {
        if stage.recorder.claim(name).is_some_and(|claim: PoolClaim| holds(phase(&claim))) {
            return true;
        }
        tokio::time::sleep(POLL).await;
    }
    false
}
