//! Binds one claim to one member with two writes, of which the first decides (`docs/adr/0001-claim-protocol.md`). This
//! file sends the writes; `bullpen_plan` decides what each answer means.

use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{PoolClaim, PoolMember};
use bullpen_plan::claim::{Answer, BindStep, Evidence, Fate, SwapStep, after_bind, after_swap, after_swap_look, fate};
use bullpen_plan::{claim, member};
use jiff::Timestamp;
use kube::ResourceExt;
use tokio::sync::Semaphore;
use tracing::{debug, info};

use super::secret;
use crate::backoff::{Backoff, Bounds};
use crate::clock;
use crate::controllers::claim::ClaimController;
use crate::controllers::convert;
use crate::state::ObjectKey;

/// Limits how many bindings write at the same time.
static BINDINGS: Semaphore = Semaphore::const_new(32);
/// After so many uncached GETs of a claim, its binding is left to the queues, which retry it later.
const MOST_LOOKS: u32 = 8;
/// Delay between two GETs.
const PAUSES: Bounds = Bounds { first: Duration::from_millis(50), longest: Duration::from_secs(5) };

/// Claims the member, then writes `Bound` to the claim. If this stops half way, the fate table finishes it later.
pub async fn bind(controller: &ClaimController, pool: &ObjectKey, claim: &Arc<PoolClaim>, member: &Arc<PoolMember>) {
    let _binding = controller.common.writes.binding();
    let Ok(_permit) = BINDINGS.acquire().await else { return };
    // The term ended while this pair waited for a permit: the next leader pairs anew.
    if !controller.term.leadership.may_act() {
        controller.pool_memories.with(|memories| memories.claim_missed(pool));
        return;
    }
    let Some(taken) = swap(controller, claim, member.clone()).await else {
        controller.pool_memories.with(|memories| memories.claim_missed(pool));
        return;
    };
    // Wake the pool before the claim's status is written, so that the replacement is bought without delay.
    controller.common.wakers.pools.wake(pool.clone());
    finish(controller, claim.clone(), &taken).await;
}

/// The compare-and-swap that sets the member to Claimed. Returns the claimed member, or `None` if the claim does not
/// get it.
async fn swap(controller: &ClaimController, claim: &PoolClaim, member: Arc<PoolMember>) -> Option<Arc<PoolMember>> {
    let (key, claim_uid, pool_uid) =
        (ObjectKey::of(member.as_ref()), convert::uid(claim), member.spec.pool_ref.uid.clone());
    let member_uid = convert::uid(member.as_ref());
    let mut seen = member;
    let mut looks = Backoff::new();
    loop {
        let answer = match controller
            .common
            .writes
            .try_update_status(&member::status::claimed(&seen, claim, clock::now()))
            .await
        {
            Ok(taken) => return Some(taken),
            Err(error) => error.answer,
        };
        if answer == Answer::Conflict {
            controller.common.metrics.bind_conflict();
        }
        let mut step = after_swap(answer);
        while step == SwapStep::Look {
            pause(&mut looks).await;
            let found = controller.common.writes.get::<PoolMember>(&key).await;
            step = after_swap_look(&convert::found(&found, convert::member_view), &member_uid, &claim_uid, &pool_uid);
            if let bullpen_plan::claim::Found::Object(object) = found {
                seen = object;
            }
        }
        match step {
            SwapStep::Won => return Some(seen),
            SwapStep::TryAgain => {}
            SwapStep::Dropped | SwapStep::Look => {
                debug!(member = %key, claim = %claim.name_any(), "the claim did not get this member");
                let version = seen.metadata.resource_version.clone().unwrap_or_default();
                controller.common.cluster.with(|state| state.parked.insert(member_uid, version));
                return None;
            }
        }
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
        secret::Step::Later(moment) => return Finished::Later(moment),
        secret::Step::Ends => secret::end(controller, &claim, member).await,
    }
    Finished::Judged
}

async fn write_bound(controller: &ClaimController, claim: Arc<PoolClaim>, member: &Arc<PoolMember>) {
    let (key, claim_uid) = (ObjectKey::of(claim.as_ref()), convert::uid(claim.as_ref()));
    let mut seen = claim;
    let mut looks = Backoff::new();
    while looks.failures() < MOST_LOOKS {
        let rules = controller.common.cluster.with(|state| convert::term_rules(state, &convert::pool_of(member)));
        let answer = match controller
            .common
            .writes
            .try_update_status(&claim::status::bound(&seen, member, &rules, clock::now()))
            .await
        {
            Ok(_) => {
                record_bound(controller, &seen, member);
                return;
            }
            Err(error) => error.answer,
        };
        match after_bind(answer) {
            BindStep::Done => return,
            BindStep::ClaimGone => {
                controller.common.cluster.answered_gone::<PoolClaim>(&key, &claim_uid);
                return;
            }
            BindStep::Look => {}
        }
        pause(&mut looks).await;
        let found = controller.common.writes.get::<PoolClaim>(&key).await;
        let evidence = Evidence::from_get(&claim_uid, convert::found(&found, convert::claim_view));
        let decided = controller.common.cluster.with(|state| {
            let others: Vec<_> = state
                .members_claimed_by(&claim_uid)
                .filter(|other| convert::uid(other.as_ref()) != convert::uid(member.as_ref()))
                .map(|other| convert::held_member(other, state))
                .collect();
            fate(&evidence, &convert::held_member(member, state), &others)
        });
        match (decided, found) {
            (Fate::FinishBinding, bullpen_plan::claim::Found::Object(object)) => seen = object,
            // The GET proved nothing. Send the same write again, which is safe because it is a compare-and-swap.
            (Fate::Waits, bullpen_plan::claim::Found::Unproved) => {}
            // This includes a write with an ambiguous answer that did succeed.
            _ => return,
        }
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

/// Waits before every GET but the first.
async fn pause(looks: &mut Backoff) {
    let (first, delay) = (looks.failures() == 0, looks.failed(PAUSES, clock::now()));
    if !first {
        tokio::time::sleep(delay).await;
    }
}
