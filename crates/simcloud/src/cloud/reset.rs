//! Resets: a machine boots from its image anew, with a new disk and other user data. One token has one effect.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::life::{LIFE, Step};
use super::{Cloud, Urls, microseconds};
use crate::faults::CallFault;
use crate::ledger::{Method, Outcome, State};
use crate::validate;
use crate::wire::{Instance, LastReset, Phase, Refusal, ResetInstance};

/// A reset that was begun.
#[derive(Clone, Debug)]
pub(super) struct Reset {
    token: String,
    fingerprint: [u8; 32],
}

impl Cloud {
    /// Begins a reset, unless this token has begun one. Returns the machine in its new state.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for an invalid request, a token that was used with another one, and a machine that does not
    /// run.
    pub fn reset(
        &mut self,
        now: Timestamp,
        id: &str,
        region: Option<&str>,
        request: &ResetInstance,
        fault: Option<&CallFault>,
    ) -> Result<Instance, Refusal> {
        self.advance(now);
        let answer = self.begin_reset(id, region, request);
        let outcome = answer.as_ref().map(|(outcome, _)| *outcome);
        self.record(Method::Reset, outcome, Some(&request.token), Some(id));
        let (outcome, number) = answer?;
        if outcome == Outcome::Accepted && !matches!(fault, Some(CallFault::Ignored {})) {
            self.stop_for_reset(number, request, fault);
        }
        Ok(self.machines[&number].instance.clone())
    }

    fn begin_reset(
        &mut self,
        id: &str,
        region: Option<&str>,
        request: &ResetInstance,
    ) -> Result<(Outcome, u64), Refusal> {
        let number = self.lookup(id, region)?;
        let phase = self.show(Method::Reset, number)?.phase;
        validate::reset(request)?;
        let bytes = serde_json::to_vec(request).map_err(|error| Refusal::invalid(error.to_string()))?;
        let reset = Reset { token: request.token.clone(), fingerprint: Sha256::digest(bytes).into() };
        let Some(machine) = self.machines.get_mut(&number) else { return Err(super::not_found(id)) };
        if let Some(before) = machine.resets.iter().find(|before| before.token == reset.token) {
            if before.fingerprint == reset.fingerprint {
                return Ok((Outcome::Existing, number));
            }
            let message = format!("token: {:?} was used before with other user data", request.token);
            return Err(Refusal { token_used: true, ..Refusal::invalid(message) });
        }
        if phase != Phase::Running {
            return Err(Refusal::invalid(format!("only a machine that runs can be reset, and this one is {phase:?}")));
        }
        machine.resets.push(reset);
        Ok((Outcome::Accepted, number))
    }

    /// The old system stops before anything of the new one is there to be read.
    fn stop_for_reset(&mut self, number: u64, request: &ResetInstance, fault: Option<&CallFault>) {
        let now = self.now;
        self.cancel(number, LIFE);
        self.change_in_reset(number, now, (State::Resetting, Some(request.token.clone())), |instance| {
            instance.phase = Phase::Pending;
            (instance.ready, instance.impaired, instance.hibernated) = (false, false, false);
            instance.boot_time = None;
        });
        let Some(machine) = self.machines.get_mut(&number) else { return };
        machine.user_data = request.user_data.as_deref().map(Box::from);
        machine.user_data_base64 = request.user_data_base64.as_deref().map(Box::from);
        machine.urls = request.user_data.as_deref().and_then(Urls::find).map(Box::new);
        if machine.urls.is_some() {
            self.silent.insert(number);
        }
        let takes = match fault {
            Some(CallFault::Lingers { milliseconds }) => milliseconds.map(std::time::Duration::from_millis),
            _ => Some(self.options.reset),
        };
        if let Some(takes) = takes {
            self.schedule(number, now, microseconds(takes), Step::FinishReset);
        }
    }

    pub(super) fn finish_reset(&mut self, number: u64, at: Timestamp) {
        let Some(token) = self.machines.get(&number).and_then(|machine| machine.resets.last()) else { return };
        let token = token.token.clone();
        self.change_in_reset(number, at, (State::Reset, Some(token.clone())), |instance| {
            instance.phase = Phase::Running;
            instance.boot_time = Some(at);
            instance.last_reset = Some(LastReset { token, booted_at: at });
        });
        self.begin_checks(number, at);
    }

    /// How often the machine was stopped for a reset, or started: what runs on it is another system, or another boot of
    /// it, each time.
    pub(super) fn system_of(&self, number: u64) -> usize {
        self.machines.get(&number).map_or(0, |machine| machine.resets.len() + machine.starts)
    }
}
