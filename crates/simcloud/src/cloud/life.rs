//! The life of a machine: boot, checks, termination, and its faults.

use std::time::Duration;

use jiff::Timestamp;

use super::{Cloud, Machine, MachineEvent, describe, microseconds};
use crate::draw::Draw;
use crate::faults::{Hit, MachineFault, Since, Subject};
use crate::ledger::{Description, Fault, Method, State, What};
use crate::wire::{Address, AddressKind, CreateInstance, Instance, Market, Phase, Refusal};

/// The next step of a machine.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Boot,
    FinishReset,
    FinishStop,
    PassChecks,
    End,
    Forget,
    /// Its fault strikes.
    Strike,
}

impl Step {
    /// A machine has at most one scheduled step of its life and one of its fault.
    const fn lane(self) -> usize {
        match self {
            Self::Boot | Self::FinishReset | Self::FinishStop | Self::PassChecks | Self::End | Self::Forget => LIFE,
            Self::Strike => FAULT,
        }
    }
}

pub(super) const LIFE: usize = 0;
const FAULT: usize = 1;

/// The fault that a machine has or will have.
#[derive(Clone, Debug)]
pub(super) struct Doom {
    fault: MachineFault,
    /// Delays in microseconds.
    delay: i64,
    /// The notice was given.
    noticed: bool,
}

impl Cloud {
    /// Draws the faults of a new machine, and starts its boot.
    pub(super) fn raise(&mut self, number: u64, request: &CreateInstance) {
        for hit in self.faults.machine(self.now, &Subject::from(request)) {
            self.afflict(number, hit);
        }
        let longer = match self.doom(number) {
            Some(MachineFault::NeverBoots {}) => None,
            Some(MachineFault::SlowBoot { milliseconds }) => Some(micros(*milliseconds)),
            _ => Some(0),
        };
        if let Some(longer) = longer {
            let boot = Draw::new(self.options.seed, number).boot_microseconds(request);
            self.schedule(number, self.now, boot.saturating_add(longer), Step::Boot);
        }
        self.foresee(number, self.now, Since::Created);
    }

    /// Sets a fault on an existing machine. Its delay counts from now.
    ///
    /// # Errors
    /// `NotFound`, and `Invalid` if the machine is past what the fault is about.
    pub fn inflict(&mut self, now: Timestamp, id: &str, fault: &MachineFault) -> Result<Instance, Refusal> {
        self.advance(now);
        let number = self.lookup(id, None)?;
        let Instance { phase, market, .. } = self.machines[&number].instance;
        if fault.is_for_spot_only() && market != Market::Spot {
            return Err(Refusal::invalid("interrupted: only for a machine of the market Spot"));
        }
        let fits = match fault {
            MachineFault::NeverBoots {} | MachineFault::SlowBoot { .. } => phase == Phase::Pending,
            MachineFault::Vanishes(_) | MachineFault::Hidden { .. } => true,
            _ => matches!(phase, Phase::Pending | Phase::Running),
        };
        if !fits {
            return Err(Refusal::invalid(format!("{}: too late for a machine that is {phase:?}", fault.name())));
        }
        let roll = self.faults.roll_for(number);
        let strikes = fault.after().is_some();
        let waits = matches!(fault, MachineFault::Flaps { .. }) && !self.machines[&number].instance.ready;
        let hides = matches!(fault, MachineFault::Hidden { .. });
        if !hides {
            self.cancel(number, FAULT);
        }
        self.afflict(number, Hit { rule: "instances".to_owned(), fault: fault.clone(), roll });
        match *fault {
            MachineFault::NeverBoots {} => self.cancel(number, LIFE),
            MachineFault::SlowBoot { milliseconds } => {
                if let Some(at) = self.machines[&number].next[LIFE] {
                    self.schedule(number, at, micros(milliseconds), Step::Boot);
                }
            }
            MachineFault::NeverReady {} if phase == Phase::Running => {
                self.cancel(number, LIFE);
                self.set_ready(number, self.now, false);
            }
            _ if strikes && !waits => self.strike_later(number, self.now),
            _ => {}
        }
        Ok(self.machines[&number].instance.clone())
    }

