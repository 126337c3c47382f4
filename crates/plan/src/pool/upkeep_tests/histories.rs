//! Properties of whole runs of any pool.

use proptest::prelude::*;

use super::*;

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
    fn no_member_is_bought_and_given_up_again_in_a_loop(parts in any_run(), claims in 0..6_usize, seconds in 100..1_500_i64) {
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
        // Where minSize forbids it, the rollout never ends, and its condition has the reason.
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
fn a_time_far_in_the_future_does_not_panic() {
    let recycle = Recycle { ready_ttl_seconds: i32::MAX, jitter_percent: 50 };
    assert_eq!(expires_at("u", Timestamp::MAX, &recycle), Timestamp::MAX);
    assert!(expires_at("u", Timestamp::MIN, &recycle) > Timestamp::MIN + SignedDuration::from_secs(1));
}
