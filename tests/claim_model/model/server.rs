//! The API server: compare-and-swap by version, and the CEL rules of the CRDs. Also the provider's terminate call.

use bullpen_plan::claim::Answer;

use crate::policy::Policy;
use crate::state::{Carries, Claim, ClaimWrite, Member, MemberWrite, State, claim_name};

/// A claim's status write reaches the server.
pub(crate) fn write_claim(state: &mut State, write: ClaimWrite, carries: Carries) -> Answer {
    let name = claim_name(write.uid());
    let Some(stored) = state.claims[name].object else { return Answer::NotFound };
    if stored.uid != write.uid() || carries != Carries::Newest {
        return Answer::Conflict;
    }
    let next = match write {
        ClaimWrite::Bind { member, .. } => {
            Claim { phase: bullpen_api::ClaimPhase::Bound, member: Some(member), ..stored }
        }
        ClaimWrite::End { phase, .. } => Claim { phase, ..stored },
        ClaimWrite::Seen { .. } => Claim { renewed: false, ..stored },
    };
    let renamed = stored.member.is_some() && next.member != stored.member;
    if renamed || stored.phase.is_terminal() || !stored.phase.may_become(next.phase) {
        return Answer::Refused;
    }
    if let Some(member) = next.member {
        state.members[usize::from(member)].named = true;
    }
    state.store_claim(name, Some(next));
    Answer::Accepted
}

/// A write to a member, or its DELETE, reaches the server.
pub(crate) fn write_member(
    state: &mut State,
    member: usize,
    write: MemberWrite,
    carries: Carries,
    policy: Policy,
) -> Answer {
    let Some(stored) = state.members[member].object else { return Answer::NotFound };
    let unconditional = write == MemberWrite::Delete && !policy.delete_carries_version();
    if carries != Carries::Newest && !unconditional && write != MemberWrite::Finalize {
        return Answer::Conflict;
    }
    let next = match write {
        MemberWrite::Swap { .. } if stored.claim.is_some() || stored.resetting => return Answer::Refused,
        MemberWrite::BeginReset if stored.claim.is_none() => return Answer::Refused,
        MemberWrite::ResetDone if !stored.resetting => return Answer::Refused,
        MemberWrite::BeginReset => {
            Some(Member { claim: None, resetting: true, uses: stored.uses.saturating_add(1), ..stored })
        }
        MemberWrite::ResetDone => Some(Member { resetting: false, ..stored }),
        MemberWrite::Swap { claim } => Some(Member { claim: Some(claim), ..stored }),
        MemberWrite::GiveBack => Some(Member { claim: None, ..stored }),
        MemberWrite::Delete => Some(Member { deleting: true, ..stored }),
        MemberWrite::Finalize => None,
        MemberWrite::Terminate | MemberWrite::ResetCall { .. } => Some(stored),
    };
    if next != Some(stored) {
        state.store_member(member, next);
    }
    Answer::Accepted
}

/// The provider terminates the machine of a member. Records a violation if its claim has not ended.
pub(crate) fn terminate(state: &mut State, member: usize) {
    if claim_has_not_ended(state, member) && state.members[member].machine {
        state.wronged = true;
    }
    state.members[member].machine = false;
}

/// A reset call reaches the provider: its token has one effect. Records a violation if the claim of the machine has not
/// ended.
pub(crate) fn reset(state: &mut State, member: usize, uses: u8, policy: Policy) {
    let again = policy == Policy::ReusingWithoutToken;
    if !state.members[member].machine || (state.members[member].reset >= uses && !again) {
        return;
    }
    if claim_has_not_ended(state, member) {
        state.wronged = true;
    }
    let slot = &mut state.members[member];
    slot.reset = slot.reset.max(uses);
    slot.named = false;
}

/// Whether the claim that the member names exists, has not ended, and has no other member. A claim that is being deleted
/// before it was Bound has ended: it never will be.
pub(crate) fn claim_has_not_ended(state: &State, member: usize) -> bool {
    let Some(uid) = state.members[member].object.and_then(|object| object.claim) else { return false };
    state.claims[claim_name(uid)].object.is_some_and(|claim| {
        let has_ended = claim.phase.is_terminal() || (claim.deleting && claim.member.is_none());
        claim.uid == uid && !has_ended && claim.member.is_none_or(|named| usize::from(named) == member)
    })
}
