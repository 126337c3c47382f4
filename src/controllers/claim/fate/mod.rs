//! Applies the fate table to a claimed member (`docs/adr/0001-claim-protocol.md`).

mod reuse;

use std::sync::Arc;

use bullpen_api::{ConditionType, EventAction, PoolClaim, PoolMember, Reason, find_condition};
use bullpen_plan::claim::vanished::Vanished;
use bullpen_plan::claim::{ClaimView, Evidence, Fate, Found, binding, ended_well, fate};
use bullpen_plan::{claim, member};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::bind;
use super::bind::Finished;
use super::requests::Sharer;
use super::vanished;
use crate::clock;
use crate::cluster::{NotLeading, Written};
use crate::controllers::claim::ClaimController;
use crate::controllers::convert;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;

/// What follows for a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FateOutcome {
    /// The member is to end. This is when that was decided.
    Ends(Timestamp),
    /// The member stays.
    Lives,
    /// Something was written: decide again from the new version.
    Changed,
    /// Undecided: try again at this moment, or when something changes.
    Later(Option<Timestamp>),
}

/// How long to wait when the API server proves nothing.
const PROOF_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// Decides what becomes of a claimed member, and carries it out.
pub async fn decide(controller: &ClaimController, member: &Arc<PoolMember>) -> Result<FateOutcome, Failure> {
    let uid = convert::uid(member.as_ref());
    if let Some(since) = controller.machines.with(&uid, |record| record.ending_since) {
        return Ok(FateOutcome::Ends(since));
    }
    let Some(reference) = convert::status(member).claim_ref else { return Ok(FateOutcome::Lives) };
    let claim_key = ObjectKey::new(reference.namespace.clone(), reference.name.clone());
    let (in_hand, cached) = controller.common.cluster.with(|state| {
        let in_hand =
            state.claims_reserved.contains(&reference.uid) || state.claims_being_updated.contains(&reference.uid);
        (in_hand, convert::claim_evidence(state, &claim_key, &reference.uid))
    });
    if in_hand {
        // A binding has reserved it. Its release wakes this member.
        return Ok(FateOutcome::Later(None));
    }
    if !controller.common.cluster.watches(&claim_key.namespace) {
        return Ok(unwatched(controller, member, &claim_key));
    }
    let (first, well) = judge(controller, member, &reference.uid, &cached);
    if first == Fate::FinishBinding
        && let Some(later) = bind::delayed_until(controller, &reference.uid, clock::now())
    {
        return Ok(FateOutcome::Later(Some(later)));
    }
    let ((decided, well), live, gone) = if first == Fate::ConfirmFirst || needs_claim(first) {
        let Some(turn) = controller.binding_turn(&Sharer::of_key(&claim_key, member)).await else {
            return Err(Failure::NotLeading(NotLeading));
        };
        let found = controller.common.writes.get::<PoolClaim>(&claim_key).await;
        drop(turn);
        let evidence = Evidence::from_get(&reference.uid, convert::found(&found, convert::claim_view));
        (judge(controller, member, &reference.uid, &evidence), found, evidence.is_gone())
    } else {
        ((first, well), Found::Unproved, cached.is_gone())
    };
    if decided == Fate::Terminated && gone {
        match vanished::look(controller, member, &reference).await? {
            Vanished::Released => {}
            // A person's word is an annotation, which wakes this member.
            Vanished::Kept => return Ok(FateOutcome::Later(None)),
            Vanished::AskAgain => return Ok(FateOutcome::Later(clock::now().checked_add(PROOF_PAUSE).ok())),
        }
    }
    act(controller, member, (decided, well), live).await
}

/// The claim's namespace is not watched, so its end would go unseen and nothing can be proved: the member stays. The
/// pool's status reports it.
fn unwatched(controller: &ClaimController, member: &PoolMember, claim: &ObjectKey) -> FateOutcome {
    let uid = convert::uid(member);
    if controller.machines.with(&uid, |record| !std::mem::replace(&mut record.unwatched_logged, true)) {
        warn!(member = %ObjectKey::of(member), %claim, "held by a claim in a namespace that is not watched: kept as it is");
    }
    FateOutcome::Lives
}

