//! Simulated runs of a pool through recycling and rollouts, second by second, with machines that take time to boot and
//! terminate. The invariants are checked in each second.

mod aside;
mod histories;
mod patience;
mod recycling;
mod rollouts;

use bullpen_api::{Disruption, PoolState, Recycle, Rollout, RolloutFailure, RolloutType};
use jiff::{SignedDuration, Timestamp};

use super::recycle::{expires_at, is_old, requested_before};
use super::rollout::{Progress, RolloutPhase};
use super::schedule::Scheduled;
use super::sizing::{Memory, Replenishment, replenish};
use super::view::{CountedMember, PoolView, Standing};
use crate::launch::placement::LaunchConfigView;

/// A template: its number, and whether its machines become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Template(u32, bool);

/// A pool, its machines, and counts of what happened to them.
struct Run {
    view: PoolView,
    /// Template and next change (boot, failure or end) of each member, in the order of `view.members`.
    machines: Vec<(Template, i64)>,
    template: Template,
    memory: Memory,
    second: i64,
    boot: i64,
    born: u32,
    claims: usize,
    bought: usize,
    /// Ready members deleted that were stale; members deleted while they booted; and failed ones.
    retired: usize,
    given_up: usize,
    failed: usize,
    /// Ready members deleted that were neither old nor of another template.
    fresh_deleted: usize,
    last: Option<Replenishment>,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

impl Run {
    /// A pool whose members all became ready at the same time.
    fn begin(target: i32, max: i32, ttl: i32) -> Self {
        let view = PoolView {
            can_replace: true,
            standby: super::standby::StandbyTier::default(),
            target_size: target,
            autosized: None,
            scale_down_delay: SignedDuration::from_secs(30),
            scheduled: Scheduled::default(),
            max_size: max,
            min_size: 0,
            state: PoolState::Active,
            deleting: false,
            max_concurrent_creates: 10,
            max_concurrent_deletes: 10,
            recycle: Recycle { ready_ttl_seconds: ttl, jitter_percent: 20 },
            recycle_before: None,
            disruption: Disruption::default(),
            rollout: Rollout { progress_deadline_seconds: 100, ..Rollout::default() },
            template_hash: None,
            forced: false,
            members: Vec::new(),
            claimed: 0,
            waiting: 0,
            launch_configs: vec![LaunchConfigView::unlimited("lc")],
        };
        let mut run = Self {
            view,
            machines: Vec::new(),
            template: Template(1, true),
            memory: Memory::default(),
            second: 0,
            boot: 7,
            born: 0,
            claims: 0,
            bought: 0,
            retired: 0,
            given_up: 0,
            failed: 0,
            fresh_deleted: 0,
            last: None,
        };
        for _ in 0..target {
            run.add(Standing::Ready);
        }
        run
    }

    fn add(&mut self, standing: Standing) {
        self.born += 1;
        self.view.members.push(CountedMember {
            uid: format!("3c0f5a52-0000-4000-8000-{:012}", self.born),
            standing,
            launch_config: "lc".into(),
            created: at(self.second),
            launched: None,
            ready_since: (standing == Standing::Ready).then(|| at(self.second)),
            outdated: false,
            hold: false,
            unanswered_since: None,
            billing: None,
            launch_config_ends: false,
            power: crate::pool::standby::Power::default(),
        });
        self.machines.push((self.template, self.second + 1));
    }

    fn count(&self, standing: Standing) -> i32 {
        i32::try_from(self.view.members.iter().filter(|member| member.standing == standing).count()).unwrap()
    }

    /// A claim takes a ready member, one of the current template first.
    fn claim(&mut self) -> bool {
        let ready = self.view.members.iter_mut().filter(|member| member.standing == Standing::Ready);
        let Some(member) = ready.min_by_key(|member| member.outdated) else { return false };
        member.standing = Standing::Claimed;
        self.claims += 1;
        true
    }

    /// The oldest claim ends.
    fn release(&mut self) {
        if let Some(n) = self.view.members.iter().position(|member| member.standing == Standing::Claimed) {
            self.end(n);
        }
    }

    fn end(&mut self, n: usize) {
        self.view.members[n].standing = Standing::Terminating;
        self.machines[n].1 = self.second + 3;
    }

    fn roll(&mut self, template: Template) {
        self.template = template;
    }

