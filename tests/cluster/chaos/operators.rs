//! Two operators, of which one leads, and the disturbances of them.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::dice::{Deck, Dice};
use super::stage::Stage;
use crate::checker::Action;
use crate::harness::Operator;

/// Polling interval for operators that have ended by themselves, and the delay until they are started again.
const LOOK: Duration = Duration::from_millis(500);
/// Percent of disturbances that happen while the API server is down. Few, because a killed operator cannot start again
/// then, and operators that survive the outage are to be tested too.
const DISTURBED_IN_OUTAGE: u64 = 15;
/// How long an operator may take to lead before it is struck again, which is longer than from one disturbance to the
/// next. On two cores that many others are busy on nobody would ever lead otherwise, and claims would wait in vain.
const UP: Duration = Duration::from_secs(10);
/// The log line of an operator that leads.
const LEADS: &str = "controllers::terms: leads";
/// Percent of restarts that hit the operator that does not lead.
const STANDBYS: u64 = 20;
/// How long another operator may take to lead after a leader died: its lease, and what two busy cores add.
const FOLLOWED: Duration = Duration::from_secs(25);
/// How long an operator is frozen, in milliseconds: longer than its lease of 15 s.
const FROZEN_FOR: (u64, u64) = (16_000, 20_000);
/// The shortest allowed value that is longer than any create takes here.
const SWEEP: (&str, &str) = ("--sweep-grace-seconds", "3");
/// Seconds without expiry after a term of leadership began: shorter than the time between kills, or nothing would ever
/// expire.
pub(super) const EXPIRY_GRACE: u32 = 1;
/// Their identities in the lease.
const IDENTITIES: [&str; 2] = ["one", "two"];

/// Notes in the script, which the summary counts.
pub(super) const KILLED: &str = "an operator is killed";
pub(super) const FAILED_OVER: &str = "the other one leads";
pub(super) const FROZEN: &str = "the leader is frozen";
pub(super) const TOLD_TO_END: &str = "the leader is told to end";

/// A disturbance of an operator.
#[derive(Clone, Copy, Debug)]
pub(super) enum Disturbance {
    /// Killed with -9, and started again at once: it takes its own lease back.
    Restart,
    /// The leader gets SIGTERM, and hands over.
    HandOver,
    /// The leader is killed with -9, and is started again when the other one leads.
    Failover,
    /// The leader is frozen for longer than its lease, and continues while the other one leads.
    Freeze,
}

struct Slot {
    operator: Operator,
    /// Whether it must not be started at present.
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

    /// Disturbs them at random times until this is dropped. Call [`Operators::recover`] afterwards.
    pub(super) async fn suffer(&self, stage: &Stage, seed: u64, apart: (u64, u64), disturbances: &[Disturbance]) {
        let mut dice = Dice::new(seed, "kills");
        let mut deck = Deck::new(disturbances.to_vec());
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
                Disturbance::Restart => {
                    let which = if dice.percent(STANDBYS) { 1 - leader } else { leader };
                    self.kill(stage, which, false).await;
                    tokio::time::sleep(Duration::from_millis(dice.between(0, 500))).await;
                    self.start_again(stage, which).await;
                }
                Disturbance::HandOver => {
                    let mut slots = self.slots.lock().await;
                    stage.does(Action::OperatorStopsOrStarts);
                    stage.notes(TOLD_TO_END);
                    if !slots[leader].operator.has_ended() {
                        slots[leader].operator.tell_to_end();
                    }
                }
                Disturbance::Failover => {
                    self.kill(stage, leader, true).await;
                    if is_followed(stage, leader).await {
                        stage.notes(FAILED_OVER);
                        // It leads while the other one is away.
                        tokio::time::sleep(Duration::from_millis(dice.between(0, 2_000))).await;
                    }
                    self.start_again(stage, leader).await;
                }
                Disturbance::Freeze => {
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
        stage.does(Action::OperatorStopsOrStarts);
        stage.notes(KILLED);
        slots[which].down = stays_away;
        slots[which].operator.kill_9();
    }

    async fn start_again(&self, stage: &Stage, which: usize) {
        let mut slots = self.slots.lock().await;
        slots[which].down = false;
        if slots[which].operator.has_ended() {
            stage.does(Action::OperatorStopsOrStarts);
            slots[which].operator.run_again();
        }
    }

    async fn freeze(&self, stage: &Stage, which: usize) {
        let mut slots = self.slots.lock().await;
        if !slots[which].operator.has_ended() {
            stage.does(Action::OperatorStopsOrStarts);
            stage.notes(FROZEN);
            slots[which].operator.freeze();
        }
    }

    async fn thaw(&self, stage: &Stage, which: usize) {
        let mut slots = self.slots.lock().await;
        if !slots[which].operator.has_ended() {
            stage.does(Action::OperatorStopsOrStarts);
            stage.notes("what was frozen goes on");
            slots[which].operator.thaw();
        }
    }

    /// Restarts operators that have ended by themselves, as a cluster does, until this is dropped.
    pub(super) async fn restart(&self, stage: &Stage) {
        loop {
            tokio::time::sleep(LOOK).await;
            let mut slots = self.slots.lock().await;
            for slot in slots.iter_mut().filter(|slot| !slot.down) {
                if slot.operator.has_ended() {
                    stage.does(Action::OperatorStopsOrStarts);
                    stage.notes("an operator had ended by itself, or because it was told to");
                    slot.operator.run_again();
                }
            }
        }
    }

    /// Continues frozen operators, and allows all to start.
    pub(super) async fn recover(&self, stage: &Stage) {
        for which in 0..IDENTITIES.len() {
            self.slots.lock().await[which].down = false;
            self.thaw(stage, which).await;
        }
    }
}

/// The holder of the lease; `None` if there is none or the API server is down.
async fn leader(stage: &Stage) -> Option<usize> {
    let holder = stage.lease_holder().await?;
    IDENTITIES.iter().position(|identity| *identity == holder)
}

/// Waits until another one leads. Returns whether that happened in time.
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