/// Whether the fate writes the claim, which needs its newest version.
const fn needs_claim(fate: Fate) -> bool {
    matches!(fate, Fate::FinishBinding | Fate::ClaimLost)
}

/// The fate of the member, and whether its claim came to a good end.
fn judge(
    controller: &ClaimController,
    member: &PoolMember,
    claim: &str,
    evidence: &Evidence<ClaimView<String>>,
) -> (Fate, bool) {
    controller.common.cluster.with(|state| {
        let this = convert::held_member(member, state);
        let others: Vec<_> = state
            .members_claimed_by(claim)
            .filter(|other| convert::uid(other.as_ref()) != this.uid)
            .map(|other| convert::held_member(other, state))
            .collect();
        (fate(evidence, &this, &others), ended_well(evidence, &this))
    })
}

async fn act(
    controller: &ClaimController,
    member: &Arc<PoolMember>,
    (decided, well): (Fate, bool),
    claim: Found<Arc<PoolClaim>>,
) -> Result<FateOutcome, Failure> {
    match (decided, claim) {
        (Fate::Stays, _) => Ok(FateOutcome::Lives),
        (Fate::Waits | Fate::ConfirmFirst, Found::Unproved) => {
            Ok(FateOutcome::Later(clock::now().checked_add(PROOF_PAUSE).ok()))
        }
        (Fate::Waits | Fate::ConfirmFirst, _) => Ok(FateOutcome::Later(None)),
        (Fate::FinishBinding, Found::Object(claim)) => {
            info!(claim = %ObjectKey::of(claim.as_ref()), member = %ObjectKey::of(member.as_ref()), "finishes a binding that was interrupted");
            match bind::finish(controller, claim, member).await {
                Finished::Judged => Ok(FateOutcome::Changed),
                Finished::Later(moment) => Ok(FateOutcome::Later(Some(moment))),
            }
        }
        (Fate::ClaimLost, Found::Object(claim)) => {
            mark_lost(controller, &claim).await?;
            Ok(FateOutcome::Changed)
        }
        (Fate::FinishBinding | Fate::ClaimLost, _) => {
            Ok(FateOutcome::Later(clock::now().checked_add(PROOF_PAUSE).ok()))
        }
        // Its key may have been in a Secret that somebody has read, so nobody else gets the machine.
        (Fate::GivenBack, Found::Object(claim)) if has_shown_key(member, &claim) => {
            controller.common.writes.delete_member(member).await?;
            Ok(FateOutcome::Changed)
        }
        (Fate::GivenBack, _) => {
            give_back(controller, member).await?;
            Ok(FateOutcome::Changed)
        }
        // Clearing `spec.hold` wakes this member.
        (Fate::Terminated, _) if member.spec.hold && !convert::deleting(member.as_ref()) => {
            Ok(FateOutcome::Later(None))
        }
        (Fate::Terminated, _) if convert::deleting(member.as_ref()) => Ok(FateOutcome::Ends(clock::now())),
        (Fate::Terminated, _) => reuse::reset_or_end(controller, member, well).await,
    }
}

fn has_shown_key(member: &PoolMember, claim: &PoolClaim) -> bool {
    let has_key = member.spec.ssh.as_ref().is_some_and(|ssh| ssh.key_id.is_some());
    has_key && binding::secret_name(claim).is_some()
}

/// The member's machine is gone: set the claim to Lost before the member is deleted.
pub async fn mark_lost(controller: &ClaimController, claim: &Arc<PoolClaim>) -> Result<(), Failure> {
    let lost = claim::status::lost(claim, clock::now());
    let written = controller.common.writes.update_status(&lost).await?;
    if let Written::Written(_) = written {
        warn!(claim = %ObjectKey::of(claim.as_ref()), "the machine of a claim is gone");
        let bound =
            lost.status.as_ref().and_then(|status| find_condition(&status.conditions, ConditionType::Bound, false));
        let note = bound.map(|bound| bound.message.clone()).unwrap_or_default();
        controller.common.events.warn(claim.as_ref(), Reason::Lost, EventAction::Observe, note);
    }
    Ok(())
}

async fn give_back(controller: &ClaimController, member: &PoolMember) -> Result<(), Failure> {
    controller.common.writes.update_status(&member::status::given_back(member, clock::now())).await?;
    Ok(())
}
