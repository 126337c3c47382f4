//! Members past their age, also in draining and paused pools.

use super::*;

#[test]
fn members_that_became_ready_together_never_leave_the_pool_short() {
    for jitter_percent in [0, 20] {
        let mut run = Run::begin(10, 20, 500);
        run.view.recycle.jitter_percent = jitter_percent;
        assert_eq!(run.fewest_ready(1_500), 10);
        assert!(run.retired >= 20, "all of them were recycled more than once: {}", run.retired);
        assert_eq!(run.fresh_deleted + run.given_up, 0);
    }
}

#[test]
fn members_that_became_ready_together_expire_apart_and_never_late() {
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
fn a_long_absence_of_the_operator_does_not_replace_all_members_at_once() {
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
fn a_request_replaces_every_ready_member_once_within_the_budget() {
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
fn a_request_for_a_future_time_applies_from_that_time() {
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
fn min_size_is_hard_and_a_lowered_target_takes_ready_members_away() {
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
fn members_that_never_become_ready_do_not_hide_the_deficit() {
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
fn a_draining_pool_buys_nothing_ever() {
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
fn a_paused_pool_recycles_only_as_far_as_the_floor_allows() {
    let mut run = Run::begin(5, 20, 50);
    run.view.state = PoolState::Paused;
    assert_eq!(run.fewest_ready(300), 5, "nothing could replace them");
    assert_eq!(run.bought, 0);
}
