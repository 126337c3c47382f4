//! Tags a claimed machine with its claim, in the background after the claim is Bound. After a restored backup, these
//! tags show which machines were claimed.

use std::time::Duration;

use bullpen_api::{ClaimPhase, MemberState, PoolMember};
use bullpen_plan::claim::claim_tag::tag_due;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

use super::gather::Gathered;
use crate::backoff::Bounds;
use crate::clock;
use crate::controllers::convert;
use crate::controllers::member::MemberController;
use crate::provider::ProviderError;
use crate::provider::tags;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;
use crate::telemetry::labels::{ProviderOperation, Task};

/// Limits tag calls in flight, because terminates and creates are more urgent.
static CALLS: Semaphore = Semaphore::const_new(8);
/// Backoff of failed tag calls for one machine.
const RETRIES: Bounds = Bounds { first: Duration::from_secs(1), longest: Duration::from_mins(5) };

/// Starts a tag call if one is due. Returns when to come back otherwise.
pub fn tag_if_due(controller: &MemberController, gathered: &Gathered, now: Timestamp) -> Option<Timestamp> {
    if gathered.view.ending_since.is_some()
        || gathered.view.account_confirmed_at.is_none()
        || !gathered.cloud.provider().can_tag()
    {
        return None;
    }
    let bound = controller.common.cluster.with(|state| bound_claim(state, &gathered.member))?;
    // A machine that was not seen yet may have the tag already. Without this wait, a restart would cause a call for each.
    let instance = gathered.sighting.instance.as_ref()?;
    let shown = instance.tags.claim.as_deref();
    controller.machines.with(&gathered.uid(), |record| {
        let tagging = &mut record.tagging;
        tag_due(Some(&bound), shown, tagging.done.as_deref())?;
        if tagging.busy {
            return None;
        }
        if let Some(later) = tagging.backoff.pending(now) {
            return Some(later);
        }
        tagging.busy = true;
        let (key, uid, cloud) = (gathered.key(), gathered.uid(), gathered.cloud.clone());
        let tagging = tag(controller.clone(), key, uid, cloud, instance.id.clone(), bound);
        controller.common.tasks.spawn(Task::ClaimTag, tagging);
        None
    })
}

/// The uid of the claim that is Bound to the member.
fn bound_claim(state: &State, member: &PoolMember) -> Option<String> {
    if convert::state(member) != MemberState::Claimed {
        return None;
    }
    let reference = convert::status(member).claim_ref?;
    let claim = state.claims.read(&ObjectKey::new(reference.namespace, reference.name))?;
    let view = convert::claim_view(&claim);
    let bound =
        view.uid == reference.uid && view.phase == ClaimPhase::Bound && view.member == Some(convert::uid(member));
    bound.then_some(view.uid)
}

async fn tag(
    controller: MemberController,
    member: ObjectKey,
    uid: String,
    cloud: std::sync::Arc<crate::cloud::Cloud>,
    instance: String,
    claim: String,
) {
    let Ok(_slot) = CALLS.acquire().await else { return };
    let wanted = [(tags::CLAIM.to_owned(), claim.clone())].into();
    let answer = cloud.call(ProviderOperation::Tag, cloud.provider().tag(&instance, &wanted)).await;
    let now = clock::now();
    controller.machines.with_known(&uid, |record| {
        let tagging = &mut record.tagging;
        tagging.busy = false;
        match &answer {
            Ok(()) => {
                tagging.done = Some(claim);
                tagging.backoff.reset();
            }
            Err(error) => {
                let asked_for = match error {
                    ProviderError::RateLimited { retry_after, .. } => *retry_after,
                    _ => None,
                };
                match asked_for {
                    Some(delay) => tagging.backoff.failed_for(delay, now),
                    None => drop(tagging.backoff.failed(RETRIES, now)),
                }
            }
        }
    });
    match answer {
        Ok(()) => debug!(%member, %instance, "tagged with its claim"),
        Err(ProviderError::NotFound { message }) => info!(%member, %instance, %message, "not tagged: it is gone"),
        Err(error) => warn!(%member, %instance, %error, "not tagged with its claim, which is tried again"),
    }
    controller.common.wakers.members.wake(member);
}
