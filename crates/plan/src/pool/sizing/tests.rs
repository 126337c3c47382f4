//! Each rule of sizing alone; whole runs are in `upkeep_tests`.

use bullpen_api::{Disruption, Recycle, Rollout};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;
use crate::launch::placement::LaunchConfigView;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn members(standings: &[(Standing, usize)]) -> Vec<CountedMember> {
    let mut all = Vec::new();
    for (standing, count) in standings {
        for _ in 0..*count {
            let n = all.len();
            all.push(CountedMember {
                uid: format!("m{n}"),
                standing: *standing,
                launch_config: "lc".into(),
                created: at(i64::try_from(n).unwrap()),
                launched: None,
                ready_since: (*standing == Standing::Ready).then(|| at(i64::try_from(n).unwrap())),
                outdated: false,
                hold: false,
                unanswered_since: None,
                billing: None,
                launch_config_ends: false,
                power: crate::pool::standby::Power::default(),
            });
        }
    }
    all
}

pub(super) fn pool(target: i32, max: i32, standings: &[(Standing, usize)]) -> PoolView {
    PoolView {
        can_replace: true,
        standby: crate::pool::standby::StandbyTier::default(),
        target_size: target,
        autosized: None,
        scale_down_delay: SignedDuration::from_secs(30),
        scheduled: Scheduled::default(),
        max_size: max,
        state: PoolState::Active,
        deleting: false,
        min_size: 0,
        max_concurrent_creates: 1_000,
        max_concurrent_deletes: 10,
        recycle: Recycle::default(),
        recycle_before: None,
        disruption: Disruption::default(),
        rollout: Rollout::default(),
        template_hash: Some("present".into()),
        forced: false,
        members: members(standings),
        claimed: 0,
        waiting: 0,
        launch_configs: vec![LaunchConfigView::unlimited("lc")],
    }
}

pub(super) fn pass(pool: &PoolView) -> Replenishment {
    replenish(pool, &Memory::default(), at(100))
}

#[test]
fn a_launch_config_that_is_deleted_takes_its_members_along_only_if_nothing_can_replace_them() {
    use Standing::{Aside, Claimed, Quarantined, Ready, Warming};
    let mut pool = pool(3, 9, &[(Ready, 2), (Warming, 1), (Claimed, 1), (Aside, 2), (Quarantined, 1)]);
    pool.members[5].hold = true;
    assert!(pass(&pool).deletes.is_empty());
    for member in &mut pool.members {
        member.launch_config_ends = true;
    }
    assert!(pass(&pool).deletes.is_empty(), "another launch config can replace them first");
    pool.can_replace = false;
    assert_eq!(pass(&pool).deletes, ["m0", "m1", "m2", "m4"], "but for what a claim or a person keeps");
    pool.members[0].launch_config_ends = false;
    assert!(!pass(&pool).deletes.contains(&"m0".to_owned()), "it is of a launch config that stays");
}

#[test]
fn members_of_a_launch_config_that_is_deleted_are_replaced_even_if_others_go_only_anyway() {
    let mut pool = pool(2, 9, &[(Standing::Ready, 4)]);
    pool.rollout.type_ = bullpen_api::RolloutType::OnReplenish;
    for member in &mut pool.members[..2] {
        member.outdated = true;
    }
    let retired = |pool: &PoolView| pass(pool).deletes;
    assert!(retired(&pool).is_empty());
    pool.members[0].launch_config_ends = true;
    assert_eq!(retired(&pool), ["m0"]);
}

#[test]
fn claimed_members_do_not_count_toward_the_target() {
    let plan = pass(&pool(5, 20, &[(Standing::Ready, 2), (Standing::Claimed, 3)]));
    assert_eq!(plan.creates.len(), 3);
}

#[test]
fn members_in_flight_are_counted_exactly_once() {
    // 20 waiting claims with 10 machines booting need 10 more, not none.
    let mut waiting = pool(0, 100, &[(Standing::Warming, 10)]);
    waiting.waiting = 20;
    assert_eq!(pass(&waiting).creates.len(), 10);
    let booting = pool(5, 100, &[(Standing::Pending, 3)]);
    assert_eq!(pass(&booting).creates.len(), 2);
}

