//! Which members may be handed out, and which claims may be given one.

use bullpen_api::{ClaimPhase, MemberState};

use super::evidence::HasUid;

/// What the claim protocol needs to know of one version of a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemberView<Id> {
    /// `metadata.uid`.
    pub uid: Id,
    /// `spec.poolRef.uid`.
    pub pool: Id,
    /// `status.state`.
    pub state: MemberState,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `status.claimRef.uid`.
    pub claim: Option<Id>,
    /// Whether it must not be handed out for now: `spec.cordoned`, `spec.hold`, or the condition `Quarantined` (its
    /// machine was claimed before, by its tags).
    pub set_aside: bool,
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

/// What the claim protocol needs to know of one version of a claim.
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

/// Whether a claim may take this member: the only check before the compare-and-swap.
///
/// CEL rules cannot see the deletionTimestamp, so the API server would accept a claim on a member that is being
/// deleted, whose machine may be terminated at any moment. Only this check prevents that, and the same for a member
/// that is set aside.
pub fn claimable<Id: Eq>(member: &MemberView<Id>, live_pool: &Id) -> bool {
    let free = member.state == MemberState::Ready && member.claim.is_none();
    free && !member.deleting && !member.set_aside && member.pool == *live_pool
}

/// Whether a claim that waits gets this member back: it is kept because its claim went with the definition of claims, and
/// the waiting one is that claim applied again, under another uid. Namespace and name are equal by the caller's search.
pub fn returns<Id: Eq>(member: &MemberView<Id>, live_pool: &Id, kept: bool) -> bool {
    kept && member.state == MemberState::Claimed && !member.deleting && member.pool == *live_pool
}

/// Whether a claim waits in a queue. `named` is whether any member's `claimRef` names it.
///
/// A claim that a member names has its machine already: only its binding must be finished. A claim that is being
/// deleted gets no machine because nobody would use it.
pub fn queues<Id>(claim: &ClaimView<Id>, named: bool) -> bool {
    claim.phase == ClaimPhase::Pending && claim.member.is_none() && !claim.deleting && !named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> MemberView<&'static str> {
        MemberView { uid: "m", pool: "p", state: MemberState::Ready, deleting: false, claim: None, set_aside: false }
    }

    fn claim() -> ClaimView<&'static str> {
        ClaimView { uid: "c", phase: ClaimPhase::Pending, member: None, deleting: false }
    }

    #[test]
    fn a_ready_member_of_the_live_pool_is_claimable() {
        assert!(claimable(&member(), &"p"));
    }

    #[test]
    fn only_a_ready_member_is_claimable() {
        for state in MemberState::ALL {
            assert_eq!(claimable(&MemberView { state, ..member() }, &"p"), state == MemberState::Ready);
        }
    }

    #[test]
    fn a_member_that_is_being_deleted_is_never_claimable() {
        for state in MemberState::ALL {
            assert!(!claimable(&MemberView { state, deleting: true, ..member() }, &"p"));
        }
    }

    #[test]
    fn a_member_that_names_a_claim_is_not_claimable() {
        assert!(!claimable(&MemberView { claim: Some("c"), ..member() }, &"p"));
    }

    #[test]
    fn a_member_set_aside_is_never_claimable() {
        for state in MemberState::ALL {
            assert!(!claimable(&MemberView { state, set_aside: true, ..member() }, &"p"));
        }
    }

    #[test]
    fn a_member_of_an_earlier_pool_of_the_same_name_is_not_claimable() {
        assert!(!claimable(&member(), &"another uid"));
    }

    #[test]
    fn only_a_kept_member_of_the_live_pool_that_stays_returns_to_its_claim() {
        let held = MemberView { state: MemberState::Claimed, claim: Some("former"), ..member() };
        assert!(returns(&held, &"p", true));
        assert!(!returns(&held, &"p", false), "its claim may live");
        assert!(!returns(&held, &"another uid", true));
        assert!(!returns(&MemberView { deleting: true, ..held.clone() }, &"p", true));
        for state in MemberState::ALL {
            let returned = returns(&MemberView { state, ..held.clone() }, &"p", true);
            assert_eq!(returned, state == MemberState::Claimed, "{state:?}");
        }
    }

    #[test]
    fn a_pending_claim_that_no_member_names_queues() {
        assert!(queues(&claim(), false));
        assert!(!queues(&claim(), true));
    }

    #[test]
    fn only_a_pending_claim_queues() {
        for phase in ClaimPhase::ALL {
            assert_eq!(queues(&ClaimView { phase, ..claim() }, false), phase == ClaimPhase::Pending);
        }
    }

    #[test]
    fn a_claim_that_is_being_deleted_or_has_a_member_does_not_queue() {
        assert!(!queues(&ClaimView { deleting: true, ..claim() }, false));
        assert!(!queues(&ClaimView { member: Some("m"), ..claim() }, false));
    }
}
