//! The reaper: keeps a pool at its target. Observe, plan under one lock, act, say what is so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_api::{
    ANNOTATION_RECONCILE_REQUESTED, ANNOTATION_RECYCLE_REQUESTED, FINALIZER_INSTANCE, FINALIZER_LAUNCH_CONFIG,
    FINALIZER_POOL, InstancePool, LABEL_LAUNCH_CONFIG, LABEL_POOL, LABEL_TEMPLATE_HASH, PoolMember, PoolMemberSpec,
    PoolRef,
};
use bullpen_plan::claim::Answer;
use bullpen_plan::pool::attention;
use bullpen_plan::pool::recycle::requested_before;
use bullpen_plan::pool::rollout::Progress;
use bullpen_plan::pool::sizing::{Memory, Replenishment, replenish};
use bullpen_plan::pool::status::{StatusInput, pool_status};
use bullpen_plan::pool::template::{LaunchConfigProblem, UsableLaunchConfig, resolve};
use bullpen_plan::pool::view::PoolView;
use bullpen_plan::time::earliest;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use tracing::info;

use super::claim_holders;
use super::launch_options::{Moment, Purchasing, purchasing};
use super::teardown::{end_strays, finish_deletion, forget};
use super::write_back::{Reserved, WRITES_AT_ONCE, write_members, write_status};
use crate::controllers::context::Context;
use crate::controllers::convert;
use crate::controllers::first_boot::user_data;
use crate::controllers::member::deletion::delete_member;
use crate::runtime::failure::Failure;
use crate::runtime::work_queue::Outcome;
use crate::state::ObjectKey;
use crate::state::cluster_state::{PlannedMember, State};

/// The status of a pool is written at most this often, after the first change.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// A pool is looked at this often even if nothing changed.
const RESYNC: SignedDuration = SignedDuration::from_mins(5);
/// A launch config that was just made is waited for this long, so that the others don't get its share of the machines.
const TAKING_IN: Duration = Duration::from_secs(2);
/// Characters of a request for a pass that count; its echo in the status has no more.
const MAX_REQUEST: usize = 256;
/// What a member's name may end with: no vowels, so that no words come out; as Kubernetes does.
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A pass over one pool as it was planned.
struct Pass {
    pool: Arc<InstancePool>,
    plan: Replenishment,
    waiting: i32,
    usable: Vec<UsableLaunchConfig>,
    problems: Vec<LaunchConfigProblem>,
    purchasing: Purchasing,
    template_hash: Option<String>,
    /// The request for a pass without delays that this one answers.
    forced: Option<String>,
    deletes: Vec<Arc<PoolMember>>,
    creates: Vec<PoolMember>,
    /// No members are written before this.
    refused_until: Option<Timestamp>,
}

