//! What runs on the machines: which of them listen, and what they answer.

use std::net::Ipv4Addr;

use jiff::Timestamp;

use super::{Cloud, microseconds};
use crate::addresses::Addresses;
use crate::faults::MachineFault;
use crate::wire::Phase;

/// What a machine's agent answers to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentAnswer {
    /// This HTTP status.
    Status(u16),
    /// Nothing, for as long as the machine runs.
    Nothing,
}

impl Cloud {
    /// Machines get addresses of this computer's own, so that something can listen there. `port` is the one that the
    /// cloud listens on.
    pub(crate) fn use_loopback_addresses(&mut self, port: u16) {
        self.addresses = Addresses::loopback(port);
    }

    /// The machines whose agents listen now, with their addresses.
    pub fn listening(&mut self, now: Timestamp) -> Vec<(String, Ipv4Addr)> {
        self.advance(now);
        let Some(agent) = self.options.agent else { return Vec::new() };
        let listens = |number: u64| {
            let machine = self.machines.get(&number)?;
            let running = machine.instance.boot_time.filter(|_| machine.instance.phase == Phase::Running)?;
            let since = self.now.as_microsecond().saturating_sub(running.as_microsecond());
            let down = matches!(self.doom(number), Some(MachineFault::AgentDown {}));
            // What ran before a hibernation goes on.
            let up = machine.instance.hibernated || since >= microseconds(agent.start);
            (up && !down).then_some((machine.instance.id.clone(), machine.address?))
        };
        self.machines.keys().filter_map(|number| listens(*number)).collect()
    }

    /// What the agent of this machine answers to a request.
    pub fn agent_answer(&mut self, now: Timestamp, id: &str) -> AgentAnswer {
        self.advance(now);
        match self.numbers.get(id).and_then(|number| self.doom(*number)) {
            Some(MachineFault::AgentHangs {}) => AgentAnswer::Nothing,
            Some(MachineFault::AgentAnswers { status }) => AgentAnswer::Status(*status),
            _ => AgentAnswer::Status(200),
        }
    }
}
