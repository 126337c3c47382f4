//! Where a member's machine was bought: kept in its spec, and compared with where its launch config leads.

use bullpen_api::{PoolMember, Reason};
use bullpen_plan::launch::identity::{Standing, missing};
use bullpen_plan::member;
use tracing::{info, warn};

use super::gather::Gathered;
use crate::clock;
use crate::controllers::convert;
use crate::controllers::member::MemberController;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;

/// Reports in the status whether the launch config leads to the machine, and gives a member of an earlier version its
/// record. Returns whether anything was written.
pub async fn observe(controller: &MemberController, gathered: &Gathered) -> Result<bool, Failure> {
    let member = &gathered.member;
    match &gathered.standing {
        Standing::Elsewhere(message) => {
            report(controller, member, Some((Reason::LaunchConfigElsewhere, message))).await
        }
        Standing::There => report(controller, member, None).await,
        // Only what the right account is known to be is recorded.
        Standing::ToRecord if gathered.view.account_confirmed_at.is_none() => Ok(false),
        Standing::ToRecord => {
            let lead = convert::lead(&gathered.launch_config, gathered.cloud.key());
            let Some(cloud) = lead.cloud() else { return Ok(false) };
            controller.common.writes.record_cloud(member, &cloud).await?;
            info!(member = %gathered.key(), ?cloud, "recorded where its machine was bought");
            Ok(true)
        }
    }
}

/// The launch config of the member is not there: reports in its status what to put back.
pub async fn without_launch_config(controller: &MemberController, member: &PoolMember) -> Result<(), Failure> {
    let message = missing(&member.spec.placement.launch_config, member.spec.cloud.as_ref());
    report(controller, member, Some((Reason::LaunchConfigNotFound, &message))).await.map(drop)
}

async fn report(
    controller: &MemberController,
    member: &PoolMember,
    unreachable: Option<(Reason, &str)>,
) -> Result<bool, Failure> {
    let Some(written) = member::status::reachable(member, unreachable, clock::now()) else { return Ok(false) };
    if let Some((_, message)) = unreachable {
        warn!(member = %ObjectKey::of(member), message, "the machine cannot be reached");
    } else {
        info!(member = %ObjectKey::of(member), "the machine can be reached again");
    }
    controller.common.writes.update_status_when_idle(&written).await?;
    Ok(true)
}