#[test]
fn everything_that_can_bill_counts_against_max_size() {
    let plan = pass(&pool(5, 8, &[(Standing::Claimed, 2), (Standing::Errored, 2), (Standing::Terminating, 2)]));
    assert_eq!(plan.creates.len(), 2);
    assert!(plan.limited_by_max_size);
}

#[test]
fn a_quarantined_member_bills_and_is_no_supply_and_is_never_given_up() {
    let plan = pass(&pool(2, 8, &[(Standing::Quarantined, 3), (Standing::Ready, 1)]));
    assert_eq!((plan.creates.len(), plan.counts.total, plan.counts.ready), (1, 4, 1));
    let mut emptying = pool(0, 8, &[(Standing::Quarantined, 3)]);
    emptying.state = PoolState::Draining;
    assert!(pass(&emptying).deletes.is_empty());
}

fn on(name: &str, size: i32) -> Scheduled {
    Scheduled { on: Some((name.into(), size)), until: Some(at(60)), ..Scheduled::default() }
}

#[test]
fn a_schedule_that_is_on_raises_the_target_up_to_max_size_and_lowers_none() {
    let decided = |target, max, size| {
        let mut pool = pool(target, max, &[(Standing::Claimed, 1)]);
        pool.scheduled = on("work", size);
        let plan = pass(&pool);
        assert_eq!(plan.look_again_at, Some(at(60)), "when it ends");
        let EffectiveTarget { size, source, schedule } = plan.effective_target;
        (size, source, schedule.is_some(), plan.creates.len())
    };
    assert_eq!(decided(2, 9, 6), (6, TargetSource::Schedule, true, 6));
    assert_eq!(decided(2, 5, 6), (4, TargetSource::MaxSize, true, 4));
    assert_eq!(decided(6, 9, 2), (6, TargetSource::Spec, false, 6));
}

#[test]
fn machines_of_a_schedule_that_ended_go_as_any_surplus_and_not_at_once() {
    let mut pool = pool(1, 9, &[(Standing::Ready, 3)]);
    pool.scheduled = on("work", 3);
    let memory = pass(&pool).memory;
    pool.scheduled = Scheduled::default();
    let ended = replenish(&pool, &memory, at(0));
    assert_eq!(ended.deletes, Vec::<String>::new());
    assert_eq!(replenish(&pool, &ended.memory, at(40)).deletes.len(), 2);
}

#[test]
fn lowering_max_size_below_the_target_clamps_it() {
    let plan = pass(&pool(10, 4, &[(Standing::Claimed, 1), (Standing::Ready, 3)]));
    assert_eq!(plan.effective_target, EffectiveTarget { size: 3, source: TargetSource::MaxSize, schedule: None });
    assert!(plan.creates.is_empty() && plan.deletes.is_empty());
}

#[test]
fn members_are_created_only_while_a_create_slot_is_free() {
    let mut view = pool(50, 100, &[(Standing::Pending, 7)]);
    view.max_concurrent_creates = 10;
    assert_eq!(pass(&view).creates.len(), 3);
}

/// A pool of two launch configs; of `lc` the pending members stay without an answer since the second 0.
fn beside_a_silent_cloud(target: i32, waiting: i32, pending: usize) -> PoolView {
    let mut view = pool(target, 100, &[(Standing::Pending, pending)]);
    for member in &mut view.members {
        member.unanswered_since = Some(at(0));
    }
    (view.waiting, view.max_concurrent_creates) = (waiting, 10);
    view.launch_configs.push(LaunchConfigView::unlimited("other"));
    view
}

fn bought(plan: &Replenishment, name: &str) -> usize {
    plan.creates.iter().filter(|created| *created == name).count()
}

#[test]
fn a_launch_config_whose_creates_are_not_answered_takes_no_slot_of_another() {
    let plan = replenish(&beside_a_silent_cloud(0, 40, 10), &Memory::default(), at(5));
    assert_eq!((bought(&plan, "lc"), bought(&plan, "other")), (0, 10));
}

#[test]
fn slots_are_kept_by_members_that_are_deleted_before_their_create_is_answered() {
    let mut view = beside_a_silent_cloud(0, 40, 10);
    for member in &mut view.members[..4] {
        member.standing = Standing::Terminating;
    }
    assert_eq!(bought(&pass(&view), "lc"), 0);
    view.members[0].unanswered_since = None;
    assert_eq!(bought(&pass(&view), "lc"), 1);
}

