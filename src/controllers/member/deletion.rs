//! The end of a member's record.

use bullpen_api::{FINALIZER_INSTANCE, PoolMember};

use crate::cluster::Written;
use crate::controllers::convert;
use crate::controllers::member::MemberController;
use crate::runtime::failure::Failure;

/// Removes the finalizer, after the provider has confirmed that the machine is gone. If the member changed meanwhile,
/// its next pass decides anew.
pub async fn finish(controller: &MemberController, member: &PoolMember) -> Result<(), Failure> {
    match controller.common.writes.remove_finalizer(member, FINALIZER_INSTANCE).await? {
        Some(Written::Changed(_)) => {}
        Some(Written::Written(_) | Written::Gone) | None => controller.machines.forget(&convert::uid(member)),
    }
    Ok(())
}
