//! Whole runs of a pool through its recycling and its rollouts, second by second, on machines that boot and end in
//! their own time. Each second is checked.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::placement::LaunchConfigView;
use super::recycle::{expires_at, is_old, requested_before};
use super::replenish::{CountedMember, Memory, PoolView, Replenishment, Standing, replenish};
use super::rollout::{Progress, RolloutPhase};
use crate::api::{Disruption, PoolState, Recycle, Rollout, RolloutFailure, RolloutType};

/// A template: its number, and whether machines of it come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Template(u32, bool);

/// A pool, its machines, and a count of what became of them.
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
    /// A pool whose members are all ready since the same moment.
    fn begin(target: i32, max: i32, ttl: i32) -> Self {
        let view = PoolView {
            target_size: target,
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
            ready_since: (standing == Standing::Ready).then(|| at(self.second)),
            outdated: false,
            hold: false,
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

    /// Machines boot, fail and end.
    fn let_machines_live(&mut self) {
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

    /// One second, and one pass that is checked and done.
    fn second(&mut self) {
        self.second += 1;
        self.let_machines_live();
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
        // The floor once more, from the design and not from the code.
        let headroom = self.view.max_size - plan.counts.claimed - plan.kept > target;
        let may_miss = self.view.disruption.max_unavailable.max(i32::from(!headroom));
        // maxSize is harder than minSize: what it takes away is surplus.
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

    /// Runs on, and gives the fewest ready members that there ever were.
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

#[test]
fn pw_5_members_that_became_ready_together_never_leave_the_pool_short() {
    for jitter_percent in [0, 20] {
        let mut run = Run::begin(10, 20, 500);
        run.view.recycle.jitter_percent = jitter_percent;
        assert_eq!(run.fewest_ready(1_500), 10);
        assert!(run.retired >= 20, "all of them were recycled more than once: {}", run.retired);
        assert_eq!(run.fresh_deleted + run.given_up, 0);
    }
}

#[test]
fn pw_5_members_that_became_ready_together_expire_apart_and_never_late() {
    let recycle = Recycle { ready_ttl_seconds: 14_400, jitter_percent: 20 };
    let mut lives: Vec<i64> = (0..1_000)
        .map(|n| {
            let uid = format!("8d0e0f5c-7a51-4a36-9c6e-{n:012x}");
            assert_eq!(expires_at(&uid, at(0), &recycle), expires_at(&uid, at(0), &recycle));
            expires_at(&uid, at(0), &recycle).duration_since(at(0)).as_secs()
        })
        .collect();
    lives.sort_unstable();
    assert!(lives[0] >= 11_520 && lives[999] <= 14_400, "{} to {}", lives[0], lives[999]);
    // Within any tenth of the jitter, 288 s, no more than a fifth of them expire.
    let crowd = lives.windows(200).map(|window| window[199] - window[0]).min().unwrap();
    assert!(crowd > 288, "200 of 1000 expire within {crowd} s");
}

#[test]
fn pw_6_a_long_absence_of_the_operator_makes_no_herd() {
    let mut run = Run::begin(8, 20, 100);
    run.run(10);
    // Away for an hour: every member is past its age, and nothing is remembered.
    run.second += 3_600;
    run.memory = Memory::default();
    run.pass();
    assert_eq!((run.retired, run.bought), (0, 1), "one replacement is bought, and nobody goes before it is ready");
    assert_eq!(run.fewest_ready(60), 8);
}

#[test]
fn p_44_a_person_has_every_ready_member_replaced_once_within_the_budget() {
    let mut run = Run::begin(6, 20, 100_000);
    run.run(5);
    run.claim();
    run.run(20);
    run.view.recycle_before = requested_before(&at(run.second).to_string());
    let ready = run.count(Standing::Ready);
    assert_eq!(run.fewest_ready(300), ready, "each replacement is ready before its predecessor goes");
    assert_eq!((run.retired, run.fresh_deleted), (6, 0), "all of them, and none a second time");
    assert_eq!(run.count(Standing::Claimed), 1);
    let later = run.retired;
    run.run(300);
    assert_eq!(run.retired, later);
}

#[test]
fn p_44_a_request_that_lies_ahead_comes_into_force_in_its_time() {
    let mut run = Run::begin(3, 20, 100_000);
    run.run(5);
    let then = run.second + 50;
    run.view.recycle_before = Some(at(then));
    run.run(40);
    assert_eq!(run.retired, 0);
    assert_eq!(run.last.as_ref().unwrap().look_again_at, Some(at(then)));
    run.run(200);
    assert_eq!((run.retired, run.count(Standing::Ready)), (3, 3));
    assert_eq!(requested_before("soon"), None);
    assert_eq!(requested_before("2026-01-01T00:00:00Z"), Some("2026-01-01T00:00:00Z".parse().unwrap()));
}

#[test]
fn pw_7_min_size_is_hard_and_a_lowered_target_takes_ready_members_away() {
    let mut run = Run::begin(4, 4, 100);
    run.view.min_size = 4;
    assert_eq!(run.fewest_ready(400), 4);
    assert!(run.last.as_ref().unwrap().recycling_forbidden);
    run.view.min_size = 3;
    assert_eq!(run.fewest_ready(100), 3, "without room for a surge one may be missing");
    assert!(run.retired > 0 && !run.last.as_ref().unwrap().recycling_forbidden);
    let mut lowered = Run::begin(6, 10, 10_000);
    lowered.run(5);
    lowered.view.target_size = 2;
    lowered.run(5);
    assert_eq!(lowered.count(Standing::Ready), 2);
}

#[test]
fn p_27_members_that_never_come_up_do_not_hide_the_deficit() {
    let mut run = Run::begin(0, 20, 10_000);
    run.view.target_size = 5;
    run.boot = 1_000_000;
    run.run(3);
    assert_eq!(run.count(Standing::Warming), 5);
    run.roll(Template(2, true));
    run.second();
    assert_eq!((run.given_up, run.bought), (5, 10), "given up and replaced in one pass");
}

#[test]
fn p_46_a_draining_pool_buys_nothing_ever() {
    let mut run = Run::begin(5, 20, 50);
    run.run(20);
    run.claim();
    run.view.state = PoolState::Draining;
    let bought = run.bought;
    run.run(500);
    assert_eq!(run.bought, bought);
    assert_eq!((run.view.members.len(), run.count(Standing::Claimed)), (1, 1));
}

#[test]
fn p_47_a_paused_pool_goes_on_recycling_only_where_the_floor_lets_it() {
    let mut run = Run::begin(5, 20, 50);
    run.view.state = PoolState::Paused;
    assert_eq!(run.fewest_ready(300), 5, "nothing could replace them");
    assert_eq!(run.bought, 0);
}

#[test]
fn a_new_template_reaches_every_unclaimed_member_and_no_claimed_one() {
    let mut run = Run::begin(6, 20, 100_000);
    run.claim();
    run.run(20);
    run.roll(Template(2, true));
    assert_eq!(run.fewest_ready(200), 6);
    assert!(run.all_current());
    assert_eq!(run.phase(), RolloutPhase::Done);
    assert_eq!((run.count(Standing::Claimed), run.retired, run.fresh_deleted), (1, 6, 0));
    assert_eq!(run.bought, 7, "one for the claim, and one for each member");
}

#[test]
fn on_replenish_leaves_members_of_an_older_template_until_they_go_anyway() {
    let mut run = Run::begin(4, 20, 100_000);
    run.view.rollout.type_ = RolloutType::OnReplenish;
    run.roll(Template(2, true));
    run.run(500);
    assert_eq!((run.bought, run.retired), (0, 0));
    assert_eq!(run.phase(), RolloutPhase::AsTheyGo);
    run.claim();
    run.run(20);
    assert_eq!(run.last.as_ref().unwrap().rollout.updated_ready, 1);
    run.view.recycle.ready_ttl_seconds = 1_000;
    assert_eq!(run.fewest_ready(2_000), 4);
    assert!(run.all_current(), "their age takes them");
}

#[test]
fn a_template_that_never_comes_up_pauses_the_rollout_with_every_old_member_ready() {
    let mut run = Run::begin(4, 20, 100_000);
    run.roll(Template(2, false));
    assert_eq!(run.fewest_ready(90), 4);
    assert_eq!(run.phase(), RolloutPhase::Replacing);
    assert_eq!(run.fewest_ready(500), 4);
    assert_eq!((run.phase(), run.retired), (RolloutPhase::Stuck { paused: true }, 0));
    run.roll(Template(3, true));
    run.second();
    assert_eq!(run.phase(), RolloutPhase::Replacing, "another template has a deadline of its own");
    assert_eq!(run.fewest_ready(200), 4);
    assert!(run.all_current());
}

#[test]
fn a_stuck_rollout_goes_on_by_itself_when_its_machines_come_up_after_all() {
    let mut run = Run::begin(4, 20, 100_000);
    run.boot = 300;
    run.roll(Template(2, true));
    run.run(150);
    assert_eq!(run.phase(), RolloutPhase::Stuck { paused: true });
    run.boot = 5;
    assert_eq!(run.fewest_ready(400), 4);
    assert!(run.all_current(), "{:?}", run.phase());
}

#[test]
fn a_paused_rollout_keeps_old_members_past_their_age_and_one_that_continues_says_so_only() {
    for (on_failure, paused) in [(RolloutFailure::Pause, true), (RolloutFailure::Continue, false)] {
        let mut run = Run::begin(4, 20, 300);
        run.view.rollout.on_failure = on_failure;
        run.roll(Template(2, false));
        run.run(120);
        assert_eq!((run.phase(), run.retired), (RolloutPhase::Stuck { paused }, 0));
        // From here on two may go without a replacement, and soon all are past their age.
        run.view.disruption.max_unavailable = 2;
        run.run(400);
        assert_eq!(run.retired, if paused { 0 } else { 2 });
    }
}

#[test]
fn a_restart_does_not_give_a_stuck_rollout_another_deadline() {
    let mut run = Run::begin(4, 20, 100_000);
    run.roll(Template(2, false));
    for _ in 0..30 {
        run.run(5);
        // What the status tells of it is all that is left.
        let progress = run.memory.rollout.take().unwrap();
        run.memory = Memory { rollout: Some(Progress { outdated: None, ..progress }), ..Memory::default() };
    }
    assert_eq!(run.phase(), RolloutPhase::Stuck { paused: true });
}

#[test]
fn a_pause_of_the_pool_is_not_the_fault_of_its_template() {
    let mut run = Run::begin(4, 20, 100_000);
    run.roll(Template(2, true));
    run.view.state = PoolState::Paused;
    run.run(500);
    assert_eq!(run.phase(), RolloutPhase::Replacing);
    run.view.state = PoolState::Active;
    run.second();
    assert_eq!(run.phase(), RolloutPhase::Replacing);
    run.run(200);
    assert!(run.all_current());
}

#[test]
fn while_nobody_knows_what_a_new_member_would_be_a_rollout_keeps_its_time() {
    let mut run = Run::begin(4, 20, 100_000);
    run.roll(Template(2, false));
    run.run(50);
    let before = run.memory.rollout.clone();
    let mut view = run.view.clone();
    view.template_hash = None;
    for member in &mut view.members {
        member.outdated = false;
    }
    let plan = replenish(&view, &run.memory, at(60));
    assert_eq!((plan.rollout.phase, plan.rollout.updated_ready), (RolloutPhase::Unknown, 0));
    assert!(before.is_some() && plan.memory.rollout == before);
}

#[test]
fn members_set_aside_bill_and_are_replaced_and_stay_until_they_are_let_go() {
    let mut run = Run::begin(4, 5, 100_000);
    run.view.members[0].standing = Standing::Aside;
    run.view.members[1].standing = Standing::Aside;
    run.view.members[1].hold = true;
    run.run(30);
    let plan = run.last.clone().unwrap();
    assert_eq!((plan.effective_target.size, plan.counts.ready, plan.counts.total, plan.kept), (3, 3, 5, 2));
    run.view.state = PoolState::Draining;
    run.run(10);
    assert_eq!(
        (run.view.members.len(), run.view.members[0].hold),
        (1, true),
        "a cordoned one drains, a held one waits"
    );
    run.view.members[0].hold = false;
    run.run(10);
    assert!(run.view.members.is_empty());
}

#[test]
fn a_held_member_that_failed_is_kept() {
    let mut run = Run::begin(2, 20, 100_000);
    run.view.members[0].standing = Standing::Errored;
    run.view.members[0].hold = true;
    run.run(50);
    assert_eq!((run.count(Standing::Errored), run.count(Standing::Ready)), (1, 2));
    run.view.members[0].hold = false;
    run.run(5);
    assert_eq!(run.count(Standing::Errored), 0);
}

#[test]
fn a_forced_pass_does_not_wait_out_a_surplus() {
    let mut run = Run::begin(5, 20, 100_000);
    run.run(1);
    run.add(Standing::Ready);
    run.run(2);
    assert_eq!(run.count(Standing::Ready), 6);
    run.view.forced = true;
    run.second();
    assert_eq!(run.count(Standing::Ready), 5);
}

#[test]
fn surplus_takes_stale_ready_members_before_fresh_ones() {
    let mut run = Run::begin(3, 20, 100_000);
    run.view.rollout.type_ = RolloutType::OnReplenish;
    run.run(1);
    run.machines[1].0 = Template(9, true);
    run.view.target_size = 2;
    run.second();
    assert!(run.view.members[1].standing == Standing::Terminating && run.retired == 1);
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Claim,
    Release,
    Roll,
    RollBack,
    Wait(i64),
    Restart,
    HoldOne,
    LetGo,
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Claim),
        3 => Just(Act::Release),
        1 => Just(Act::Roll),
        1 => Just(Act::RollBack),
        6 => (1..120_i64).prop_map(Act::Wait),
        1 => Just(Act::Restart),
        1 => Just(Act::HoldOne),
        1 => Just(Act::LetGo),
    ]
}

fn act(run: &mut Run, act: Act) {
    match act {
        Act::Claim => drop(run.claim()),
        Act::Release => run.release(),
        Act::Roll => run.roll(Template(run.template.0 + 1, true)),
        Act::RollBack => run.roll(Template(run.template.0.saturating_sub(1).max(1), true)),
        Act::Wait(seconds) => run.run(seconds),
        Act::Restart => run.memory = Memory::default(),
        Act::HoldOne => {
            let ready = run.view.members.iter_mut().find(|member| member.standing == Standing::Ready);
            if let Some(member) = ready {
                (member.standing, member.hold) = (Standing::Aside, true);
            }
        }
        Act::LetGo => {
            for member in run.view.members.iter_mut().filter(|member| member.standing == Standing::Aside) {
                (member.standing, member.hold) = (Standing::Ready, false);
            }
        }
    }
}

prop_compose! {
    fn any_run()(
        target in 1..12_i32,
        room in 0..8_i32,
        min in 0..12_i32,
        ttl in 30..400_i32,
        jitter in 0..=50_i32,
        (surge, unavailable) in (0..4_i32, 0..4_i32).prop_filter("sum", |(surge, unavailable)| surge + unavailable > 0),
        boot in 1..40_i64,
    ) -> (i32, i32, i32, Recycle, Disruption, i64) {
        let recycle = Recycle { ready_ttl_seconds: ttl, jitter_percent: jitter };
        let disruption = Disruption { max_surge: surge, max_unavailable: unavailable };
        (target, target + room, min.min(target), recycle, disruption, boot)
    }
}

fn begin((target, max, min, recycle, disruption, boot): (i32, i32, i32, Recycle, Disruption, i64)) -> Run {
    let mut run = Run::begin(target, max, 1);
    run.view.min_size = min;
    run.view.recycle = recycle;
    run.view.disruption = disruption;
    run.boot = boot;
    run
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// `check` asserts it in every second.
    #[test]
    fn invariants_2_4_and_6_hold_in_every_second_of_a_run(parts in any_run(), acts in proptest::collection::vec(any_act(), 0..25)) {
        let mut run = begin(parts);
        for next in acts {
            act(&mut run, next);
        }
        run.run(50);
    }

    #[test]
    fn nothing_is_bought_and_given_up_again_in_a_circle(parts in any_run(), claims in 0..6_usize, seconds in 100..1_500_i64) {
        let mut run = begin(parts);
        run.view.max_size += 40;
        for _ in 0..claims {
            run.run(seconds / 8);
            run.claim();
        }
        run.run(seconds);
        prop_assert_eq!((run.fresh_deleted, run.given_up, run.failed), (0, 0, 0));
        let surge = usize::try_from(run.view.disruption.max_surge).unwrap();
        prop_assert!(run.bought <= run.claims + run.retired + surge, "{} bought, {} claimed, {} retired", run.bought, run.claims, run.retired);
    }

    #[test]
    fn with_room_for_a_surge_and_nothing_unavailable_the_pool_is_never_short(parts in any_run(), seconds in 100..1_500_i64) {
        let mut run = begin(parts);
        run.view.disruption = Disruption { max_surge: run.view.disruption.max_surge.max(1), max_unavailable: 0 };
        run.view.max_size += 20;
        let target = run.view.target_size;
        prop_assert_eq!(run.fewest_ready(seconds), target);
    }

    #[test]
    fn a_rollout_ends_with_every_member_current_and_the_target_ready(parts in any_run()) {
        let mut run = begin(parts);
        run.view.recycle.ready_ttl_seconds = 1_000_000;
        let target = run.view.target_size;
        // Where minSize forbids it, it never ends, and says so.
        run.view.min_size = run.view.min_size.min(target - 1);
        if run.view.disruption.max_unavailable == 0 || run.view.disruption.max_surge == 0 {
            run.view.max_size = run.view.max_size.max(target + 1);
        }
        run.run(5);
        run.roll(Template(2, true));
        run.run(i64::from(target) * (run.boot + 10) + 60);
        prop_assert!(run.all_current(), "{:?}", run.last);
        prop_assert_eq!(run.count(Standing::Ready), target);
        prop_assert_eq!(run.phase(), RolloutPhase::Done);
    }
}

#[test]
fn a_moment_far_in_the_future_is_no_panic() {
    let recycle = Recycle { ready_ttl_seconds: i32::MAX, jitter_percent: 50 };
    assert_eq!(expires_at("u", Timestamp::MAX, &recycle), Timestamp::MAX);
    assert!(expires_at("u", Timestamp::MIN, &recycle) > Timestamp::MIN + SignedDuration::from_secs(1));
}
