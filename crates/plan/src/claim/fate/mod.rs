//! What becomes of a claimed member, of a bound claim, and of a member with a deletionTimestamp.

use bullpen_api::{ClaimPhase, MemberState};

use super::claimable::{ClaimView, MemberView};
use super::evidence::{Evidence, Proof};

/// A member that is Claimed for the claim in question, as far as its fate depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldMember<Id, At> {
    /// `metadata.uid`.
    pub uid: Id,
    /// `status.claimedAt`.
    pub claimed_at: At,
    /// Whether `metadata.deletionTimestamp` is set, by whomever.
    pub deleting: bool,
    /// Whether the provider said, as `docs/develop/providers.md` asks, that the machine is gone.
    pub machine_gone: bool,
}

/// What is to be done with a claimed member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The claim holds it.
    Stays,
    /// Nothing now: nothing is proved, the claim is being deleted, or another member is bound first.
    Waits,
    /// The claim's status is written: `Bound`, to this member, with the resourceVersion of the claim that was judged.
    FinishBinding,
    /// The claim is read, uncached, and the question asked again with [`Evidence::from_get`].
    ConfirmFirst,
    /// Claimed → Ready, with the member's resourceVersion.
    GivenBack,
    /// The claim becomes `Lost`, with the claim's resourceVersion; then the question is asked again.
    ClaimLost,
    /// The member is deleted with its uid and resourceVersion, or terminated if it is being deleted already.
    Terminated,
}

/// The fate of `this` member, Claimed for the claim that `evidence` is about; `others` are Claimed for the same claim.
///
/// This is the table of `docs/adr/0001-claim-protocol.md`. A member is given back only by live evidence.
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
        Some(member) if *member == this.uid => of_its_own(claim.phase, this),
        Some(_) => not_held(live, this),
        None if claim.phase.is_terminal() => not_held(live, this),
        None if claim.phase == ClaimPhase::Pending => unbound(claim.deleting, live, this, others),
        None => Fate::Waits,
    }
}

/// The claim's status names this member. The name is set once and a terminal phase stays, so an old view is proof too.
fn of_its_own<Id, At>(phase: ClaimPhase, this: &HeldMember<Id, At>) -> Fate {
    match phase {
        ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Failed => Fate::Terminated,
        ClaimPhase::Bound if this.machine_gone => Fate::ClaimLost,
        ClaimPhase::Bound | ClaimPhase::Pending => Fate::Stays,
    }
}

/// The claim will never name this member, so nobody has seen it.
fn not_held<Id, At>(live: bool, this: &HeldMember<Id, At>) -> Fate {
    if !live {
        Fate::ConfirmFirst
    } else if this.deleting || this.machine_gone {
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
        // An old view may hide that the claim is Bound to this member: then `Lost` comes first.
        return if live { Fate::Terminated } else { Fate::ConfirmFirst };
    }
    let order = |member: &HeldMember<Id, At>, than: &HeldMember<Id, At>| {
        (&member.claimed_at, &member.uid) < (&than.claimed_at, &than.uid)
    };
    let another_is_first = others.iter().any(|other| !other.machine_gone && order(other, this));
    if claim_deleting || another_is_first { Fate::Waits } else { Fate::FinishBinding }
}

/// Whether a claim keeps the member that its status names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClaimFate {
    /// Nothing changes.
    Keeps,
    /// The member is read, uncached, and the question asked again with [`Evidence::from_get`].
    ConfirmFirst,
    /// The claim becomes `Lost`, with its resourceVersion.
    Lost,
}

/// Whether `claim` keeps the member that its `memberRef` names and `evidence` is about.
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

/// What a member's deletionTimestamp asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// There is none.
    NotAsked,
    /// The machine is terminated; when the provider says that it is gone, the finalizer goes.
    Terminate,
    /// A claim has it: it is kept until [`fate`](fate()) says `Terminated`.
    AskTheTable,
}

/// What the deletionTimestamp of `member`, set by whomever, asks for.
///
/// An unclaimed member that is being deleted can't become Claimed (see [`claimable`](crate::claim::claimable())), so an old view
/// that shows one is proof.
pub fn ending<Id>(member: &MemberView<Id>) -> Ending {
    match (member.deleting, member.state) {
        (false, _) => Ending::NotAsked,
        (true, MemberState::Claimed) => Ending::AskTheTable,
        (true, MemberState::Pending | MemberState::Warming | MemberState::Ready | MemberState::Errored) => {
            Ending::Terminate
        }
    }
}

#[cfg(test)]
mod tests;
