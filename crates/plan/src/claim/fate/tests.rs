//! Every row of the table, and the invariants over all of them.

use proptest::prelude::*;

use super::*;
use crate::claim::{Evidence, Found};

type Claim = ClaimView<u8>;

const CLAIM: u8 = 1;
const THIS: u8 = 11;
const ANOTHER: u8 = 12;

fn claim(phase: ClaimPhase, member: Option<u8>) -> Claim {
    ClaimView { uid: CLAIM, phase, member, deleting: false }
}

fn pending() -> Claim {
    claim(ClaimPhase::Pending, None)
}

fn live(claim: Claim) -> Evidence<Claim> {
    Evidence::from_get(&CLAIM, Found::Object(claim))
}

fn cached(claim: Claim) -> Evidence<Claim> {
    Evidence::from_cache(&CLAIM, Some(claim))
}

fn member(uid: u8, claimed_at: u8) -> HeldMember<u8, u8> {
    HeldMember { uid, claimed_at, deleting: false, machine_gone: false, served: false }
}

fn this() -> HeldMember<u8, u8> {
    member(THIS, 5)
}

fn gone() -> HeldMember<u8, u8> {
    HeldMember { machine_gone: true, ..this() }
}

const TERMINAL: [ClaimPhase; 3] = [ClaimPhase::Expired, ClaimPhase::Lost, ClaimPhase::Failed];

#[test]
fn a_member_whose_claim_is_gone_is_terminated() {
    assert_eq!(fate(&Evidence::gone(), &this(), &[]), Fate::Terminated);
    assert_eq!(fate(&Evidence::from_get(&CLAIM, Found::Missing), &this(), &[]), Fate::Terminated);
}

#[test]
fn a_member_whose_claim_was_made_again_is_terminated() {
    let again = Claim { uid: 2, ..pending() };
    assert_eq!(fate(&Evidence::from_get(&CLAIM, Found::Object(again)), &this(), &[]), Fate::Terminated);
}

#[test]
fn a_member_that_returned_to_a_claim_which_never_names_it_is_terminated_instead_of_given_back() {
    let returned = HeldMember { served: true, ..this() };
    for never in [claim(ClaimPhase::Failed, None), claim(ClaimPhase::Bound, Some(ANOTHER))] {
        assert_eq!(fate(&live(never.clone()), &this(), &[]), Fate::GivenBack);
        assert_eq!(fate(&cached(never.clone()), &returned, &[]), Fate::ConfirmFirst);
        assert_eq!(fate(&live(never), &returned, &[]), Fate::Terminated);
    }
    assert_eq!(fate(&live(pending()), &returned, &[]), Fate::FinishBinding);
}

#[test]
fn a_bound_claim_without_a_member_which_no_definition_allows_decides_nothing() {
    for deleting in [false, true] {
        let strange = Claim { deleting, ..claim(ClaimPhase::Bound, None) };
        for evidence in [live(strange.clone()), cached(strange)] {
            assert_eq!(fate(&evidence, &this(), &[]), Fate::Waits);
        }
    }
}

#[test]
fn a_get_without_a_usable_answer_decides_nothing() {
    assert_eq!(fate(&Evidence::from_get(&CLAIM, Found::Unproved), &this(), &[]), Fate::Waits);
}

#[test]
fn a_claim_that_the_cache_lacks_or_shows_with_another_uid_is_read_first() {
    for entry in [None, Some(Claim { uid: 2, ..pending() })] {
        assert_eq!(fate(&Evidence::from_cache(&CLAIM, entry), &this(), &[]), Fate::ConfirmFirst);
    }
}

#[test]
fn a_pending_claim_is_bound_to_the_member_that_names_it() {
    assert_eq!(fate(&cached(pending()), &this(), &[]), Fate::FinishBinding);
}

#[test]
fn of_several_members_the_first_claimed_is_bound_and_the_others_wait() {
    assert_eq!(fate(&live(pending()), &this(), &[member(ANOTHER, 6)]), Fate::FinishBinding);
    assert_eq!(fate(&live(pending()), &this(), &[member(ANOTHER, 4)]), Fate::Waits);
}

