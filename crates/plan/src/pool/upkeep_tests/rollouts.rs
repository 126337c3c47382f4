//! Members of an older template.

use super::*;

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
fn on_replenish_keeps_members_of_an_older_template_until_they_leave_anyway() {
    let mut run = Run::begin(4, 20, 100_000);
    run.view.rollout.type_ = RolloutType::OnReplenish;
    run.roll(Template(2, true));
    run.run(500);
    assert_eq!((run.bought, run.retired), (0, 0));
    assert_eq!(run.phase(), RolloutPhase::OnReplenish);
    run.claim();
    run.run(20);
    assert_eq!(run.last.as_ref().unwrap().rollout.updated_ready, 1);
    run.view.recycle.ready_ttl_seconds = 1_000;
    assert_eq!(run.fewest_ready(2_000), 4);
    assert!(run.all_current(), "their age takes them");
}

#[test]
fn a_template_that_never_becomes_ready_pauses_the_rollout_with_every_old_member_ready() {
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
fn a_stuck_rollout_continues_when_its_machines_become_ready_after_all() {
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
fn a_paused_rollout_keeps_old_members_past_their_age_and_one_that_continues_does_not() {
    for (on_failure, paused) in [(RolloutFailure::Pause, true), (RolloutFailure::Continue, false)] {
        let mut run = Run::begin(4, 20, 300);
        run.view.rollout.on_failure = on_failure;
        run.roll(Template(2, false));
        run.run(120);
        assert_eq!((run.phase(), run.retired), (RolloutPhase::Stuck { paused }, 0));
        // From here on two may be deleted without a replacement, and soon all are past their age.
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
        // After a restart only the status is left.
        let progress = run.memory.rollout.take().unwrap();
        run.memory = Memory { rollout: Some(Progress { outdated: None, ..progress }), ..Memory::default() };
    }
    assert_eq!(run.phase(), RolloutPhase::Stuck { paused: true });
}

#[test]
fn a_pause_of_the_pool_restarts_the_progress_deadline() {
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
fn while_the_current_template_is_unknown_a_rollout_keeps_its_progress_time() {
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
