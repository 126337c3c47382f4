//! Binding one claim to one member: two writes, one of them decisive (`docs/adr/0001-claim-protocol.md`). What each
//! answer means is decided in `bullpen_plan`; this sends the writes.

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
use crate::controllers::claim::ClaimController;
use crate::controllers::convert;
use crate::state::ObjectKey;

/// Bindings whose writes run side by side.
static BINDINGS: Semaphore = Semaphore::const_new(32);
/// Looks at a claim or member after which a binding is given up to the queues, which come back to it later.
const MOST_LOOKS: u32 = 8;
/// Between two looks.
const PAUSES: Bounds = Bounds { first: Duration::from_millis(50), longest: Duration::from_secs(5) };

/// Takes the member for the claim, then says so in the claim. Whatever does not come to its end here is found again
/// by the fate table.
pub async fn bind(controller: &ClaimController, pool: &ObjectKey, claim: &Arc<PoolClaim>, member: &Arc<PoolMember>) {
    let _binding = controller.common.writes.binding();
    let Ok(_permit) = BINDINGS.acquire().await else { return };
    // A pair that waited past the end of its term is the next leader's to make.
    if !controller.term.leadership.may_act() {
        controller.pool_memories.with(|memories| memories.claim_missed(pool));
        return;
    }
    let Some(taken) = swap(controller, claim, member.clone()).await else {
        controller.pool_memories.with(|memories| memories.claim_missed(pool));
        return;
    };
    // The replacement is to be asked for now, not after the claim's own status was written.
    controller.common.wakers.pools.wake(pool.clone());
    finish(controller, claim.clone(), &taken).await;
}

/// The compare-and-swap. The member as it was taken, or nothing when it is not for this claim.
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
            .try_update_status(&member::status::claimed(&seen, claim, Timestamp::now()))
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
                debug!(member = %key, claim = %claim.name_any(), "not this member");
                let version = seen.metadata.resource_version.clone().unwrap_or_default();
                controller.common.cluster.with(|state| state.parked.insert(member_uid, version));
                return None;
            }
        }
    }
}

/// How far a claim came that has its member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It is judged; if it is not Bound, the table says what follows.
    Judged,
    /// It can't be Bound before this moment.
    Later(Timestamp),
}

/// Makes the Secret that the claim asked for, then writes `Bound` into the claim that the member is Claimed for.
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
            .try_update_status(&claim::status::bound(&seen, member, &rules, Timestamp::now()))
            .await
        {
            Ok(_) => {
                bound(controller, &seen, member);
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
            // Nothing is proved at the moment: the same write again, it is a compare-and-swap.
            (Fate::Waits, bullpen_plan::claim::Found::Unproved) => {}
            // Among them an ambiguous answer that had been written after all.
            _ => return,
        }
    }
}

fn bound(controller: &ClaimController, claim: &PoolClaim, member: &PoolMember) {
    let key = ObjectKey::of(claim);
    let took = controller.common.cluster.with(|state| state.claims.seen_for(&key));
    if let Some(took) = took {
        let pool = convert::pool_of(member);
        controller.common.metrics.claim_bound(&pool.namespace, &pool.name, took);
    }
    info!(claim = %key, member = %member.name_any(), took_ms = took.map(|took| took.as_millis()), "bound");
}

/// Waits before each look but the first.
async fn pause(looks: &mut Backoff) {
    let (first, delay) = (looks.failures() == 0, looks.failed(PAUSES, Timestamp::now()));
    if !first {
        tokio::time::sleep(delay).await;
    }
}
