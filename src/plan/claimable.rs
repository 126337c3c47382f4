//! Which members may be handed out, and which claims may be given one.

use super::evidence::HasUid;
use crate::api::{ClaimPhase, MemberState};

/// What the claim protocol needs to know of a member, as one version of it shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemberView<Id> {
    /// `metadata.uid`.
    pub uid: Id,
    /// `spec.poolRef.uid`.
    pub pool: Id,
    /// `status.state`.
    pub state: MemberState,
    /// Whether `metadata.deletionTimestamp` is set, by whomever.
    pub deleting: bool,
    /// `status.claimRef.uid`.
    pub claim: Option<Id>,
}

impl<Id: Eq> MemberView<Id> {
    /// Whether the member is claimed, and by the claim with this uid.
    pub fn is_claimed_by(&self, claim: &Id) -> bool {
        self.state == MemberState::Claimed && self.claim.as_ref() == Some(claim)
    }
}

impl<Id: Eq> HasUid for MemberView<Id> {
    type Id = Id;
    fn uid(&self) -> &Id {
        &self.uid
    }
}

/// What the claim protocol needs to know of a claim, as one version of it shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimView<Id> {
    /// `metadata.uid`.
    pub uid: Id,
    /// `status.phase`.
    pub phase: ClaimPhase,
    /// `status.memberRef.uid`; set once.
    pub member: Option<Id>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
}

impl<Id: Eq> HasUid for ClaimView<Id> {
    type Id = Id;
    fn uid(&self) -> &Id {
        &self.uid
    }
}

/// Whether a claim may take this member: the one fence in front of the compare-and-swap.
///
/// CEL sees no deletionTimestamp, so the API server would accept a claim on a member that is being deleted, whose
/// machine may be ended at any moment. Nothing but this test keeps such a member from being handed out.
pub fn claimable<Id: Eq>(member: &MemberView<Id>, live_pool: &Id) -> bool {
    member.state == MemberState::Ready && !member.deleting && member.claim.is_none() && member.pool == *live_pool
}

/// Whether a claim waits for a member, `named` telling whether any member's `claimRef` names it.
///
/// A claim that a member names has its machine already: binding it is finished, nothing else is looked for. One that
/// is being deleted would be a machine for nobody.
pub fn queues<Id>(claim: &ClaimView<Id>, named: bool) -> bool {
    claim.phase == ClaimPhase::Pending && claim.member.is_none() && !claim.deleting && !named
}
