//! What becomes of a claim after it was bound (`DESIGN.md` §4, steps 4 to 6): it keeps its member or is Lost, is renewed or
//! Expired, is flagged once if it lasts, and goes as a record if its pool says so. It ends before its member does: the fate
//! table sees to that, in [`held`](crate::controllers::claim::fate), which also has the member that is there and lost its machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, ConditionType, EventAction, PoolClaim, PoolMember, Reason, condition_is_true};
use bullpen_plan::claim;
use bullpen_plan::claim::lifetime::{BoundClaim, Due, TermDecision, TermRules, deleted_at, judge, not_before};
use bullpen_plan::claim::{Answer, ClaimFate, Evidence, Found, hold};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::fate;
use crate::cluster::WriteError;
use crate::controllers::context::Context;
use crate::controllers::convert;
use crate::runtime::failure::Failure;
use crate::runtime::work_queue::Outcome;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;
use crate::state::store::Changed;
use crate::telemetry::labels::ClaimEnd;

/// Versions of a claim that are judged in a row, when others write it at the same time, until it is left for later.
const MOST_LOOKS: usize = 8;

/// One look at the claim of this name.
pub async fn reconcile(context: Context, key: ObjectKey) -> Outcome {
    let Some(claim) = context.world.with(|state| free(state, &key)) else { return Ok(None) };
    match phase(&claim) {
        ClaimPhase::Pending => Ok(None),
        ClaimPhase::Bound if is_lost(&context, &claim).await? => {
            fate::lose(&context, &claim).await?;
            Ok(None)
        }
        ClaimPhase::Bound => keep_term(&context, claim).await,
        ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Failed => end_record(&context, claim).await,
    }
}

/// The claim, unless the binder has it in hand.
fn free(state: &State, key: &ObjectKey) -> Option<Arc<PoolClaim>> {
    let claim = state.claims.get(key)?;
    let in_hand = state.claims_in_hand.contains(&convert::uid(claim.as_ref()));
    (state.knows(&key.namespace) && !in_hand).then(|| claim.clone())
}

