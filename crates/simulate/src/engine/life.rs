//! What happens to members, their machines and claims.

use bullpen_api::{MemberState, PoolState};
use bullpen_plan::launch::refusals::Gate;
use bullpen_plan::launch::trial::FAILURES;
use bullpen_plan::member::lifecycle::{
    Asked, LifecycleView, Machine, MemberFailure, Past, Reset, Standby, Step, next_step,
};
use bullpen_plan::member::reuse::{AfterClaim, UsedMember, after_claim};
use bullpen_plan::pool::sizing::create_may_begin;
use bullpen_plan::pool::view::Standing;
use jiff::{SignedDuration, Timestamp};

use super::members::{Activity, Member};
use super::timeline::Event;
use super::{Policy, World};
use crate::time::{Micros, SECOND};

/// After this time a member whose create may not begin yet asks again.
const ASK_AGAIN: Micros = SECOND;

impl World<'_> {
    /// One event.
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Create(member) => self.queue_create(member),
            Event::CreateTurn => self.create_turn(),
            Event::Answered(member) => self.answered(member),
            Event::Look(member) => self.look(member),
            Event::Ready(member) => self.ready(member),
            Event::Off(member) => self.off(member),
            Event::Standby(member) => self.rests(member),
            Event::Start(member) => self.queue_start(member),
            Event::StartTurn => self.start_turn(),
            Event::Started(member) => self.started(member),
            Event::Ended(member) => {
                self.machines.ended += 1;
                self.cloud.ended();
                self.members.bill(member, None);
                let config = self.members.all[member].config;
                self.meter.pay(config, self.now, self.members.rest_of_unit(member, self.now));
                self.timeline.add(self.cloud.shown_at(self.now) + self.setup.cloud.write, Event::Gone(member));
            }
            Event::Gone(member) => {
                if self.members.all[member].served {
                    self.queue.gone();
                }
                self.members.stand(member, None);
                self.buyer.machine_ended(self.timestamp());
                self.changed = true;
            }
            Event::Released(claim) => self.released(claim),
            Event::Judge(claim) => self.judge(claim),
            Event::Tick => self.tick(),
        }
    }

    /// Writes a member that the policy buys.
    pub(super) fn buy(&mut self, config: usize) {
        let member = self.members.begin(config, self.now);
        self.timeline.add(self.now + self.setup.cloud.write, Event::Create(member));
    }

    /// A member wants to be bought.
    fn queue_create(&mut self, number: usize) {
        if let Some(turn) = self.cloud.buys.queue(number, self.now) {
            self.timeline.add(turn, Event::CreateTurn);
        }
    }

    /// The rate of calls lets the next create begin.
    fn create_turn(&mut self) {
        let is_pending = |number: usize| self.members.all[number].standing == Some(Standing::Pending);
        let (first, next) = self.cloud.buys.take(is_pending, self.now);
        if let Some(turn) = next {
            self.timeline.add(turn, Event::CreateTurn);
        }
        if let Some(number) = first {
            self.create(number);
        }
    }

    fn create(&mut self, number: usize) {
        let member = &self.members.all[number];
        if member.standing != Some(Standing::Pending) {
            return;
        }
        let pool = &self.setup.pool;
        let operator = self.setup.policy == Policy::Operator;
        let others = self.members.total() - 1;
        let gate = if !create_may_begin(pool.state, false, pool.max_size, others) {
            Gate::Wait
        } else if operator {
            self.buyer.begin(member.config, &member.uid, self.timestamp())
        } else {
            Gate::Open
        };
        match gate {
            Gate::Open | Gate::Probe => {
                self.members.all[number].calls = Some(self.now);
                self.members.recount(number);
                self.timeline.add(self.now + self.setup.cloud.call, Event::Answered(number));
            }
            Gate::Wait => self.timeline.add(self.now + ASK_AGAIN, Event::Create(number)),
            Gate::Closed(until) => {
                let at = self.clock.micros(until).max(self.now + ASK_AGAIN);
                self.timeline.add(at, Event::Create(number));
            }
        }
    }

    fn answered(&mut self, number: usize) {
        let answer = self.cloud.create();
        let (now, member) = (self.now, &mut self.members.all[number]);
        let began = member.calls.take().unwrap_or(now);
        let (config, uid) = (member.config, member.uid.clone());
        self.changed = true;
        let bought = match answer {
            Ok(bought) => bought,
            Err(error) => {
                self.machines.refused += 1;
                self.buyer.refused(config, &uid, &error, (self.clock.timestamp(began), self.timestamp()));
                let ends = self.members.all[number].standing == Some(Standing::Terminating);
                // It never had a machine, so it is gone as soon as it is deleted.
                self.members.stand(number, if ends { None } else { Some(Standing::Errored) });
                return;
            }
        };
        self.machines.bought += 1;
        self.buyer.accepted(config, &uid);
        (member.launched, member.bills_since) = (Some(now), Some(now));
        member.warming = now;
        member.runs = bought.boots_in.map(|time| now + time);
        if member.standing == Some(Standing::Terminating) {
            self.members.recount(number);
            self.terminate(number);
            return;
        }
        self.members.bill(number, Some(Activity::Booting));
        self.members.stand(number, Some(Standing::Warming));
        self.look_later(number);
    }

    /// Looks at a machine that boots when the list shows that it runs, or that it is too late.
    pub(super) fn look_later(&mut self, number: usize) {
        let member = &self.members.all[number];
        let late = member.warming + i64::from(self.setup.pool.readiness.launch_timeout_seconds) * SECOND;
        let at = member.runs.map_or(late, |runs| runs.min(late));
        self.timeline.add(self.cloud.shown_at(at.max(self.now + 1)), Event::Look(number));
    }

    fn look(&mut self, number: usize) {
        let member = &self.members.all[number];
        if member.standing != Some(Standing::Warming) {
            return;
        }
        if member.uses > 0 {
            // The reset is done, and proved.
            self.timeline.add(self.now + self.setup.cloud.write, Event::Ready(number));
            return;
        }
        match next_step(&self.lifecycle(member), self.timestamp()) {
            Step::RecordReady => self.timeline.add(self.now + self.setup.cloud.write, Event::Ready(number)),
            Step::RecordErrored(failure) => self.fail(number, failure),
            _ => self.look_later(number),
        }
    }

    fn fail(&mut self, number: usize, failure: MemberFailure) {
        self.machines.failed += 1;
        let (config, uid) = (self.members.all[number].config, self.members.all[number].uid.clone());
        if FAILURES.contains(&failure.class()) {
            self.buyer.failed(config, &uid, failure.class().as_str(), self.timestamp());
        }
        self.came_back(number, Some(failure.class()));
        self.members.bill(number, Some(Activity::Ending));
        self.members.stand(number, Some(Standing::Errored));
        self.changed = true;
    }

    fn ready(&mut self, number: usize) {
        let member = &self.members.all[number];
        if member.standing != Some(Standing::Warming) {
            return;
        }
        self.autosizer.ready(self.now - member.bills_since.unwrap_or(member.created));
        self.buyer.ready(member.config, self.timestamp());
        self.came_back(number, None);
        self.members.set_ready(number, Some(self.now));
        self.members.bill(number, Some(Activity::Idle));
        self.members.stand(number, Some(Standing::Ready));
        self.changed = true;
    }

    /// The policy gives up an unclaimed member.
    pub(super) fn give_up(&mut self, number: usize) {
        let member = &self.members.all[number];
        match (member.launched.is_some(), member.calls.is_some()) {
            (true, _) => {
                self.members.stand(number, Some(Standing::Terminating));
                self.terminate(number);
            }
            // The answer decides whether there is a machine to end.
            (false, true) => self.members.stand(number, Some(Standing::Terminating)),
            (false, false) => self.members.stand(number, None),
        }
        self.changed = true;
    }

    /// Ends the machine of a member.
    fn terminate(&mut self, number: usize) {
        // A stopped one bills no more than before.
        if self.members.all[number].bills_since.is_some() {
            self.members.bill(number, Some(Activity::Ending));
        }
        let model = &self.setup.cloud;
        self.timeline.add(self.now + model.write + model.call + model.shutdown, Event::Ended(number));
    }

    fn released(&mut self, claim: usize) {
        let Some(number) = self.member_of[claim] else { return };
        let used = self.used(&self.members.all[number]);
        let fate = after_claim(self.setup.pool.reuse.as_ref(), &used);
        self.members.all[number].uses += 1;
        self.changed = true;
        if fate != AfterClaim::Reset || self.setup.policy != Policy::Operator {
            self.queue.ended();
            self.members.all[number].served = true;
            self.members.stand(number, Some(Standing::Terminating));
            self.terminate(number);
            return;
        }
        self.queue.reused();
        let model = self.setup.cloud;
        let runs = self.now + model.write + model.call + self.cloud.reset();
        let member = &mut self.members.all[number];
        (member.created, member.warming, member.runs) = (self.now, self.now, Some(runs));
        member.started = false;
        self.members.set_ready(number, None);
        self.members.bill(number, Some(Activity::Booting));
        self.members.stand(number, Some(Standing::Warming));
        self.timeline.add(self.cloud.shown_at(runs), Event::Look(number));
    }

    fn used(&self, member: &Member) -> UsedMember {
        UsedMember {
            ended_well: true,
            uses: member.uses,
            age: member.launched.map(|launched| SignedDuration::from_micros(self.now - launched)),
            current: true,
            set_aside: false,
            runs: true,
            interrupted: false,
            unhealthy: false,
            can_reset: true,
            pool_state: self.setup.pool.state,
            ending: self.setup.pool.state == PoolState::Draining,
        }
    }

    /// A member whose machine boots, as the operator sees it.
    fn lifecycle(&self, member: &Member) -> LifecycleView {
        let (now, readiness) = (self.timestamp(), &self.setup.pool.readiness);
        let machine = match member.runs.filter(|runs| *runs <= self.now) {
            Some(runs) => Machine::Running { at: now, since: self.clock.timestamp(runs), ready: true },
            None => Machine::Booting { at: now },
        };
        LifecycleView {
            state: MemberState::Warming,
            ending_since: None,
            has_instance: true,
            current: true,
            may_create: true,
            asked: Asked::Perhaps(Timestamp::MIN),
            written_at: None,
            other_account: false,
            machine,
            warming_started_at: Some(self.clock.timestamp(member.warming)),
            launch_timeout: SignedDuration::from_secs(i64::from(readiness.launch_timeout_seconds)),
            warming_timeout: SignedDuration::from_secs(i64::from(readiness.warming_timeout_seconds)),
            create_grace: SignedDuration::ZERO,
            find_before_retry: false,
            not_before: None,
            create_not_before: None,
            struck_at: None,
            next_look: None,
            terminate_accepted_at: None,
            terminate_first_accepted_at: None,
            terminate_failures: 0,
            reported_stuck: None,
            account_confirmed_at: Some(now),
            past: Past::Clean,
            interrupted: false,
            unhealthy_at: None,
            shown_at: Some(now),
            held: false,
            broken: false,
            reset: Reset::default(),
            standby: Standby::default(),
        }
    }
}
