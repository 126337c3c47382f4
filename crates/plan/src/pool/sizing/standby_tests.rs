//! The standby tier beside the ready tier.

use bullpen_api::{Reason, StandbyMode};
use proptest::prelude::*;

use super::tests::{at, pass, pool};
use super::*;
use crate::pool::standby::{Power, StandbyTier, standby_filled};

/// A pool that wants so many members on standby, and whose provider can stop machines.
pub(super) fn with_standby(target: i32, max: i32, size: i32, standings: &[(Standing, usize)]) -> PoolView {
    let mut pool = pool(target, max, standings);
    pool.standby =
        StandbyTier { size: Some(size), launch_configs: vec!["lc".into()], usable: true, ..StandbyTier::default() };
    for member in &mut pool.members {
        member.power = Power { can_stop: true, ..Power::default() };
        if matches!(member.standing, Standing::Standby | Standing::Stopping) {
            member.ready_since = Some(member.created);
        }
    }
    pool
}

pub(super) fn planned(pool: &PoolView) -> (usize, Vec<String>, Vec<String>, Vec<String>) {
    let plan = pass(pool);
    (plan.creates.len(), plan.starts, plan.stops, plan.deletes)
}

pub(super) fn uids(numbers: &[usize]) -> Vec<String> {
    numbers.iter().map(|number| format!("m{number}")).collect()
}

#[test]
fn a_deficit_starts_standby_members_before_anything_is_bought() {
    let pool = with_standby(5, 20, 2, &[(Standing::Ready, 1), (Standing::Standby, 2), (Standing::Stopping, 1)]);
    assert_eq!(planned(&pool), (2, uids(&[1, 2]), vec![], vec![]));
    assert_eq!(pass(&pool).deficit, 2);
    let one = with_standby(2, 20, 2, &[(Standing::Ready, 1), (Standing::Standby, 2)]);
    assert_eq!(planned(&one), (0, uids(&[1]), vec![], vec![]), "the standby tier is filled once the other one is");
}

#[test]
fn members_that_boot_for_the_first_time_keep_no_standby_member_from_being_started() {
    use Standing::{Ready, Standby, Warming};
    let mut pool = with_standby(3, 20, 2, &[(Ready, 1), (Warming, 2), (Standby, 2)]);
    assert_eq!(planned(&pool), (0, uids(&[3, 4]), vec![], vec![]), "nothing is bought, and nothing given up");
    for member in &mut pool.members[1..3] {
        member.power.ran_before = true;
    }
    assert_eq!(planned(&pool), (0, vec![], vec![], vec![]), "two are about to be ready");
    // Those that were started are there, and the others come up: they are for the tier.
    let mut later = with_standby(3, 20, 2, &[(Ready, 1), (Warming, 2), (Warming, 2)]);
    for member in &mut later.members[3..] {
        member.power.ran_before = true;
    }
    assert_eq!(planned(&later), (0, vec![], vec![], vec![]));
}

#[test]
fn the_standby_tier_is_filled_after_the_ready_tier_by_members_that_boot_and_are_then_stopped() {
    use Standing::{Pending, Ready, Standby, Stopping, Warming};
    assert_eq!(planned(&with_standby(3, 20, 2, &[(Ready, 1)])).0, 2, "the ready tier first");
    assert_eq!(planned(&with_standby(3, 20, 2, &[(Ready, 1), (Warming, 2)])).0, 2);
    let bought = with_standby(3, 20, 2, &[(Ready, 3), (Warming, 1), (Pending, 1)]);
    assert_eq!(planned(&bought), (0, vec![], vec![], vec![]), "they are no surplus");
    assert_eq!(planned(&with_standby(3, 20, 2, &[(Ready, 5)])), (0, vec![], uids(&[4, 3]), vec![]), "the youngest");
    assert_eq!(planned(&with_standby(3, 20, 2, &[(Ready, 3), (Stopping, 1), (Standby, 1)])).0, 0);
    assert!(planned(&with_standby(3, 20, 2, &[(Ready, 3), (Warming, 2)])).2.is_empty(), "these are needed");
}

#[test]
fn standby_members_count_against_max_size_and_get_what_it_leaves() {
    use Standing::{Claimed, Ready, Standby};
    assert_eq!(planned(&with_standby(3, 5, 4, &[(Ready, 3)])).0, 2);
    assert_eq!(planned(&with_standby(3, 5, 4, &[(Ready, 3), (Standby, 2)])).0, 0);
    let full = with_standby(3, 5, 2, &[(Claimed, 3), (Standby, 2)]);
    assert_eq!(planned(&full), (0, uids(&[3, 4]), vec![], vec![]));
}

