//! A member whose claim has ended: its machine is reset for another claim, if its pool wants that, or ends.
//! [`reuse`](bullpen_plan::member::reuse) decides.

use std::sync::Arc;

use bullpen_api::{
    AfterReset, ConditionType, EventAction, InstancePool, PoolMember, Reason, condition_is_true, find_condition,
};
use bullpen_plan::member;
use bullpen_plan::member::reuse::{AfterClaim, UsedMember, after_claim};
use tracing::{debug, info};

use super::{FateOutcome, PROOF_PAUSE};
use crate::clock;
use crate::cluster::Written;
use crate::controllers::claim::ClaimController;
use crate::controllers::convert;
use crate::provider::{Instance, InstancePhase};
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;
use crate::telemetry::ResetResult;

/// Begins the reset of the member's machine, or the member's end. `ended_well`: its claim came to a good end.
pub(super) async fn reset_or_end(
    controller: &ClaimController,
    member: &Arc<PoolMember>,
    ended_well: bool,
) -> Result<FateOutcome, Failure> {
    let (key, pool) = (ObjectKey::of(member.as_ref()), convert::pool_of(member));
    let reuse = controller.common.cluster.with(|state| live_pool(state, member)?.spec.reuse.clone());
    let Some(reuse) = reuse else {
        controller.common.writes.delete_member(member).await?;
        return Ok(FateOutcome::Changed);
    };
    let Some(used) = used(controller, member, ended_well, reuse.after_reset) else {
        // The machine could not be ended either. The first answer of its cloud wakes this member.
        return Ok(FateOutcome::Later(clock::now().checked_add(PROOF_PAUSE).ok()));
    };
    let (writes, events, metrics) = (&controller.common.writes, &controller.common.events, &controller.common.metrics);
    match after_claim(Some(&reuse), &used) {
        AfterClaim::Reset => {
            let served = used.uses.saturating_add(1);
            let note = format!("reset for another claim: it has served {served} of at most {}", reuse.max_uses);
            let resetting = member::status::resetting(member, &note, clock::now());
            if let Written::Written(_) = writes.update_status(&resetting).await? {
                info!(member = %key, served, "its claim has ended: its machine is reset");
                events.normal(member.as_ref(), Reason::Reused, EventAction::Reset, note);
                metrics.member_reset(&pool.namespace, &pool.name, ResetResult::Begun);
                controller.common.wakers.pools.wake(pool);
            }
        }
        AfterClaim::Ends(why) => {
            let ended = matches!(writes.delete_member(member).await?, Written::Written(_));
            if let Some(why) = why.filter(|_| ended) {
                debug!(member = %key, %why, "not reused");
                metrics.not_reused(&pool.namespace, &pool.name, why);
                events.normal(member.as_ref(), Reason::NotReused, EventAction::Terminate, why.to_string());
            }
        }
    }
    Ok(FateOutcome::Changed)
}

/// The member's pool, if this incarnation of it exists.
fn live_pool<'a>(state: &'a State, member: &PoolMember) -> Option<&'a Arc<InstancePool>> {
    let pool = state.pools.get(&convert::pool_of(member));
    pool.filter(|pool| convert::uid(pool.as_ref()) == member.spec.pool_ref.uid)
}

/// What the decision depends on. `None` while the member's cloud has not answered yet.
fn used(
    controller: &ClaimController,
    member: &PoolMember,
    ended_well: bool,
    after_reset: AfterReset,
) -> Option<UsedMember> {
    let status = convert::status(member);
    let (pool, config, current, gone) = controller.common.cluster.with(|state| {
        let pool = live_pool(state, member).cloned();
        let config = state.launch_configs.get(&convert::launch_config_of(member)).cloned();
        let template = pool.as_ref().map(|pool| convert::current_template(state, pool));
        let current = template.is_some_and(|template| !template.is_outdated(&member.spec));
        (pool, config, current, state.machines_gone.contains(&convert::uid(member)))
    });
    let cloud = config.as_ref().and_then(|config| controller.clouds.of(config));
    let listing = cloud.as_ref().and_then(|cloud| cloud.listing());
    let confirmed = cloud.as_ref().is_some_and(|cloud| cloud.confirmed_identity().is_some());
    if cloud.is_some() && (listing.is_none() || !confirmed) {
        return None;
    }
    let machine = status.instance.as_ref().and_then(|machine| listing.as_ref()?.with_id(&machine.id).cloned());
    let launched = machine.as_ref().map(|machine| machine.launch_time);
    let ours = cloud.as_ref().is_some_and(|cloud| cloud.foreign().is_none());
    let runs = |machine: &Instance| machine.phase == InstancePhase::Running;
    let broken = status.reported.as_ref().is_some_and(|reported| reported.broken.is_some());
    let unhealthy = find_condition(&status.conditions, ConditionType::Healthy, false).is_some();
    let announced = condition_is_true(&status.conditions, ConditionType::Interrupted);
    Some(UsedMember {
        ended_well,
        uses: status.uses,
        age: launched.map(|launched| clock::now().duration_since(launched)),
        current,
        set_aside: convert::member_view(member).set_aside,
        runs: confirmed && ours && !gone && machine.as_deref().is_some_and(runs),
        interrupted: announced || machine.as_ref().is_some_and(|machine| machine.interruption.is_some()),
        unhealthy: unhealthy || broken,
        can_reset: cloud.as_ref().is_some_and(|cloud| cloud.provider().reset_kind() == Some(after_reset)),
        pool_state: pool.as_ref().map(|pool| pool.spec.state).unwrap_or_default(),
        ending: pool.as_deref().is_none_or(convert::deleting) || config.as_deref().is_none_or(convert::deleting),
    })
}