/// One pass over the pool of this name.
pub async fn reconcile(context: Context, key: ObjectKey) -> Outcome {
    // Before every cache is whole, members would seem to be missing that are there. Then everything is looked at.
    let Some(pool) = context.world.with(|state| state.knows(&key.namespace).then(|| state.pools.get(&key).cloned()))
    else {
        return Ok(None);
    };
    let now = Timestamp::now();
    if let Some(pool) = &pool
        && let Some(rest) = context.memory.lock().pool(&key, &convert::uid(pool.as_ref())).rest_left()
    {
        return Ok(now.checked_add(rest).ok());
    }
    end_strays(&context, &key, pool.as_deref()).await?;
    let Some(pool) = pool else {
        forget(&context, &key);
        return Ok(None);
    };
    if take_in(&context, &pool).await? {
        return Ok(None);
    }
    let insists = requested(&pool, handled(&context, &key, &pool).as_deref()).is_some();
    user_data::refresh(&context, &pool, insists).await;
    claim_holders::look_at_namespace(&context, &key, &pool).await;
    let mut pass = plan(&context, &key, &pool, now);
    if pass.forced.is_some() {
        fresh_lists(&context, &key, &pass.usable);
    }
    let (uid, forced) = (convert::uid(pool.as_ref()), pass.forced.is_some());
    let reserved = Reserved::new(&context, &key, std::mem::take(&mut pass.creates));
    let writes = context.writing.spawn(write_members(reserved, uid.clone()));
    pass.purchasing.tell(&context, &pool);
    // A failure is in the status before the member that shows it goes: else a crash would lose it.
    let said = if is_recorded(&context, &key, &pass) { None } else { Some(say(&context, &key, &pass).await) };
    let deleted = delete_members(&context, &key, &pass).await;
    // Whoever asked for a pass is told when all of it is done.
    if forced && writes.await.unwrap_or(false) && deleted.is_ok() {
        context.memory.lock().pool(&key, &uid).handled.clone_from(&pass.forced);
    }
    let status_due = match said {
        Some(due) => due,
        None => say(&context, &key, &pass).await,
    };
    finish_deletion(&context, &key).await?;
    deleted?;
    let resync = now.checked_add(RESYNC).ok();
    let read_again = user_data::read_again_at(&context, &pool, now);
    let planned = earliest(pass.plan.look_again_at, pass.refused_until);
    Ok(earliest(earliest(resync, read_again), earliest(planned, status_due)))
}

