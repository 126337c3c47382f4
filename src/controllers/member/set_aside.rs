//! Members that a person has set aside: what their status says of it, and how long a hold holds.

use bullpen_api::PoolMember;
use bullpen_plan::member;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tracing::{info, warn};

use crate::cluster::reads::namespaces::{Namespace, look};
use crate::controllers::convert;
use crate::controllers::member::MemberController;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;

/// How often the namespace of a held member is looked at that is being deleted: its own end overrides the hold.
pub const LOOK_AT_NAMESPACE_EVERY: SignedDuration = SignedDuration::from_secs(5);

/// Whether a person's hold keeps the member. A namespace that ends is stronger: it could never end otherwise.
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

/// When to look again at a member that a hold keeps from its end.
pub fn look_again(member: &PoolMember, now: Timestamp) -> Option<Timestamp> {
    let waits = member.spec.hold && convert::deleting(member);
    waits.then(|| now.checked_add(LOOK_AT_NAMESPACE_EVERY).unwrap_or(now))
}

/// Brings the status up to what a person changed in the spec. Says whether there was anything to write.
pub async fn observe(controller: &MemberController, member: &PoolMember) -> Result<bool, Failure> {
    let Some(generation) = member.metadata.generation else { return Ok(false) };
    // A deletionTimestamp makes a new generation too, and nobody waits for what that status says.
    if convert::deleting(member) {
        return Ok(false);
    }
    // A status that nobody wrote yet is written with the next step anyway.
    let observed = member.status.as_ref().map_or(-1, |status| status.observed_generation);
    if observed < 1 || observed >= generation {
        return Ok(false);
    }
    let (cordoned, hold) = (member.spec.cordoned, member.spec.hold);
    info!(member = %ObjectKey::of(member), cordoned, hold, "was set aside, or let go");
    let written = member::status::observed(member, Timestamp::now());
    controller.common.writes.update_status_when_idle(&written).await?;
    Ok(true)
}
