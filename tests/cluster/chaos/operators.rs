//! Two operators under wrong clocks, of which one leads, and the disturbances of them; and an operator of another
//! installation.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bullpen_api::{InstancePool, LaunchConfig};
use jiff::Timestamp;
use kube::api::ListParams;
use tokio::sync::Mutex;

use super::dice::{Deck, Dice};
use super::disturbances::{PERMISSIONS, permission_is_missing};
use super::stage::Stage;
use crate::checker::Action;
use crate::harness::{Operator, WallClock};

/// Polling interval for operators that have ended by themselves, and the delay until they are started again.
const LOOK: Duration = Duration::from_millis(500);
/// Percent of disturbances that happen while the API server is down. Few, because a killed operator cannot start again
/// then, and operators that survive the outage are to be tested too.
const DISTURBED_IN_OUTAGE: u64 = 15;
/// How long an operator may take to lead before it is struck again, which is longer than from one disturbance to the
/// next. On two cores that many others are busy on nobody would ever lead otherwise, and claims would wait in vain.
const UP: Duration = Duration::from_secs(10);
/// The log line of an operator that leads. A run in which nobody is ever seen to lead fails, so that this stays right.
const LEADS: &str = ": leads identity=";
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
/// How long an operator may take to record its installation everywhere.
const MARKED: Duration = Duration::from_mins(1);
/// Their identities in the lease.
const IDENTITIES: [&str; 2] = ["one", "two"];

/// How long the other installation has everything, in milliseconds.
const TAKEN_FOR: (u64, u64) = (8_000, 14_000);
/// The other installation.
const BYSTANDER: &str = "bystander";

/// Notes in the script, which the summary counts.
pub(super) const TAKEN_OVER: &str = "the other installation takes over";
pub(super) const CLOCK_SET: &str = "the clock of the leader is set";
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
    /// The operators lack a permission for some seconds.
    Permission,
    /// The wall clock of the leader is set.
    ClockStep,
    /// The other installation takes everything over by a person's word, and later gives it back.
    TakeOver,
}

/// How many seconds the operators' wall clocks are ahead at first, and what they are set to in turns.
const AHEAD: [i64; 2] = [120, -120];
const STEPS: [i64; 5] = [3_600, -3_600, 0, 120, -120];

struct Slot {
    operator: Operator,
    clock: WallClock,
    /// How many seconds its clock was ahead, each time from this moment on.
    ahead: Vec<(Timestamp, i64)>,
    /// Whether it must not be started at present.
    down: bool,
}

impl Retired {
    /// One whose clock was right.
    pub(super) const fn new(operator: Operator, name: &'static str) -> Self {
        Self { operator, name, ahead: Vec::new() }
    }
}

/// Both of them.
pub(super) struct Operators {
    slots: Mutex<Vec<Slot>>,
    /// An operator of another installation, which has nothing to do here.
    bystander: Mutex<Operator>,
    /// Whether one was ever seen to lead.
    somebody_led: AtomicBool,
}

/// An operator whose run is over.
pub(super) struct Retired {
    pub(super) operator: Operator,
    pub(super) name: &'static str,
    /// How many seconds its clock was ahead, each time from this moment on.
    pub(super) ahead: Vec<(Timestamp, i64)>,
}

impl Operators {
    pub(super) async fn start(stage: &Stage) -> Self {
        let mut slots = Vec::new();
        let grace = EXPIRY_GRACE.to_string();
        let grace = ("--expiry-grace-seconds", grace.as_str());
        for (place, (identity, ahead)) in IDENTITIES.into_iter().zip(AHEAD).enumerate() {
            let clock = WallClock::at(stage.walk.folder().join(format!("clock-{identity}")), ahead);
            let calls = stage.gateway.options(place);
            let calls = calls.iter().map(|(option, value)| (*option, value.as_str()));
            let options: Vec<_> = [SWEEP, grace, ("--identity", identity)].into_iter().chain(calls).collect();
            let operator = Operator::start_under(&stage.walk, &options, &clock.variables()).await;
            slots.push(Slot { operator, clock, ahead: vec![(Timestamp::now(), ahead)], down: false });
        }
        everything_is_worked_on(stage, &stage.walk.namespace).await;
        let calls = stage.gateway.options(IDENTITIES.len());
        let calls = calls.iter().map(|(option, value)| (*option, value.as_str()));
        let options: Vec<_> = [SWEEP, grace, ("--installation-id", BYSTANDER)].into_iter().chain(calls).collect();
        let bystander = Operator::start_with(&stage.walk, &options).await;
        let bystander = Mutex::new(bystander);
        Self { slots: Mutex::new(slots), bystander, somebody_led: AtomicBool::new(false) }
    }

    pub(super) fn into_inner(self) -> Vec<Retired> {
        assert!(self.somebody_led.into_inner(), "nobody was seen to lead: has the log line of a leader changed?");
        let slots = self.slots.into_inner().into_iter().zip(IDENTITIES);
        let mut all: Vec<_> =
            slots.map(|(slot, name)| Retired { operator: slot.operator, name, ahead: slot.ahead }).collect();
        all.push(Retired::new(self.bystander.into_inner(), BYSTANDER));
        all
    }

