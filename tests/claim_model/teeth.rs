//! Checks the checker: with one decision of the protocol broken on purpose, the model finds a violation.

use claim_protocol_model::{
    NEVER_AGAIN, NOT_UNDER_A_CLAIM, NOTHING_STUCK, ONE_HOLDER, Policy, Protocol, RENEWAL_WINS, violations,
};

use crate::{assert_holds, size};

/// Asserts that the protocol with this policy violates one of the `broken` properties.
fn assert_breaks(policy: Policy, (claims, members, controllers, faults): (usize, usize, usize, u8), broken: &[&str]) {
    let found = violations(Protocol::unreduced(size(claims, members, controllers, faults), policy));
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
fn a_conflict_taken_as_success_binds_a_member_of_another_claim() {
    assert_breaks(Policy::ConflictMeansWon, (2, 1, 2, 0), &[ONE_HOLDER]);
}

#[test]
fn a_member_given_back_while_its_claim_is_pending_may_just_be_bound_to_it() {
    assert_breaks(Policy::OthersGivenBackWhilePending, (1, 2, 2, 0), &[ONE_HOLDER, NEVER_AGAIN]);
}

#[test]
fn a_delete_without_its_resource_version_terminates_a_member_claimed_in_between() {
    assert_breaks(Policy::DeleteWithoutVersion, (1, 1, 2, 1), &[NOT_UNDER_A_CLAIM]);
}

#[test]
fn a_delete_without_an_answer_may_not_have_happened() {
    assert_breaks(Policy::UnansweredDeleteMeansDeleted, (1, 1, 2, 2), &[NOT_UNDER_A_CLAIM]);
}

#[test]
fn a_member_claimed_while_it_is_being_deleted_is_terminated_under_its_claim() {
    assert_breaks(Policy::DeletingIsCandidate, (1, 1, 2, 1), &[NOT_UNDER_A_CLAIM]);
}

#[test]
fn a_pair_whose_binding_nobody_finishes_is_stuck() {
    assert_breaks(Policy::LeftUnfinished, (1, 1, 1, 0), &[NOTHING_STUCK]);
}

#[test]
fn a_late_reset_call_without_a_token_resets_a_machine_under_its_next_claim() {
    assert_breaks(Policy::ReusingWithoutToken, (2, 1, 2, 2), &[NOT_UNDER_A_CLAIM]);
}

#[test]
fn a_machine_that_comes_back_without_proof_may_not_have_been_reset() {
    assert_breaks(Policy::ReusingWithoutProof, (1, 1, 1, 1), &[NEVER_AGAIN]);
}

#[test]
fn expired_written_after_a_conflict_without_a_new_decision_ignores_a_renewal() {
    assert_breaks(Policy::ExpiredAllTheSame, (1, 1, 1, 2), &[RENEWAL_WINS]);
}

#[test]
fn a_conflict_taken_as_lost_is_repaired_by_the_fate_table() {
    for size in [size(1, 2, 2, 1), size(2, 1, 2, 1)] {
        assert_holds(Protocol::unreduced(size, Policy::ConflictMeansLost));
    }
}

#[test]
fn an_old_view_is_enough_to_give_a_member_back() {
    assert_holds(Protocol::unreduced(size(1, 2, 2, 1), Policy::CacheIsEnough));
}
