//! Binds one claim to one member with two writes, of which the first decides (`docs/adr/0001-claim-protocol.md`). This
//! file sends the writes; `bullpen_plan` decides what each answer means.
//!
//! Each request takes a place among those of its pool for as long as its answer takes. What has to wait longer is left
//! to the queues.

use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{PoolClaim, PoolMember};
use bullpen_plan::claim::{
    Answer, BindStep, Evidence, Fate, Found, SwapStep, after_bind, after_return_look, after_swap, after_swap_look, fate,
};
use bullpen_plan::{claim, member};
use jiff::Timestamp;
use kube::ResourceExt;
use tracing::{debug, info, warn};

use super::requests::Sharer;
use super::secret;
use crate::backoff::{Backoff, Bounds};
use crate::clock;
use crate::cluster::WriteError;
use crate::controllers::claim::ClaimController;
use crate::controllers::convert;
use crate::runtime::failure::NOT_LEADING;
use crate::state::ObjectKey;

/// After so many uncached GETs of a member, its claim and the member are left alone for a while.
const MOST_LOOKS: u32 = 5;
/// Delay between two GETs.
const PAUSES: Bounds = Bounds { first: Duration::from_millis(50), longest: Duration::from_secs(1) };
/// How often `Bound` is written in a row because the claim changes. Then it is left to the queues, which retry it later.
const MOST_WRITES: usize = 4;

/// A claim and the member that it is paired with.
#[derive(Debug)]
pub struct Pair {
    /// The claim.
    pub claim: Arc<PoolClaim>,
    /// The member.
    pub member: Arc<PoolMember>,
    /// Whether the claim is paired by the first pass after it came, so that it has not waited for a member.
    pub fresh: bool,
    /// How the claim takes the member.
    pub taking: Taking,
}

/// How a claim takes a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taking {
    /// The member is ready.
    New,
    /// The member was kept for the same claim, which went with the definition of claims and was applied again.
    Back {
        /// The uid that the claim had before.
        former: String,
    },
}

/// Claims the member, then writes `Bound` to the claim. If this stops half way, the fate table finishes it later.
pub async fn bind(controller: &ClaimController, pool: &ObjectKey, pair: &Pair) {
    let sharer = Sharer::of(&pair.claim, &pair.member);
    let Some(taken) = swap(controller, &sharer, pair).await else {
        if !controller.term.leadership.may_act() {
            // Nothing is paired again before this process leads, or the term ends.
            controller.term.pause(NOT_LEADING).await;
        }
        if pair.taking == Taking::New {
            controller.pool_memories.with(|memories| memories.claim_missed(pool));
        }
        return;
    };
    let (claim_uid, member_uid) = (convert::uid(pair.claim.as_ref()), convert::uid(taken.as_ref()));
    controller.common.cluster.with(|state| state.binding_troubles.claimed(&claim_uid, &member_uid));
    // Wake the pool before the claim's status is written, so that the replacement is bought without delay.
    controller.common.wakers.pools.wake(pool.clone());
    finish(controller, pair.claim.clone(), &taken).await;
}

