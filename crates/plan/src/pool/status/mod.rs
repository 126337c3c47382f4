//! The status of a pool. The same facts always give the same status, so it is written only on a change.

mod readiness;

use bullpen_api::{
    ConditionType, ConditionValue, InstancePool, InstancePoolStatus, LABEL_POOL, MemberCounts, NextTarget, PoolState,
    Reason, TargetSource, micro_time, set_condition,
};
use jiff::Timestamp;

use crate::pool::attention::Attention;
use crate::pool::provisioning::{self, LaunchConfigHealth, Purchases};
use crate::pool::rollout::template_current;
use crate::pool::sizing::Replenishment;
use crate::pool::standby::{StandbyTier, standby_filled};
use crate::pool::template::{LaunchConfigProblem, UsableLaunchConfig};
use crate::text::{named, occupancy};
use readiness::{filled_time, ready, stalled};

/// The facts that the status is computed from.
#[derive(Clone, Copy, Debug)]
pub struct StatusInput<'a> {
    /// The pool, with its current status.
    pub pool: &'a InstancePool,
    /// The decisions of this pass.
    pub plan: &'a Replenishment,
    /// Waiting claims.
    pub waiting: i32,
    /// Launch configs in use.
    pub usable: &'a [UsableLaunchConfig],
    /// Why other launch configs are not used.
    pub problems: &'a [LaunchConfigProblem],
    /// The health of each usable launch config.
    pub provisioning: &'a [LaunchConfigHealth],
    /// When this process last created members, if it did.
    pub replenished_at: Option<Timestamp>,
    /// The template hash of new members, if known.
    pub template_hash: Option<&'a str>,
    /// What the pool wants on standby, and what can be had of it.
    pub standby: &'a StandbyTier,
    /// The last reconcile request that this process has handled, if any.
    pub handled: Option<&'a str>,
    /// The claims that a draining or deleted pool waits for.
    pub holders: &'a Holders,
    /// What a person should look at.
    pub attention: &'a Attention,
    /// The API server's message, if it refused the last members that were written.
    pub members_refused: Option<&'a str>,
    /// Members that are just being written. They are among those that the plan counts.
    pub unwritten: i32,
}

impl StatusInput<'_> {
    /// What the conditions about purchases are computed from.
    pub(super) fn purchases(&self) -> Purchases<'_> {
        Purchases { launch_configs: self.provisioning, deficit: self.plan.deficit, members_refused: self.refusal() }
    }

    /// The API server's message about refused members, while the pool wants more of them. Nothing is lacking while the next
    /// ones are written, but whether these are accepted is not known yet.
    pub(super) fn refusal(&self) -> Option<&str> {
        let wants = self.plan.deficit > 0 || !self.plan.creates.is_empty() || self.unwritten > 0;
        self.members_refused.filter(|_| wants)
    }
}

/// The claims that a draining or deleted pool waits for, or that a launch config does which is being deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Claims that have members of the pool, as `namespace/name`.
    pub claims: Vec<String>,
    /// Whether the pool's namespace is being deleted, which waits for them as well.
    pub namespace_ends: bool,
}

/// Whether the status of the pool's current generation reports that it waits for claims. A deletion increments the
/// generation.
pub fn waits_for_claims(pool: &InstancePool) -> bool {
    let conditions = pool.status.iter().flat_map(|status| &status.conditions);
    let generation = pool.metadata.generation;
    conditions.into_iter().any(|condition| {
        condition.type_ == ConditionType::Drained
            && condition.reason == Reason::ClaimedMembersRemain
            && condition.observed_generation == generation
    })
}

