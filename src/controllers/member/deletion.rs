//! The end of a member's record.

use bullpen_api::{FINALIZER_INSTANCE, PoolMember};
use bullpen_plan::claim::{Answer, Found};
use kube::ResourceExt;

use crate::controllers::context::Context;
use crate::controllers::convert;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;

/// Deletes a member as it was seen. One that changed in between, claimed perhaps, is left to the next pass.
pub async fn delete_member(context: &Context, member: &PoolMember) -> Result<(), Failure> {
    match context.writes.delete_member(member).await {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.answer, Answer::Conflict | Answer::NotFound) => {
            let key = ObjectKey::of(member);
            if let Found::Missing = context.writes.get::<PoolMember>(&key).await {
                context.world.answered_gone::<PoolMember>(&key, &convert::uid(member));
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes the finalizer off: the machine is gone, by the provider's word.
pub async fn finish(context: &Context, member: &PoolMember) -> Result<(), Failure> {
    let rest: Vec<_> = member.finalizers().iter().filter(|own| *own != FINALIZER_INSTANCE).cloned().collect();
    match context.writes.set_finalizers(member, &rest).await {
        Ok(_) => {}
        Err(error) if error.answer == Answer::NotFound => {
            context.world.answered_gone::<PoolMember>(&ObjectKey::of(member), &convert::uid(member));
        }
        Err(error) => {
            context.writes.get::<PoolMember>(&ObjectKey::of(member)).await;
            return Err(error.into());
        }
    }
    context.machines.forget(&convert::uid(member));
    Ok(())
}
