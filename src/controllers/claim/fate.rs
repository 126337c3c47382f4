//! A claimed member: the fate table applied (`DESIGN.md` §4, step 4).

use std::sync::Arc;

use bullpen_api::{EventAction, PoolClaim, PoolMember, Reason};
use bullpen_plan::claim::{Answer, ClaimView, Evidence, Fate, Found, binding, fate};
use bullpen_plan::{claim, member};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::bind;
use super::bind::Finished;
use super::secret;
use crate::controllers::context::Context;
use crate::controllers::convert;
use crate::controllers::member::deletion::delete_member;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;

/// What follows for a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Its end was decided at this moment.
    Ends(Timestamp),
    /// It goes on.
    Lives,
    /// Something was written: it is to be looked at anew.
    Changed,
    /// Nothing can be decided before this moment, or before something changes.
    Later(Option<Timestamp>),
}

/// How long to wait when the API server proves nothing.
const PROOF_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// Decides what becomes of a claimed member, and does what the table says.
pub async fn decide(context: &Context, member: &Arc<PoolMember>) -> Result<Held, Failure> {
    let uid = convert::uid(member.as_ref());
    if let Some(since) = context.machines.with(&uid, context.started, |record| record.ending_since) {
        return Ok(Held::Ends(since));
    }
    let Some(reference) = convert::status(member).claim_ref else { return Ok(Held::Lives) };
    let claim_key = ObjectKey::new(reference.namespace.clone(), reference.name.clone());
    let (in_hand, cached) = context.world.with(|state| {
        let in_hand = state.claims_in_hand.contains(&reference.uid) || state.claims_being_told.contains(&reference.uid);
        (in_hand, convert::claim_evidence(state, &claim_key, &reference.uid))
    });
    if in_hand {
        // It is let go in a moment, and then this member is woken.
        return Ok(Held::Later(None));
    }
    if !context.world.watches(&claim_key.namespace) {
        return Ok(unwatched(context, member, &claim_key));
    }
    let first = judge(context, member, &reference.uid, &cached);
    if first == Fate::FinishBinding
        && let Some(later) = secret::held_until(context, &reference.uid, Timestamp::now())
    {
        return Ok(Held::Later(Some(later)));
    }
    let (decided, live) = if first == Fate::ConfirmFirst || needs_claim(first) {
        let found = context.writes.get::<PoolClaim>(&claim_key).await;
        let evidence = Evidence::from_get(&reference.uid, convert::found(&found, convert::claim_view));
        (judge(context, member, &reference.uid, &evidence), found)
    } else {
        (first, Found::Unproved)
    };
    act(context, member, decided, live).await
}

/// Nobody would see the claim end, so nothing is proved of it and the member stays. The pool says so.
fn unwatched(context: &Context, member: &PoolMember, claim: &ObjectKey) -> Held {
    let uid = convert::uid(member);
    if context.machines.with(&uid, context.started, |record| !std::mem::replace(&mut record.unwatched_told, true)) {
        warn!(member = %ObjectKey::of(member), %claim, "held by a claim in a namespace that is not watched: kept as it is");
    }
    Held::Lives
}

/// These write the claim, so they begin from its newest version.
const fn needs_claim(fate: Fate) -> bool {
    matches!(fate, Fate::FinishBinding | Fate::ClaimLost)
}

fn judge(context: &Context, member: &PoolMember, claim: &str, evidence: &Evidence<ClaimView<String>>) -> Fate {
    context.world.with(|state| {
        let this = convert::held_member(member, state);
        let others: Vec<_> = state
            .members_claimed_by(claim)
            .filter(|other| convert::uid(other.as_ref()) != this.uid)
            .map(|other| convert::held_member(other, state))
            .collect();
        fate(evidence, &this, &others)
    })
}

async fn act(
    context: &Context,
    member: &Arc<PoolMember>,
    decided: Fate,
    claim: Found<Arc<PoolClaim>>,
) -> Result<Held, Failure> {
    match (decided, claim) {
        (Fate::Stays, _) => Ok(Held::Lives),
        (Fate::Waits | Fate::ConfirmFirst, Found::Unproved) => {
            Ok(Held::Later(Timestamp::now().checked_add(PROOF_PAUSE).ok()))
        }
        (Fate::Waits | Fate::ConfirmFirst, _) => Ok(Held::Later(None)),
        (Fate::FinishBinding, Found::Object(claim)) => {
            info!(claim = %ObjectKey::of(claim.as_ref()), member = %ObjectKey::of(member.as_ref()), "finishes a binding that was begun before");
            match bind::finish(context, claim, member).await {
                Finished::Judged => Ok(Held::Changed),
                Finished::Later(moment) => Ok(Held::Later(Some(moment))),
            }
        }
        (Fate::ClaimLost, Found::Object(claim)) => {
            lose(context, &claim).await?;
            Ok(Held::Changed)
        }
        (Fate::FinishBinding | Fate::ClaimLost, _) => Ok(Held::Later(Timestamp::now().checked_add(PROOF_PAUSE).ok())),
        // Its key may have been in a Secret that somebody has seen: nobody else gets the machine.
        (Fate::GivenBack, Found::Object(claim)) if has_shown_key(member, &claim) => {
            delete_member(context, member).await?;
            Ok(Held::Changed)
        }
        (Fate::GivenBack, _) => {
            give_back(context, member).await?;
            Ok(Held::Changed)
        }
        // It goes once it is let go, which wakes it.
        (Fate::Terminated, _) if member.spec.hold && !convert::deleting(member.as_ref()) => Ok(Held::Later(None)),
        (Fate::Terminated, _) if convert::deleting(member.as_ref()) => Ok(Held::Ends(Timestamp::now())),
        (Fate::Terminated, _) => {
            delete_member(context, member).await?;
            Ok(Held::Changed)
        }
    }
}

fn has_shown_key(member: &PoolMember, claim: &PoolClaim) -> bool {
    let has_key = member.spec.ssh.as_ref().is_some_and(|ssh| ssh.key_id.is_some());
    has_key && binding::secret_name(claim).is_some()
}

/// The member's machine is gone: the claim says so before the member goes.
pub async fn lose(context: &Context, claim: &Arc<PoolClaim>) -> Result<(), Failure> {
    let key = ObjectKey::of(claim.as_ref());
    match context.writes.update_status(&claim::status::lost(claim, Timestamp::now())).await {
        Ok(_) => {
            warn!(claim = %key, "the machine of a claim is gone");
            context.events.warn(
                claim.as_ref(),
                Reason::Lost,
                EventAction::Observe,
                "the machine that this claim held is gone".into(),
            );
            Ok(())
        }
        Err(error) if error.answer == Answer::NotFound => {
            context.world.answered_gone::<PoolClaim>(&key, &convert::uid(claim.as_ref()));
            Ok(())
        }
        Err(error) => {
            context.writes.get::<PoolClaim>(&key).await;
            Err(error.into())
        }
    }
}

async fn give_back(context: &Context, member: &PoolMember) -> Result<(), Failure> {
    match context.writes.update_status(&member::status::given_back(member, Timestamp::now())).await {
        Ok(_) => Ok(()),
        Err(error) => {
            context.writes.get::<PoolMember>(&ObjectKey::of(member)).await;
            Err(error.into())
        }
    }
}