#[test]
fn a_lowered_max_size_ends_the_standby_members_that_it_has_no_room_for() {
    use Standing::{Claimed, Ready, Standby, Stopping, Terminating};
    assert_eq!(planned(&with_standby(1, 3, 3, &[(Ready, 1), (Standby, 3)])).3, uids(&[3]), "the youngest");
    assert_eq!(planned(&with_standby(1, 2, 3, &[(Claimed, 3), (Standby, 2)])).3, uids(&[4, 3]));
    let going = with_standby(1, 3, 3, &[(Ready, 1), (Standby, 2), (Terminating, 1)]);
    assert_eq!(planned(&going).3, uids(&[]), "one goes already");
    let all = with_standby(1, 1, 3, &[(Ready, 1), (Standby, 1), (Stopping, 1)]);
    assert_eq!(planned(&all).3, uids(&[2, 1]));
    let mut ready = with_standby(5, 3, 3, &[(Ready, 5)]);
    ready.forced = true;
    assert_eq!(planned(&ready), (0, vec![], vec![], uids(&[4, 3])), "they would have no room on standby either");
}

#[test]
fn standby_members_that_nobody_wants_started_keep_no_place_from_the_ready_tier() {
    use Standing::{Claimed, Ready, Standby};
    let mut pool = with_standby(3, 5, 2, &[(Claimed, 2), (Ready, 1), (Standby, 2)]);
    for member in &mut pool.members {
        member.outdated = member.standing == Standby;
    }
    assert_eq!(planned(&pool), (0, vec![], vec![], uids(&[4, 3])));
    pool.state = PoolState::Paused;
    assert!(planned(&pool).3.is_empty(), "nothing would be bought instead");
}

#[test]
fn ready_members_that_cannot_be_stopped_are_a_surplus_and_others_are_bought_for_the_tier() {
    use Standing::{Pending, Ready};
    let mut pool = with_standby(1, 20, 2, &[(Ready, 4)]);
    pool.forced = true;
    for member in &mut pool.members {
        member.power.can_stop = false;
    }
    let (bought, _, stops, deletes) = planned(&pool);
    assert_eq!((bought, stops.len(), deletes.len()), (2, 0, 3));
    pool.members[0].power.can_stop = true;
    let (bought, _, stops, deletes) = planned(&pool);
    assert_eq!((bought, stops, deletes), (1, uids(&[0]), uids(&[3, 2])));
    let mut bought = with_standby(1, 20, 2, &[(Ready, 3), (Pending, 2)]);
    bought.forced = true;
    for member in &mut bought.members {
        member.power.can_stop = false;
    }
    assert_eq!(planned(&bought), (0, vec![], vec![], uids(&[2, 1])), "what is bought for it comes up");
}

#[test]
fn a_surplus_is_stopped_rather_than_ended_and_what_is_beyond_the_size_ends() {
    let mut lowered = with_standby(1, 20, 2, &[(Standing::Ready, 4)]);
    lowered.forced = true;
    assert_eq!(planned(&lowered), (0, vec![], uids(&[3, 2]), uids(&[1])), "one is beyond both");
}

#[test]
fn a_tier_that_is_removed_serves_a_deficit_and_then_ends() {
    use Standing::{Ready, Standby};
    let mut pool = with_standby(2, 20, 2, &[(Ready, 1), (Standby, 2)]);
    pool.standby = StandbyTier::default();
    assert_eq!(planned(&pool), (0, uids(&[1]), vec![], uids(&[2])));
}

#[test]
fn a_pool_whose_provider_cannot_stop_does_nothing_for_the_tier_and_says_so() {
    let mut pool = with_standby(2, 20, 2, &[(Standing::Ready, 2)]);
    pool.standby.launch_configs.clear();
    assert_eq!(planned(&pool), (0, vec![], vec![], vec![]));
    let condition = standby_filled(&pool.standby, 0, 10, at(0)).unwrap();
    assert!(!condition.holds && condition.message.contains("spec.standby"), "{condition:?}");
    assert_eq!(condition.reason, Reason::ProviderCannotStop);
    let reason = |tier: &StandbyTier, beside| standby_filled(tier, 0, beside, at(0)).unwrap().reason;
    pool.standby.mode = StandbyMode::Hibernated;
    assert_eq!(reason(&pool.standby, 10), Reason::ProviderCannotHibernate);
    pool.standby.usable = false;
    assert_eq!(reason(&pool.standby, 10), Reason::StandbyIncomplete, "no launch config can be used: nobody knows");
    assert_eq!(standby_filled(&StandbyTier::default(), 0, 10, at(0)), None);
}

