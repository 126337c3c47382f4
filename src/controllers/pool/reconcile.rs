//! A pass over one pool: observe, plan under one lock, act, write status.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bullpen_api::{
    ANNOTATION_RECONCILE_REQUESTED, ANNOTATION_RECYCLE_REQUESTED, ConditionType, EventAction, FINALIZER_POOL,
    InstancePool, InstancePoolStatus, PoolMember, PoolState, Reason,
};
use bullpen_plan::member::health;
use bullpen_plan::pool::autosize::follow::followed;
use bullpen_plan::pool::autosize::learning::{self, Finding};
use bullpen_plan::pool::recycle::requested_before;
use bullpen_plan::pool::rollout::Progress;
use bullpen_plan::pool::rollout_report::{Reported, is_warning};
use bullpen_plan::pool::sizing::{Memory, Replenishment, replenish};
use bullpen_plan::pool::standby::StandbyTier;
use bullpen_plan::pool::status::{StatusInput, pool_status};
use bullpen_plan::pool::template::{LaunchConfigProblem, UsableLaunchConfig};
use bullpen_plan::pool::view::PoolView;
use bullpen_plan::pool::{attention, for_a_person};
use bullpen_plan::time::earliest;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use tracing::info;

use super::claim_holders;
use super::facts::{self, counted_members, members_with, switches};
use super::launch_options::{LaunchOptions, Moment, create_rate, launch_options};
use super::memory::PoolMemory;
use super::new_members::new_members;
use super::standby;
use super::standby::Switches;
use super::teardown::{delete_strays, finish_deletion, forget, may_have_served};
use super::write_back::{Reserved, WRITES_AT_ONCE, write_members, write_status};
use crate::clock;
use crate::controllers::convert;
use crate::controllers::first_boot::user_data;
use crate::controllers::pool::PoolController;
use crate::controllers::standing;
use crate::controllers::standing::Leave;
use crate::runtime::failure::Failure;
use crate::runtime::work_queue::Outcome;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;
use crate::state::planned::PlannedMember;
use crate::telemetry::labels::Task;

/// The status of a pool is written at most this often, after the first change.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// A pool gets a pass this often even if nothing changed.
const RESYNC: SignedDuration = SignedDuration::from_mins(5);
/// How long to wait for a new launch config to become usable, so that others do not get its share of the machines.
const SETTLING: Duration = Duration::from_secs(2);
/// Longest request for an immediate pass, in characters; the rest is cut off, because the status repeats it.
const MAX_REQUEST: usize = 256;

/// What was planned for one pool.
struct Pass {
    pool: Arc<InstancePool>,
    plan: Replenishment,
    /// The size that was found, if the pool asks for one.
    finding: Option<Finding>,
    waiting: i32,
    usable: Vec<UsableLaunchConfig>,
    problems: Vec<LaunchConfigProblem>,
    launch_options: LaunchOptions,
    template_hash: Option<String>,
    standby: StandbyTier,
    /// The request for an immediate pass that this one answers.
    forced: Option<String>,
    deletes: Vec<Arc<PoolMember>>,
    creates: Vec<PoolMember>,
    /// Members that an earlier pass is still writing.
    unwritten: i32,
    switches: Switches,
    /// No members are written before this moment.
    refused_until: Option<Timestamp>,
    /// When the members of a launch config that is being deleted are to go.
    next_end: Option<Timestamp>,
}