#[test]
fn of_members_claimed_at_the_same_moment_the_least_uid_is_first() {
    assert_eq!(fate(&live(pending()), &this(), &[member(ANOTHER, 5)]), Fate::FinishBinding);
    assert_eq!(fate(&live(pending()), &this(), &[member(10, 5)]), Fate::Waits);
}

#[test]
fn a_member_is_not_kept_waiting_by_one_whose_machine_is_gone() {
    let other = HeldMember { machine_gone: true, ..member(ANOTHER, 4) };
    assert_eq!(fate(&live(pending()), &this(), &[other]), Fate::FinishBinding);
}

#[test]
fn a_member_of_a_pending_claim_whose_machine_is_gone_is_terminated_after_a_look() {
    assert_eq!(fate(&cached(pending()), &gone(), &[]), Fate::ConfirmFirst);
    assert_eq!(fate(&live(pending()), &gone(), &[]), Fate::Terminated);
}

#[test]
fn a_member_that_is_being_deleted_is_still_bound_to_its_claim() {
    let deleting = HeldMember { deleting: true, ..this() };
    assert_eq!(fate(&live(pending()), &deleting, &[]), Fate::FinishBinding);
    assert_eq!(fate(&live(claim(ClaimPhase::Bound, Some(THIS))), &deleting, &[]), Fate::Stays);
}

#[test]
fn a_claim_that_is_being_deleted_is_never_bound() {
    let ending = Claim { deleting: true, ..pending() };
    assert_eq!(fate(&live(ending.clone()), &this(), &[]), Fate::GivenBack);
    assert_eq!(fate(&cached(ending.clone()), &this(), &[]), Fate::ConfirmFirst, "it may be Bound by now");
    let deleting = HeldMember { deleting: true, ..this() };
    assert_eq!(fate(&live(ending), &deleting, &[]), Fate::Terminated);
}

#[test]
fn the_member_of_a_bound_claim_stays_also_while_the_claim_is_being_deleted() {
    let bound = claim(ClaimPhase::Bound, Some(THIS));
    assert_eq!(fate(&cached(bound.clone()), &this(), &[]), Fate::Stays);
    assert_eq!(fate(&live(Claim { deleting: true, ..bound }), &this(), &[]), Fate::Stays);
}

#[test]
fn a_bound_claim_whose_machine_is_gone_becomes_lost_before_its_member_is_deleted() {
    assert_eq!(fate(&cached(claim(ClaimPhase::Bound, Some(THIS))), &gone(), &[]), Fate::ClaimLost);
    assert_eq!(fate(&cached(claim(ClaimPhase::Lost, Some(THIS))), &gone(), &[]), Fate::Terminated);
}

#[test]
fn a_member_is_given_back_when_its_claim_has_another_member() {
    for phase in [ClaimPhase::Bound, ClaimPhase::Expired, ClaimPhase::Lost] {
        assert_eq!(fate(&live(claim(phase, Some(ANOTHER))), &this(), &[]), Fate::GivenBack);
    }
}

#[test]
fn a_member_is_given_back_when_its_claim_ended_without_one() {
    for phase in TERMINAL {
        assert_eq!(fate(&live(claim(phase, None)), &this(), &[]), Fate::GivenBack);
    }
}

#[test]
fn a_member_that_would_be_given_back_is_terminated_when_it_is_being_deleted_or_its_machine_is_gone() {
    for this in [gone(), HeldMember { deleting: true, ..this() }] {
        assert_eq!(fate(&live(claim(ClaimPhase::Bound, Some(ANOTHER))), &this, &[]), Fate::Terminated);
        assert_eq!(fate(&live(claim(ClaimPhase::Failed, None)), &this, &[]), Fate::Terminated);
    }
}

#[test]
fn a_member_whose_claim_ended_with_it_is_terminated() {
    for phase in TERMINAL {
        assert_eq!(fate(&cached(claim(phase, Some(THIS))), &this(), &[]), Fate::Terminated);
    }
}

fn held(state: MemberState, claim: Option<u8>) -> MemberView<u8> {
    MemberView { uid: THIS, pool: 9, state, deleting: false, claim, set_aside: false }
}

