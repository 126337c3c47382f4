//! Tags a claimed machine with its claim, in the background after the claim is Bound, and an adopted one with its
//! member. After a restored backup, these tags show which machines were claimed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{ClaimPhase, MemberState, PoolMember};
use bullpen_plan::claim::claim_tag::tag_due;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

use super::gather::Gathered;
use super::tagging::Tagging;
use crate::backoff::Bounds;
use crate::clock;
use crate::cloud::Cloud;
use crate::controllers::convert;
use crate::controllers::member::MemberController;
use crate::provider::tags;
use crate::provider::{Instance, ProviderError};
use crate::state::ObjectKey;
use crate::state::cluster_state::State;
use crate::telemetry::labels::{ProviderOperation, Task};

/// Limits tag calls in flight, because terminates and creates are more urgent.
static CALLS: Semaphore = Semaphore::const_new(8);
/// Longest value of a tag that every cloud takes, in characters.
const LONGEST_TAG: usize = 255;
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
    // A machine that was not seen yet may have the tag already. Without this wait, a restart would cause a call for each.
    let instance = gathered.sighting.instance.as_ref()?;
    if instance.tags.member_uid.as_deref() != Some(gathered.uid().as_str()) {
        return owner_tag_if_due(controller, gathered, instance, now);
    }
    let (bound, name) = controller.common.cluster.with(|state| bound_claim(state, &gathered.member))?;
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
        let mut wanted: BTreeMap<_, _> =
            [(tags::CLAIM.to_owned(), bound.clone()), (tags::CLAIM_NAME.to_owned(), name)].into();
        let uses = convert::status(&gathered.member).uses;
        if uses > 0 {
            wanted.insert(tags::CLAIM_USE.to_owned(), uses.to_string());
        }
        begin(controller, gathered, tagging, &instance.id, (bound, wanted));
        None
    })
}

/// An adopted machine has the tags of the member that it was bought for: it gets those of its present one.
fn owner_tag_if_due(
    controller: &MemberController,
    gathered: &Gathered,
    instance: &Instance,
    now: Timestamp,
) -> Option<Timestamp> {
    if gathered.member.spec.adopted.as_deref() != Some(instance.id.as_str()) {
        return None;
    }
    let (key, uid) = (gathered.key(), gathered.uid());
    controller.machines.with(&uid, |record| {
        let tagging = &mut record.tagging;
        if tagging.busy || tagging.done.as_ref() == Some(&uid) {
            return None;
        }
        if let Some(later) = tagging.backoff.pending(now) {
            return Some(later);
        }
        let installation = controller.clouds.installation();
        let owner = tags::Owner { installation, member_uid: &uid, namespace: &key.namespace, name: &key.name };
        begin(controller, gathered, tagging, &instance.id, (uid.clone(), tags::of_owner(&owner)));
        None
    })
}

/// Starts a call that sets these tags; `mark` is what it is remembered by.
fn begin(
    controller: &MemberController,
    gathered: &Gathered,
    tagging: &mut Tagging,
    instance: &str,
    (mark, wanted): (String, BTreeMap<String, String>),
) {
    tagging.busy = true;
    let member = (gathered.key(), gathered.uid());
    let tagging = tag(controller.clone(), member, gathered.cloud.clone(), instance.to_owned(), mark, wanted);
    controller.common.tasks.spawn(Task::ClaimTag, tagging);
}

/// The uid of the claim that is Bound to the member, and its namespace and name as a tag.
fn bound_claim(state: &State, member: &PoolMember) -> Option<(String, String)> {
    if convert::state(member) != MemberState::Claimed {
        return None;
    }
    let reference = convert::status(member).claim_ref?;
    let key = ObjectKey::new(reference.namespace, reference.name);
    let claim = state.claims.read(&key)?;
    let view = convert::claim_view(&claim);
    let bound =
        view.uid == reference.uid && view.phase == ClaimPhase::Bound && view.member == Some(convert::uid(member));
    bound.then(|| (view.uid, key.to_string().chars().take(LONGEST_TAG).collect()))
}

async fn tag(
    controller: MemberController,
    (member, uid): (ObjectKey, String),
    cloud: Arc<Cloud>,
    instance: String,
    mark: String,
    wanted: BTreeMap<String, String>,
) {
    let Ok(_slot) = CALLS.acquire().await else { return };
    let answer = cloud.call(ProviderOperation::Tag, cloud.provider().tag(&instance, &wanted)).await;
    let now = clock::now();
    controller.machines.with_known(&uid, |record| {
        let tagging = &mut record.tagging;
        tagging.busy = false;
        match &answer {
            Ok(()) => {
                tagging.done = Some(mark);
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
        Ok(()) => debug!(%member, %instance, "tagged"),
        Err(ProviderError::NotFound { message }) => info!(%member, %instance, %message, "not tagged: it is gone"),
        Err(error) => warn!(%member, %instance, %error, "not tagged, which is tried again"),
    }
    controller.common.wakers.members.wake(member);
}