/// One pass over the pool of this name.
pub async fn reconcile(controller: Arc<PoolController>, key: ObjectKey) -> Outcome {
    // Until every cache is complete, members would seem to be missing. Everything gets a pass once they are.
    let Some(pool) =
        controller.common.cluster.with(|state| state.knows(&key.namespace).then(|| state.pools.get(&key).cloned()))
    else {
        return Ok(None);
    };
    let now = clock::now();
    if let Some(pool) = &pool
        && let Some(rest) = controller.memories.of(&key, &convert::uid(pool.as_ref()), |memory| memory.rest_left())
    {
        return Ok(now.checked_add(rest).ok());
    }
    if let Some(pool) = &pool {
        match standing::of(&controller.common, &controller.reported, pool.as_ref()).await? {
            Leave::Work => {}
            Leave::Marking => return Ok(None),
            Leave::Alone => {
                forget(&controller, &key);
                return Ok(None);
            }
        }
    }
    match &pool {
        Some(_) => controller.common.metrics.pool_known(&key.namespace, &key.name),
        // First, because what follows may fail for long.
        None => forget(&controller, &key),
    }
    delete_strays(&controller, &key, pool.as_deref()).await?;
    let Some(pool) = pool else { return Ok(None) };
    if ensure_finalizer(&controller, &pool).await? {
        return Ok(None);
    }
    let insists = requested(&pool, handled(&controller, &key, &pool).as_deref()).is_some();
    user_data::refresh(&controller.common, &controller.ssh_keys, &pool, insists).await;
    claim_holders::look_at_namespace(&controller, &key, &pool).await;
    learn(&controller, &key, &pool, now).await;
    let mut pass = plan(&controller, &key, &pool, now);
    if pass.forced.is_some() {
        request_lists(&controller, &key, &pass.usable);
    }
    let (uid, forced) = (convert::uid(pool.as_ref()), pass.forced.is_some());
    let reserved = Reserved::new(&controller, &key, std::mem::take(&mut pass.creates));
    let writes = controller.common.tasks.spawn(Task::MemberWrite, write_members(reserved, uid.clone()));
    pass.launch_options.report(&controller, &pool);
    // A failure must be in the status before its member is deleted, or a crash would lose it.
    let recorded =
        if is_recorded(&controller, &key, &pass) { None } else { Some(update_status(&controller, &key, &pass).await) };
    let switched = standby::write(&controller, &pass.switches).await;
    let deleted = delete_members(&controller, &key, &pass).await;
    // A request is answered when all of its work is done.
    if forced && writes.await.ok().flatten().unwrap_or(false) && deleted.is_ok() {
        controller.memories.of(&key, &uid, |memory| memory.handled.clone_from(&pass.forced));
    }
    let status_due = match recorded {
        Some(due) => due,
        None => update_status(&controller, &key, &pass).await,
    };
    finish_deletion(&controller, &key).await?;
    deleted?;
    let unseen = switched?;
    let resync = now.checked_add(RESYNC).ok();
    let read_again = user_data::read_again_at(&controller.common, &controller.ssh_keys, &pool, now);
    let planned = earliest(earliest(pass.plan.look_again_at, pass.next_end), pass.refused_until);
    let planned = earliest(earliest(planned, unseen), pass.finding.and_then(|finding| finding.look_again_at));
    Ok(earliest(earliest(resync, read_again), earliest(planned, status_due)))
}

/// Adds the finalizer, which comes before the first member. Returns whether it was just written.
async fn ensure_finalizer(controller: &PoolController, pool: &InstancePool) -> Result<bool, Failure> {
    if convert::deleting(pool) {
        return Ok(false);
    }
    Ok(controller.common.writes.ensure_finalizer(pool, FINALIZER_POOL).await?.is_some())
}

/// Plans under one lock and records in the same moment what is going to be written, so that the next pass counts it.
fn plan(controller: &PoolController, key: &ObjectKey, pool: &Arc<InstancePool>, now: Timestamp) -> Pass {
    controller.memories.with_state(&controller.common.cluster, |memories, state| {
        let began = Instant::now();
        let (usable, problems) = facts::launch_configs(state, key, pool);
        let waits_until = settling_until(state, &key.namespace, (&usable, &problems), now);
        let waiting = crate::controllers::claim::queue_view::waiting(state, key);
        let memory = memories.pool(key, &convert::uid(pool.as_ref()));
        let launch_options = launch_options(Moment { controller, state, pool, waits_until, now }, memory, &usable);
        let scheduled = memory.schedules.at(&pool.spec, pool.metadata.generation, now);
        let remembered = memory.replenish.get_or_insert_with(|| Memory {
            rollout: pool.status.as_ref().and_then(Progress::recorded),
            ..Memory::default()
        });
        let template = convert::current_template(state, pool);
        let forced = requested(pool, memory.handled.as_deref());
        let (members, claimed) = counted_members(controller, state, pool, &template, now);
        let finding = memory.learning.look(pool, &members, now);
        let tier = standby::tier(controller, state, pool, &usable, &memory.standby);
        let view = PoolView {
            target_size: pool.spec.target_size,
            autosized: finding.as_ref().and_then(|finding| followed(&pool.spec, &finding.advice)),
            scale_down_delay: SignedDuration::from_secs(pool.spec.scale_down_delay_seconds.into()),
            scheduled,
            max_size: pool.spec.max_size,
            min_size: pool.spec.min_size,
            state: pool.spec.state,
            deleting: convert::deleting(pool.as_ref()) || memory.namespace_terminating,
            max_concurrent_creates: pool.spec.provisioning.max_concurrent_creates,
            max_concurrent_deletes: pool.spec.provisioning.max_concurrent_deletes,
            recycle: pool.spec.recycle.clone(),
            recycle_before: recycle_before(pool),
            disruption: pool.spec.disruption.clone(),
            rollout: pool.spec.rollout.clone(),
            template_hash: template.pool_hash(),
            forced: forced.is_some(),
            members,
            claimed,
            waiting,
            standby: tier,
            can_replace: launch_options.views.iter().any(|config| config.weight > 0)
                || problems.iter().any(LaunchConfigProblem::is_passing),
            launch_configs: launch_options.views.clone(),
        };
        let plan = replenish(&view, remembered, now);
        *remembered = plan.memory.clone();
        memory.learning.has(pool, finding.as_ref(), &plan.counts);
        let ends = convert::ending_launch_configs(state, pool).into_iter();
        let next_end = ends.map(|(_, at)| at).filter(|at| *at > now).min();
        let mut deletes = members_with(state, pool, &plan.deletes);
        deletes.retain(|member| !may_have_served(&controller.clouds, state, member));
        let switches = switches(controller, state, pool, &plan);
        // The API server refused members a moment ago and would again.
        let refused_until = memory.creates.pending(now).filter(|_| forced.is_none());
        let creates =
            if refused_until.is_some() { vec![] } else { new_members(controller, state, pool, &plan, &usable) };
        let unwritten = i32::try_from(state.unwritten(key).count()).unwrap_or(i32::MAX);
        state.planned.add(key, creates.iter().map(planned_member));
        let (template_hash, standby) = (view.template_hash, view.standby);
        memory.rest_after(began);
        Pass {
            next_end,
            refused_until,
            pool: pool.clone(),
            plan,
            finding,
            waiting,
            usable,
            problems,
            launch_options,
            template_hash,
            forced,
            deletes,
            creates,
            unwritten,
            switches,
            standby,
        }
    })
}

