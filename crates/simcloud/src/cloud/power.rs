//! Stops and starts: a machine is switched off and on, and keeps its id, its address and its disk.

use jiff::Timestamp;

use super::life::{LIFE, Step};
use super::{Cloud, microseconds};
use crate::faults::{CallFault, MachineFault};
use crate::ledger::{Method, Outcome, State};
use crate::wire::{Instance, Market, Phase, Refusal, StopInstance};

/// What a call does with a machine in its present phase.
enum Effect {
    /// It begins to change.
    Begins,
    /// It is so already, or on its way.
    None,
}

impl Cloud {
    /// Begins to stop a machine, unless it is stopping or stopped. Returns it in its new state.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a machine that does not run, or of the market `Spot`, or that is a program and is to be
    /// hibernated.
    pub fn stop(
        &mut self,
        now: Timestamp,
        id: &str,
        region: Option<&str>,
        said: StopInstance,
        fault: Option<&CallFault>,
    ) -> Result<Instance, Refusal> {
        self.advance(now);
        let effect = self.lookup(id, region).and_then(|number| {
            let Instance { phase, market, .. } = self.show(Method::Stop, number)?;
            if market == Market::Spot {
                return Err(Refusal::invalid("a machine of the market Spot cannot be stopped"));
            }
            if said.hibernate && self.options.program.is_some() {
                return Err(Refusal::invalid("hibernate: the memory of a machine that is a program cannot be saved"));
            }
            match phase {
                Phase::Stopping | Phase::Stopped => Ok((number, Effect::None)),
                Phase::Running => Ok((number, Effect::Begins)),
                _ => {
                    Err(Refusal::invalid(format!("only a machine that runs can be stopped, and this one is {phase:?}")))
                }
            }
        });
        self.record(Method::Stop, effect.as_ref().map(|_| Outcome::Accepted), None, Some(id));
        let (number, effect) = effect?;
        if matches!(effect, Effect::Begins) && !matches!(fault, Some(CallFault::Ignored {})) {
            let takes = lingering(fault, self.options.stop);
            self.switch_off(number, said, takes);
        }
        Ok(self.machines[&number].instance.clone())
    }

    /// Begins to start a machine, unless it boots or runs. Returns it in its new state.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a machine that is not stopped.
    pub fn start(
        &mut self,
        now: Timestamp,
        id: &str,
        region: Option<&str>,
        fault: Option<&CallFault>,
    ) -> Result<Instance, Refusal> {
        self.advance(now);
        let effect = self.lookup(id, region).and_then(|number| match self.show(Method::Start, number)?.phase {
            Phase::Pending | Phase::Running => Ok((number, Effect::None)),
            Phase::Stopped => Ok((number, Effect::Begins)),
            phase => Err(Refusal::invalid(format!(
                "only a machine that is stopped can be started, and this one is {phase:?}"
            ))),
        });
        self.record(Method::Start, effect.as_ref().map(|_| Outcome::Accepted), None, Some(id));
        let (number, effect) = effect?;
        if matches!(effect, Effect::Begins) && !matches!(fault, Some(CallFault::Ignored {})) {
            let hibernated = self.machines[&number].instance.hibernated;
            let takes = lingering(fault, if hibernated { self.options.resume } else { self.options.start });
            self.switch_on(number, takes);
        }
        Ok(self.machines[&number].instance.clone())
    }

    fn switch_off(&mut self, number: u64, said: StopInstance, takes: Option<std::time::Duration>) {
        let now = self.now;
        self.cancel(number, LIFE);
        if let Some(machine) = self.machines.get_mut(&number) {
            machine.asked_to_stop = true;
        }
        self.change(number, now, State::Stopping, |instance| {
            (instance.phase, instance.ready, instance.impaired) = (Phase::Stopping, false, false);
            instance.hibernated = said.hibernate;
        });
        if let Some(takes) = takes {
            self.schedule(number, now, microseconds(takes), Step::FinishStop);
        }
    }

    fn switch_on(&mut self, number: u64, takes: Option<std::time::Duration>) {
        let now = self.now;
        self.change(number, now, State::Starting, |instance| instance.phase = Phase::Pending);
        let Some(machine) = self.machines.get_mut(&number) else { return };
        machine.asked_to_stop = false;
        machine.starts += 1;
        if machine.urls.is_some() {
            self.silent.insert(number);
        }
        if let Some(takes) = takes.filter(|_| !matches!(self.doom(number), Some(MachineFault::NeverBoots {}))) {
            self.schedule(number, now, microseconds(takes), Step::Boot);
        }
    }

    pub(super) fn finish_stop(&mut self, number: u64, at: Timestamp) {
        self.change(number, at, State::Stopped, |instance| instance.phase = Phase::Stopped);
    }

    /// How often the machine was started again after a stop.
    pub(super) fn starts_of(&self, number: u64) -> usize {
        self.machines.get(&number).map_or(0, |machine| machine.starts)
    }
}

/// How long the change takes. `None`: for ever.
fn lingering(fault: Option<&CallFault>, usual: std::time::Duration) -> Option<std::time::Duration> {
    match fault {
        Some(CallFault::Lingers { milliseconds }) => milliseconds.map(std::time::Duration::from_millis),
        _ => Some(usual),
    }
}