fn claim_fate(evidence: &Evidence<MemberView<u8>>, machine_gone: bool) -> ClaimFate {
    hold(&claim(ClaimPhase::Bound, Some(THIS)), evidence, machine_gone)
}

#[test]
fn a_bound_claim_keeps_a_member_that_names_it() {
    let names_it = held(MemberState::Claimed, Some(CLAIM));
    assert_eq!(claim_fate(&Evidence::from_cache(&THIS, Some(names_it)), false), ClaimFate::Keeps);
    assert_eq!(claim_fate(&Evidence::from_get(&THIS, Found::Unproved), false), ClaimFate::Keeps);
}

#[test]
fn a_bound_claim_is_lost_when_its_member_or_its_machine_is_gone() {
    let names_it = held(MemberState::Claimed, Some(CLAIM));
    assert_eq!(claim_fate(&Evidence::from_cache(&THIS, Some(names_it.clone())), true), ClaimFate::Lost);
    assert_eq!(claim_fate(&Evidence::from_get(&THIS, Found::Missing), false), ClaimFate::Lost);
    let again = MemberView { uid: ANOTHER, ..names_it };
    assert_eq!(claim_fate(&Evidence::from_get(&THIS, Found::Object(again)), false), ClaimFate::Lost);
}

#[test]
fn a_bound_claim_is_lost_when_its_member_does_not_name_it_any_more() {
    let free = held(MemberState::Ready, None);
    assert_eq!(claim_fate(&Evidence::from_cache(&THIS, Some(free.clone())), false), ClaimFate::ConfirmFirst);
    assert_eq!(claim_fate(&Evidence::from_get(&THIS, Found::Object(free)), false), ClaimFate::Lost);
}

#[test]
fn a_member_that_the_cache_lacks_is_read_before_its_claim_is_lost() {
    assert_eq!(claim_fate(&Evidence::from_cache(&THIS, None), false), ClaimFate::ConfirmFirst);
}

#[test]
fn only_a_bound_claim_can_lose_its_member() {
    for phase in [ClaimPhase::Pending, ClaimPhase::Expired, ClaimPhase::Lost, ClaimPhase::Failed] {
        assert_eq!(hold(&claim(phase, Some(THIS)), &Evidence::gone(), true), ClaimFate::Keeps);
    }
}

#[test]
fn a_deletion_timestamp_terminates_every_member_but_a_claimed_one() {
    for state in MemberState::ALL {
        let member = held(state, None);
        assert_eq!(ending(&member), Ending::NotAsked);
        let claimed = state == MemberState::Claimed;
        let expected = if claimed { Ending::AskTheTable } else { Ending::Terminate };
        assert_eq!(ending(&MemberView { deleting: true, ..member }), expected);
    }
}

/// A version that the claim can have after `from`, by changes that the API server allows; `None`: it is gone. Bound is a
/// compare-and-swap over a version without a deletionTimestamp, so no claim that is being deleted becomes Bound.
fn later(from: Option<Claim>, choices: &[u8]) -> Option<Claim> {
    choices.iter().fold(from, |version, choice| {
        let claim = version?;
        match choice % 6 {
            0 => None,
            1 => Some(Claim { deleting: true, ..claim }),
            2 if claim.phase == ClaimPhase::Pending => Some(Claim { phase: ClaimPhase::Failed, ..claim }),
            3 | 4 if claim.phase == ClaimPhase::Pending && !claim.deleting => {
                let member = if *choice % 6 == 3 { THIS } else { ANOTHER };
                Some(Claim { phase: ClaimPhase::Bound, member: Some(member), ..claim })
            }
            5 if claim.phase == ClaimPhase::Bound => Some(Claim { phase: ClaimPhase::Expired, ..claim }),
            2 if claim.phase == ClaimPhase::Bound => Some(Claim { phase: ClaimPhase::Lost, ..claim }),
            _ => Some(claim),
        }
    })
}

fn seen_live(version: Option<Claim>) -> Evidence<Claim> {
    Evidence::from_get(&CLAIM, version.map_or(Found::Missing, Found::Object))
}