/// A member that is going to be written, as the next pass counts it.
fn planned_member(member: &PoolMember) -> PlannedMember {
    PlannedMember { name: member.name_any(), launch_config: member.spec.placement.launch_config.clone() }
}

/// Learns again what is needed of the pool, after a restart or if its goal or lead time has changed. That may take seconds, so it is
/// done under no lock.
async fn learn(controller: &PoolController, key: &ObjectKey, pool: &InstancePool, now: Timestamp) {
    let uid = convert::uid(pool);
    let creates = controller.common.cluster.with(|state| create_rate(state, pool));
    let Some(lesson) = controller.memories.of(key, &uid, |memory| memory.learning.lesson(pool, creates)) else {
        return;
    };
    if let Ok(sizer) = tokio::task::spawn_blocking(move || lesson.learn(now)).await {
        controller.memories.of(key, &uid, |memory| memory.learning.learnt(sizer, now));
    }
}

/// The request for an immediate pass that this process answered last.
fn handled(controller: &PoolController, key: &ObjectKey, pool: &InstancePool) -> Option<String> {
    controller.memories.of(key, &convert::uid(pool), |memory| memory.handled.clone())
}

/// The value of the annotation that requests an immediate pass, unless a pass has answered it.
fn requested(pool: &InstancePool, handled: Option<&str>) -> Option<String> {
    let request: String = pool.annotations().get(ANNOTATION_RECONCILE_REQUESTED)?.chars().take(MAX_REQUEST).collect();
    let in_status = pool.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_deref());
    (handled.or(in_status) != Some(request.as_str())).then_some(request)
}

/// Ready members from before this moment are to be replaced, by an annotation.
fn recycle_before(pool: &InstancePool) -> Option<Timestamp> {
    requested_before(pool.annotations().get(ANNOTATION_RECYCLE_REQUESTED)?)
}

/// Requests new lists from the clouds of these launch configs.
fn request_lists(controller: &PoolController, key: &ObjectKey, usable: &[UsableLaunchConfig]) {
    let clouds: Vec<_> = controller.common.cluster.with(|state| {
        let find = |config: &UsableLaunchConfig| {
            state.launch_configs.get(&ObjectKey::new(key.namespace.clone(), config.name.as_str()))
        };
        usable.iter().filter_map(find).filter_map(|config| controller.clouds.of(config)).collect()
    });
    info!(pool = %key, "a pass without delays was asked for");
    for cloud in clouds {
        cloud.list_soon();
    }
}

