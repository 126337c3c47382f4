//! One member: what becomes of it if a claim has it, then its next step, then the effect of that step.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::clouds::{Cloud, Scope};
use super::context::{Context, Failure};
use super::held::{self, Held};
use super::machine;
use super::machines::{Sighting, sighting};
use super::queue::Outcome;
use super::views;
use crate::api::{FINALIZER_INSTANCE, InstancePool, LaunchConfig, MemberState, PoolMember, Readiness};
use crate::cluster::ObjectKey;
use crate::cluster::world::State;
use crate::plan::lifecycle::{Asked, LifecycleView, Step, next_step};
use crate::plan::replenish::create_may_begin;
use crate::plan::template::template_hash;
use crate::plan::{Ending, ending};

/// Steps of one run: more would be a circle.
const MOST_STEPS: usize = 12;

/// A member with all that its next step depends on.
pub struct Gathered {
    /// The member.
    pub member: Arc<PoolMember>,
    /// Its pool, if this incarnation of it is there.
    pub pool: Option<Arc<InstancePool>>,
    /// Its launch config.
    pub launch_config: Arc<LaunchConfig>,
    /// Its cloud.
    pub cloud: Arc<Cloud>,
    /// Its machine as last shown.
    pub sighting: Sighting,
    /// The same for the plan.
    pub view: LifecycleView,
}

impl Gathered {
    /// Key of the member.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::of(self.member.as_ref())
    }

    /// Uid of the member.
    pub fn uid(&self) -> String {
        views::uid(self.member.as_ref())
    }

    /// The machine's id: as recorded, or as shown.
    pub fn instance_id(&self) -> Option<String> {
        let recorded =
            self.member.status.as_ref().and_then(|status| status.instance.as_ref()).map(|machine| machine.id.clone());
        recorded.or_else(|| self.sighting.instance.as_ref().map(|instance| instance.id.clone()))
    }
}

/// One run over the member of this name: step by step until there is nothing to do but wait.
pub async fn reconcile(context: Context, key: ObjectKey) -> Outcome {
    for _ in 0..MOST_STEPS {
        let Some(member) = mine(&context, &key) else { return Ok(None) };
        let ending_since = match fate_of(&context, &member).await? {
            Held::Ends(since) => Some(since),
            Held::Lives => None,
            Held::Changed => continue,
            Held::Later(moment) => return Ok(moment),
        };
        let gathered = gather(&context, member, ending_since)?;
        match next_step(&gathered.view, Timestamp::now()) {
            Step::Wait(until) => return Ok(until),
            // Boxed, because thousands of runs that only look and wait may be under way at once.
            step => Box::pin(machine::take(&context, &gathered, step)).await?,
        }
    }
    // The watch or the next list brings what is missing; this is only a net.
    Ok(Timestamp::now().checked_add(SignedDuration::from_secs(1)).ok())
}

/// The member, unless somebody else is at it: the binder, or the pass that is still writing it.
fn mine(context: &Context, key: &ObjectKey) -> Option<Arc<PoolMember>> {
    context.world.with(|state| {
        let member = state.members.get(key)?;
        let being_written = state
            .planned
            .get(&views::pool_of(member))
            .is_some_and(|planned| planned.iter().any(|planned| planned.name == key.name));
        let in_hand = state.members_in_hand.contains(&views::uid(member.as_ref()));
        (state.is_synced() && !being_written && !in_hand).then(|| member.clone())
    })
}

/// Whether the member's end was decided: by its claim's end if it is claimed, else by its deletionTimestamp.
async fn fate_of(context: &Context, member: &Arc<PoolMember>) -> Result<Held, Failure> {
    let since = member.metadata.deletion_timestamp.as_ref().map_or_else(Timestamp::now, |time| time.0);
    match ending(&views::member_view(member)) {
        Ending::Terminate => Ok(Held::Ends(since)),
        Ending::NotAsked if views::state(member) != MemberState::Claimed => Ok(Held::Lives),
        Ending::NotAsked | Ending::AskTheTable => Box::pin(held::decide(context, member)).await,
    }
}

