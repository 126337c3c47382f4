//! The end of a member's record.

use bullpen_api::{FINALIZER_INSTANCE, PoolMember};

use crate::cluster::Written;
use crate::controllers::convert;
use crate::controllers::member::MemberController;
use crate::runtime::failure::Failure;

/// Removes the finalizer: the machine is gone, by the provider's word. A member that changed meanwhile is looked at anew.
pub async fn finish(controller: &MemberController, member: &PoolMember) -> Result<(), Failure> {
    match controller.common.writes.remove_finalizer(member, FINALIZER_INSTANCE).await? {
        Some(Written::Changed(_)) => {}
        Some(Written::Written(_) | Written::Gone) | None => controller.machines.forget(&convert::uid(member)),
    }
    Ok(())
}