/// Until when to wait for launch configs that were seen a moment ago and are not taken in yet, or whose account is not
/// recorded yet, because nothing is bought by them before.
fn settling_until(
    state: &State,
    namespace: &str,
    (usable, problems): (&[UsableLaunchConfig], &[LaunchConfigProblem]),
    now: Timestamp,
) -> Option<Timestamp> {
    let without_account = usable.iter().map(|config| &config.name).filter(|name| {
        let config = state.launch_configs.get(&ObjectKey::new(namespace, name.as_str()));
        config.is_some_and(|config| config.status.as_ref().is_none_or(|status| status.identity.is_none()))
    });
    let not_taken_in = problems.iter().filter_map(|problem| match problem {
        LaunchConfigProblem::NotTakenIn(name) => Some(name),
        _ => None,
    });
    let left = |name: &String| {
        let seen_for = state.launch_configs.seen_for(&ObjectKey::new(namespace, name.as_str()))?;
        SETTLING.checked_sub(seen_for)
    };
    let longest = without_account.chain(not_taken_in).filter_map(left).max()?;
    now.checked_add(SignedDuration::try_from(longest).ok()?).ok()
}

/// Whether the status contains every failure that was counted.
fn is_recorded(controller: &PoolController, key: &ObjectKey, pass: &Pass) -> bool {
    controller.memories.of(key, &convert::uid(pass.pool.as_ref()), |memory| memory.unrecorded.is_empty())
}

async fn delete_members(controller: &PoolController, key: &ObjectKey, pass: &Pass) -> Result<(), Failure> {
    let unrecorded = controller.memories.of(key, &convert::uid(pass.pool.as_ref()), |memory| memory.unrecorded.clone());
    let mut recorded = pass.deletes.clone();
    recorded.retain(|member| !unrecorded.contains(&convert::uid(member.as_ref())));
    // What refuses one of them, such as a policy, mostly refuses all: one pass sends no more after that, and the next one
    // begins with others.
    let refused = AtomicBool::new(false);
    let delete = async |member: Arc<PoolMember>| {
        if refused.load(Ordering::Relaxed) {
            return Ok(());
        }
        let answer = controller.common.writes.delete_member(&member).await.map(drop).map_err(Failure::from);
        refused.fetch_or(matches!(answer, Err(Failure::Write(_))), Ordering::Relaxed);
        answer
    };
    let mut deletions = stream::iter(recorded).map(delete).buffer_unordered(WRITES_AT_ONCE);
    let (mut worst, mut waits) = (Ok(()), None);
    while let Some(result) = deletions.next().await {
        match result {
            Err(Failure::TooSoon(wait)) => waits = Some(waits.map_or(wait, |least: Duration| least.min(wait))),
            result => worst = worst.and(result),
        }
    }
    worst.and(waits.map_or(Ok(()), |wait| Err(Failure::TooSoon(wait))))
}

/// Writes the status if it changed. Returns when to come back if it was written a moment ago. Waits for the write only
/// if a failure has to be in it.
async fn update_status(controller: &PoolController, key: &ObjectKey, pass: &Pass) -> Option<Timestamp> {
    let now = clock::now();
    let uid = convert::uid(pass.pool.as_ref());
    let (replenished_at, handled, member_writes) = controller
        .memories
        .of(key, &uid, |memory| (memory.replenished_at, memory.handled.clone(), memory.member_writes.clone()));
    let (attention, stale_claims) =
        controller.common.cluster.with(|state| (convert::attention(state, &pass.pool), state.stale_claims_on(key)));
    let holders = claim_holders::of(controller, key, &pass.pool);
    claim_holders::send_events(controller, key, &pass.pool, holders.namespace_ends);
    let input = StatusInput {
        pool: &pass.pool,
        holders: &holders,
        plan: &pass.plan,
        waiting: pass.waiting,
        usable: &pass.usable,
        problems: &pass.problems,
        provisioning: &pass.launch_options.health,
        replenished_at,
        template_hash: pass.template_hash.as_deref(),
        standby: &pass.standby,
        handled: handled.as_deref(),
        attention: &attention,
        members_refused: member_writes.refusal(&pass.pool),
        unwritten: pass.unwritten,
    };
    let mut status = pool_status(&input, now);
    learning::set_status(&mut status, &pass.pool, pass.finding.as_ref(), now);
    report_rollout(controller, key, pass, &status);
    attention::note(&mut status.conditions, &attention, pass.pool.metadata.generation, now);
    let (tally, suspension) = controller.health.of_pool(key);
    let suspended = health::note(&mut status.conditions, suspension, pass.pool.metadata.generation, now);
    let (namespace, name) = (&key.namespace, &key.name);
    controller.common.metrics.set_pool_members(namespace, name, &pass.plan.counts);
    controller.common.metrics.set_pool_waiting_claims(namespace, name, pass.waiting);
    controller.common.metrics.set_pool_stale_claims(namespace, name, stale_claims);
    controller.common.metrics.set_pool_target_size(namespace, name, pass.plan.wanted_size);
    controller.common.metrics.set_pool_recommended_target(namespace, name, status.recommended_target);
    controller.common.metrics.set_pool_attention(namespace, name, &attention);
    controller.common.metrics.set_pool_health(namespace, name, tally, suspension.is_some());
    let unchanged = pass.pool.status.as_ref() == Some(&status);
    let awaited = match controller.memories.of(key, &uid, |memory| status_turn(memory, unchanged, now)) {
        StatusTurn::Later(moment) => return moment,
        StatusTurn::Now { awaited } => awaited,
    };
    send_events(controller, pass, &status);
    match suspended {
        Some((true, reason, note)) => {
            controller.common.events.warn(pass.pool.as_ref(), reason, EventAction::Observe, note.to_owned());
        }
        Some((false, reason, note)) => {
            controller.common.events.normal(pass.pool.as_ref(), reason, EventAction::Observe, note.to_owned());
        }
        None => {}
    }
    let mut pool = InstancePool::clone(&pass.pool);
    pool.status = Some(status);
    if !awaited {
        let controller = controller.clone();
        let tasks = controller.common.tasks.clone();
        tasks.spawn(Task::PoolStatus, async move { write_status(&controller, &pool).await });
    } else if write_status(controller, &pool).await {
        controller.memories.of(key, &uid, |memory| memory.unrecorded.clear());
    }
    None
}