#[test]
fn a_tier_that_max_size_has_no_room_for_beside_the_target_says_how_much_there_is() {
    let pool = with_standby(3, 5, 4, &[(Standing::Ready, 3), (Standing::Standby, 2)]);
    let condition = standby_filled(&pool.standby, 2, 2, at(0)).unwrap();
    assert_eq!((condition.holds, condition.reason), (false, Reason::StandbyBeyondMaxSize));
    assert!(condition.message.contains("room for 2 beside the target: raise spec.maxSize"), "{condition:?}");
    assert_eq!(standby_filled(&pool.standby, 2, 4, at(0)).unwrap().reason, Reason::StandbyIncomplete);
}

#[test]
fn stopped_members_of_a_zone_that_is_sold_out_are_left_alone_and_others_are_bought() {
    let mut pool = with_standby(2, 20, 2, &[(Standing::Ready, 1), (Standing::Standby, 2)]);
    for member in &mut pool.members {
        member.power.refused_until = Some(at(500));
    }
    assert_eq!(planned(&pool).0, 1);
    assert!(planned(&pool).1.is_empty());
    assert_eq!(pass(&pool).look_again_at, Some(at(500)));
}

#[test]
fn old_and_outdated_standby_members_are_replaced_one_by_one_after_the_ready_ones_and_not_started() {
    use Standing::{Ready, Standby};
    let mut pool = with_standby(2, 20, 3, &[(Ready, 2), (Standby, 3)]);
    for member in &mut pool.members {
        member.outdated = member.standing == Standby;
    }
    assert_eq!(planned(&pool).3, uids(&[4]), "maxSurge is 1");
    let rollout = pass(&pool).rollout;
    assert_eq!((rollout.outdated, rollout.outdated_standby, rollout.updated_ready), (3, 3, 2));
    pool.members[0].outdated = true;
    assert!(!planned(&pool).3.contains(&"m4".to_owned()), "the ready tier first");
    pool.target_size = 3;
    assert!(planned(&pool).1.is_empty(), "nobody wants an old template");
    pool.rollout.type_ = bullpen_api::RolloutType::OnReplenish;
    assert_eq!(planned(&pool).1, uids(&[2]));
}

#[test]
fn a_rollout_is_over_only_once_the_standby_tier_is_current_and_says_how_much_of_it_is_not() {
    use crate::pool::rollout::{RolloutPhase, follow, template_current};
    let mut pool = with_standby(2, 20, 3, &[(Standing::Ready, 2), (Standing::Standby, 2), (Standing::Stopping, 1)]);
    for member in &mut pool.members {
        member.outdated = member.standing != Standing::Ready;
    }
    let first = follow(&pool, None, at(100));
    assert_eq!((first.phase, first.outdated_standby), (RolloutPhase::Replacing, 3));
    let spec: bullpen_api::InstancePoolSpec =
        serde_json::from_value(serde_json::json!({ "targetSize": 2, "maxSize": 20, "launchConfigs": [] })).unwrap();
    let told = template_current(&spec, &first, 2, false);
    assert_eq!(told.reason, Reason::Replacing);
    assert_eq!(told.message, "2 of 2 ready members are of the current template, 3 of an older one are on standby");
    pool.members.pop();
    let progress = follow(&pool, first.progress.as_ref(), at(200)).progress.expect("it goes on");
    assert_eq!(progress.at, at(200), "one fewer is progress");
    let late = at(200 + i64::from(pool.rollout.progress_deadline_seconds));
    assert!(follow(&pool, Some(&progress), late).is_paused());
    pool.members.truncate(2);
    assert_eq!(follow(&pool, Some(&progress), late).phase, RolloutPhase::Done);
}

#[test]
fn a_paused_pool_starts_stops_and_buys_nothing_and_a_draining_one_ends_its_standby_members() {
    use Standing::{Ready, Standby, Stopping};
    let mut pool = with_standby(3, 20, 3, &[(Ready, 4), (Standby, 1), (Stopping, 1)]);
    pool.target_size = 3;
    pool.state = PoolState::Paused;
    assert_eq!(planned(&pool), (0, vec![], vec![], vec![]));
    pool.state = PoolState::Draining;
    assert_eq!(planned(&pool).3, uids(&[0, 1, 2, 3, 4, 5]));
}

