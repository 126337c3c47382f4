//! What is wrong with a pool or a launch config, as one sentence. Pure.

use bullpen_api::{
    ConditionType, InstancePool, InstancePoolStatus, LaunchConfig, PoolState, Reason, condition_is_true, find_condition,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::conditions::{is_bad, text};
use super::presence::{Presence, unobserved};

/// What is known beside a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    /// Whether operators work.
    pub(crate) presence: &'a Presence,
    /// Launch configs, at least those of the pool's namespace.
    pub(crate) configs: &'a [LaunchConfig],
    /// The present time.
    pub(crate) now: Timestamp,
}

/// The pool's first problem, or `None`. What a person asked for, such as a pause, is no problem; that nobody works on
/// the pool comes first, because the rest is not up to date then.
pub(crate) fn of_pool(pool: &InstancePool, around: &Surroundings<'_>) -> Option<String> {
    nobody(pool, around)
        .or_else(|| reported(pool))
        .or_else(|| of_its_configs(pool, around.configs))
        .or_else(|| rest(pool))
}

fn nobody(pool: &InstancePool, around: &Surroundings<'_>) -> Option<String> {
    let observed = pool.status.as_ref().map_or(-1, |status| status.observed_generation);
    let absence = around.presence.absence(pool.metadata.namespace.as_deref().unwrap_or_default());
    absence
        .or_else(|| unobserved(&pool.metadata, observed, around.now))
        .or_else(|| (observed < 0).then(|| "no operator has seen it yet".to_owned()))
}

/// What the pool's conditions report: causes before their consequences, and at last those that are not known by name.
fn reported(pool: &InstancePool) -> Option<String> {
    let conditions = &pool.status.as_ref()?.conditions;
    let bad = |type_: ConditionType| conditions.iter().find(|found| found.type_ == type_.as_str() && is_bad(found));
    let found = bad(ConditionType::Stalled)
        .or_else(|| bad(ConditionType::Ready).filter(|ready| !is_consequence(ready)))
        .or_else(|| bad(ConditionType::ProvisioningHealthy))
        .or_else(|| bad(ConditionType::CapacityAvailable))
        .or_else(|| bad(ConditionType::TerminationHealthy))
        .or_else(|| bad(ConditionType::Quarantined))
        .or_else(|| bad(ConditionType::ClaimVanished))
        .or_else(|| conditions.iter().find(|found| is_bad(found) && !is_of_low_rank(found)))?;
    Some(text(found))
}

/// Whether the pool is not Ready only because it lacks machines. What keeps them away says more.
fn is_consequence(ready: &Condition) -> bool {
    let lacking = [Reason::BelowMinSize, Reason::FirstMachinesAwaited, Reason::NoMachines];
    lacking.iter().any(|reason| ready.reason == *reason)
}

fn is_of_low_rank(condition: &Condition) -> bool {
    [ConditionType::Ready, ConditionType::AtMaxSize].iter().any(|type_| condition.type_ == type_.as_str())
}

fn of_its_configs(pool: &InstancePool, configs: &[LaunchConfig]) -> Option<String> {
    let own = |name: &String| configs.iter().find(|it| it.name_any() == *name && it.namespace() == pool.namespace());
    pool.spec.launch_configs.iter().find_map(|wanted| {
        let trouble = of_launch_config(own(&wanted.name)?)?;
        Some(format!("launch config {}: {trouble}", wanted.name))
    })
}

/// What is left: too small a maxSize, and too few machines.
fn rest(pool: &InstancePool) -> Option<String> {
    let status = pool.status.as_ref()?;
    let conditions = &status.conditions;
    let wants_more = status.waiting_claims > 0 || status.deficit > 0;
    let deleting = pool.metadata.deletion_timestamp.is_some();
    let found = find_condition(conditions, ConditionType::AtMaxSize, true)
        .filter(|_| wants_more)
        .or_else(|| find_condition(conditions, ConditionType::Ready, false).filter(|found| is_bad(found)))
        // A deletion that waits for claims looks as if it hung, so it is shown.
        .or_else(|| {
            find_condition(conditions, ConditionType::Drained, false)
                .filter(|found| deleting && found.reason == Reason::ClaimedMembersRemain)
        });
    found.map(text).or_else(|| shortage(pool, status).filter(|_| status.members.unwrap_or_default().ready == 0))
}

/// How many machines are missing from the pool's target, if any; the numbers of the operator.
pub(crate) fn shortage(pool: &InstancePool, status: &InstancePoolStatus) -> Option<String> {
    let members = status.members?;
    let wanted = status.effective_target.as_ref().map_or(pool.spec.target_size, |target| target.size);
    let active = pool.spec.state == PoolState::Active && pool.metadata.deletion_timestamp.is_none();
    let mut parts = vec![format!("{} of {wanted} ready", members.ready)];
    for (count, word) in [(members.warming + members.pending, "booting"), (status.deficit, "still to be bought")] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    (active && members.ready < wanted).then(|| parts.join(", "))
}

/// The launch config's first problem, or `None`.
pub(crate) fn of_launch_config(config: &LaunchConfig) -> Option<String> {
    let conditions = &config.status.as_ref()?.conditions;
    let first = [ConditionType::Stalled, ConditionType::Available, ConditionType::CapacityAvailable];
    let bad = |type_: &ConditionType| conditions.iter().find(|found| found.type_ == type_.as_str() && is_bad(found));
    let found = first.iter().find_map(bad).or_else(|| conditions.iter().find(|found| is_bad(found)))?;
    let sweep = condition_is_true(conditions, ConditionType::SweepBlocked);
    let hint =
        if sweep && found.type_ == ConditionType::SweepBlocked.as_str() { "; see kubectl bullpen orphans" } else { "" };
    Some(format!("{}{hint}", text(found)))
}

#[cfg(test)]
mod tests;
