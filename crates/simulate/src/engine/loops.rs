//! Policies for comparison that look at the pool at fixed intervals.

use bullpen_plan::launch::placement::{Candidate, LaunchConfigView, place};
use bullpen_plan::pool::recycle::is_expired;
use bullpen_plan::pool::view::Standing;

use super::World;
use super::setup::Policy;
use super::timeline::Event;
use crate::time::{Micros, SECOND};
use crate::trace::Arrival;

impl World<'_> {
    /// A run of the loop of this policy, if it is one.
    pub(super) fn tick(&mut self) {
        let missing = match self.setup.policy {
            Policy::Operator => return,
            Policy::Loop { every } => {
                self.begin_run(every);
                i64::from(self.setup.pool.target_size) - self.in_flight() - self.members.ready.len() as i64
            }
            Policy::Estimator { every } => {
                self.begin_run(every);
                self.estimate()
            }
            Policy::Clairvoyant => {
                self.begin_run(SECOND);
                self.foreseen() - self.in_flight() - self.members.ready.len() as i64
            }
        };
        let room = i64::from(self.setup.pool.max_size) - self.members.total() as i64;
        let weights = self.setup.pool.launch_configs.iter();
        let candidates: Vec<_> = weights
            .zip(&self.members.configs)
            .map(|(entry, config)| Candidate {
                view: LaunchConfigView {
                    name: entry.name.clone(),
                    weight: entry.weight,
                    members: config.members,
                    room: entry.max_instances.map(|most| i64::from(most) - config.members),
                    ramp: None,
                    unavailable_until: None,
                },
                slots: None,
                comes_up: true,
            })
            .collect();
        let count = i32::try_from(missing.min(room).max(0)).unwrap_or(0);
        for name in place(&candidates, count, 0, self.timestamp()).launch_configs {
            if let Some(config) = self.buyer.number(&name) {
                self.buy(config);
            }
        }
    }

    /// Ends members that failed or are past their age.
    fn begin_run(&mut self, every: Micros) {
        self.timeline.add(self.now + every, Event::Tick);
        let (now, view) = (self.timestamp(), &self.members.view);
        let ends = |standing: Standing, expired: bool| {
            standing == Standing::Errored || (standing == Standing::Ready && expired)
        };
        let ended: Vec<_> = view
            .members
            .iter()
            .filter(|member| ends(member.standing, is_expired(member, &view.recycle, now)))
            .filter_map(|member| self.members.find(&member.uid))
            .collect();
        for member in ended {
            self.give_up(member);
        }
    }

    /// What the estimator of Taskcluster's worker-manager would buy: as many workers as there are tasks that no idle worker is
    /// there for, and at least the minimum, claimed ones included. Workers beyond the minimum and all tasks end, the oldest
    /// first. Unlike the original it does not subtract workers that boot twice.
    fn estimate(&mut self) -> i64 {
        let (claimed, pending) = (i64::from(self.members.view.claimed), self.queue.waiting() as i64);
        let existing = claimed + self.members.ready.len() as i64 + self.in_flight();
        let (least, most) = (i64::from(self.setup.pool.target_size), i64::from(self.setup.pool.max_size));
        let wanted = (pending + claimed).min(most).max(least);
        let beyond = usize::try_from(existing - wanted).unwrap_or(0);
        let oldest: Vec<usize> = self.members.ready.iter().take(beyond).map(|(_, member)| *member).collect();
        for member in oldest {
            self.give_up(member);
        }
        let unserved = (pending - (existing - claimed).max(0)).max(0);
        let not_ended = self.members.total() as i64;
        (unserved + not_ended).min(most).max(least) - not_ended
    }

    /// The claims that wait, and those that will come.
    fn foreseen(&self) -> i64 {
        let until = self.now + Micros::from(self.setup.pool.target_size) * SECOND;
        let before = |moment| self.trace.partition_point(|claim: &Arrival| claim.at <= moment);
        (self.queue.waiting() + before(until) - before(self.now)) as i64
    }

    fn in_flight(&self) -> i64 {
        self.members.configs.iter().map(|config| config.in_flight).sum()
    }
}