#[test]
fn a_pending_member_without_an_answer_for_ten_seconds_is_no_supply() {
    let view = beside_a_silent_cloud(0, 8, 8);
    let early = replenish(&view, &Memory::default(), at(9));
    assert_eq!((early.deficit, early.look_again_at), (0, Some(at(10))));
    let late = replenish(&view, &Memory::default(), at(10));
    assert_eq!((late.deficit, late.counts.pending, bought(&late, "lc"), bought(&late, "other")), (8, 8, 2, 6));
    let mut full = view;
    full.max_size = 8;
    assert!(replenish(&full, &Memory::default(), at(10)).creates.is_empty(), "it may bill all the same");
}

#[test]
fn a_pass_is_due_before_a_create_that_has_not_begun_could_be_without_an_answer_for_too_long() {
    assert_eq!(pass(&pool(1, 10, &[(Standing::Pending, 1)])).look_again_at, Some(at(110)));
}

#[test]
fn members_without_an_answer_that_nobody_needs_any_more_are_given_up() {
    let mut view = beside_a_silent_cloud(2, 0, 2);
    view.members.extend(members(&[(Standing::Ready, 2)]).into_iter().map(|mut member| {
        (member.uid, member.launch_config) = (format!("ready-{}", member.uid), "other".into());
        member
    }));
    let first = replenish(&view, &Memory { sizes: Some((2, 100)), ..Memory::default() }, at(20));
    assert_eq!((first.deficit, first.deletes.len()), (0, 0));
    assert_eq!(replenish(&view, &first.memory, at(50)).deletes, ["m1", "m0"]);
}

#[test]
fn the_share_of_a_launch_config_whose_members_do_not_come_up_goes_to_the_others() {
    let mut view = pool(20, 100, &[(Standing::Warming, 5)]);
    view.launch_configs = vec![
        LaunchConfigView { ramp: Some(0), members: 5, ..LaunchConfigView::unlimited("lc") },
        LaunchConfigView::unlimited("other"),
    ];
    let at_second = |second| replenish(&view, &Memory::default(), at(second));
    assert_eq!(bought(&at_second(30), "other"), 10, "the rest is kept: a boot takes a while");
    assert_eq!(bought(&at_second(60), "other"), 15);
    let mut waited_for = view.clone();
    (waited_for.target_size, waited_for.waiting) = (0, 20);
    assert_eq!(bought(&replenish(&waited_for, &Memory::default(), at(1)), "other"), 15, "claims wait for no ramp");
}

#[test]
fn a_paused_pool_buys_nothing_and_keeps_what_waiting_claims_will_need() {
    let mut view = pool(1, 100, &[(Standing::Ready, 3)]);
    view.state = PoolState::Paused;
    view.waiting = 2;
    let plan = pass(&view);
    assert!(plan.creates.is_empty());
    assert!(plan.deletes.is_empty());
    assert!(plan.look_again_at.is_none_or(|moment| moment > at(3_600)), "only its age is looked at");
}

#[test]
fn a_draining_pool_gives_up_warming_members_too_and_keeps_claimed_ones() {
    let mut view = pool(
        5,
        100,
        &[
            (Standing::Pending, 1),
            (Standing::Warming, 2),
            (Standing::Ready, 2),
            (Standing::Errored, 1),
            (Standing::Claimed, 2),
        ],
    );
    view.state = PoolState::Draining;
    view.waiting = 4;
    let plan = pass(&view);
    assert!(plan.creates.is_empty());
    assert_eq!(plan.deletes.len(), 6);
}

#[test]
fn a_surplus_from_a_lowered_target_goes_at_once() {
    let view = pool(2, 10, &[(Standing::Ready, 5)]);
    let before = Memory { sizes: Some((5, 10)), ..Memory::default() };
    let plan = replenish(&view, &before, at(0));
    assert_eq!(plan.deletes, ["m4", "m3", "m2"]);
}

#[test]
fn any_other_surplus_has_to_last_thirty_seconds() {
    let view = pool(2, 10, &[(Standing::Ready, 3)]);
    let first = replenish(&view, &Memory { sizes: Some((2, 10)), ..Memory::default() }, at(0));
    assert!(first.deletes.is_empty());
    assert_eq!(first.look_again_at, Some(at(30)));
    let early = replenish(&view, &first.memory, at(29));
    assert!(early.deletes.is_empty());
    assert_eq!(replenish(&view, &early.memory, at(30)).deletes, ["m2"]);
}