fn phase(claim: &PoolClaim) -> ClaimPhase {
    claim.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

/// Whether the member of a Bound claim is gone, or the claim's no more.
async fn is_lost(context: &Context, claim: &PoolClaim) -> Result<bool, Failure> {
    let Some(reference) = claim.status.as_ref().and_then(|status| status.member_ref.clone()) else { return Ok(false) };
    let member_key = ObjectKey::new(reference.namespace.clone(), reference.name.clone());
    if !context.world.watches(&member_key.namespace) {
        // Nothing can be proved there.
        return Ok(false);
    }
    let view = convert::claim_view(claim);
    let cached = context.world.with(|state| {
        if state.members.saw_deleted(&reference.uid) {
            return Evidence::gone();
        }
        Evidence::from_cache(&reference.uid, state.members.get(&member_key).map(|member| convert::member_view(member)))
    });
    // A machine that is gone while its member is there is the member's own matter: it knows more.
    let mut decided = hold(&view, &cached, false);
    if decided == ClaimFate::ConfirmFirst {
        let found = context.writes.get::<PoolMember>(&member_key).await;
        let live = Evidence::from_get(&reference.uid, convert::found(&found, convert::member_view));
        decided = hold(&view, &live, false);
        if matches!(found, Found::Unproved) {
            return Err(Failure::Unproved(member_key));
        }
    }
    Ok(decided == ClaimFate::Lost)
}

/// What the pool of a claim that was bound once says of its time.
fn rules(context: &Context, claim: &PoolClaim) -> TermRules {
    context.world.with(|state| {
        let reference = claim.status.as_ref().and_then(|status| status.member_ref.as_ref());
        let member = reference.map(|member| ObjectKey::new(member.namespace.clone(), member.name.clone()));
        let member = member.and_then(|member| state.members.get(&member));
        let pool = member
            .map_or_else(|| crate::state::cluster_state::pool_of_claim(claim), |member| Some(convert::pool_of(member)));
        pool.map(|pool| convert::term_rules(state, &pool)).unwrap_or_default()
    })
}

/// Renews, flags and ends a Bound claim when it is time. Each write is on the version that was judged: a renewal that
/// came in between is seen, and judged again.
async fn keep_term(context: &Context, claim: Arc<PoolClaim>) -> Outcome {
    let mut seen = claim;
    for _ in 0..MOST_LOOKS {
        let Some(bound) = BoundClaim::of(&seen) else { return Ok(None) };
        let now = Timestamp::now();
        let TermDecision { due, look_again_at } =
            judge(&bound, &rules(context, &seen), nothing_expires_before(context, now), now);
        let write = match &due {
            Due::Nothing => return Ok(look_again_at),
            Due::Seen(term) => claim::status::seen(&seen, term, now),
            Due::Flag(message) => claim::status::stale(&seen, message, now),
            Due::End(expiry) => {
                // Another one that leads by now may have just begun, and waits.
                context.leadership.check()?;
                claim::status::expired(&seen, expiry, now)
            }
        };
        match context.writes.keep_status(&write).await {
            Ok(written) => {
                told(context, &written, due);
                seen = written;
            }
            Err(error) => match newer(context, &seen, error).await? {
                Some(newer) => seen = newer,
                None => return Ok(None),
            },
        }
    }
    Err(Failure::Unproved(ObjectKey::of(seen.as_ref())))
}

fn nothing_expires_before(context: &Context, now: Timestamp) -> Timestamp {
    let ago = context.api_health.last_gap(Instant::now()).and_then(|ago| SignedDuration::try_from(ago).ok());
    let gap = ago.and_then(|ago| now.checked_sub(ago).ok());
    not_before(context.started, gap, context.expiry_grace)
}

fn told(context: &Context, claim: &PoolClaim, due: Due) {
    let key = ObjectKey::of(claim);
    match due {
        Due::Nothing | Due::Seen(_) => {}
        Due::Flag(message) => {
            warn!(claim = %key, "held for long");
            context.events.warn(claim, Reason::HeldForLong, EventAction::Observe, message);
        }
        Due::End(expiry) => {
            info!(claim = %key, reason = %expiry.reason, "the claim's time is over");
            context.events.warn(claim, expiry.reason, EventAction::Expire, expiry.message);
        }
    }
}

/// The claim as it is now, after a write met another version; nothing if it is gone.
async fn newer(context: &Context, seen: &PoolClaim, error: WriteError) -> Result<Option<Arc<PoolClaim>>, Failure> {
    let (key, uid) = (ObjectKey::of(seen), convert::uid(seen));
    match error.answer {
        Answer::NotFound => {
            context.world.answered_gone::<PoolClaim>(&key, &uid);
            Ok(None)
        }
        Answer::Conflict => match context.writes.get::<PoolClaim>(&key).await {
            Found::Object(object) => Ok(Some(object).filter(|object| convert::uid(object.as_ref()) == uid)),
            Found::Missing => Ok(None),
            Found::Unproved => Err(error.into()),
        },
        Answer::Accepted | Answer::Ambiguous | Answer::Refused => Err(error.into()),
    }
}

/// Deletes a claim that has ended, if its pool does not keep it as a record for ever, and not before its machine is gone.
async fn end_record(context: &Context, claim: Arc<PoolClaim>) -> Outcome {
    let mut seen = claim;
    for _ in 0..MOST_LOOKS {
        let finished_at = seen.status.as_ref().and_then(|status| status.finished_at.as_ref()).map(|time| time.0);
        let Some(at) = deleted_at(finished_at, &rules(context, &seen)) else { return Ok(None) };
        if at > Timestamp::now() {
            return Ok(Some(at));
        }
        let uid = convert::uid(seen.as_ref());
        // The member's end wakes this one.
        let has_member = context.world.with(|state| state.members_claimed_by(&uid).next().is_some());
        if has_member || convert::deleting(seen.as_ref()) {
            return Ok(None);
        }
        match context.writes.delete_claim(&seen).await {
            Ok(()) => {
                info!(claim = %ObjectKey::of(seen.as_ref()), "the record of a claim goes");
                return Ok(None);
            }
            Err(error) => match newer(context, &seen, error).await? {
                Some(newer) => seen = newer,
                None => return Ok(None),
            },
        }
    }
    Err(Failure::Unproved(ObjectKey::of(seen.as_ref())))
}

/// How many claims on the pool are flagged because they have held their machine for long.
pub fn stale(state: &State, pool: &ObjectKey) -> usize {
    let flagged = |claim: &&Arc<PoolClaim>| {
        phase(claim) == ClaimPhase::Bound
            && claim.status.as_ref().is_some_and(|status| condition_is_true(&status.conditions, ConditionType::Stale))
    };
    state.claims_on(pool).filter(flagged).count()
}

/// How the claim that changed came to its end just now, and for how long it had held a machine, if it had one.
pub fn ended(changed: &Changed<PoolClaim>, now: Timestamp) -> Option<(ClaimEnd, Option<Duration>)> {
    let before = changed.old.as_ref().filter(|claim| !phase(claim).is_terminal())?;
    let end = match changed.new.as_ref().filter(|claim| convert::uid(claim.as_ref()) == convert::uid(before.as_ref())) {
        Some(claim) => match phase(claim) {
            ClaimPhase::Pending | ClaimPhase::Bound => return None,
            ClaimPhase::Expired => ClaimEnd::Expired,
            ClaimPhase::Lost => ClaimEnd::Lost,
            ClaimPhase::Failed => ClaimEnd::Failed,
        },
        None if phase(before) == ClaimPhase::Bound => ClaimEnd::Released,
        None => ClaimEnd::Withdrawn,
    };
    let bound_at = before.status.as_ref().and_then(|status| status.bound_at.as_ref());
    let held = bound_at.map(|at| Duration::try_from(now.duration_since(at.0)).unwrap_or_default());
    Some((end, held))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(uid: &str, phase: &str) -> Arc<PoolClaim> {
        let bound_at = (phase != "Pending").then_some("2026-11-24T08:00:00.000000Z");
        let mut status = json!({"phase": phase});
        if let Some(bound_at) = bound_at {
            status["boundAt"] = json!(bound_at);
        }
        let claim = json!({
            "metadata": {"namespace": "ns", "name": "build", "uid": uid},
            "spec": {"poolRef": {"name": "ci"}},
            "status": status,
        });
        Arc::new(serde_json::from_value(claim).unwrap())
    }

    fn end(old: Option<&Arc<PoolClaim>>, new: Option<&Arc<PoolClaim>>) -> Option<(ClaimEnd, Option<u64>)> {
        let changed = Changed { key: ObjectKey::new("ns", "build"), old: old.cloned(), new: new.cloned() };
        let now = "2026-11-24T08:01:30Z".parse().unwrap();
        ended(&changed, now).map(|(end, held)| (end, held.map(|held| held.as_secs())))
    }

    #[test]
    fn each_end_of_a_claim_is_told_once_with_the_time_that_it_had_held_a_machine() {
        let (pending, bound) = (claim("c", "Pending"), claim("c", "Bound"));
        for (phase, expected) in
            [("Expired", ClaimEnd::Expired), ("Lost", ClaimEnd::Lost), ("Failed", ClaimEnd::Failed)]
        {
            let over = claim("c", phase);
            assert_eq!(end(Some(&bound), Some(&over)), Some((expected, Some(90))));
            assert_eq!(end(Some(&over), Some(&over)), None);
            assert_eq!(end(Some(&over), None), None, "the record goes");
            assert_eq!(end(None, Some(&over)), None, "it was over before this process saw it");
        }
        assert_eq!(end(Some(&bound), None), Some((ClaimEnd::Released, Some(90))));
        assert_eq!(end(Some(&pending), None), Some((ClaimEnd::Withdrawn, None)));
        assert_eq!(end(Some(&pending), Some(&bound)), None);
        let again = claim("another", "Pending");
        assert_eq!(end(Some(&bound), Some(&again)), Some((ClaimEnd::Released, Some(90))), "made again under its name");
    }
}