/// The status that the pool should have.
pub fn pool_status(input: &StatusInput<'_>, now: Timestamp) -> InstancePoolStatus {
    let pool = input.pool;
    let before = pool.status.clone().unwrap_or_default();
    let counts = input.plan.counts;
    let generation = pool.metadata.generation.unwrap_or(0);
    let filled_time = filled_time(input, &before, now);
    let mut of_pool = conditions_of(input, &before, filled_time.is_some());
    let mut conditions = before.conditions;
    let beside = pool.spec.max_size - pool.wanted_size();
    match standby_filled(input.standby, counts.standby, beside, now) {
        Some(condition) => of_pool.push(condition),
        None => conditions.retain(|condition| condition.type_ != ConditionType::StandbyFilled),
    }
    for condition in of_pool {
        set_condition(&mut conditions, &condition, Some(generation), now);
    }
    InstancePoolStatus {
        conditions,
        observed_generation: generation,
        installation: before.installation,
        members: Some(counts),
        replicas: supply(&counts),
        deficit: input.plan.deficit,
        effective_target: Some(input.plan.effective_target.clone()),
        next_target: input.plan.scheduled.next.map(|(at, size)| NextTarget { time: micro_time(at), size }),
        recommended_target: before.recommended_target,
        learnt: before.learnt,
        waiting_claims: input.waiting,
        launch_configs: input.provisioning.iter().map(|config| config.recorded.clone()).collect(),
        template_hash: input.template_hash.map_or(before.template_hash, str::to_owned),
        updated_ready: input.plan.rollout.updated_ready,
        rollout_progress_time: input.plan.rollout.progress.as_ref().map(|progress| micro_time(progress.at)),
        last_handled_reconcile_at: input.handled.map(str::to_owned).or(before.last_handled_reconcile_at),
        last_replenish_time: input.replenished_at.map(micro_time).or(before.last_replenish_time),
        filled_time,
        selector: format!("{LABEL_POOL}={}", pool.metadata.name.as_deref().unwrap_or_default()),
    }
}

const fn supply(counts: &MemberCounts) -> i32 {
    counts.pending + counts.warming + counts.ready
}

fn conditions_of(input: &StatusInput<'_>, before: &InstancePoolStatus, filled: bool) -> Vec<ConditionValue> {
    let stalled = stalled(input);
    let ready = ready(input, &stalled, before, filled);
    // A paused pool gets no machine before a person resumes it.
    let moves = !ready.holds && !stalled.holds && input.pool.spec.state != PoolState::Paused;
    let reconciling = ConditionValue::new(ConditionType::Reconciling, moves, ready.reason, ready.message.clone());
    let plan = input.plan;
    let template = template_current(&input.pool.spec, &plan.rollout, plan.counts.ready, plan.recycling_forbidden);
    let mut all = vec![ready, reconciling, stalled, at_max_size(input), template, drained(input)];
    all.extend(provisioning::conditions(&input.purchases()));
    all.extend(schedules_valid(&plan.scheduled.problems, before));
    all
}

/// `None`: there is nothing to say, and never was.
fn schedules_valid(problems: &[String], before: &InstancePoolStatus) -> Option<ConditionValue> {
    let was_told = before.conditions.iter().any(|condition| condition.type_ == ConditionType::SchedulesValid);
    if problems.is_empty() {
        let message = "all schedules can be read";
        return was_told
            .then(|| ConditionValue::new(ConditionType::SchedulesValid, true, Reason::SchedulesRead, message));
    }
    let message = format!("ignored: {}", problems.join("; "));
    Some(ConditionValue::new(ConditionType::SchedulesValid, false, Reason::ScheduleInvalid, message))
}

/// Whether the pool is to have no members: it is draining or being deleted.
pub(super) fn emptying(pool: &InstancePool) -> bool {
    pool.metadata.deletion_timestamp.is_some() || pool.spec.state == PoolState::Draining
}

fn at_max_size(input: &StatusInput<'_>) -> ConditionValue {
    let max = input.pool.spec.max_size;
    if input.plan.limited_by_max_size || input.plan.effective_target.source == TargetSource::MaxSize {
        ConditionValue::new(
            ConditionType::AtMaxSize,
            true,
            Reason::MaxSizeReached,
            format!("maxSize {max} keeps the pool from buying what it wants{}", occupancy(&input.plan.counts)),
        )
    } else {
        ConditionValue::new(ConditionType::AtMaxSize, false, Reason::BelowMaxSize, format!("maxSize {max} leaves room"))
    }
}

