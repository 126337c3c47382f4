//! Two operators, of which one leads: what is done to them.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::dice::{Deck, Dice};
use super::stage::Stage;
use crate::checker::Deed;
use crate::harness::Operator;

/// Between two looks whether an operator has ended by itself, and until it is started again then.
const LOOK: Duration = Duration::from_millis(500);
/// While the API server is away an operator that was killed can't come up again: so few disturbances in a hundred happen
/// then, for else nothing would be seen of an operator that lives through it.
const DISTURBED_IN_OUTAGE: u64 = 15;
/// How long an operator may take to lead before it is struck again, which is longer than from one blow to the next. On two
/// cores that many others are busy on nobody would ever lead otherwise, and claims would wait in vain.
const UP: Duration = Duration::from_secs(10);
/// What an operator's log says once it leads.
const LEADS: &str = "controllers::terms: leads";
/// Of those that are killed and come again at once, so many in a hundred did not lead.
const STANDBYS: u64 = 20;
/// How long a leader that died is waited for to be followed: its lease, and what two busy cores add.
const FOLLOWED: Duration = Duration::from_secs(25);
/// How long one is frozen, milliseconds: longer than its lease of 15 s.
const FROZEN_FOR: (u64, u64) = (16_000, 20_000);
/// As short as an option allows that is longer than any create takes here.
const SWEEP: (&str, &str) = ("--sweep-grace-seconds", "3");
/// From the beginning of a term of leadership nothing expires for so long, in seconds: shorter than from one kill to the
/// next, for else nothing would ever expire.
pub(super) const EXPIRY_GRACE: u32 = 1;
/// What they are called in the lease.
const IDENTITIES: [&str; 2] = ["one", "two"];

/// The script's words, which the summary counts.
pub(super) const KILLED: &str = "an operator is killed";
pub(super) const FAILED_OVER: &str = "the other one leads";
pub(super) const FROZEN: &str = "the leader is frozen";
pub(super) const TOLD_TO_END: &str = "the leader is told to end";

/// What is done to an operator.
#[derive(Clone, Copy, Debug)]
pub(super) enum Blow {
    /// Killed with -9, and started again at once: it takes its own lease back.
    Restart,
    /// The leader is told to end, and hands over.
    HandOver,
    /// The leader is killed with -9, and comes again when the other one leads.
    Failover,
    /// The leader is stopped where it stands, past its lease, and goes on while the other one leads.
    Freeze,
}

struct Slot {
    operator: Operator,
    /// Whether it is to stay away for now.
    down: bool,
}

/// Both of them.
pub(super) struct Operators {
    slots: Mutex<Vec<Slot>>,
}

impl Operators {
    pub(super) async fn start(stage: &Stage) -> Self {
        let mut slots = Vec::new();
        for identity in IDENTITIES {
            let grace = EXPIRY_GRACE.to_string();
            let options = [SWEEP, ("--expiry-grace-seconds", grace.as_str()), ("--identity", identity)];
            let operator = Operator::start_with(&stage.walk, &options).await;
            slots.push(Slot { operator, down: false });
        }
        Self { slots: Mutex::new(slots) }
    }

    pub(super) fn into_inner(self) -> Vec<Operator> {
        self.slots.into_inner().into_iter().map(|slot| slot.operator).collect()
    }