    /// Lets machines boot, fail and terminate.
    fn advance_machines(&mut self) {
        for n in 0..self.view.members.len() {
            let (template, due) = self.machines[n];
            let member = &mut self.view.members[n];
            if due > self.second {
                continue;
            }
            match member.standing {
                Standing::Pending => {
                    member.standing = Standing::Warming;
                    self.machines[n].1 = self.second + self.boot;
                }
                Standing::Warming if template.1 => {
                    member.standing = Standing::Ready;
                    member.ready_since = Some(at(self.second));
                }
                Standing::Warming => member.standing = Standing::Errored,
                _ => {}
            }
        }
        let over: Vec<bool> = (0..self.view.members.len())
            .map(|n| self.view.members[n].standing == Standing::Terminating && self.machines[n].1 <= self.second)
            .collect();
        let mut gone = over.iter();
        self.view.members.retain(|_| !gone.next().unwrap());
        let mut gone = over.iter();
        self.machines.retain(|_| !gone.next().unwrap());
    }

    /// One second: a pass is computed, checked and carried out.
    fn second(&mut self) {
        self.second += 1;
        self.advance_machines();
        self.pass();
    }

    fn pass(&mut self) {
        self.view.template_hash = Some(format!("template {}", self.template.0));
        for (member, machine) in self.view.members.iter_mut().zip(&self.machines) {
            member.outdated = machine.0 != self.template;
        }
        let now = at(self.second);
        let plan = replenish(&self.view, &self.memory, now);
        self.check(&plan, now);
        self.memory = plan.memory.clone();
        for uid in &plan.deletes {
            let n = self.view.members.iter().position(|member| member.uid == *uid).unwrap();
            let member = &self.view.members[n];
            match member.standing {
                Standing::Ready if member.outdated || is_old(&self.view, member, now) => self.retired += 1,
                Standing::Ready => self.fresh_deleted += 1,
                Standing::Errored => self.failed += 1,
                _ => self.given_up += 1,
            }
            self.end(n);
        }
        for _ in &plan.creates {
            self.add(Standing::Pending);
            self.bought += 1;
        }
        self.last = Some(plan);
    }

    /// Invariants 2, 4 and 6.
    fn check(&self, plan: &Replenishment, now: Timestamp) {
        let billable = self.view.members.len();
        if !plan.creates.is_empty() {
            assert!(billable + plan.creates.len() <= usize::try_from(self.view.max_size).unwrap(), "invariant 2");
        }
        let deleted = |standing: Standing| {
            let of = |member: &&CountedMember| member.standing == standing && plan.deletes.contains(&member.uid);
            i32::try_from(self.view.members.iter().filter(of).count()).unwrap()
        };
        assert_eq!(deleted(Standing::Claimed), 0, "invariant 4 at {now}");
        assert_eq!(deleted(Standing::Terminating), 0);
        let held = |member: &&CountedMember| member.hold && plan.deletes.contains(&member.uid);
        assert_eq!(self.view.members.iter().find(held), None, "a held member is never deleted");
        let target = plan.effective_target.size;
        // The floor, computed from the documentation and not by the code.
        let headroom = self.view.max_size - plan.counts.claimed - plan.kept > target;
        let may_miss = self.view.disruption.max_unavailable.max(i32::from(!headroom));
        // maxSize takes precedence over minSize: members beyond it are surplus.
        let floor = (target - may_miss).max(self.view.min_size.min(target));
        if deleted(Standing::Ready) > 0 && self.view.state != PoolState::Draining {
            let left = plan.counts.ready - deleted(Standing::Ready);
            assert!(left >= floor, "invariant 6 at {now}: {left} ready members are left, the floor is {floor}");
        }
    }

    fn run(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.second();
        }
    }

    /// Runs on, and returns the lowest number of ready members.
    fn fewest_ready(&mut self, seconds: i64) -> i32 {
        (0..seconds)
            .map(|_| {
                self.second();
                self.count(Standing::Ready)
            })
            .min()
            .unwrap()
    }

    fn all_current(&self) -> bool {
        self.view.members.iter().all(|member| !member.outdated || member.standing == Standing::Claimed)
    }

    fn phase(&self) -> RolloutPhase {
        self.last.as_ref().unwrap().rollout.phase
    }
}
