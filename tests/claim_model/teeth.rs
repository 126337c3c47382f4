//! The model has teeth: with one decision spoilt it finds what breaks.

use claim_protocol_model::{
    NEVER_AGAIN, NOT_UNDER_A_CLAIM, NOTHING_STUCK, ONE_HOLDER, Policy, Protocol, RENEWAL_WINS, violations,
};

use crate::{assert_holds, size};

/// Asserts that the spoilt protocol breaks one of the properties, in a configuration of that size.
fn assert_breaks(policy: Policy, (claims, members, binders, faults): (usize, usize, usize, u8), broken: &[&str]) {
    let found = violations(Protocol::unreduced(size(claims, members, binders, faults), policy));
    for (name, steps) in &found {
        println!("{policy:?} violates: {name}\n{steps}");
    }
    assert!(found.iter().any(|(name, _)| broken.contains(name)));
}

#[test]
fn a_member_given_back_because_its_claim_is_gone_may_have_been_seen() {
    assert_breaks(Policy::GoneMeansGivenBack, (1, 1, 1, 1), &[NEVER_AGAIN]);
}

#[test]
fn a_conflict_taken_as_success_binds_a_member_that_another_claim_holds() {
    assert_breaks(Policy::ConflictMeansWon, (2, 1, 2, 0), &[ONE_HOLDER]);
}

#[test]
fn a_member_given_back_while_its_claim_is_pending_may_just_be_bound_to_it() {
    assert_breaks(Policy::OthersGivenBackWhilePending, (1, 2, 2, 0), &[ONE_HOLDER, NEVER_AGAIN]);
}

#[test]
fn a_delete_without_its_resource_version_ends_a_member_claimed_in_between() {
    assert_breaks(Policy::DeleteWithoutVersion, (1, 1, 2, 1), &[NOT_UNDER_A_CLAIM]);
}

#[test]
fn a_delete_without_an_answer_may_not_have_happened() {
    assert_breaks(Policy::UnansweredDeleteMeansDeleted, (1, 1, 2, 2), &[NOT_UNDER_A_CLAIM]);
}

#[test]
fn a_member_with_a_deletion_timestamp_ends_under_the_claim_that_took_it() {
    assert_breaks(Policy::DeletingIsCandidate, (1, 1, 2, 1), &[NOT_UNDER_A_CLAIM]);
}

#[test]
fn a_pair_that_nobody_goes_on_with_is_stuck() {
    assert_breaks(Policy::LeftUnfinished, (1, 1, 1, 0), &[NOTHING_STUCK]);
}

#[test]
fn an_end_that_is_written_without_another_look_passes_over_a_renewal() {
    assert_breaks(Policy::ExpiredAllTheSame, (1, 1, 1, 2), &[RENEWAL_WINS]);
}

#[test]
fn a_conflict_taken_as_lost_is_healed_by_the_table() {
    for size in [size(1, 2, 2, 1), size(2, 1, 2, 1)] {
        assert_holds(Protocol::unreduced(size, Policy::ConflictMeansLost));
    }
}

#[test]
fn an_old_view_is_enough_to_give_a_member_back() {
    assert_holds(Protocol::unreduced(size(1, 2, 2, 1), Policy::CacheIsEnough));
}
