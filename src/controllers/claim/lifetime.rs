//! The life of a claim after it was bound (`docs/use/claims.md`): it keeps its member or is Lost, is renewed or
//! Expired, is flagged once if it lasts long, and is deleted as a record if its pool wants that.
//!
//! A claim ends before its member does. The fate table ensures that, in [`fate`](crate::controllers::claim::fate),
//! which also handles a member that is there and lost its machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, EventAction, PoolClaim, PoolMember, Reason};
use bullpen_plan::claim;
use bullpen_plan::claim::lifetime;
use bullpen_plan::claim::lifetime::{BoundClaim, Due, TermDecision, TermRules, deleted_at, judge, not_before};
use bullpen_plan::claim::{ClaimFate, Evidence, Found, hold};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::fate;
use super::machine_news;
use super::machine_news::Told;
use crate::clock;
use crate::cluster::Written;
use crate::controllers::claim::ClaimController;
use crate::controllers::convert;
use crate::runtime::failure::Failure;
use crate::runtime::work_queue::Outcome;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;
use crate::state::store::Changed;
use crate::telemetry::labels::ClaimEnd;

/// How often a claim is judged in one pass. After a write, or if the claim had changed, it is judged again from its present
/// version.
const MOST_LOOKS: usize = 8;

/// What one look at a claim came to.
enum Look {
    /// Something was written, or the claim had changed: all of it is judged anew.
    Again,
    /// Nothing is left to do before this moment, if there is any.
    Done(Option<Timestamp>),
}

/// One pass over a claim that was bound or has ended.
pub async fn reconcile(controller: Arc<ClaimController>, key: ObjectKey) -> Outcome {
    for _ in 0..MOST_LOOKS {
        let Some(claim) = controller.common.cluster.with(|state| unreserved(state, &key)) else { return Ok(None) };
        if let Look::Done(look_again_at) = look(&controller, &claim).await? {
            return Ok(look_again_at);
        }
    }
    Err(Failure::KeepsChanging(key))
}

/// Does the first thing that is due.
async fn look(controller: &ClaimController, claim: &Arc<PoolClaim>) -> Result<Look, Failure> {
    match phase(claim) {
        ClaimPhase::Pending => Ok(Look::Done(None)),
        ClaimPhase::Bound if is_lost(controller, claim).await? => {
            fate::mark_lost(controller, claim).await?;
            Ok(Look::Done(None))
        }
        ClaimPhase::Bound => match job_done(controller, claim) {
            Some(message) => end_done(controller, claim, &message).await,
            None => enforce_lifetime(controller, claim).await,
        },
        ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Failed | ClaimPhase::Released => {
            end_record(controller, claim).await
        }
    }
}

/// The claim, unless a binding has reserved it or another installation works on its pool.
fn unreserved(state: &State, key: &ObjectKey) -> Option<Arc<PoolClaim>> {
    let claim = state.claims.read(key)?;
    let in_hand = state.claims_reserved.contains(&convert::uid(claim.as_ref()));
    let of_others = served_by(state, &claim).is_some_and(|pool| state.pool_of_others(&pool).is_some());
    (state.knows(&key.namespace) && !of_others && !in_hand).then_some(claim)
}

/// The pool of a claim's member, or else the pool that the claim is on.
fn served_by(state: &State, claim: &PoolClaim) -> Option<ObjectKey> {
    let reference = claim.status.as_ref().and_then(|status| status.member_ref.as_ref());
    let member = reference.map(|member| ObjectKey::new(member.namespace.clone(), member.name.clone()));
    let member = member.and_then(|member| state.members.get(&member));
    member.map_or_else(|| crate::state::cluster_state::pool_of_claim(claim), |member| Some(convert::pool_of(member)))
}