fn any_pool() -> impl Strategy<Value = PoolView> {
    let counts = proptest::collection::vec(0..5_usize, 8);
    (0..6_i32, 0..16_i32, 0..5_i32, counts, 0..4_i32, any::<(u16, u16, u16)>(), any::<bool>()).prop_map(
        |(target, max, size, counts, waiting, (outdated, ran_before, stoppable), can_stop)| {
            use Standing::{Claimed, Errored, Pending, Ready, Standby, Stopping, Terminating, Warming};
            let standings = [Claimed, Errored, Pending, Ready, Standby, Stopping, Terminating, Warming];
            let standings: Vec<_> = standings.into_iter().zip(counts).collect();
            let mut pool = with_standby(target, max, size, &standings);
            pool.waiting = waiting;
            if !can_stop {
                pool.standby.launch_configs.clear();
            }
            for (place, member) in pool.members.iter_mut().enumerate() {
                member.outdated = outdated >> (place % 16) & 1 == 1;
                member.power.can_stop = can_stop && stoppable >> (place % 16) & 1 == 1;
                member.power.ran_before = ran_before >> (place % 16) & 1 == 1;
            }
            pool
        },
    )
}

proptest! {
    #[test]
    fn the_standby_tier_never_takes_what_the_ready_tier_needs(pool in any_pool()) {
        let plan = pass(&pool);
        let standing = |uid: &String| pool.members.iter().find(|member| member.uid == *uid).unwrap().standing;
        let ready = plan.counts.ready;
        let wanted = plan.effective_target.size + pool.waiting;
        prop_assert!(plan.creates.is_empty() || plan.counts.total + to_i32(plan.creates.len()) <= pool.max_size);
        prop_assert!(plan.starts.iter().all(|uid| standing(uid) == Standing::Standby && !plan.deletes.contains(uid)));
        prop_assert!(plan.stops.iter().all(|uid| standing(uid) == Standing::Ready && !plan.deletes.contains(uid)));
        if !plan.stops.is_empty() {
            prop_assert!(ready - to_i32(plan.stops.len()) >= wanted);
            prop_assert_eq!((plan.deficit, plan.starts.len()), (0, 0));
        }
        let tier = plan.counts.standby + to_i32(plan.stops.len());
        prop_assert!(plan.stops.is_empty() || tier <= pool.standby.size.unwrap_or(0));
        // Those that boot for the first time are later than a start. Retired members are replaced.
        let lacking = wanted - ready - standby::coming_back(&pool.members);
        let lacking = lacking + to_i32(plan.deletes.len()) + pool.disruption.max_surge;
        prop_assert!(to_i32(plan.starts.len()) <= lacking.max(0));
    }

    #[test]
    fn a_standby_tier_comes_to_rest_within_max_size(pool in any_pool()) {
        let (mut pool, mut memory) = (pool, Memory::default());
        for second in 0..1_000_i64 {
            let plan = replenish(&pool, &memory, at(100 + second));
            memory = plan.memory.clone();
            let quiet = plan.creates.is_empty() && plan.starts.is_empty() && plan.stops.is_empty();
            pool.members.retain(|member| {
                !matches!(member.standing, Standing::Terminating | Standing::Errored) && !plan.deletes.contains(&member.uid)
            });
            for member in &mut pool.members {
                member.power.ran_before |= plan.starts.contains(&member.uid);
                member.standing = match member.standing {
                    Standing::Pending => Standing::Warming,
                    Standing::Warming => Standing::Ready,
                    Standing::Stopping => Standing::Standby,
                    Standing::Standby if plan.starts.contains(&member.uid) => Standing::Warming,
                    Standing::Ready if plan.stops.contains(&member.uid) => Standing::Stopping,
                    standing => standing,
                };
                member.ready_since = Some(at(100));
            }
            for number in 0..plan.creates.len() {
                let mut one = with_standby(0, 0, 0, &[(Standing::Pending, 1)]).members.remove(0);
                one.uid = format!("new-{second}-{number}");
                one.created = at(100 + second);
                pool.members.push(one);
            }
            prop_assert!(plan.creates.is_empty() || to_i32(pool.members.len()) <= pool.max_size);
            if second > 950 {
                prop_assert!(quiet && plan.deletes.is_empty(), "{plan:?}");
                let counts = count(&pool.members);
                prop_assert!(counts.standby == 0 || counts.total <= pool.max_size, "{counts:?}");
                prop_assert!(counts.ready >= (pool.max_size - counts.claimed).clamp(0, pool.target_size), "{counts:?}");
            }
        }
    }
}
