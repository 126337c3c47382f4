//! The decisions of the modelled processes: those of `bullpen_plan`, with at most one of them broken on purpose.

use bullpen_api::{MemberState, Renewal};
use bullpen_plan::claim;
use bullpen_plan::claim::lifetime::{self, BoundClaim, Due, Term, TermRules, Wish};
use bullpen_plan::claim::{Answer, ClaimView, Evidence, Fate, Found, HeldMember, MemberView, SwapStep};

use crate::state::{Claim, Member};
use jiff::Timestamp;

/// The uids of claims, members and the pool for `bullpen_plan`. Their ranges do not overlap.
pub(crate) type Id = u8;
pub(crate) const POOL: Id = 255;

pub(crate) const fn member_id(member: usize) -> Id {
    64 + member as u8
}

pub(crate) fn claim_view(claim: Claim) -> ClaimView<Id> {
    let member = claim.member.map(|member| member_id(usize::from(member)));
    ClaimView { uid: claim.uid, phase: claim.phase, member, deleting: claim.deleting }
}

pub(crate) fn member_view(number: usize, member: Member) -> MemberView<Id> {
    let state = match (member.claim, member.resetting) {
        (Some(_), _) => MemberState::Claimed,
        (None, true) => MemberState::Resetting,
        (None, false) => MemberState::Ready,
    };
    MemberView {
        uid: member_id(number),
        pool: POOL,
        state,
        deleting: member.deleting,
        claim: member.claim,
        // The model sets no member aside: that would only make fewer claimable.
        set_aside: false,
    }
}

/// What is due for a Bound claim. `time_is_up`: its term is over.
pub(crate) fn due(claim: Claim, time_is_up: bool) -> Due {
    let (now, renewed) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
    let answers = Wish { ttl_seconds: Some(1), renewal: None };
    let bound = BoundClaim {
        wish: Wish { renewal: claim.renewed.then_some(Renewal::At(renewed)), ..answers },
        term: Term { renewed_at: now, expires_at: Some(now), answers },
        bound_at: now,
        unobserved: claim.renewed,
        flagged: true,
    };
    let not_before = if time_is_up { now } else { Timestamp::MAX };
    lifetime::judge(&bound, &TermRules::default(), not_before, now).due
}

/// Which decision is broken, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    AsDesigned,
    /// A member whose claim is gone is given back.
    GoneMeansGivenBack,
    /// A 409 of the compare-and-swap is taken as success.
    ConflictMeansWon,
    /// A 409 of the compare-and-swap is taken as lost, without a GET.
    ConflictMeansLost,
    /// Members that are not first in the order are given back at once.
    OthersGivenBackWhilePending,
    /// A DELETE is sent without the resourceVersion.
    DeleteWithoutVersion,
    /// A DELETE without an answer is taken for an accepted one.
    UnansweredDeleteMeansDeleted,
    /// A member with a deletionTimestamp can be claimed.
    DeletingIsCandidate,
    /// A binding is not finished after its first write.
    LeftUnfinished,
    /// A member is given back on a cached view.
    CacheIsEnough,
    /// After a 409, Expired is written again with the newest version without a new decision.
    ExpiredAllTheSame,
    /// As designed, in a pool that reuses machines.
    Reusing,
    /// The same, and the provider executes each reset call, whatever its token.
    ReusingWithoutToken,
    /// The same, and a member is ready again without the provider's word.
    ReusingWithoutProof,
}

/// What follows the DELETE of a member, sent with the uid and the resourceVersion that the decision was based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DeleteStep {
    /// The member had not changed since the decision: terminate its machine without another check.
    Terminate,
    /// Decide again from a newer view of the member.
    JudgeAnew,
}

impl Policy {
    /// Whether a machine whose claim came to a good end is reset instead of terminated.
    pub(crate) fn reuses(self) -> bool {
        matches!(self, Self::Reusing | Self::ReusingWithoutToken | Self::ReusingWithoutProof)
    }

    pub(crate) fn claimable(self, number: usize, member: Member) -> bool {
        claim::claimable(&member_view(number, self.as_candidate(member)), &POOL)
    }

    pub(crate) fn after_swap(self, answer: Answer) -> SwapStep {
        match (self, answer) {
            (Self::ConflictMeansWon, Answer::Conflict) => SwapStep::Won,
            (Self::ConflictMeansLost, Answer::Conflict) => SwapStep::Dropped,
            _ => claim::after_swap(answer),
        }
    }

    pub(crate) fn after_swap_look(self, number: usize, member: Option<Member>, claim: Id) -> SwapStep {
        let found = match member {
            Some(member) => Found::Object(member_view(number, self.as_candidate(member))),
            None => Found::Missing,
        };
        claim::after_swap_look(&found, &member_id(number), &claim, &POOL)
    }

    pub(crate) fn fate(
        self,
        evidence: &Evidence<ClaimView<Id>>,
        this: &HeldMember<Id, u8>,
        others: &[HeldMember<Id, u8>],
    ) -> Fate {
        let fate = claim::fate(evidence, this, others);
        match self {
            Self::GoneMeansGivenBack if *evidence == Evidence::gone() => Fate::GivenBack,
            Self::OthersGivenBackWhilePending if fate == Fate::Waits && !others.is_empty() => Fate::GivenBack,
            Self::LeftUnfinished if fate == Fate::FinishBinding => Fate::Waits,
            Self::CacheIsEnough if fate == Fate::ConfirmFirst && *evidence != Evidence::from_cache(&this.uid, None) => {
                if this.deleting || this.machine_gone {
                    Fate::Terminated
                } else {
                    Fate::GivenBack
                }
            }
            _ => fate,
        }
    }

    /// What the controller of members does after a DELETE: only an accepted one lets it go on without another look.
    pub(crate) fn after_delete(self, answer: Answer) -> DeleteStep {
        match (self, answer) {
            (_, Answer::Accepted) | (Self::UnansweredDeleteMeansDeleted, Answer::Ambiguous) => DeleteStep::Terminate,
            _ => DeleteStep::JudgeAnew,
        }
    }

    pub(crate) fn delete_carries_version(self) -> bool {
        self != Self::DeleteWithoutVersion
    }

    fn as_candidate(self, member: Member) -> Member {
        Member { deleting: member.deleting && self != Self::DeletingIsCandidate, ..member }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_accepted_delete_terminates_without_another_look() {
        let policy = Policy::AsDesigned;
        assert_eq!(policy.after_delete(Answer::Accepted), DeleteStep::Terminate);
        for answer in [Answer::Conflict, Answer::NotFound, Answer::Ambiguous, Answer::Refused] {
            assert_eq!(policy.after_delete(answer), DeleteStep::JudgeAnew);
        }
    }
}