/// The compare-and-swap that sets the member to Claimed. Returns the claimed member, or `None` if the claim does not
/// get it.
async fn swap(controller: &ClaimController, sharer: &Sharer, pair: &Pair) -> Option<Arc<PoolMember>> {
    let key = ObjectKey::of(pair.member.as_ref());
    let mut seen = pair.member.clone();
    let mut looks = Backoff::new();
    let mut fresh = pair.fresh;
    loop {
        // The term ended while this pair waited: the next leader pairs anew.
        if controller.term.is_over() {
            return None;
        }
        let written = {
            let _turn = controller.binding_turn(sharer).await?;
            if std::mem::take(&mut fresh) {
                record_paired(controller, pair);
            }
            let claimed = match pair.taking {
                Taking::New => member::status::claimed(&seen, &pair.claim, clock::now()),
                Taking::Back { .. } => member::status::returned(&seen, &pair.claim, clock::now()),
            };
            controller.common.writes.try_update_status(&claimed).await
        };
        let error = match written {
            Ok(taken) => return Some(taken),
            Err(error) => error,
        };
        if error.answer == Answer::Conflict {
            controller.common.metrics.bind_conflict();
        }
        let mut step = after_swap(error.answer);
        if step == SwapStep::Look {
            (step, seen) = look(controller, sharer, pair, (&mut looks, seen)).await?;
        }
        match step {
            SwapStep::Won => return Some(seen),
            SwapStep::TryAgain if looks.failures() < MOST_LOOKS => {}
            SwapStep::Dropped => {
                debug!(member = %key, claim = %pair.claim.name_any(), "the claim did not get this member");
                if error.answer == Answer::NotFound {
                    let uid = convert::uid(pair.member.as_ref());
                    controller.common.cluster.answered_gone::<PoolMember>(&key, &uid);
                }
                return None;
            }
            SwapStep::Refused => {
                let refusal = error.message().map_or_else(|| error.to_string(), str::to_owned);
                leave_alone(controller, pair, &error, Some(refusal));
                return None;
            }
            SwapStep::TryAgain | SwapStep::Look => {
                leave_alone(controller, pair, &error, None);
                return None;
            }
        }
    }
}

/// Reads the member until an answer says whose it is, but not for long. `None` if the term ends meanwhile.
async fn look(
    controller: &ClaimController,
    sharer: &Sharer,
    pair: &Pair,
    (looks, mut seen): (&mut Backoff, Arc<PoolMember>),
) -> Option<(SwapStep, Arc<PoolMember>)> {
    let key = ObjectKey::of(seen.as_ref());
    let (member_uid, claim_uid) = (convert::uid(seen.as_ref()), convert::uid(pair.claim.as_ref()));
    let pool_uid = pair.member.spec.pool_ref.uid.clone();
    while looks.failures() < MOST_LOOKS {
        let (first, delay) = (looks.failures() == 0, looks.failed(PAUSES, clock::now()));
        if !first && !controller.term.pause(delay).await {
            return None;
        }
        let found = {
            let _turn = controller.binding_turn(sharer).await?;
            controller.common.writes.get::<PoolMember>(&key).await
        };
        let view = convert::found(&found, convert::member_view);
        let step = match &pair.taking {
            Taking::New => after_swap_look(&view, &member_uid, &claim_uid, &pool_uid),
            Taking::Back { former } => after_return_look(&view, &member_uid, (former, &claim_uid), &pool_uid),
        };
        match found {
            Found::Object(object) => seen = object,
            Found::Missing => controller.common.cluster.answered_gone::<PoolMember>(&key, &member_uid),
            Found::Unproved => {}
        }
        if step != SwapStep::Look {
            return Some((step, seen));
        }
    }
    Some((SwapStep::Look, seen))
}

/// The API server did not accept the binding: claim and member are not paired again for a while.
fn leave_alone(controller: &ClaimController, pair: &Pair, error: &WriteError, refusal: Option<String>) {
    let (claim, claim_uid) = (ObjectKey::of(pair.claim.as_ref()), convert::uid(pair.claim.as_ref()));
    let member_uid = convert::uid(pair.member.as_ref());
    let first = controller
        .common
        .cluster
        .with(|state| state.binding_troubles.not_claimed((&claim, &claim_uid), &member_uid, refusal, clock::now()));
    if first {
        warn!(%claim, %error, "no member could be claimed; it is tried again and again");
    } else {
        debug!(%claim, %error, "no member could be claimed");
    }
}

/// How far the binding of a claim that has its member came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// The writes were tried. If the claim is not Bound, the fate table decides what follows.
    Judged,
    /// The claim can't be Bound before this moment.
    Later(Timestamp),
}

/// Creates the Secret if the claim asked for one, then writes `Bound` to the claim. The member is Claimed for it
/// already.
pub async fn finish(controller: &ClaimController, claim: Arc<PoolClaim>, member: &Arc<PoolMember>) -> Finished {
    match secret::ensure(controller, &claim, member).await {
        secret::Step::Bind(member) => write_bound(controller, claim, &member).await,
        secret::Step::Later(moment) => Finished::Later(moment),
        secret::Step::Ends => {
            secret::end(controller, &claim, member).await;
            Finished::Judged
        }
    }
}