prop_compose! {
    fn any_member(uid: u8)(claimed_at in 0_u8..3, deleting: bool, machine_gone: bool, served: bool) -> HeldMember<u8, u8> {
        HeldMember { uid, claimed_at, deleting, machine_gone, served }
    }
}

fn any_others() -> impl Strategy<Value = Vec<HeldMember<u8, u8>>> {
    prop_oneof![
        Just(vec![]),
        any_member(ANOTHER).prop_map(|other| vec![other]),
        (any_member(10), any_member(ANOTHER)).prop_map(|(one, two)| vec![one, two]),
    ]
}

fn any_choices() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0_u8..6, 0..4)
}

fn any_history() -> impl Strategy<Value = (Option<Claim>, Option<Claim>)> {
    (any_choices(), any_choices()).prop_map(|(first, second)| {
        let old = later(Some(pending()), &first);
        let newest = later(old.clone(), &second);
        (old, newest)
    })
}

proptest! {
    #[test]
    fn no_member_is_given_back_by_what_a_cache_shows((old, _) in any_history(), this in any_member(THIS), others in any_others()) {
        let fate = fate(&Evidence::from_cache(&CLAIM, old), &this, &others);
        prop_assert_ne!(fate, Fate::GivenBack);
    }

    #[test]
    fn no_member_is_given_back_whose_machine_somebody_may_have_worked_on(
        choices in any_choices(), this in any_member(THIS), others in any_others(),
    ) {
        let this = HeldMember { served: true, ..this };
        prop_assert_ne!(fate(&seen_live(later(Some(pending()), &choices)), &this, &others), Fate::GivenBack);
    }

    /// Invariant 1: a member that a claim's status has named is never claimable again.
    #[test]
    fn no_member_is_given_back_that_its_claim_has_named(
        choices in any_choices(), this in any_member(THIS), others in any_others(),
    ) {
        let newest = later(Some(claim(ClaimPhase::Bound, Some(THIS))), &choices);
        prop_assert_ne!(fate(&seen_live(newest), &this, &others), Fate::GivenBack);
    }

    /// Invariant 4: a claimed member is terminated only after its claim ended, or when its machine is gone already. A
    /// claim that is being deleted before it was Bound has ended: it never will be.
    #[test]
    fn no_member_is_terminated_whose_claim_has_not_ended(
        bound: bool, deleting: bool, this in any_member(THIS), others in any_others(), live: bool,
    ) {
        let this = HeldMember { machine_gone: false, ..this };
        let claim = if bound { claim(ClaimPhase::Bound, Some(THIS)) } else { pending() };
        let claim = Claim { deleting: deleting && bound, ..claim };
        let evidence = if live { seen_live(Some(claim)) } else { cached(claim) };
        prop_assert_ne!(fate(&evidence, &this, &others), Fate::Terminated);
    }

    /// The model in `tests/claim_model` merges cache states because of this.
    #[test]
    fn a_final_decision_from_an_old_view_is_also_made_from_the_newest(
        (old, newest) in any_history(), this in any_member(THIS), others in any_others(), live: bool,
    ) {
        let judge = |version: Option<Claim>| fate(&seen_live(version), &this, &others);
        let before = if live { judge(old) } else { fate(&Evidence::from_cache(&CLAIM, old), &this, &others) };
        let after = judge(newest);
        match before {
            Fate::Terminated if !this.machine_gone => prop_assert_eq!(after, Fate::Terminated),
            Fate::GivenBack => prop_assert!(matches!(after, Fate::GivenBack | Fate::Terminated)),
            _ => {}
        }
    }

    #[test]
    fn at_most_one_of_the_members_that_name_a_claim_is_bound_to_it(this in any_member(THIS), others in any_others()) {
        let all: Vec<_> = std::iter::once(this).chain(others).collect();
        let bound = all.iter().filter(|one| {
            let others: Vec<_> = all.iter().filter(|other| other.uid != one.uid).cloned().collect();
            fate(&live(pending()), one, &others) == Fate::FinishBinding
        });
        let usable = all.iter().filter(|one| !one.machine_gone).count();
        prop_assert_eq!(bound.count(), usable.min(1));
    }
}
