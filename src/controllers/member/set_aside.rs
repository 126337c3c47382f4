//! Members that a person has cordoned or held: what their status reports, and how long a hold lasts.

use bullpen_api::PoolMember;
use bullpen_plan::member;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tracing::{info, warn};

use crate::clock;
use crate::cluster::reads::namespaces::{Namespace, look};
use crate::controllers::convert;
use crate::controllers::member::MemberController;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;

/// How often the namespace of a held member that is being deleted is checked: its end overrides the hold.
pub const LOOK_AT_NAMESPACE_EVERY: SignedDuration = SignedDuration::from_secs(5);

/// Whether `spec.hold` keeps the machine. A terminating namespace overrides it, or it could never end.
pub async fn hold_applies(controller: &MemberController, member: &PoolMember) -> bool {
    if !member.spec.hold {
        return false;
    }
    if !convert::deleting(member) {
        return true;
    }
    let namespace = member.namespace().unwrap_or_default();
    if look(&controller.common.writes.client(), &namespace).await != Namespace::Ending {
        return true;
    }
    let uid = convert::uid(member);
    if controller.machines.with(&uid, |record| !std::mem::replace(&mut record.hold_overridden, true)) {
        warn!(member = %ObjectKey::of(member), "its namespace ends, so the hold on it counts for nothing");
        controller.common.metrics.hold_overridden();
    }
    false
}

/// When to check again whether a hold still keeps the member from its end.
pub fn look_again(member: &PoolMember, now: Timestamp) -> Option<Timestamp> {
    let waits = member.spec.hold && convert::deleting(member);
    waits.then(|| now.checked_add(LOOK_AT_NAMESPACE_EVERY).unwrap_or(now))
}

/// Updates the status to what a person changed in the spec. Returns whether anything was written.
pub async fn observe(controller: &MemberController, member: &PoolMember) -> Result<bool, Failure> {
    let Some(generation) = member.metadata.generation else { return Ok(false) };
    // A deletionTimestamp also raises the generation, and nobody needs that in the status.
    if convert::deleting(member) {
        return Ok(false);
    }
    // A member without a status gets one with its next step.
    let observed = member.status.as_ref().map_or(-1, |status| status.observed_generation);
    if observed < 1 || observed >= generation {
        return Ok(false);
    }
    let (cordoned, hold) = (member.spec.cordoned, member.spec.hold);
    info!(member = %ObjectKey::of(member), cordoned, hold, "cordon or hold changed");
    let written = member::status::observed(member, clock::now());
    controller.common.writes.update_status_when_idle(&written).await?;
    Ok(true)
}