#[test]
fn a_surplus_that_was_interrupted_starts_anew() {
    let first =
        replenish(&pool(2, 10, &[(Standing::Ready, 3)]), &Memory { sizes: Some((2, 10)), ..Memory::default() }, at(0));
    let gone = replenish(&pool(2, 10, &[(Standing::Ready, 2)]), &first.memory, at(20));
    let again = replenish(&pool(2, 10, &[(Standing::Ready, 3)]), &gone.memory, at(31));
    assert!(again.deletes.is_empty());
}

#[test]
fn surplus_takes_pending_before_warming_before_ready() {
    let view = pool(1, 10, &[(Standing::Ready, 2), (Standing::Warming, 1), (Standing::Pending, 1)]);
    let plan = replenish(&view, &Memory { sizes: Some((4, 10)), ..Memory::default() }, at(0));
    assert_eq!(plan.deletes, ["m3", "m2", "m1"]);
}

#[test]
fn an_errored_member_is_given_up_in_the_same_pass_and_replaced() {
    let plan = pass(&pool(2, 10, &[(Standing::Ready, 1), (Standing::Errored, 1)]));
    assert_eq!((plan.deletes.as_slice(), plan.creates.len()), (["m1".to_owned()].as_slice(), 1));
}

/// With this `maxSize`, a pool of [`any_pool`] has room for its target whatever its claims do.
const ROOMY: i32 = 80;

fn any_standing() -> impl Strategy<Value = Standing> {
    prop_oneof![
        Just(Standing::Claimed),
        Just(Standing::Terminating),
        Just(Standing::Errored),
        Just(Standing::Aside),
        Just(Standing::Quarantined),
        Just(Standing::Ready),
        Just(Standing::Warming),
        Just(Standing::Pending),
    ]
}

prop_compose! {
    fn any_pool()(
        target in 0..40_i32,
        max in prop_oneof![0..40_i32, ROOMY..200_i32],
        state in prop_oneof![Just(PoolState::Active), Just(PoolState::Paused), Just(PoolState::Draining)],
        deleting in any::<bool>(),
        slots in 1..20_i32,
        standings in proptest::collection::vec((any_standing(), proptest::option::of(0..100_i64)), 0..40),
        waiting in 0..40_i32,
        caps in proptest::collection::vec(proptest::option::of(0..10_i32), 0..4),
    ) -> PoolView {
        let mut members = members(&standings.iter().map(|(standing, _)| (*standing, 1)).collect::<Vec<_>>());
        for (n, (member, (_, unanswered))) in members.iter_mut().zip(standings).enumerate() {
            member.launch_config = format!("lc{}", n % 4);
            member.unanswered_since = unanswered.map(at);
        }
        let launch_configs = caps.iter().enumerate()
            .map(|(n, cap)| LaunchConfigView { room: cap.map(i64::from), ..LaunchConfigView::unlimited(&format!("lc{n}")) })
            .collect();
        PoolView { state, deleting, max_concurrent_creates: slots, members, waiting, launch_configs, ..pool(target, max, &[]) }
    }
}