    fn afflict(&mut self, number: u64, hit: Hit<MachineFault>) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(&number) else { return };
        let line = Fault {
            rule: hit.rule,
            fault: hit.fault.name().to_owned(),
            token: Some(machine.instance.token.clone()),
            id: Some(machine.instance.id.clone()),
            ..Fault::default()
        };
        if let MachineFault::Hidden { milliseconds, from } = hit.fault {
            machine.hidden.push((later(now, micros(milliseconds)), from));
        } else {
            // It calls by the new plan, also if it has called before.
            if matches!(hit.fault, MachineFault::PhonesHome(_)) && machine.urls.is_some() {
                self.silent.insert(number);
            }
            let after = hit.fault.after().unwrap_or_default();
            let delay = micros(after.milliseconds + hit.roll.up_to(after.spread_milliseconds));
            machine.doom = Some(Doom { fault: hit.fault, delay, noticed: false });
        }
        self.ledger.push(now, What::Fault(line));
    }

    /// Schedules the machine's fault, if its delay counts from this moment of the machine's life.
    fn foresee(&mut self, number: u64, at: Timestamp, since: Since) {
        if self.doom(number).and_then(MachineFault::after).is_some_and(|after| after.since == since) {
            self.strike_later(number, at);
        }
    }

    fn strike_later(&mut self, number: u64, at: Timestamp) {
        if let Some(delay) = self.machines.get(&number).and_then(|machine| Some(machine.doom.as_ref()?.delay)) {
            self.schedule(number, at, delay, Step::Strike);
        }
    }

    pub(super) fn doom(&self, number: u64) -> Option<&MachineFault> {
        Some(&self.machines.get(&number)?.doom.as_ref()?.fault)
    }

    /// Begins termination, or changes how long it takes. `None`: for ever.
    pub(super) fn shut_down(&mut self, number: u64, at: Timestamp, takes: Option<Duration>) {
        let Some(machine) = self.machines.get(&number) else { return };
        let begins =
            matches!(machine.instance.phase, Phase::Pending | Phase::Running | Phase::Stopping | Phase::Stopped);
        let stuck = machine.instance.phase == Phase::ShuttingDown && machine.next[LIFE].is_none();
        if !begins && !stuck {
            return;
        }
        if begins {
            self.cancel(number, LIFE);
            if !matches!(self.doom(number), Some(MachineFault::Vanishes(_))) {
                self.cancel(number, FAULT);
            }
            self.change(number, at, State::ShuttingDown, |instance| {
                instance.phase = Phase::ShuttingDown;
                instance.ready = false;
            });
        }
        if let Some(takes) = takes {
            self.schedule(number, at, microseconds(takes), Step::End);
        }
    }

    pub(super) fn step(&mut self, at: Timestamp, number: u64, step: Step) {
        if let Some(machine) = self.machines.get_mut(&number) {
            machine.next[step.lane()] = None;
        }
        if self.waits_for_program(number, at, step) {
            return;
        }
        match step {
            Step::Boot => {
                self.change(number, at, State::Running, |instance| {
                    instance.phase = Phase::Running;
                    instance.boot_time = Some(at);
                });
                self.begin_checks(number, at);
                self.foresee(number, at, Since::Running);
            }
            Step::FinishReset => self.finish_reset(number, at),
            Step::FinishStop => self.finish_stop(number, at),
            Step::PassChecks => {
                self.set_ready(number, at, true);
                self.foresee(number, at, Since::Ready);
            }
            Step::End => self.end(number, at),
            Step::Forget => self.forget(number, at),
            Step::Strike => self.strike(number, at),
        }
    }

    pub(super) fn begin_checks(&mut self, number: u64, at: Timestamp) {
        if !matches!(self.doom(number), Some(MachineFault::NeverReady {})) {
            self.schedule(number, at, microseconds(self.options.status_check), Step::PassChecks);
        }
    }

    fn strike(&mut self, number: u64, at: Timestamp) {
        let Some(Machine { doom: Some(doom), instance, .. }) = self.machines.get_mut(&number) else { return };
        match doom.fault {
            MachineFault::Dies(_) => {
                self.cancel(number, LIFE);
                self.end(number, at);
            }
            MachineFault::Vanishes(_) => {
                self.cancel(number, LIFE);
                self.forget(number, at);
            }
            MachineFault::Stops(_) => {
                self.cancel(number, LIFE);
                self.halt(number, at);
            }
            MachineFault::Moves(_) => self.relocate(number, at),
            MachineFault::ReportsBroken(_) => self.change(number, at, State::Impaired, |instance| {
                instance.impaired = true;
                instance.ready = false;
            }),
            MachineFault::Flaps { ready_milliseconds, not_ready_milliseconds } => {
                let ready = !instance.ready;
                let next = if ready { ready_milliseconds } else { not_ready_milliseconds };
                self.set_ready(number, at, ready);
                self.schedule(number, at, micros(next), Step::Strike);
            }
            MachineFault::Interrupted { milliseconds, reason, .. } if !doom.noticed => {
                doom.noticed = true;
                let taken = later(at, micros(milliseconds));
                self.change(number, at, State::InterruptionNotice, |instance| {
                    instance.interruption_time = Some(taken);
                    instance.interruption_reason = Some(reason);
                });
                self.schedule(number, at, micros(milliseconds), Step::Strike);
            }
            MachineFault::Interrupted { .. } => self.shut_down(number, at, Some(self.options.shutdown)),
            MachineFault::NeverBoots {}
            | MachineFault::SlowBoot { .. }
            | MachineFault::NeverReady {}
            | MachineFault::AgentDown {}
            | MachineFault::AgentHangs {}
            | MachineFault::AgentAnswers { .. }
            | MachineFault::HeartbeatsStop {}
            | MachineFault::PhonesHome(_)
            | MachineFault::Hidden { .. } => {}
        }
    }

    /// Gives a machine another address. It keeps its own if no other one is free.
    fn relocate(&mut self, number: u64, at: Timestamp) {
        let Some(address) = self.addresses.take() else { return };
        let before = self.machines.get_mut(&number).and_then(|machine| machine.address.replace(address));
        self.change(number, at, State::Moved, |instance| {
            instance.addresses = vec![Address { kind: AddressKind::InternalIp, address: address.to_string() }];
        });
        if let Some(before) = before {
            self.addresses.free(before);
        }
    }

    /// Sets ready, but not on a machine that reports itself broken or does not run.
    fn set_ready(&mut self, number: u64, at: Timestamp, ready: bool) {
        let Some(Machine { instance, .. }) = self.machines.get(&number) else { return };
        let may_be = !instance.impaired && instance.phase == Phase::Running;
        if instance.ready != ready && (may_be || !ready) {
            let state = if ready { State::Ready } else { State::NotReady };
            self.change(number, at, state, |instance| instance.ready = ready);
        }
    }

    fn end(&mut self, number: u64, at: Timestamp) {
        self.change(number, at, State::Terminated, |instance| {
            instance.phase = Phase::Terminated;
            instance.ready = false;
            instance.addresses.clear();
        });
        if let Some(address) = self.machines.get_mut(&number).and_then(|machine| machine.address.take()) {
            self.addresses.free(address);
        }
        self.schedule(number, at, microseconds(self.options.terminated_visible), Step::Forget);
    }

    fn forget(&mut self, number: u64, at: Timestamp) {
        self.cancel(number, LIFE);
        self.cancel(number, FAULT);
        let Some(machine) = self.machines.remove(&number) else { return };
        self.past.push(at, number, Some(&machine));
        if let Some(address) = machine.address {
            self.addresses.free(address);
        }
        self.event(at, State::Forgotten, &machine.instance, None);
        self.numbers.remove(&machine.instance.id);
        self.forgotten.push_back(crate::cloud::account_token(machine.account.as_deref(), &machine.instance.token));
        if self.forgotten.len() > crate::cloud::MAX_FORGOTTEN_TOKENS
            && let Some(token) = self.forgotten.pop_front()
        {
            self.purchases.remove(&token);
        }
    }

    pub(super) fn change(&mut self, number: u64, at: Timestamp, state: State, with: impl FnOnce(&mut Instance)) {
        self.change_in_reset(number, at, (state, None), with);
    }

    /// The same, with the token of the reset that the change is about.
    pub(super) fn change_in_reset(
        &mut self,
        number: u64,
        at: Timestamp,
        (state, reset): (State, Option<String>),
        with: impl FnOnce(&mut Instance),
    ) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        self.past.push(at, number, Some(machine));
        with(&mut machine.instance);
        let event = MachineEvent { reset, ..MachineEvent::new(state, &machine.instance, None) };
        self.ledger.push(at, What::Machine(Box::new(event)));
    }

    /// Schedules a step. It replaces the one of the same lane.
    pub(super) fn schedule(&mut self, number: u64, from: Timestamp, after: i64, step: Step) {
        let lane = step.lane();
        self.cancel(number, lane);
        let at = later(from, after);
        let Some(machine) = self.machines.get_mut(&number) else { return };
        machine.next[lane] = Some(at);
        self.due.insert((at, number, lane), step);
    }

    pub(super) fn cancel(&mut self, number: u64, lane: usize) {
        if let Some(old) = self.machines.get_mut(&number).and_then(|machine| machine.next[lane].take()) {
            self.due.remove(&(old, number, lane));
        }
    }

    pub(super) fn created(&mut self, number: u64) {
        let Some(machine) = self.machines.get(&number) else { return };
        let description = Description { account: machine.account.clone(), ..describe(&machine.instance) };
        let event = MachineEvent::new(State::Created, &machine.instance, Some(description));
        self.ledger.push(self.now, What::Machine(Box::new(event)));
    }

    fn event(&mut self, at: Timestamp, state: State, instance: &Instance, machine: Option<Description>) {
        self.ledger.push(at, What::Machine(Box::new(MachineEvent::new(state, instance, machine))));
    }
}

impl Machine {
    /// Whether a fault hides the machine from calls of this kind.
    pub(super) fn is_hidden(&self, now: Timestamp, method: Method) -> bool {
        self.hidden.iter().any(|(until, from)| now < *until && from.contains(&method))
    }
}

fn micros(milliseconds: u64) -> i64 {
    i64::try_from(milliseconds).unwrap_or(i64::MAX).saturating_mul(1000)
}

fn later(from: Timestamp, microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(from.as_microsecond().saturating_add(microseconds)).unwrap_or(Timestamp::MAX)
}