/// Sends the Events about what a person has to mend.
fn send_events(controller: &PoolController, pass: &Pass, status: &InstancePoolStatus) {
    let (events, before) = (&controller.common.events, pass.pool.status.as_ref());
    for (reason, note) in for_a_person::events(before, status, &pass.plan.scheduled.problems) {
        events.warn(pass.pool.as_ref(), reason, EventAction::Observe, note);
    }
    if let Some(note) = for_a_person::schedules_mended(before, status) {
        events.normal(pass.pool.as_ref(), Reason::SchedulesRead, EventAction::Observe, note);
    }
}

/// Sends an Event if a rollout began, got nowhere, goes on or is over.
fn report_rollout(controller: &PoolController, key: &ObjectKey, pass: &Pass, status: &InstancePoolStatus) {
    let pool = pass.pool.as_ref();
    let emptying = convert::deleting(pool) || pool.spec.state == PoolState::Draining;
    let reason = controller.memories.of(key, &convert::uid(pool), |memory| {
        let before = memory.rollout_reported.take();
        let before = before.unwrap_or_else(|| pool.status.as_ref().map(Reported::recorded).unwrap_or_default());
        let (next, reason) = before.next(&pass.plan.rollout, pass.template_hash.as_deref(), emptying);
        memory.rollout_reported = Some(next);
        reason
    });
    let Some(reason) = reason else { return };
    let current = |condition: &&Condition| condition.type_ == ConditionType::TemplateCurrent;
    let note = status.conditions.iter().find(current).map(|condition| condition.message.clone()).unwrap_or_default();
    if is_warning(reason) {
        controller.common.events.warn(pool, reason, EventAction::Replace, note);
    } else {
        controller.common.events.normal(pool, reason, EventAction::Replace, note);
    }
}

/// When the status of a pool is written.
enum StatusTurn {
    /// Not before this moment, or not before something changes.
    Later(Option<Timestamp>),
    /// Now. `awaited`: the pass waits for the write, because a failure has to be in it.
    Now { awaited: bool },
}

fn status_turn(memory: &mut PoolMemory, unchanged: bool, now: Timestamp) -> StatusTurn {
    if unchanged {
        memory.unrecorded.clear();
        return StatusTurn::Later(None);
    }
    // The end of the current write wakes the pool.
    if memory.status_in_flight {
        return StatusTurn::Later(None);
    }
    let left = memory.status_written.and_then(|written| STATUS_INTERVAL.checked_sub(written.elapsed()));
    let rests_until = left.and_then(|left| now.checked_add(left).ok());
    if let Some(later) = rests_until.max(memory.statuses.pending(now)) {
        return StatusTurn::Later(Some(later));
    }
    memory.status_in_flight = true;
    StatusTurn::Now { awaited: !memory.unrecorded.is_empty() }
}