async fn write_bound(controller: &ClaimController, claim: Arc<PoolClaim>, member: &Arc<PoolMember>) -> Finished {
    let (key, claim_uid) = (ObjectKey::of(claim.as_ref()), convert::uid(claim.as_ref()));
    let sharer = Sharer::of(&claim, member);
    let mut seen = claim;
    for _ in 0..MOST_WRITES {
        let Some(turn) = controller.binding_turn(&sharer).await else { return not_leading() };
        let rules = controller.common.cluster.with(|state| convert::term_rules(state, &convert::pool_of(member)));
        let bound = claim::status::bound(&seen, member, &rules, clock::now());
        let written = controller.common.writes.try_update_status(&bound).await;
        drop(turn);
        let Err(error) = written else {
            record_bound(controller, &seen, member);
            return Finished::Judged;
        };
        match after_bind(error.answer) {
            BindStep::Done => return Finished::Judged,
            BindStep::ClaimGone => {
                controller.common.cluster.answered_gone::<PoolClaim>(&key, &claim_uid);
                return Finished::Judged;
            }
            BindStep::Look => {}
        }
        let Some(turn) = controller.binding_turn(&sharer).await else { return not_leading() };
        let found = controller.common.writes.get::<PoolClaim>(&key).await;
        drop(turn);
        match (judge(controller, &claim_uid, &found, member), found) {
            (Fate::FinishBinding, Found::Object(object)) if object.resource_version() != seen.resource_version() => {
                seen = object;
            }
            // The claim has not changed, so the same write would be refused again; or the GET proved nothing.
            (Fate::FinishBinding, Found::Object(_)) | (Fate::Waits, Found::Unproved) => {
                debug!(claim = %key, %error, "not Bound yet");
                break;
            }
            // This includes a write with an ambiguous answer that did succeed.
            _ => return Finished::Judged,
        }
    }
    // The same write is sent again later, which is safe because it is a compare-and-swap.
    Finished::Later(
        controller.common.cluster.with(|state| state.binding_troubles.not_written(&claim_uid, clock::now())),
    )
}

fn judge(controller: &ClaimController, claim_uid: &String, found: &Found<Arc<PoolClaim>>, member: &PoolMember) -> Fate {
    let evidence = Evidence::from_get(claim_uid, convert::found(found, convert::claim_view));
    controller.common.cluster.with(|state| {
        let others: Vec<_> = state
            .members_claimed_by(claim_uid)
            .filter(|other| convert::uid(other.as_ref()) != convert::uid(member))
            .map(|other| convert::held_member(other, state))
            .collect();
        fate(&evidence, &convert::held_member(member, state), &others)
    })
}

/// Until when the binding of a claim that has its member is not tried again.
pub fn delayed_until(controller: &ClaimController, claim_uid: &str, now: Timestamp) -> Option<Timestamp> {
    controller.common.cluster.with(|state| {
        let secret = state.secret_retries.get(claim_uid).and_then(|retries| retries.pending(now));
        secret.max(state.binding_troubles.unwritten_until(claim_uid, now))
    })
}

fn not_leading() -> Finished {
    let now = clock::now();
    Finished::Later(now.checked_add(NOT_LEADING).unwrap_or(now))
}

/// Records what the operator took for a claim that did not have to wait for a member.
fn record_paired(controller: &ClaimController, pair: &Pair) {
    let key = ObjectKey::of(pair.claim.as_ref());
    if let Some(took) = controller.common.cluster.with(|state| state.claims.seen_for(&key)) {
        let pool = convert::pool_of(&pair.member);
        controller.common.metrics.claim_paired(&pool.namespace, &pool.name, took);
    }
}

fn record_bound(controller: &ClaimController, claim: &PoolClaim, member: &PoolMember) {
    let key = ObjectKey::of(claim);
    let took = controller.common.cluster.with(|state| state.claims.seen_for(&key));
    if let Some(took) = took {
        let pool = convert::pool_of(member);
        controller.common.metrics.claim_bound(&pool.namespace, &pool.name, took);
    }
    info!(claim = %key, member = %member.name_any(), took_ms = took.map(|took| took.as_millis()), "bound");
}
