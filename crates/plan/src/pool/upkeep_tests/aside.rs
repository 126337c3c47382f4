//! Members that are set aside, forced passes, and surplus.

use super::*;

#[test]
fn members_set_aside_bill_and_are_replaced_and_stay_until_they_are_released() {
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