fn phase(claim: &PoolClaim) -> ClaimPhase {
    claim.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

/// Whether the member of a Bound claim is gone or belongs to the claim no more.
async fn is_lost(controller: &ClaimController, claim: &PoolClaim) -> Result<bool, Failure> {
    let Some(reference) = claim.status.as_ref().and_then(|status| status.member_ref.clone()) else { return Ok(false) };
    let member_key = ObjectKey::new(reference.namespace.clone(), reference.name.clone());
    if !controller.common.cluster.watches(&member_key.namespace) {
        // Its namespace is not watched, so nothing can be proved.
        return Ok(false);
    }
    let view = convert::claim_view(claim);
    let cached = controller.common.cluster.with(|state| {
        if state.members.saw_deleted(&reference.uid) {
            return Evidence::gone();
        }
        Evidence::from_cache(&reference.uid, state.members.get(&member_key).map(|member| convert::member_view(member)))
    });
    // A member that is there while its machine is gone is the member controller's case.
    let mut decided = hold(&view, &cached, false);
    if decided == ClaimFate::ConfirmFirst {
        let found = controller.common.writes.get::<PoolMember>(&member_key).await;
        let live = Evidence::from_get(&reference.uid, convert::found(&found, convert::member_view));
        decided = hold(&view, &live, false);
        if matches!(found, Found::Unproved) {
            return Err(Failure::Unproved(member_key));
        }
    }
    Ok(decided == ClaimFate::Lost)
}

/// The lifetime rules of the pool that a claim was bound in.
fn rules(controller: &ClaimController, claim: &PoolClaim) -> TermRules {
    controller
        .common
        .cluster
        .with(|state| served_by(state, claim).map(|pool| convert::term_rules(state, &pool)).unwrap_or_default())
}

/// Why the claim is over before its time, if its machine says so and its pool wants that.
fn job_done(controller: &ClaimController, claim: &PoolClaim) -> Option<String> {
    let reference = claim.status.as_ref()?.member_ref.as_ref()?;
    let key = ObjectKey::new(reference.namespace.clone(), reference.name.clone());
    let rules = rules(controller, claim);
    controller.common.cluster.with(|state| {
        let member = state.members.get(&key).filter(|member| convert::uid(member.as_ref()) == reference.uid)?;
        lifetime::job_done(&convert::uid(claim), member, &rules)
    })
}

/// Ends a claim whose job is done.
async fn end_done(controller: &ClaimController, claim: &PoolClaim, message: &str) -> Result<Look, Failure> {
    controller.term.leadership.check()?;
    let released = claim::status::released(claim, message, clock::now());
    if let Written::Written(written) = controller.common.writes.update_status_when_idle(&released).await? {
        info!(claim = %ObjectKey::of(written.as_ref()), "the claim's job is done");
        let action = EventAction::Terminate;
        controller.common.events.normal(written.as_ref(), Reason::JobDone, action, message.to_owned());
    }
    Ok(Look::Again)
}

/// Renews, flags or ends a Bound claim when it is time. The write is on the version that was judged, so a renewal that came
/// in between is seen and judged again.
async fn enforce_lifetime(controller: &ClaimController, claim: &Arc<PoolClaim>) -> Result<Look, Failure> {
    // What cannot be told is told later, and delays no end.
    let untold = match machine_news::tell(controller, claim).await {
        Ok(Told::Nothing) => None,
        Ok(Told::Changed) => return Ok(Look::Again),
        Err(failure) => Some(failure),
    };
    let Some(bound) = BoundClaim::of(claim) else { return Ok(Look::Done(None)) };
    let now = clock::now();
    let TermDecision { due, look_again_at } =
        judge(&bound, &rules(controller, claim), nothing_expires_before(controller, now), now);
    let write = match &due {
        Due::Nothing => return untold.map_or(Ok(Look::Done(look_again_at)), Err),
        Due::Seen(term) => claim::status::seen(claim, term, now),
        Due::Flag(message) => claim::status::stale(claim, message, now),
        Due::End(expiry) => {
            // Another process that leads by now may be within its expiry grace.
            controller.term.leadership.check()?;
            claim::status::expired(claim, expiry, now)
        }
    };
    if let Written::Written(written) = controller.common.writes.update_status_when_idle(&write).await? {
        report(controller, &written, due);
    }
    Ok(Look::Again)
}

fn nothing_expires_before(controller: &ClaimController, now: Timestamp) -> Timestamp {
    let ago = controller.expiry.api_health.last_gap(Instant::now()).and_then(|ago| SignedDuration::try_from(ago).ok());
    let gap = ago.and_then(|ago| now.checked_sub(ago).ok());
    not_before(controller.term.started, gap, controller.expiry.grace)
}

fn report(controller: &ClaimController, claim: &PoolClaim, due: Due) {
    let key = ObjectKey::of(claim);
    match due {
        Due::Nothing | Due::Seen(_) => {}
        Due::Flag(message) => {
            warn!(claim = %key, "the claim has had its machine for long");
            controller.common.events.warn(claim, Reason::HeldForLong, EventAction::Observe, message);
        }
        Due::End(expiry) => {
            info!(claim = %key, reason = %expiry.reason, "the claim's time is over");
            controller.common.events.warn(claim, expiry.reason, EventAction::Expire, expiry.message);
        }
    }
}

/// Deletes a claim that has ended, unless its pool keeps records for ever, and not before its machine is gone.
async fn end_record(controller: &ClaimController, claim: &PoolClaim) -> Result<Look, Failure> {
    let finished_at = claim.status.as_ref().and_then(|status| status.finished_at.as_ref()).map(|time| time.0);
    let Some(at) = deleted_at(finished_at, &rules(controller, claim)) else { return Ok(Look::Done(None)) };
    if at > clock::now() {
        return Ok(Look::Done(Some(at)));
    }
    let uid = convert::uid(claim);
    // The end of the member wakes this claim.
    let has_member = controller.common.cluster.with(|state| state.members_claimed_by(&uid).next().is_some());
    if has_member || convert::deleting(claim) {
        return Ok(Look::Done(None));
    }
    match controller.common.writes.delete_claim(claim).await? {
        Written::Written(_) | Written::Gone => {
            info!(claim = %ObjectKey::of(claim), "the record of a claim was deleted");
            Ok(Look::Done(None))
        }
        Written::Changed(_) => Ok(Look::Again),
    }
}

/// How the changed claim ended just now, if it did, and for how long it had held a machine, if it had one.
pub fn ended(changed: &Changed<PoolClaim>, now: Timestamp) -> Option<(ClaimEnd, Option<Duration>)> {
    let before = changed.old.as_ref().filter(|claim| !phase(claim).is_terminal())?;
    let end = match changed.new.as_ref().filter(|claim| convert::uid(claim.as_ref()) == convert::uid(before.as_ref())) {
        Some(claim) => match phase(claim) {
            ClaimPhase::Pending | ClaimPhase::Bound => return None,
            ClaimPhase::Expired => ClaimEnd::Expired,
            ClaimPhase::Lost => ClaimEnd::Lost,
            ClaimPhase::Failed => ClaimEnd::Failed,
            ClaimPhase::Released => ClaimEnd::Released,
        },
        None if phase(before) == ClaimPhase::Bound => ClaimEnd::Released,
        None => ClaimEnd::Withdrawn,
    };
    let bound_at = before.status.as_ref().and_then(|status| status.bound_at.as_ref());
    let held = bound_at.map(|at| Duration::try_from(now.duration_since(at.0)).unwrap_or_default());
    Some((end, held))
}

#[cfg(test)]
mod tests;