    /// Strikes them at random moments, so many milliseconds apart, until this is dropped; [`Operators::recover`] has to
    /// follow.
    pub(super) async fn suffer(&self, stage: &Stage, seed: u64, apart: (u64, u64), blows: &[Blow]) {
        let mut dice = Dice::new(seed, "kills");
        let mut deck = Deck::new(blows.to_vec());
        loop {
            tokio::time::sleep(Duration::from_millis(dice.between(apart.0, apart.1))).await;
            let is_away = stage.control_plane.try_lock().is_err();
            if is_away && !dice.percent(DISTURBED_IN_OUTAGE) {
                continue;
            }
            if !is_away {
                self.come_up().await;
            }
            let leader = leader(stage).await.unwrap_or(0);
            match deck.draw(&mut dice) {
                Blow::Restart => {
                    let which = if dice.percent(STANDBYS) { 1 - leader } else { leader };
                    self.kill(stage, which, false).await;
                    tokio::time::sleep(Duration::from_millis(dice.between(0, 500))).await;
                    self.start_again(stage, which).await;
                }
                Blow::HandOver => {
                    let mut slots = self.slots.lock().await;
                    stage.does(Deed::OperatorStopsOrStarts);
                    stage.notes(TOLD_TO_END);
                    if !slots[leader].operator.has_ended() {
                        slots[leader].operator.tell_to_end();
                    }
                }
                Blow::Failover => {
                    self.kill(stage, leader, true).await;
                    if is_followed(stage, leader).await {
                        stage.notes(FAILED_OVER);
                        // It leads while the other one is away.
                        tokio::time::sleep(Duration::from_millis(dice.between(0, 2_000))).await;
                    }
                    self.start_again(stage, leader).await;
                }
                Blow::Freeze => {
                    self.freeze(stage, leader).await;
                    tokio::time::sleep(Duration::from_millis(dice.between(FROZEN_FOR.0, FROZEN_FOR.1))).await;
                    self.thaw(stage, leader).await;
                }
            }
        }
    }

    /// Waits until one of them has come to lead, but not for long.
    async fn come_up(&self) {
        let began = Instant::now();
        while began.elapsed() < UP {
            let mut slots = self.slots.lock().await;
            if slots.iter_mut().any(|slot| !slot.operator.has_ended() && slot.operator.output().contains(LEADS)) {
                return;
            }
            drop(slots);
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn kill(&self, stage: &Stage, which: usize, stays_away: bool) {
        let mut slots = self.slots.lock().await;
        stage.does(Deed::OperatorStopsOrStarts);
        stage.notes(KILLED);
        slots[which].down = stays_away;
        slots[which].operator.kill_9();
    }

    async fn start_again(&self, stage: &Stage, which: usize) {
        let mut slots = self.slots.lock().await;
        slots[which].down = false;
        if slots[which].operator.has_ended() {
            stage.does(Deed::OperatorStopsOrStarts);
            slots[which].operator.run_again();
        }
    }

    async fn freeze(&self, stage: &Stage, which: usize) {
        let mut slots = self.slots.lock().await;
        if !slots[which].operator.has_ended() {
            stage.does(Deed::OperatorStopsOrStarts);
            stage.notes(FROZEN);
            slots[which].operator.freeze();
        }
    }

    async fn thaw(&self, stage: &Stage, which: usize) {
        let mut slots = self.slots.lock().await;
        if !slots[which].operator.has_ended() {
            stage.does(Deed::OperatorStopsOrStarts);
            stage.notes("what was frozen goes on");
            slots[which].operator.thaw();
        }
    }

    /// Starts operators again that have ended by themselves, as a cluster does; until this is dropped.
    pub(super) async fn restart(&self, stage: &Stage) {
        loop {
            tokio::time::sleep(LOOK).await;
            let mut slots = self.slots.lock().await;
            for slot in slots.iter_mut().filter(|slot| !slot.down) {
                if slot.operator.has_ended() {
                    stage.does(Deed::OperatorStopsOrStarts);
                    stage.notes("an operator had ended by itself, or because it was told to");
                    slot.operator.run_again();
                }
            }
        }
    }

    /// What is frozen goes on, and what stayed away may come.
    pub(super) async fn recover(&self, stage: &Stage) {
        for which in 0..IDENTITIES.len() {
            self.slots.lock().await[which].down = false;
            self.thaw(stage, which).await;
        }
    }
}

/// Who leads, by the lease; nobody if the API server does not say it.
async fn leader(stage: &Stage) -> Option<usize> {
    let holder = stage.lease_holder().await?;
    IDENTITIES.iter().position(|identity| *identity == holder)
}

/// Waits until another one leads, and says whether that came.
async fn is_followed(stage: &Stage, former: usize) -> bool {
    let began = Instant::now();
    while began.elapsed() < FOLLOWED {
        if leader(stage).await.is_some_and(|leader| leader != former) {
            return true;
        }
        tokio::time::sleep(LOOK).await;
    }
    false
}