pub(super) fn drained(input: &StatusInput<'_>) -> ConditionValue {
    let counts = &input.plan.counts;
    match (emptying(input.pool), counts.total) {
        (false, _) => {
            ConditionValue::new(ConditionType::Drained, false, Reason::NotDraining, "the pool is not draining")
        }
        (true, 0) => ConditionValue::new(ConditionType::Drained, true, Reason::Empty, "no member is left"),
        (true, _) if counts.claimed > 0 => ConditionValue::new(
            ConditionType::Drained,
            false,
            Reason::ClaimedMembersRemain,
            claimed_remain(counts.claimed, input.holders),
        ),
        (true, _) if input.plan.kept > 0 => ConditionValue::new(
            ConditionType::Drained,
            false,
            Reason::HeldMembersRemain,
            format!("{} members are held, and terminated once their spec.hold is false", input.plan.kept),
        ),
        (true, _) => ConditionValue::new(
            ConditionType::Drained,
            false,
            Reason::Terminating,
            "unclaimed members are being terminated",
        ),
    }
}

pub(super) fn claimed_remain(claimed: i32, holders: &Holders) -> String {
    let namespace = if holders.namespace_ends { "the namespace is being deleted, but " } else { "" };
    let text = match claimed {
        1 => format!("{namespace}1 member is claimed and finishes with its claim"),
        _ => format!("{namespace}{claimed} members are claimed and finish with their claims"),
    };
    if holders.claims.is_empty() { text } else { format!("{text}: {}", named(&holders.claims)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::sizing::Memory;
    use bullpen_api::{EffectiveTarget, InstancePoolSpec, Provisioning, Readiness, Template, condition_is_true};

    fn pool() -> InstancePool {
        let mut pool = InstancePool::new(
            "ci",
            InstancePoolSpec {
                target_size: 5,
                schedules: vec![],
                autosize: None,
                scale_down_delay_seconds: 30,
                max_size: 10,
                min_size: 2,
                lifecycle_class: bullpen_api::LifecycleClass::Ephemeral,
                state: PoolState::Active,
                launch_configs: vec![],
                template: Template::default(),
                readiness: Readiness::default(),
                health: None,
                recycle: bullpen_api::Recycle::default(),
                reuse: None,
                standby: None,
                disruption: bullpen_api::Disruption::default(),
                rollout: bullpen_api::Rollout::default(),
                provisioning: Provisioning::default(),
                claims: bullpen_api::ClaimRules::default(),
            },
        );
        pool.metadata.generation = Some(4);
        pool
    }

    fn plan(counts: MemberCounts) -> Replenishment {
        Replenishment {
            counts,
            effective_target: EffectiveTarget { size: 5, source: TargetSource::Spec, schedule: None },
            wanted_size: 5,
            scheduled: crate::pool::schedule::Scheduled::default(),
            deficit: 0,
            creates: vec![],
            starts: vec![],
            stops: vec![],
            limited_by_max_size: false,
            deletes: vec![],
            rollout: crate::pool::rollout::RolloutNow::default(),
            recycling_forbidden: false,
            kept: 0,
            look_again_at: None,
            memory: Memory::default(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn status(
        pool: &InstancePool,
        counts: MemberCounts,
        problems: &[LaunchConfigProblem],
        now: i64,
    ) -> InstancePoolStatus {
        let plan = plan(counts);
        let input = StatusInput {
            pool,
            plan: &plan,
            waiting: 0,
            usable: &[],
            problems,
            provisioning: &[],
            replenished_at: None,
            template_hash: Some("hash"),
            standby: &StandbyTier::default(),
            handled: None,
            holders: &Holders::default(),
            attention: &Attention::default(),
            members_refused: None,
            unwritten: 0,
        };
        pool_status(&input, at(now))
    }

    #[test]
    fn a_pool_that_is_being_deleted_names_the_claims_that_it_waits_for() {
        let mut pool = pool();
        pool.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
        let plan = plan(MemberCounts { claimed: 7, total: 7, ..MemberCounts::default() });
        let condition = |holders: &Holders| {
            let input = StatusInput {
                pool: &pool,
                plan: &plan,
                waiting: 0,
                usable: &[],
                problems: &[],
                provisioning: &[],
                replenished_at: None,
                template_hash: None,
                standby: &StandbyTier::default(),
                handled: None,
                holders,
                attention: &Attention::default(),
                members_refused: None,
                unwritten: 0,
            };
            drained(&input)
        };
        let claims: Vec<_> = (0..7).rev().map(|number| format!("red/build-{number}")).collect();
        let of_pool = condition(&Holders { claims: claims.clone(), namespace_ends: false });
        assert_eq!((of_pool.holds, of_pool.reason.as_str()), (false, "ClaimedMembersRemain"));
        assert_eq!(
            of_pool.message,
            "7 members are claimed and finish with their claims: red/build-0, red/build-1, red/build-2, red/build-3, \
             red/build-4 and 2 more"
        );
        let of_namespace = condition(&Holders { claims, namespace_ends: true });
        assert!(of_namespace.message.starts_with("the namespace is being deleted, but 7 members are claimed"));
        assert_eq!(condition(&Holders::default()).message, "7 members are claimed and finish with their claims");
    }

    #[test]
    fn a_status_of_an_older_generation_does_not_count_as_waiting_for_claims() {
        let mut pool = pool();
        pool.spec.state = PoolState::Draining;
        let claimed = MemberCounts { claimed: 1, total: 1, ..MemberCounts::default() };
        assert!(!waits_for_claims(&pool));
        pool.status = Some(status(&pool, claimed, &[], 1));
        assert!(waits_for_claims(&pool));
        pool.metadata.generation = Some(5);
        assert!(!waits_for_claims(&pool), "it was deleted since");
    }

    #[test]
    fn the_same_facts_give_the_same_status_at_any_time() {
        let mut pool = pool();
        let counts = MemberCounts { ready: 5, total: 5, ..MemberCounts::default() };
        pool.status = Some(status(&pool, counts, &[], 100));
        assert_eq!(pool.status, Some(status(&pool, counts, &[], 9_999)));
    }

    #[test]
    fn ready_does_not_flap_with_each_claim() {
        let mut pool = pool();
        pool.status = Some(status(&pool, MemberCounts { ready: 5, total: 5, ..MemberCounts::default() }, &[], 1));
        let after = status(&pool, MemberCounts { ready: 2, claimed: 3, total: 5, ..MemberCounts::default() }, &[], 9);
        assert_eq!(pool.status.unwrap().conditions, after.conditions);
    }

    #[test]
    fn a_pool_below_min_size_is_not_ready_and_its_message_has_the_numbers() {
        let status = status(&pool(), MemberCounts { ready: 1, total: 1, ..MemberCounts::default() }, &[], 1);
        let ready = &status.conditions[0];
        assert_eq!((ready.status.as_str(), ready.message.as_str()), ("False", "1 of 5 ready, minSize is 2"));
        assert!(condition_is_true(&status.conditions, ConditionType::Reconciling));
    }

    #[test]
    fn a_pool_without_any_launch_config_is_stalled_and_its_message_has_the_name() {
        let status = status(&pool(), MemberCounts::default(), &[LaunchConfigProblem::NotFound("eu".into())], 1);
        assert!(condition_is_true(&status.conditions, ConditionType::Stalled));
        assert!(!condition_is_true(&status.conditions, ConditionType::Reconciling));
        assert_eq!(status.conditions[0].message, "there is no launch config eu in this namespace");
    }

    #[test]
    fn drained_holds_when_no_member_is_left() {
        let mut pool = pool();
        pool.spec.state = PoolState::Draining;
        let busy = status(&pool, MemberCounts { claimed: 1, total: 1, ..MemberCounts::default() }, &[], 1);
        assert!(!condition_is_true(&busy.conditions, ConditionType::Drained));
        assert!(condition_is_true(&status(&pool, MemberCounts::default(), &[], 1).conditions, ConditionType::Drained));
    }
}
