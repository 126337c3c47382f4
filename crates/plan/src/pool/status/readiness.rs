//! Whether a pool is Ready, and whether it is Stalled.
//!
//! A pool is Ready once it has had all of its machines. From then on claims may take them all: that is what they are
//! for, and it changes nothing. It ceases to be Ready below `minSize`, and when no member is ready and no other can be
//! got.

use bullpen_api::{
    ConditionType, ConditionValue, InstancePoolStatus, PoolState, Reason, TargetSource, find_condition, micro_time,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{StatusInput, claimed_remain, drained, emptying};
use crate::pool::provisioning::{members_refused, none_buys};
use crate::pool::template::LaunchConfigProblem;
use crate::text::occupancy;

/// When the pool first had all of its machines, if it had.
pub(super) fn filled_time(input: &StatusInput<'_>, before: &InstancePoolStatus, now: Timestamp) -> Option<MicroTime> {
    if input.plan.wanted_size == 0 || emptying(input.pool) {
        return None;
    }
    // A version that did not record the time wrote this reason for every pool that is not below minSize.
    let was_ready = find_condition(&before.conditions, ConditionType::Ready, true)
        .is_some_and(|condition| condition.reason == Reason::MinSizeReached);
    let filled = || (was_ready || is_full(input)).then(|| micro_time(now));
    before.filled_time.clone().or_else(filled)
}

/// Whether all machines are there that the target and `maxSize` allow. Claims may have taken some of them.
fn is_full(input: &StatusInput<'_>) -> bool {
    let (counts, plan) = (&input.plan.counts, input.plan);
    let there = counts.ready + counts.claimed;
    there > 0 && (counts.ready >= plan.effective_target.size || there >= plan.wanted_size)
}

/// The condition `Stalled`: whether only a person can change what is in the way.
pub(super) fn stalled(input: &StatusInput<'_>) -> ConditionValue {
    let lasting = || input.problems.iter().filter(|problem| !problem.is_passing());
    match lasting().next() {
        Some(first) if input.usable.is_empty() && !emptying(input.pool) => {
            let messages: Vec<_> = lasting().map(|problem| problem_message(input, problem)).collect();
            ConditionValue::new(ConditionType::Stalled, true, first.reason(), messages.join("; "))
        }
        _ => ConditionValue::new(
            ConditionType::Stalled,
            false,
            Reason::NotStalled,
            "nothing that only a person could change is in the way",
        ),
    }
}

/// A launch config that is being deleted waits for the claims that have its members, so these are named.
fn problem_message(input: &StatusInput<'_>, problem: &LaunchConfigProblem) -> String {
    let claims = i32::try_from(input.holders.claims.len()).unwrap_or(i32::MAX);
    match problem {
        LaunchConfigProblem::BeingDeleted(_) if claims > 0 => {
            format!("{}: {}", problem.message(), claimed_remain(claims, input.holders))
        }
        _ => problem.message(),
    }
}

/// The condition `Ready`. `filled`: the pool has had all of its machines.
pub(super) fn ready(
    input: &StatusInput<'_>,
    stalled: &ConditionValue,
    before: &InstancePoolStatus,
    filled: bool,
) -> ConditionValue {
    let is = |holds, reason, message: String| ConditionValue::new(ConditionType::Ready, holds, reason, message);
    let (spec, counts) = (&input.pool.spec, &input.plan.counts);
    let numbers = format!("{} of {} ready", counts.ready, input.plan.wanted_size);
    if stalled.holds {
        return is(false, stalled.reason, stalled.message.clone());
    }
    if emptying(input.pool) {
        let what = if input.pool.metadata.deletion_timestamp.is_some() { "being deleted" } else { "draining" };
        return is(false, Reason::Draining, format!("the pool is {what}: {}", drained(input).message));
    }
    if let Some(problem) = input.problems.first() {
        return is(false, problem.reason(), problem_message(input, problem));
    }
    if input.plan.wanted_size == 0 {
        let found = input.plan.effective_target.source == TargetSource::Autosize;
        let what = if found { "autosize needs no machine now" } else { "targetSize is 0" };
        let schedules = if spec.schedules.is_empty() { "" } else { ", and no schedule is on that wants more" };
        return is(true, Reason::NothingWanted, format!("{what}{schedules}"));
    }
    if counts.ready < spec.min_size {
        return is(false, Reason::BelowMinSize, format!("{numbers}, minSize is {}", spec.min_size));
    }
    let obstacle = obstacle(input);
    let because = obstacle.as_ref().map(|obstacle| format!(": {obstacle}")).unwrap_or_default();
    if !filled {
        return is(false, Reason::FirstMachinesAwaited, format!("{numbers} for the first time{because}"));
    }
    // Once nothing is in the way any more, the next machine has to be there before the pool is Ready again.
    let had_none = find_condition(&before.conditions, ConditionType::Ready, false)
        .is_some_and(|condition| condition.reason == Reason::NoMachines);
    if counts.ready == 0 && (obstacle.is_some() || (had_none && counts.claimed == 0)) {
        return is(false, Reason::NoMachines, format!("{numbers}{because}"));
    }
    // No numbers here: they change with each claim, and this condition should not.
    is(true, Reason::MinSizeReached, format!("at least minSize ({}) members are ready", spec.min_size))
}

/// What keeps the pool from getting any machine. A limit that claimed machines use up, or such that are just ending, is
/// none: the pool is as full as a person wants it to be.
fn obstacle(input: &StatusInput<'_>) -> Option<String> {
    let (spec, plan) = (&input.pool.spec, input.plan);
    let counts = &plan.counts;
    if spec.state == PoolState::Paused {
        return Some("the pool is paused".to_owned());
    }
    if let Some(message) = input.refusal() {
        return Some(members_refused(message));
    }
    let stuck = i32::try_from(input.attention.stuck.len()).unwrap_or(i32::MAX);
    let in_use = counts.claimed > 0 || counts.terminating > stuck;
    if plan.limited_by_max_size && counts.total >= spec.max_size && !in_use {
        return Some(format!("the pool is at maxSize {}{}", spec.max_size, occupancy(counts)));
    }
    none_buys(input.provisioning, plan.deficit > 0 && !in_use)
}

#[cfg(test)]
mod tests;