fn gather(context: &Context, member: Arc<PoolMember>, ending_since: Option<Timestamp>) -> Result<Gathered, Failure> {
    let launch_config_key = views::launch_config_of(&member);
    let (launch_config, pool, may_create) = context.world.with(|state| {
        let pool = live_pool(state, &member);
        let may_create = pool.as_ref().is_some_and(|pool| may_create(state, pool, &member));
        (state.launch_configs.get(&launch_config_key).cloned(), pool, may_create)
    });
    let launch_config = launch_config.ok_or_else(|| Failure::NoLaunchConfig(launch_config_key.clone()))?;
    let cloud = Scope::of(&launch_config.spec)
        .and_then(|scope| context.clouds.get(&scope))
        .ok_or(Failure::NoLaunchConfig(launch_config_key))?;
    let uid = views::uid(member.as_ref());
    let record = context.machines.with(&uid, context.started, |record| {
        if ending_since.is_some() && record.ending_since.is_none() {
            record.ending_since = ending_since;
        }
        record.clone()
    });
    let status = views::status(&member);
    let recorded_id = status.instance.as_ref().map(|machine| machine.id.as_str());
    let known_since = status.warming_started_at.as_ref().map(|time| time.0);
    let sighting = sighting(&record, cloud.listing().as_deref(), &uid, recorded_id, known_since);
    let readiness = pool.as_ref().map_or_else(Readiness::default, |pool| pool.spec.readiness.clone());
    let current = pool.as_ref().is_some_and(|pool| is_current(pool, &launch_config, &member));
    let seconds = |seconds: i32| SignedDuration::from_secs(i64::from(seconds));
    let view = LifecycleView {
        state: status.state,
        ending_since,
        has_instance: recorded_id.is_some(),
        current,
        may_create,
        asked: if status.instance.is_some() { Asked::Perhaps(context.started) } else { record.asked },
        machine: sighting.machine,
        warming_started_at: known_since,
        launch_timeout: seconds(readiness.launch_timeout_seconds),
        warming_timeout: seconds(readiness.warming_timeout_seconds),
        create_grace: SignedDuration::try_from(cloud.provider().create_grace()).unwrap_or(SignedDuration::MAX),
        not_before: record.not_before,
        terminate_accepted_at: record.terminate_accepted_at,
    };
    Ok(Gathered { member, pool, launch_config, cloud, sighting, view })
}

fn live_pool(state: &State, member: &PoolMember) -> Option<Arc<InstancePool>> {
    let pool = state.pools.get(&views::pool_of(member))?;
    (views::uid(pool.as_ref()) == member.spec.pool_ref.uid).then(|| pool.clone())
}

/// Invariants 2 and 5, as far as the store knows.
pub fn may_create(state: &State, pool: &InstancePool, member: &PoolMember) -> bool {
    let uid = views::uid(member);
    let planned = state.planned.get(&ObjectKey::of(pool)).map_or(0, Vec::len);
    let others = state.members_of(pool).filter(|other| views::uid(other.as_ref()) != uid).count();
    create_may_begin(pool.spec.state, views::deleting(pool), pool.spec.max_size, others + planned)
}

fn is_current(pool: &InstancePool, launch_config: &LaunchConfig, member: &PoolMember) -> bool {
    Some(member.spec.placement.generation) == launch_config.metadata.generation
        && !views::deleting(launch_config)
        && member.spec.template_hash == template_hash(&pool.spec.template, &launch_config.spec)
}

/// Takes the finalizer off: the machine is gone, by the provider's word.
pub async fn finish(context: &Context, member: &PoolMember) -> Result<(), Failure> {
    let rest: Vec<_> = member.finalizers().iter().filter(|own| *own != FINALIZER_INSTANCE).cloned().collect();
    match context.writes.set_finalizers(member, &rest).await {
        Ok(_) => {}
        Err(error) if error.answer == crate::plan::Answer::NotFound => {
            context.world.answered_gone::<PoolMember>(&ObjectKey::of(member), &views::uid(member));
        }
        Err(error) => {
            context.writes.get::<PoolMember>(&ObjectKey::of(member)).await;
            return Err(error.into());
        }
    }
    context.machines.forget(&views::uid(member));
    Ok(())
}
