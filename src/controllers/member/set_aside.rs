//! Members that a person has set aside: what their status says of it, and how long a hold holds.

use bullpen_api::PoolMember;
use bullpen_plan::claim::{Answer, Found};
use bullpen_plan::member;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tracing::{info, warn};

use crate::cluster::reads::namespaces::{Namespace, look};
use crate::controllers::context::Context;
use crate::controllers::convert;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;

/// How often the namespace of a held member is looked at that is being deleted: its own end overrides the hold.
pub const LOOK_AT_NAMESPACE_EVERY: SignedDuration = SignedDuration::from_secs(5);

/// Whether a person's hold keeps the member. A namespace that ends is stronger: it could never end otherwise.
pub async fn holds(context: &Context, member: &PoolMember) -> bool {
    if !member.spec.hold {
        return false;
    }
    if !convert::deleting(member) {
        return true;
    }
    let namespace = member.namespace().unwrap_or_default();
    if look(&context.writes.client(), &namespace).await != Namespace::Ending {
        return true;
    }
    let uid = convert::uid(member);
    if context.machines.with(&uid, context.started, |record| !std::mem::replace(&mut record.hold_overridden, true)) {
        warn!(member = %ObjectKey::of(member), "its namespace ends, so the hold on it counts for nothing");
        context.metrics.hold_overridden();
    }
    false
}

/// When to look again at a member that a hold keeps from its end.
pub fn look_again(member: &PoolMember, now: Timestamp) -> Option<Timestamp> {
    let waits = member.spec.hold && convert::deleting(member);
    waits.then(|| now.checked_add(LOOK_AT_NAMESPACE_EVERY).unwrap_or(now))
}

/// Brings the status up to what a person changed in the spec. Says whether there was anything to write.
pub async fn observe(context: &Context, member: &PoolMember) -> Result<bool, Failure> {
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
    match context.writes.keep_status(&member::status::observed(member, Timestamp::now())).await {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.answer, Answer::Conflict | Answer::NotFound | Answer::Ambiguous) => {
            let key = ObjectKey::of(member);
            match context.writes.get::<PoolMember>(&key).await {
                Found::Object(_) => {}
                Found::Missing => context.world.answered_gone::<PoolMember>(&key, &convert::uid(member)),
                Found::Unproved => return Err(error.into()),
            }
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}
