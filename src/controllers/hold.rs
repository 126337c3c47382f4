//! A bound claim keeps its member, or is Lost: the case of a member that is gone or no longer the claim's
//! (`DESIGN.md` §4, step 4). A member that is there and lost its machine is in [`held`](super::held).

use kube::ResourceExt;

use super::context::{Context, Failure};
use super::held;
use super::queue::Outcome;
use super::views;
use crate::api::{ClaimPhase, PoolClaim, PoolMember};
use crate::cluster::ObjectKey;
use crate::plan::{Evidence, Hold, hold};

/// One look at the claim of this name.
pub async fn reconcile(context: Context, key: ObjectKey) -> Outcome {
    let Some(claim) = context.world.with(|state| bound(state, &key)) else { return Ok(None) };
    let Some(reference) = claim.status.as_ref().and_then(|status| status.member_ref.clone()) else { return Ok(None) };
    let member_key = ObjectKey::new(reference.namespace.clone(), reference.name.clone());
    let view = views::claim_view(&claim);
    let cached = context.world.with(|state| {
        if state.members.saw_deleted(&reference.uid) {
            return Evidence::gone();
        }
        Evidence::from_cache(&reference.uid, state.members.get(&member_key).map(|member| views::member_view(member)))
    });
    // A machine that is gone while its member is there is the member's own matter: it knows more.
    let mut decided = hold(&view, &cached, false);
    if decided == Hold::ConfirmFirst {
        let found = context.writes.get::<PoolMember>(&member_key).await;
        let live = Evidence::from_get(&reference.uid, views::found(&found, views::member_view));
        decided = hold(&view, &live, false);
        if matches!(found, crate::plan::Found::Unproved) {
            return Err(Failure::Unproved(member_key));
        }
    }
    if decided == Hold::Lost {
        held::lose(&context, &claim).await?;
    }
    Ok(None)
}

fn bound(state: &crate::cluster::world::State, key: &ObjectKey) -> Option<std::sync::Arc<PoolClaim>> {
    let claim = state.claims.get(key)?;
    let phase = claim.status.as_ref().map(|status| status.phase)?;
    let free = !state.claims_in_hand.contains(&claim.uid().unwrap_or_default());
    (state.is_synced() && free && phase == ClaimPhase::Bound).then(|| claim.clone())
}