    /// Disturbs them at random times until this is dropped. Call [`Operators::recover`] afterwards.
    pub(super) async fn suffer(&self, stage: &Stage, seed: u64, apart: (u64, u64), disturbances: &[Disturbance]) {
        let mut dice = Dice::new(seed, "kills");
        let mut deck = Deck::new(disturbances.to_vec());
        let mut permissions = Deck::new(PERMISSIONS.to_vec());
        loop {
            tokio::time::sleep(Duration::from_millis(dice.between(apart.0, apart.1))).await;
            if stage.left_alone.try_lock().is_err() {
                continue;
            }
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
                Disturbance::Permission => permission_is_missing(stage, permissions.draw(&mut dice), &mut dice).await,
                Disturbance::TakeOver => self.is_taken_over(stage, &mut dice).await,
                Disturbance::ClockStep => self.set_clock(stage, leader, *dice.one_of(&STEPS)).await,
                Disturbance::Failover => {
                    stage.does(Action::LeaderIsTaken);
                    self.kill(stage, leader, true).await;
                    if is_followed(stage, leader).await {
                        stage.notes(FAILED_OVER);
                        // It leads while the other one is away.
                        tokio::time::sleep(Duration::from_millis(dice.between(0, 2_000))).await;
                    }
                    self.start_again(stage, leader).await;
                    stage.does(Action::LeaderIsBack);
                }
                Disturbance::Freeze => {
                    stage.does(Action::LeaderIsTaken);
                    self.freeze(stage, leader).await;
                    tokio::time::sleep(Duration::from_millis(dice.between(FROZEN_FOR.0, FROZEN_FOR.1))).await;
                    self.thaw(stage, leader).await;
                    stage.does(Action::LeaderIsBack);
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
                self.somebody_led.store(true, Ordering::Relaxed);
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

    /// Ends the operators of the first installation, has the other one take over, and back again. As people are told to
    /// do it: the one is gone before the other is named.
    async fn is_taken_over(&self, stage: &Stage, dice: &mut Dice) {
        let _there = stage.control_plane.lock().await;
        let _none_is_removed = stage.removals.lock().await;
        let mut slots = self.slots.lock().await;
        let mut bystander = self.bystander.lock().await;
        stage.another_installation_begins();
        stage.notes(TAKEN_OVER);
        stage.does(Action::OperatorStopsOrStarts);
        stage.does(Action::LeaderIsTaken);
        for slot in slots.iter_mut() {
            if !slot.operator.has_ended() {
                slot.operator.stop().await;
            }
        }
        stage.take_over(BYSTANDER).await;
        stage.gateway.lead_to(&[IDENTITIES.len()]);
        everything_is_worked_on(stage, BYSTANDER).await;
        stage.does(Action::LeaderIsBack);
        tokio::time::sleep(Duration::from_millis(dice.between(TAKEN_FOR.0, TAKEN_FOR.1))).await;
        stage.notes("the first installation takes over again");
        stage.does(Action::OperatorStopsOrStarts);
        stage.does(Action::LeaderIsTaken);
        if !bystander.has_ended() {
            bystander.stop().await;
        }
        stage.take_over(&stage.walk.namespace).await;
        stage.gateway.lead_to(&[0, 1]);
        for slot in slots.iter_mut() {
            slot.operator.run_again();
        }
        everything_is_worked_on(stage, &stage.walk.namespace).await;
        bystander.run_again();
        stage.does(Action::OperatorStopsOrStarts);
        stage.does(Action::LeaderIsBack);
        stage.another_installation_ends();
    }

    async fn set_clock(&self, stage: &Stage, which: usize, ahead: i64) {
        let mut slots = self.slots.lock().await;
        stage.notes(CLOCK_SET);
        stage.notes(format!("operator {}: {ahead:+} s", IDENTITIES[which]));
        slots[which].ahead.push((Timestamp::now(), ahead));
        slots[which].clock.set(ahead);
    }

    async fn freeze(&self, stage: &Stage, which: usize) {
        let mut slots = self.slots.lock().await;
        if !slots[which].operator.has_ended() {
            stage.does(Action::OperatorStopsOrStarts);
            stage.notes(FROZEN);
            // As a load balancer has it that looks whether they answer.
            stage.gateway.lead_to(&[1 - which]);
            slots[which].operator.freeze();
        }
    }

    async fn thaw(&self, stage: &Stage, which: usize) {
        let mut slots = self.slots.lock().await;
        if !slots[which].operator.has_ended() {
            stage.does(Action::OperatorStopsOrStarts);
            stage.notes("what was frozen goes on");
            slots[which].operator.thaw();
            stage.gateway.lead_to(&[0, 1]);
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
            drop(slots);
            let mut bystander = self.bystander.lock().await;
            if bystander.has_ended() {
                stage.notes("the operator of the other installation had ended by itself");
                bystander.run_again();
            }
        }
    }

    /// Continues frozen operators, allows all to start, and gives them all their permissions and objects.
    pub(super) async fn recover(&self, stage: &Stage) {
        stage.walk.operators_lack(None, PERMISSIONS[0]).await;
        stage.does(Action::PermissionIsBack);
        stage.take_over(&stage.walk.namespace).await;
        stage.gateway.lead_to(&[0, 1]);
        stage.does(Action::LeaderIsBack);
        for which in 0..IDENTITIES.len() {
            self.slots.lock().await[which].down = false;
            self.thaw(stage, which).await;
        }
    }
}

/// Waits until each pool and launch config has recorded this installation.
async fn everything_is_worked_on(stage: &Stage, by: &str) {
    let began = Instant::now();
    loop {
        let pools = stage.api::<InstancePool>().list(&ListParams::default()).await.expect("pools").items;
        let configs = stage.api::<LaunchConfig>().list(&ListParams::default()).await.expect("launch configs").items;
        let pools = pools.iter().map(|it| it.status.as_ref().and_then(|status| status.installation.as_deref()));
        let configs = configs.iter().map(|it| it.status.as_ref().and_then(|status| status.installation.as_deref()));
        if pools.chain(configs).all(|mark| mark == Some(by)) {
            return;
        }
        assert!(began.elapsed() < MARKED, "installation {by} does not work on everything");
        tokio::time::sleep(LOOK).await;
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