proptest! {
    #[test]
    fn of_claimed_members_only_the_number_matters(pool in any_pool()) {
        let mut counted = pool.clone();
        counted.members.retain(|member| member.standing != Standing::Claimed);
        counted.claimed = i32::try_from(pool.members.len() - counted.members.len()).unwrap();
        prop_assert_eq!(pass(&pool), pass(&counted));
    }

    #[test]
    fn invariant_2_what_can_bill_never_grows_past_max_size(pool in any_pool()) {
        let plan = pass(&pool);
        if !plan.creates.is_empty() {
            prop_assert!(pool.members.len() + plan.creates.len() <= usize::try_from(pool.max_size).unwrap());
        }
    }

    #[test]
    fn invariant_4_a_claimed_member_is_never_given_up(pool in any_pool(), fell in any::<bool>()) {
        let memory = Memory { sizes: fell.then_some((100, 100)), ..Memory::default() };
        for uid in replenish(&pool, &memory, at(0)).deletes {
            let member = pool.members.iter().find(|member| member.uid == uid).unwrap();
            prop_assert!(!matches!(member.standing, Standing::Claimed | Standing::Terminating));
        }
    }

    #[test]
    fn invariant_5_nothing_is_bought_unless_the_pool_is_active(pool in any_pool()) {
        if pool.deleting || pool.state != PoolState::Active {
            prop_assert!(pass(&pool).creates.is_empty());
        }
    }

    #[test]
    fn it_never_buys_and_gives_up_good_members_in_one_pass(pool in any_pool()) {
        let plan = replenish(&pool, &Memory { sizes: Some((100, 100)), ..Memory::default() }, at(0));
        let errored = pool.members.iter().filter(|member| member.standing == Standing::Errored).count();
        prop_assert!(plan.creates.is_empty() || plan.deletes.len() == errored);
    }

    #[test]
    fn pairing_a_waiting_claim_with_a_ready_member_changes_no_purchase(pool in any_pool()) {
        if let Some(after) = paired(&pool) {
            let (before, after) = (pass(&pool), pass(&after));
            prop_assert_eq!((before.deficit, before.creates), (after.deficit, after.creates));
        }
    }

    #[test]
    fn no_launch_config_has_more_creates_under_way_than_it_has_slots(pool in any_pool()) {
        let plan = pass(&pool);
        for view in &pool.launch_configs {
            let pending = |member: &&CountedMember| member.launch_config == view.name && member.takes_slot();
            let under_way = pool.members.iter().filter(pending).count();
            let more = bought(&plan, &view.name);
            prop_assert!(more == 0 || under_way + more <= usize::try_from(pool.max_concurrent_creates).unwrap());
        }
    }

    #[test]
    fn each_member_counts_once(pool in any_pool()) {
        let counts = count(&pool.members);
        let sum = counts.pending + counts.warming + counts.ready + counts.claimed + counts.errored + counts.terminating;
        let aside = |member: &&CountedMember| matches!(member.standing, Standing::Aside | Standing::Quarantined);
        let aside = i32::try_from(pool.members.iter().filter(aside).count()).unwrap();
        prop_assert_eq!(sum + aside, counts.total);
    }
}

/// The pool after a waiting claim got a ready member; `None` if none can, or if `maxSize` may change its target.
fn paired(pool: &PoolView) -> Option<PoolView> {
    let mut after = pool.clone();
    let member = after.members.iter_mut().find(|member| member.standing == Standing::Ready)?;
    member.standing = Standing::Claimed;
    after.waiting -= 1;
    (pool.waiting > 0 && pool.max_size >= ROOMY).then_some(after)
}

/// A property of pools that are never drawn holds whatever the code does.
#[test]
fn the_pools_that_properties_are_about_are_drawn_often() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut drawn = || any_pool().new_tree(&mut runner).unwrap().current();
    let pools: Vec<PoolView> = (0..512).map(|_| drawn()).collect();
    let often = |what: &str, is: &dyn Fn(&PoolView) -> bool| {
        let count = pools.iter().filter(|pool| is(pool)).count();
        assert!(count >= 10, "{what}: {count} of 512");
    };
    let buys = |pool: &PoolView| !pass(pool).creates.is_empty();
    let gives_up = |pool: &PoolView| {
        let plan = replenish(pool, &Memory { sizes: Some((100, 100)), ..Memory::default() }, at(0));
        let errored = pool.members.iter().filter(|member| member.standing == Standing::Errored).count();
        plan.deletes.len() > errored
    };
    often("buys", &buys);
    often("buys up to maxSize", &|pool| buys(pool) && pass(pool).limited_by_max_size);
    often("gives up good members", &gives_up);
    often("has claimed members and gives up others", &|pool| gives_up(pool) && count(&pool.members).claimed > 0);
    often("would buy if it were active", &|pool| {
        let active = PoolView { state: PoolState::Active, deleting: false, ..pool.clone() };
        !buys(pool) && buys(&active)
    });
    often("pairs a claim while it buys", &|pool| paired(pool).is_some() && buys(pool));
    often("fills the slots of a launch config", &|pool| {
        let slots = usize::try_from(pool.max_concurrent_creates).unwrap();
        pool.launch_configs.iter().any(|view| {
            let pending = |member: &&CountedMember| member.launch_config == view.name && member.takes_slot();
            let more = bought(&pass(pool), &view.name);
            more > 0 && pool.members.iter().filter(pending).count() + more == slots
        })
    });
}
