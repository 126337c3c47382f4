//! Machines whose system is a process of this computer: which have to run, and what their ends mean.

use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::Timestamp;

use super::life::{LIFE, Step};
use super::{Cloud, microseconds};
use crate::ledger::State;
use crate::wire::{Phase, UserData};

/// How late the end of a machine's process is noticed by what waits for it.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One system of a machine: what it runs from one boot to the next stop, reset or end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct System {
    /// The machine.
    pub id: String,
    /// How often the machine was reset before: each time it got a new disk.
    pub disk: usize,
    /// How often the machine was started again before, with the same disk.
    pub start: usize,
}

/// A machine that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its present system.
    pub system: System,
    /// Whether that system runs now.
    pub on: bool,
    /// Where others reach it.
    pub address: Ipv4Addr,
}

impl Cloud {
    /// The machines that have not ended. Those that boot, stop or are stopped are not on.
    pub fn guests(&mut self, now: Timestamp) -> Vec<Guest> {
        self.advance(now);
        self.machines.keys().filter_map(|number| self.guest(*number)).collect()
    }

    fn guest(&self, number: u64) -> Option<Guest> {
        let machine = self.machines.get(&number)?;
        let phase = machine.instance.phase;
        let system =
            System { id: machine.instance.id.clone(), disk: machine.resets.len(), start: self.starts_of(number) };
        let ends = matches!(phase, Phase::ShuttingDown | Phase::Terminated);
        Some(Guest { system, on: phase == Phase::Running, address: machine.address.filter(|_| !ends)? })
    }

    /// What a process needs that is about to be `system`: its user data. `None` if this system is not on any more. Until
    /// [`Cloud::program_ended`] the machine does not come to its next state.
    pub fn begin_program(&mut self, now: Timestamp, system: &System) -> Option<UserData> {
        self.advance(now);
        let guest = self.guest(*self.numbers.get(&system.id)?)?;
        if !guest.on || guest.system != *system {
            return None;
        }
        let user_data = self.user_data(now, &system.id).ok()?;
        self.hosted.insert(system.id.clone());
        Some(user_data)
    }

    /// Whether this system is to shut down, because its machine is being stopped: its disk is used again.
    pub fn shuts_down(&mut self, now: Timestamp, system: &System) -> bool {
        self.advance(now);
        let Some(number) = self.numbers.get(&system.id) else { return false };
        let stops = self.machines.get(number).is_some_and(|machine| machine.instance.phase == Phase::Stopping);
        stops && self.guest(*number).is_some_and(|guest| guest.system == *system)
    }

    /// The process of this system has ended. A machine that should run, because nobody asked for the end, has switched
    /// itself off.
    pub fn program_ended(&mut self, now: Timestamp, system: &System) {
        self.advance(now);
        self.hosted.remove(&system.id);
        let Some(&number) = self.numbers.get(&system.id) else { return };
        if self.guest(number).is_some_and(|guest| guest.on && guest.system == *system) {
            self.cancel(number, LIFE);
            self.halt(number, self.now);
        }
    }

    /// Whether a step has to wait, because the machine's former system still runs. It is tried again then.
    pub(super) fn waits_for_program(&mut self, number: u64, at: Timestamp, step: Step) -> bool {
        let follows = matches!(step, Step::FinishReset | Step::FinishStop | Step::End);
        let runs = self.machines.get(&number).is_some_and(|machine| self.hosted.contains(&machine.instance.id));
        if follows && runs {
            self.schedule(number, at, microseconds(LOOK_AGAIN), step);
        }
        follows && runs
    }

    /// The machine is off, although nobody asked for it.
    pub(super) fn halt(&mut self, number: u64, at: Timestamp) {
        self.change(number, at, State::Stopped, |instance| {
            instance.phase = Phase::Stopped;
            instance.ready = false;
        });
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;
    use crate::Options;
    use crate::wire::{CreateInstance, StopInstance};

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_millis(milliseconds)
    }

    /// A cloud with a machine that runs since 1 ms, and its system.
    fn cloud() -> (Cloud, System) {
        let mut cloud = Cloud::new(Options { reset: Duration::from_millis(10), ..Options::default() }, at(0));
        let request = json!({ "token": "t", "region": "r1", "zone": "a", "instanceType": "small", "image": "i", "userData": "first",
            "bootMilliseconds": 1, "bootJitterPercent": 0 });
        let request: CreateInstance = serde_json::from_value(request).unwrap();
        let id = cloud.create(at(0), &request).unwrap().1.id;
        assert!(!cloud.guests(at(0))[0].on);
        (cloud, System { id, disk: 0, start: 0 })
    }

    fn phase(cloud: &mut Cloud, now: i64, system: &System) -> Phase {
        cloud.get(at(now), &system.id, None).unwrap().phase
    }

    #[test]
    fn a_reset_is_not_finished_before_the_process_of_the_old_system_has_ended() {
        let (mut cloud, system) = cloud();
        assert_eq!(cloud.begin_program(at(2), &system).unwrap().user_data.as_deref(), Some("first"));
        let reset = serde_json::from_value(json!({ "token": "r", "userData": "second" })).unwrap();
        cloud.reset(at(3), &system.id, None, &reset, None).unwrap();
        let guest = cloud.guests(at(500)).remove(0);
        let next = System { disk: 1, ..system.clone() };
        assert_eq!((guest.on, &guest.system), (false, &next));
        assert_eq!(phase(&mut cloud, 1_000, &system), Phase::Pending);
        assert!(cloud.begin_program(at(1_000), &next).is_none());
        cloud.program_ended(at(1_010), &system);
        assert_eq!(phase(&mut cloud, 1_031, &system), Phase::Running);
        assert!(cloud.begin_program(at(1_031), &system).is_none(), "a system that is over does not begin again");
        assert_eq!(cloud.begin_program(at(1_031), &next).unwrap().user_data.as_deref(), Some("second"));
    }

    #[test]
    fn a_machine_is_not_terminated_nor_stopped_before_its_process_has_ended() {
        for ends in [true, false] {
            let (mut cloud, system) = cloud();
            cloud.begin_program(at(2), &system).unwrap();
            let last = if ends {
                cloud.terminate(at(3), &system.id, None).unwrap();
                (Phase::ShuttingDown, Phase::Terminated)
            } else {
                cloud.stop(at(3), &system.id, None, StopInstance::default(), None).unwrap();
                (Phase::Stopping, Phase::Stopped)
            };
            assert_eq!(phase(&mut cloud, 5_000, &system), last.0);
            assert_eq!(
                cloud.shuts_down(at(5_000), &system),
                !ends,
                "only the disk of a machine that stops is used again"
            );
            cloud.program_ended(at(5_000), &system);
            assert_eq!(phase(&mut cloud, 5_030, &system), last.1);
        }
    }

    #[test]
    fn a_machine_whose_process_ends_by_itself_is_stopped_and_can_be_started_on_the_same_disk() {
        let (mut cloud, system) = cloud();
        cloud.begin_program(at(2), &system).unwrap();
        cloud.program_ended(at(3), &system);
        assert_eq!(phase(&mut cloud, 3, &system), Phase::Stopped);
        cloud.start(at(4), &system.id, None, None).unwrap();
        let guest = cloud.guests(at(2_000)).remove(0);
        assert_eq!((guest.on, guest.system), (true, System { start: 1, ..system.clone() }));
        cloud.program_ended(at(2_000), &system);
        assert_eq!(phase(&mut cloud, 2_000, &system), Phase::Running, "the end of a former system is no news");
    }
}
