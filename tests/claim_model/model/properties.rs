//! The checked properties: invariants 1 and 4 of `docs/architecture.md`, and that nothing is stuck.

use bullpen_api::ClaimPhase;
use bullpen_plan::claim;

use crate::policy::{POOL, member_view};
use crate::state::{Claim, Member, State, claim_name};

pub const ONE_HOLDER: &str = "a member is held by at most one claim, and a bound claim's member names it";
pub const NEVER_AGAIN: &str = "a member that a claim's status has named is never claimable again before a reset";
pub const NOT_UNDER_A_CLAIM: &str = "a claimed member is terminated only by the end of its claim";
pub const RENEWAL_WINS: &str = "no claim is Expired that was renewed before";
pub const NOTHING_STUCK: &str = "nothing is stuck";

pub(crate) fn one_holder(state: &State) -> bool {
    let bound = || claims(state).filter(|claim| claim.phase == ClaimPhase::Bound);
    bound().all(|claim| {
        let member = claim.member.and_then(|member| state.members[usize::from(member)].object);
        member.is_none_or(|member| member.claim == Some(claim.uid))
            && bound().filter(|other| other.member == claim.member).count() == 1
    })
}

pub(crate) fn not_under_a_claim(state: &State) -> bool {
    !state.wronged
}

pub(crate) fn renewal_wins(state: &State) -> bool {
    claims(state).all(|claim| claim.phase != ClaimPhase::Expired || !claim.renewed)
}

pub(crate) fn never_again(state: &State) -> bool {
    state
        .members
        .iter()
        .enumerate()
        .all(|(number, slot)| !slot.named || !slot.object.is_some_and(|member| claimable(number, member)))
}

/// Whether every object is in a valid final state, for when no step is left.
pub(crate) fn is_settled(state: &State) -> bool {
    let claimable = members(state).any(|(number, member)| claimable(number, member));
    claims(state).all(|claim| claim_is_settled(state, claim, claimable))
        && members(state).all(|(number, member)| member_is_settled(state, number, member))
}

/// The claim is Bound to the member that names it, terminal, or Pending without a claimable member.
fn claim_is_settled(state: &State, claim: Claim, claimable: bool) -> bool {
    match (claim.phase, claim.member) {
        (ClaimPhase::Pending, None) => !claimable,
        (ClaimPhase::Bound, Some(member)) => {
            let names_it = |member: Member| member.claim == Some(claim.uid);
            !claim.renewed && state.members[usize::from(member)].object.is_some_and(names_it)
        }
        (phase, _) => phase.is_terminal(),
    }
}

/// The member is not Claimed for a claim that is not Bound to it, and not left half deleted.
fn member_is_settled(state: &State, number: usize, member: Member) -> bool {
    let Some(uid) = member.claim else { return !member.deleting && !member.resetting };
    state.claims[claim_name(uid)].object.is_some_and(|claim| {
        let names_it = claim.member.is_some_and(|named| usize::from(named) == number);
        claim.uid == uid && claim.phase == ClaimPhase::Bound && names_it
    })
}

fn claimable(number: usize, member: Member) -> bool {
    claim::claimable(&member_view(number, member), &POOL)
}

fn claims(state: &State) -> impl Iterator<Item = Claim> {
    state.claims.iter().filter_map(|slot| slot.object)
}

fn members(state: &State) -> impl Iterator<Item = (usize, Member)> {
    state.members.iter().enumerate().filter_map(|(number, slot)| slot.object.map(|object| (number, object)))
}
