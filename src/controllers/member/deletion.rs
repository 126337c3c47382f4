//! The finalizer of a member: it stays as long as the member's machine may bill.

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

/// Puts the finalizer back on a member that lives without it: somebody took it off. Without it the API server removes
/// the member as soon as it is deleted, and nobody is left who ends its machine. Returns whether the member changed.
pub async fn keep_finalizer(controller: &MemberController, member: &PoolMember) -> Result<bool, Failure> {
    if convert::deleting(member) {
        // The API server adds no finalizer to an object in deletion.
        return Ok(false);
    }
    Ok(controller.common.writes.ensure_finalizer(member, FINALIZER_INSTANCE).await?.is_some())
}
