//! What happens to a claimed member, to a Bound claim, and to a member with a deletionTimestamp.
//!
//! Pure functions: the table of `docs/adr/0001-claim-protocol.md`. Input: [`Evidence`] of the claim or member. Output:
//! the next action.

use bullpen_api::{ClaimPhase, MemberState};

use super::claimable::{ClaimView, MemberView};
use super::evidence::{Evidence, Proof};

/// A member that is Claimed for the claim in question: what its fate depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldMember<Id, At> {
    /// `metadata.uid`.
    pub uid: Id,
    /// `status.claimedAt`.
    pub claimed_at: At,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Whether the machine is proved gone by the rules of `docs/develop/providers.md`.
    pub machine_gone: bool,
    /// Whether somebody may have worked on the machine already: the member was given back to a claim that was applied
    /// again.
    pub served: bool,
}

/// What to do with a claimed member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Nothing: the claim has it.
    Stays,
    /// Nothing now: nothing is proved, or another member is bound first.
    Waits,
    /// Write the claim's status, `Bound` to this member, with the resourceVersion of the claim that was judged.
    FinishBinding,
    /// GET the claim, uncached, and decide again with [`Evidence::from_get`].
    ConfirmFirst,
    /// Set the member from Claimed to Ready, with its resourceVersion.
    GivenBack,
    /// Set the claim to `Lost`, with its resourceVersion, and decide again.
    ClaimLost,
    /// Delete the member with its uid and resourceVersion, or terminate its machine if it is being deleted already.
    Terminated,
}

/// The fate of `this` member, Claimed for the claim that `evidence` is about; `others` are Claimed for the same claim.
///
/// A member is given back only on live evidence, and only if nobody can have worked on its machine.
pub fn fate<Id: Ord, At: Ord>(
    evidence: &Evidence<ClaimView<Id>>,
    this: &HeldMember<Id, At>,
    others: &[HeldMember<Id, At>],
) -> Fate {
    let (claim, live) = match &evidence.0 {
        Proof::Nothing => return Fate::Waits,
        Proof::NotInCache => return Fate::ConfirmFirst,
        Proof::Gone => return Fate::Terminated,
        Proof::Seen { view, live } => (view, *live),
    };
    match &claim.member {
        Some(member) if *member == this.uid => named_by_claim(claim.phase, this),
        Some(_) => never_named(live, this),
        None if claim.phase.is_terminal() => never_named(live, this),
        None if claim.phase == ClaimPhase::Pending => unbound(claim.deleting, live, this, others),
        None => Fate::Waits,
    }
}

/// The claim's status names this member. That reference is set once and a terminal phase never changes, so an old view
/// is proof too.
fn named_by_claim<Id, At>(phase: ClaimPhase, this: &HeldMember<Id, At>) -> Fate {
    match phase {
        ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Failed | ClaimPhase::Released => Fate::Terminated,
        ClaimPhase::Bound if this.machine_gone => Fate::ClaimLost,
        ClaimPhase::Bound | ClaimPhase::Pending => Fate::Stays,
    }
}

/// The claim will never name this member, so no user has seen it, unless an earlier claim of that name had it.
fn never_named<Id, At>(live: bool, this: &HeldMember<Id, At>) -> Fate {
    if !live {
        Fate::ConfirmFirst
    } else if this.deleting || this.machine_gone || this.served {
        Fate::Terminated
    } else {
        Fate::GivenBack
    }
}

/// The claim is Pending and names no member yet.
fn unbound<Id: Ord, At: Ord>(
    claim_deleting: bool,
    live: bool,
    this: &HeldMember<Id, At>,
    others: &[HeldMember<Id, At>],
) -> Fate {
    if this.machine_gone {
        // In an old view the claim may look Pending although it is Bound to this member: then it becomes `Lost` first.
        return if live { Fate::Terminated } else { Fate::ConfirmFirst };
    }
    let order = |member: &HeldMember<Id, At>, than: &HeldMember<Id, At>| {
        (&member.claimed_at, &member.uid) < (&than.claimed_at, &than.uid)
    };
    let another_is_first = others.iter().any(|other| !other.machine_gone && order(other, this));
    match (claim_deleting, another_is_first) {
        // Bound is written only over a version without a deletionTimestamp, and that never goes away: it will not be
        // Bound, and another finalizer may keep the claim for ever.
        (true, _) => never_named(live, this),
        (false, true) => Fate::Waits,
        (false, false) => Fate::FinishBinding,
    }
}

/// Whether the claim that `this` is Claimed for came to a good end, so that its machine may serve another one after a
/// reset: the claim is gone, or Expired or Released with this member. No write can make it name the member after that.
pub fn ended_well<Id: Eq, At>(evidence: &Evidence<ClaimView<Id>>, this: &HeldMember<Id, At>) -> bool {
    match &evidence.0 {
        Proof::Gone => true,
        Proof::Seen { view, .. } => {
            let good = matches!(view.phase, ClaimPhase::Expired | ClaimPhase::Released);
            good && view.member.as_ref() == Some(&this.uid)
        }
        Proof::Nothing | Proof::NotInCache => false,
    }
}

/// What happens to a claim by the state of its member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClaimFate {
    /// Nothing changes.
    Keeps,
    /// GET the member, uncached, and decide again with [`Evidence::from_get`].
    ConfirmFirst,
    /// Set the claim to `Lost`, with its resourceVersion.
    Lost,
}

/// Whether `claim` keeps the member that its `memberRef` names. `evidence` is about that member.
pub fn hold<Id: Eq>(claim: &ClaimView<Id>, evidence: &Evidence<MemberView<Id>>, machine_gone: bool) -> ClaimFate {
    if claim.phase != ClaimPhase::Bound {
        return ClaimFate::Keeps;
    }
    match &evidence.0 {
        Proof::Nothing => ClaimFate::Keeps,
        Proof::Seen { view, .. } if !machine_gone && view.is_claimed_by(&claim.uid) => ClaimFate::Keeps,
        Proof::Gone | Proof::Seen { live: true, .. } => ClaimFate::Lost,
        Proof::Seen { .. } if machine_gone => ClaimFate::Lost,
        Proof::NotInCache | Proof::Seen { .. } => ClaimFate::ConfirmFirst,
    }
}

/// What to do because of a member's deletionTimestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Nothing: there is none.
    NotAsked,
    /// Terminate the machine; once it is proved gone, remove the finalizer.
    Terminate,
    /// A claim has it: do nothing until [`fate`](fate()) returns `Terminated`.
    AskTheTable,
}

/// What to do because of the deletionTimestamp of `member`.
///
/// An unclaimed member that is being deleted cannot become Claimed (see [`claimable`](crate::claim::claimable())), so
/// an old view of one is proof enough.
pub fn ending<Id>(member: &MemberView<Id>) -> Ending {
    match (member.deleting, member.state) {
        (false, _) => Ending::NotAsked,
        (true, MemberState::Claimed) => Ending::AskTheTable,
        (
            true,
            MemberState::Pending
            | MemberState::Warming
            | MemberState::Ready
            | MemberState::Resetting
            | MemberState::Stopping
            | MemberState::Standby
            | MemberState::Errored,
        ) => Ending::Terminate,
    }
}

#[cfg(test)]
mod tests;
