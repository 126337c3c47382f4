//! Demand that goes away before its machine is ready, and comes again.

use proptest::prelude::*;

use super::*;

/// A pool without a target, whose machines take so long to boot.
fn on_demand(boot: i64) -> Run {
    let mut run = Run::begin(0, 9, 1_000_000);
    run.boot = boot;
    run
}

/// A claim that waits so long at most. Returns whether it got a machine.
fn claim_with_patience(run: &mut Run, seconds: i64) -> bool {
    run.view.waiting = 1;
    let served = (0..seconds).any(|_| {
        run.second();
        run.claim()
    });
    run.view.waiting = 0;
    served
}

/// Claims that come every so many seconds. Returns which of them is the first to get a machine.
fn first_served(run: &mut Run, patience: i64, every: i64, claims: usize) -> Option<usize> {
    (1..=claims).find(|_| {
        let served = claim_with_patience(run, patience);
        if !served {
            run.run(every - patience);
        }
        served
    })
}

#[test]
fn claims_that_wait_for_less_than_a_boot_and_come_again_are_served() {
    assert_eq!(first_served(&mut on_demand(60), 20, 75, 10), Some(2));
    assert_eq!(first_served(&mut on_demand(60), 20, 55, 10), Some(2));
    let mut run = on_demand(40);
    assert!(!claim_with_patience(&mut run, 5));
    run.run(33);
    assert!(claim_with_patience(&mut run, 12));
    assert_eq!(run.bought, 1);
}

#[test]
fn a_machine_that_nobody_came_back_for_costs_no_more_than_two_boots() {
    for boot in [1, 20, 60, 600] {
        let mut run = on_demand(boot);
        claim_with_patience(&mut run, 1.max(boot / 10));
        let lived = (0..10_000).take_while(|_| {
            run.second();
            run.count(Standing::Warming) + run.count(Standing::Ready) > 0
        });
        let (lived, most) = (lived.count(), 2 * boot.max(30) + 5);
        assert!(lived <= usize::try_from(most).unwrap(), "a boot takes {boot} s, and it lived for {lived} s");
        assert_eq!((run.bought, run.view.members.len().min(1)), (1, run.view.members.len()));
        run.run(60);
        assert!(run.view.members.is_empty(), "without demand the pool comes to nothing");
    }
}

#[test]
fn a_person_who_lowers_a_size_or_asks_for_a_pass_does_not_wait_for_boots() {
    let mut run = on_demand(600);
    claim_with_patience(&mut run, 5);
    run.view.forced = true;
    run.second();
    assert_eq!(run.count(Standing::Warming), 0);
    let mut run = Run::begin(0, 9, 1_000_000);
    (run.boot, run.view.target_size) = (600, 3);
    run.run(10);
    run.view.target_size = 1;
    run.second();
    assert_eq!(run.count(Standing::Warming), 1);
}

proptest! {
    #[test]
    fn whoever_comes_again_within_two_boots_is_served(boot in 2..200_i64, patience in 1..200_i64, every in 1..400_i64) {
        let every = every.min(2 * boot);
        let patience = patience.min(every);
        let claims = usize::try_from(2 * boot / every + 2).unwrap();
        let served = first_served(&mut on_demand(boot), patience, every, claims);
        prop_assert!(served.is_some(), "boot {boot}, patience {patience}, every {every}, {claims} claims");
    }
}