/// The finalizer comes before the first member. Says whether it was just written.
async fn take_in(context: &Context, pool: &InstancePool) -> Result<bool, Failure> {
    if convert::deleting(pool) || pool.finalizers().iter().any(|own| own == FINALIZER_POOL) {
        return Ok(false);
    }
    let mut finalizers = pool.finalizers().to_vec();
    finalizers.push(FINALIZER_POOL.to_owned());
    match context.writes.set_finalizers(pool, &finalizers).await {
        Ok(_) => Ok(true),
        Err(error) if error.answer == Answer::Conflict => {
            context.writes.get::<InstancePool>(&ObjectKey::of(pool)).await;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Plans under one lock, and notes in the same moment what is going to be written, so that no other pass counts less.
fn plan(context: &Context, key: &ObjectKey, pool: &Arc<InstancePool>, now: Timestamp) -> Pass {
    let mut memories = context.memory.lock();
    context.world.with(|state| {
        let began = Instant::now();
        let (usable, problems) = resolve(
            &pool.spec,
            &convert::user_data(state, pool),
            |name| state.launch_configs.get(&ObjectKey::new(key.namespace.clone(), name)).map(Arc::as_ref),
            FINALIZER_LAUNCH_CONFIG,
        );
        let waits_until = being_taken_in(state, &key.namespace, &problems, now);
        let waiting = crate::controllers::claim::queue_view::waiting(state, key);
        let memory = memories.pool(key, &convert::uid(pool.as_ref()));
        let purchasing = purchasing(Moment { context, state, pool, waits_until, now }, memory, &usable);
        let remembered = memory.replenish.get_or_insert_with(|| Memory {
            rollout: pool.status.as_ref().and_then(Progress::recorded),
            ..Memory::default()
        });
        let template = convert::current_template(state, pool);
        let forced = requested(pool, memory.handled.as_deref());
        let view = PoolView {
            target_size: pool.spec.target_size,
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
            members: convert::counted_members(state, pool, &template, now),
            waiting,
            launch_configs: purchasing.views.clone(),
        };
        let plan = replenish(&view, remembered, now);
        *remembered = plan.memory.clone();
        let deletes = state
            .members_of(pool)
            .filter(|member| plan.deletes.contains(&convert::uid(member.as_ref())))
            .cloned()
            .collect();
        let creates: Vec<_> = plan
            .creates
            .iter()
            .filter_map(|name| usable.iter().find(|config| config.name == *name))
            .map(|config| new_member(pool, config))
            .collect();
        // What was refused a moment ago would be refused again.
        let refused_until = memory.creates.not_before(now).filter(|_| forced.is_none());
        let creates = if refused_until.is_some() { Vec::new() } else { creates };
        let planned = creates.iter().map(|member| PlannedMember {
            name: member.name_any(),
            launch_config: member.spec.placement.launch_config.clone(),
        });
        state.planned.entry(key.clone()).or_default().extend(planned);
        let template_hash = view.template_hash;
        memory.rest_after(began);
        Pass {
            refused_until,
            pool: pool.clone(),
            plan,
            waiting,
            usable,
            problems,
            purchasing,
            template_hash,
            forced,
            deletes,
            creates,
        }
    })
}

/// The request for a pass that this process answered last.
fn handled(context: &Context, key: &ObjectKey, pool: &InstancePool) -> Option<String> {
    context.memory.lock().pool(key, &convert::uid(pool)).handled.clone()
}

/// The value of the annotation by which somebody asks for a pass without delays, unless a pass has answered it.
fn requested(pool: &InstancePool, handled: Option<&str>) -> Option<String> {
    let request: String = pool.annotations().get(ANNOTATION_RECONCILE_REQUESTED)?.chars().take(MAX_REQUEST).collect();
    let said = pool.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_deref());
    (handled.or(said) != Some(request.as_str())).then_some(request)
}

/// The moment before which nobody wants a ready member to be from, by an annotation.
fn recycle_before(pool: &InstancePool) -> Option<Timestamp> {
    requested_before(pool.annotations().get(ANNOTATION_RECYCLE_REQUESTED)?)
}

/// Asks the clouds of these launch configs for their machines anew.
fn fresh_lists(context: &Context, key: &ObjectKey, usable: &[UsableLaunchConfig]) {
    let clouds: Vec<_> = context.world.with(|state| {
        let find = |config: &UsableLaunchConfig| {
            state.launch_configs.get(&ObjectKey::new(key.namespace.clone(), config.name.as_str()))
        };
        usable.iter().filter_map(find).filter_map(|config| context.clouds.of(&config.spec)).collect()
    });
    info!(pool = %key, "a pass without delays was asked for");
    for cloud in clouds {
        cloud.hurry();
    }
}

/// Until when nothing is bought because one of the pool's launch configs is new: it will be usable in a moment.
fn being_taken_in(
    state: &State,
    namespace: &str,
    problems: &[LaunchConfigProblem],
    now: Timestamp,
) -> Option<Timestamp> {
    let left = |problem: &LaunchConfigProblem| match problem {
        LaunchConfigProblem::NotTakenIn(name) => {
            let seen_for = state.launch_configs.seen_for(&ObjectKey::new(namespace, name.as_str()))?;
            TAKING_IN.checked_sub(seen_for)
        }
        _ => None,
    };
    let longest = problems.iter().filter_map(left).max()?;
    now.checked_add(SignedDuration::try_from(longest).ok()?).ok()
}

fn new_member(pool: &InstancePool, config: &UsableLaunchConfig) -> PoolMember {
    let pool_name = pool.name_any();
    let mut labels = pool.spec.template.labels.clone();
    labels.insert(LABEL_POOL.to_owned(), pool_name.clone());
    labels.insert(LABEL_LAUNCH_CONFIG.to_owned(), config.name.clone());
    labels.insert(LABEL_TEMPLATE_HASH.to_owned(), config.template_hash.clone());
    let owner = OwnerReference {
        block_owner_deletion: Some(true),
        controller: Some(true),
        ..pool.owner_ref(&()).unwrap_or_default()
    };
    PoolMember {
        metadata: ObjectMeta {
            namespace: pool.namespace(),
            name: Some(format!("{pool_name}-{}", suffix())),
            labels: Some(labels),
            finalizers: Some(vec![FINALIZER_INSTANCE.to_owned()]),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: PoolMemberSpec {
            pool_ref: PoolRef { name: pool_name, uid: convert::uid(pool) },
            placement: config.placement.clone(),
            template_hash: config.template_hash.clone(),
            ssh: config.ssh.clone(),
            cordoned: false,
            hold: false,
        },
        status: None,
    }
}

fn suffix() -> String {
    (0..5).map(|_| char::from(SUFFIX[rand::random_range(0..SUFFIX.len())])).collect()
}

/// Whether the status has every failure that was counted.
fn is_recorded(context: &Context, key: &ObjectKey, pass: &Pass) -> bool {
    context.memory.lock().pool(key, &convert::uid(pass.pool.as_ref())).unrecorded.is_empty()
}

async fn delete_members(context: &Context, key: &ObjectKey, pass: &Pass) -> Result<(), Failure> {
    let unrecorded = context.memory.lock().pool(key, &convert::uid(pass.pool.as_ref())).unrecorded.clone();
    let mut recorded = pass.deletes.clone();
    recorded.retain(|member| !unrecorded.contains(&convert::uid(member.as_ref())));
    let mut deletions = stream::iter(recorded)
        .map(|member| async move { delete_member(context, &member).await })
        .buffer_unordered(WRITES_AT_ONCE);
    let mut worst = Ok(());
    while let Some(result) = deletions.next().await {
        worst = worst.and(result);
    }
    worst
}

/// Writes the status if it changed, and says when to come back if it was written a moment ago. Only a failure that has to be
/// in it is waited for.
async fn say(context: &Context, key: &ObjectKey, pass: &Pass) -> Option<Timestamp> {
    let now = Timestamp::now();
    let uid = convert::uid(pass.pool.as_ref());
    let (replenished_at, handled) = {
        let mut memories = context.memory.lock();
        let memory = memories.pool(key, &uid);
        (memory.replenished_at, memory.handled.clone())
    };
    let holders = claim_holders::of(context, key, &pass.pool);
    claim_holders::tell(context, key, &pass.pool, holders.namespace_ends);
    let input = StatusInput {
        pool: &pass.pool,
        holders: &holders,
        plan: &pass.plan,
        waiting: pass.waiting,
        usable: &pass.usable,
        problems: &pass.problems,
        provisioning: &pass.purchasing.health,
        replenished_at,
        template_hash: pass.template_hash.as_deref(),
        handled: handled.as_deref(),
    };
    let mut status = pool_status(&input, now);
    let (attention, stale_claims) = context
        .world
        .with(|state| (convert::attention(state, &pass.pool), crate::controllers::claim::lifetime::stale(state, key)));
    attention::note(&mut status.conditions, &attention, pass.pool.metadata.generation, now);
    let (namespace, name) = (&key.namespace, &key.name);
    context.metrics.pool_known(namespace, name);
    context.metrics.set_pool_members(namespace, name, &pass.plan.counts);
    context.metrics.set_pool_waiting_claims(namespace, name, pass.waiting);
    context.metrics.set_pool_stale_claims(namespace, name, stale_claims);
    context.metrics.set_pool_target_size(namespace, name, pass.pool.spec.target_size);
    context.metrics.set_pool_attention(namespace, name, &attention);
    let awaited = {
        let mut memories = context.memory.lock();
        let memory = memories.pool(key, &uid);
        if pass.pool.status.as_ref() == Some(&status) {
            memory.unrecorded.clear();
            return None;
        }
        // Its end wakes the pool.
        if memory.saying {
            return None;
        }
        let left = memory.status_written.and_then(|written| STATUS_INTERVAL.checked_sub(written.elapsed()));
        let rests_until = left.and_then(|left| now.checked_add(left).ok());
        if let Some(later) = rests_until.max(memory.statuses.not_before(now)) {
            return Some(later);
        }
        memory.saying = true;
        !memory.unrecorded.is_empty()
    };
    let mut pool = InstancePool::clone(&pass.pool);
    pool.status = Some(status);
    if !awaited {
        let context = context.clone();
        context.writing.clone().spawn(async move { write_status(&context, &pool).await });
    } else if write_status(context, &pool).await {
        context.memory.lock().pool(key, &uid).unrecorded.clear();
    }
    None
}
