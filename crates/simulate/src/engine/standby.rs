//! Stops of ready machines for the standby tier, and their starts.

use bullpen_api::{ErrorClass, RecordedError, micro_time};
use bullpen_plan::launch::breaker::Rules;
use bullpen_plan::pool::standby::{Proof, proof_of_failure};
use bullpen_plan::pool::view::Standing;
use jiff::{SignedDuration, Timestamp};

use super::World;
use super::members::Activity;
use super::timeline::Event;

impl World<'_> {
    /// The plan stops a ready member, which no claim gets from now on.
    pub(super) fn stop(&mut self, number: usize) {
        if self.members.all[number].standing != Some(Standing::Ready) {
            return;
        }
        self.machines.stopped += 1;
        self.members.bill(number, Some(Activity::Ending));
        self.members.stand(number, Some(Standing::Stopping));
        let model = &self.setup.cloud;
        self.timeline.add(self.now + model.write + model.call + model.stop, Event::Off(number));
        self.changed = true;
    }

    /// Its machine is stopped, unless it is being ended.
    pub(super) fn off(&mut self, number: usize) {
        if self.members.all[number].standing != Some(Standing::Stopping) {
            return;
        }
        let (config, rest) = (self.members.all[number].config, self.members.rest_of_unit(number, self.now));
        self.meter.pay(config, self.now, rest);
        self.members.all[number].bills_since = None;
        self.members.bill(number, Some(Activity::Stopped));
        self.timeline.add(self.cloud.shown_at(self.now) + self.setup.cloud.write, Event::Standby(number));
    }

    /// A list has shown it stopped.
    pub(super) fn rests(&mut self, number: usize) {
        if self.members.all[number].standing == Some(Standing::Stopping) {
            self.members.stand(number, Some(Standing::Standby));
            self.standby_proves(number, Proof::Stopped(self.timestamp()));
            self.changed = true;
        }
    }

    /// What a member that came back from standby, or did not, proves.
    pub(super) fn came_back(&mut self, number: usize, failure: Option<ErrorClass>) {
        if self.members.all[number].started {
            let time = self.timestamp();
            let proof = failure.map_or(Some(Proof::Back(time)), |class| proof_of_failure(&error(class, time)));
            if let Some(proof) = proof {
                self.standby_proves(number, proof);
            }
        }
    }

    fn standby_proves(&mut self, number: usize, proof: Proof) {
        let cooldown = SignedDuration::from_secs(i64::from(self.setup.pool.provisioning.cooldown_seconds));
        let name = &self.members.configs[self.members.all[number].config].name;
        self.standby_failures.learn(name, vec![proof], Rules { threshold: 1, cooldown, seed: &self.setup.name });
        let tier = std::mem::take(&mut self.members.view.standby);
        self.members.view.standby = self.standby_failures.heeded(tier);
    }

    /// The plan starts a standby member.
    pub(super) fn start(&mut self, number: usize) {
        let member = &mut self.members.all[number];
        if member.standing != Some(Standing::Standby) {
            return;
        }
        (member.created, member.warming, member.runs, member.started) = (self.now, self.now, None, true);
        self.members.stand(number, Some(Standing::Warming));
        self.timeline.add(self.now + self.setup.cloud.write, Event::Start(number));
        self.changed = true;
    }

    pub(super) fn queue_start(&mut self, number: usize) {
        if let Some(turn) = self.cloud.starts.queue(number, self.now) {
            self.timeline.add(turn, Event::StartTurn);
        }
    }

    pub(super) fn start_turn(&mut self) {
        let is_warming = |number: usize| self.members.all[number].standing == Some(Standing::Warming);
        let (first, next) = self.cloud.starts.take(is_warming, self.now);
        if let Some(turn) = next {
            self.timeline.add(turn, Event::StartTurn);
        }
        if let Some(number) = first {
            self.timeline.add(self.now + self.setup.cloud.call, Event::Started(number));
        }
    }

    /// The cloud has answered the start. Without capacity the member fails, and the tier is left alone for a while.
    pub(super) fn started(&mut self, number: usize) {
        if self.members.all[number].standing != Some(Standing::Warming) {
            return;
        }
        match self.cloud.start(self.members.view.standby.mode) {
            Ok(takes) => {
                self.machines.started += 1;
                let member = &mut self.members.all[number];
                (member.bills_since, member.runs) = (Some(self.now), Some(self.now + takes));
                self.members.bill(number, Some(Activity::Booting));
                self.members.recount(number);
                self.look_later(number);
            }
            Err(error) => {
                self.machines.refused += 1;
                let (config, uid) = (self.members.all[number].config, self.members.all[number].uid.clone());
                self.buyer.refused(config, &uid, &error, (self.timestamp(), self.timestamp()));
                self.came_back(number, Some(ErrorClass::StartFailed));
                self.members.stand(number, Some(Standing::Errored));
                self.changed = true;
            }
        }
    }
}

fn error(class: ErrorClass, time: Timestamp) -> RecordedError {
    RecordedError { class: class.as_str().to_owned(), message: String::new(), time: micro_time(time) }
}
