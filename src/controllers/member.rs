//! One member: what becomes of it if a claim has it, then its next step, then the effect of that step.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::aside;
use super::clouds::{Cloud, Scope};
use super::context::{Context, Failure};
use super::held::{self, Held};
use super::machine;
use super::machines::{Sighting, sighting};
use super::purchasing::place_of;
use super::queue::Outcome;
use super::{tagging, user_data, views};
use crate::api::{FINALIZER_INSTANCE, InstancePool, LaunchConfig, MemberState, PoolMember, Readiness};
use crate::cluster::ObjectKey;
use crate::cluster::world::State;
use crate::plan::holds::{Gate, Place};
use crate::plan::lifecycle::{Asked, LifecycleView, Past, Step, next_step};
use crate::plan::replenish::{create_may_begin, earliest};
use crate::plan::restore::served_before;
use crate::plan::template::{UserData, template_hash};
use crate::plan::{Ending, ending};
use crate::telemetry::labels::ProviderOperation;

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
    /// What the machine is to run at its first boot, by the user's own words in the template that the member is of. May be
    /// a secret.
    pub user_data: Option<Arc<str>>,
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

    /// Where and as what it is bought.
    pub fn place(&self) -> Place {
        place_of(&self.launch_config, &self.member.spec.template_hash)
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
        if aside::observe(&context, &member).await? {
            continue;
        }
        let ending_since = match fate_of(&context, &member).await? {
            Held::Ends(since) => Some(since),
            Held::Lives => None,
            Held::Changed => continue,
            Held::Later(moment) => return Ok(moment),
        };
        let held = aside::holds(&context, &member).await;
        let gathered = gather(&context, member, ending_since, held)?;
        let now = Timestamp::now();
        let tag_at = tagging::see_to(&context, &gathered, now);
        match next_step(&gathered.view, now) {
            Step::Wait(until) => {
                return Ok(earliest(earliest(until, tag_at), aside::look_again(&gathered.member, now)));
            }
            step => match held_back(&gathered, &step) {
                Some(until) => return Ok(earliest(Some(until), tag_at)),
                // What the template refers to may have changed: then the member is of another template by now.
                None if step == Step::Create && refreshed(&context, &gathered).await => {}
                // Boxed, because thousands of runs that only look and wait may be under way at once.
                None => Box::pin(machine::take(&context, &gathered, step)).await?,
            },
        }
    }
    // The watch or the next list brings what is missing; this is only a net.
    Ok(Timestamp::now().checked_add(SignedDuration::from_secs(1)).ok())
}

/// Until when the call of this step is held back because the cloud said that there were too many of its kind. Other
/// steps go on.
fn held_back(gathered: &Gathered, step: &Step) -> Option<Timestamp> {
    let operation = match step {
        Step::Create => ProviderOperation::Create,
        Step::Find => ProviderOperation::Find,
        Step::Confirm => ProviderOperation::Get,
        Step::Terminate => ProviderOperation::Terminate,
        _ => return None,
    };
    gathered.cloud.held_until(operation, Timestamp::now())
}

/// Whether the user data of a machine that is about to be bought was read anew, and is another.
async fn refreshed(context: &Context, gathered: &Gathered) -> bool {
    match &gathered.pool {
        Some(pool) => user_data::refresh(context, pool, false).await,
        None => false,
    }
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
        (state.knows(&key.namespace) && !being_written && !in_hand).then(|| member.clone())
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

fn gather(
    context: &Context,
    member: Arc<PoolMember>,
    ending_since: Option<Timestamp>,
    held: bool,
) -> Result<Gathered, Failure> {
    let launch_config_key = views::launch_config_of(&member);
    let (launch_config, pool, may_create, user_data) = context.world.with(|state| {
        let pool = live_pool(state, &member);
        let pending = views::state(&member) == MemberState::Pending;
        let may_create = pending && pool.as_ref().is_some_and(|pool| may_create(state, pool, &member));
        let user_data = pool.as_ref().map(|pool| views::user_data(state, pool));
        (state.launch_configs.get(&launch_config_key).cloned(), pool, may_create, user_data)
    });
    let launch_config = launch_config.ok_or_else(|| Failure::NoLaunchConfig(launch_config_key.clone()))?;
    let cloud = Scope::of(&launch_config.spec)
        .and_then(|scope| context.clouds.get(&scope))
        .ok_or(Failure::NoLaunchConfig(launch_config_key))?;
    let (uid, now) = (views::uid(member.as_ref()), Timestamp::now());
    let (word, recorded) = (cloud.word(), launch_config.status.as_ref().and_then(|status| status.identity.as_ref()));
    let trusted = cloud.foreign().is_none() && word.as_ref().is_some_and(|word| Some(&word.identity) == recorded);
    let account_confirmed_at = word.as_ref().filter(|_| trusted).map(|word| word.asked_at);
    let listing = cloud.listing();
    let record = context.machines.with(&uid, context.started, |record| {
        if let Some(listing) = &listing {
            record.listed(listing);
        }
        if let Some(word) = &word {
            record.doubt_absence_before(word.since);
        }
        record.settle_strike(account_confirmed_at);
        if ending_since.is_some() && record.ending_since.is_none() {
            record.ending_since = ending_since;
        }
        record.clone()
    });
    let status = views::status(&member);
    let recorded_id = status.instance.as_ref().map(|machine| machine.id.as_str());
    let known_since = status.warming_started_at.as_ref().map(|time| time.0);
    if listing.as_ref().is_some_and(|listing| record.outlasts(listing.began)) {
        context.machines.overtook(ObjectKey::of(member.as_ref()));
    }
    let sighting = sighting(&record, listing.as_deref(), &uid, recorded_id, known_since);
    let readiness = pool.as_ref().map_or_else(Readiness::default, |pool| pool.spec.readiness.clone());
    let gate = cloud.holds().look(&place_of(&launch_config, &member.spec.template_hash), Some(&uid), Timestamp::now());
    // Where nothing may be bought for a while, a member that was not asked for yet makes way for another launch config.
    let open = !launch_config.spec.paused && !matches!(gate, Gate::Closed(_));
    let user_data = user_data.unwrap_or_else(UserData::unread);
    let same = |pool: &Arc<InstancePool>| is_current(pool, &user_data, &launch_config, &member, record.asked);
    let current = open && pool.as_ref().is_some_and(same);
    let may_create = may_create && gate != Gate::Wait;
    let seconds = |seconds: i32| SignedDuration::from_secs(i64::from(seconds));
    let view = LifecycleView {
        state: status.state,
        ending_since,
        has_instance: recorded_id.is_some(),
        current,
        may_create: may_create && user_data.known().is_some(),
        asked: if status.instance.is_some() { Asked::Perhaps(context.started) } else { record.asked },
        machine: sighting.machine,
        warming_started_at: known_since,
        launch_timeout: seconds(readiness.launch_timeout_seconds),
        warming_timeout: seconds(readiness.warming_timeout_seconds),
        create_grace: SignedDuration::try_from(cloud.provider().create_grace()).unwrap_or(SignedDuration::MAX),
        not_before: record.not_before,
        struck_at: record.struck_at,
        next_look: record.next_look,
        terminate_accepted_at: record.terminate_accepted_at,
        terminate_first_accepted_at: record.terminate_first_accepted_at,
        terminate_failures: record.terminate_failures,
        said_stuck: record
            .stuck_unsaid
            .filter(|(_, until)| *until > now)
            .map(|(stuck, _)| stuck)
            .or_else(|| views::said_stuck(&member)),
        account_confirmed_at,
        past: past(&member, &sighting),
        held,
    };
    let user_data = match user_data {
        UserData::Known(text) | UserData::Keyed { text, .. } => text,
        UserData::Missing { .. } => None,
    };
    Ok(Gathered { member, pool, launch_config, cloud, sighting, view, user_data })
}

fn past(member: &PoolMember, sighting: &Sighting) -> Past {
    if views::is_quarantined(member) {
        Past::Quarantined
    } else if served_before(views::state(member), sighting.claim()) {
        Past::Served
    } else {
        Past::Clean
    }
}

fn live_pool(state: &State, member: &PoolMember) -> Option<Arc<InstancePool>> {
    let pool = state.pools.get(&views::pool_of(member))?;
    (views::uid(pool.as_ref()) == member.spec.pool_ref.uid).then(|| pool.clone())
}

/// Invariants 2 and 5, as far as the store knows.
pub fn may_create(state: &State, pool: &InstancePool, member: &PoolMember) -> bool {
    let others = state.others_of(pool, member) + state.unwritten(&ObjectKey::of(pool)).count();
    create_may_begin(pool.spec.state, views::deleting(pool), pool.spec.max_size, others)
}

/// Whether the member is what a new one would be, and a create would send what it was written for. A change that makes no
/// other machine, such as a cap, matters only where a call was begun: its retry would have to send the same bytes.
/// Without its user data none would be anything: it only waits then.
fn is_current(
    pool: &InstancePool,
    user_data: &UserData,
    launch_config: &LaunchConfig,
    member: &PoolMember,
    asked: Asked,
) -> bool {
    let same = user_data.known().is_none_or(|first_boot| {
        member.spec.template_hash == template_hash(&pool.spec.template, first_boot, &launch_config.spec)
    });
    (asked == Asked::Never || Some(member.spec.placement.generation) == launch_config.metadata.generation)
        && !views::deleting(launch_config)
        && same
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

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::World;
    use crate::cluster::world::PlannedMember;
    use crate::plan::watched::{Feed, WatchedNamespaces};

    fn of<K: serde::de::DeserializeOwned>(object: Value) -> K {
        serde_json::from_value(object).unwrap()
    }

    fn member(name: &str) -> PoolMember {
        of(json!({
            "metadata": {"namespace": "ci", "name": name, "uid": name, "resourceVersion": "4"},
            "spec": {
                "poolRef": {"name": "linux", "uid": "p"},
                "placement": {"launchConfig": "sim", "generation": 1, "image": "i", "zone": "z"},
                "templateHash": "h",
            },
        }))
    }

    #[test]
    fn a_member_that_is_written_and_still_planned_counts_once_against_max_size() {
        let world = World::new(WatchedNamespaces::All).0;
        let pool: InstancePool = of(json!({
            "metadata": {"namespace": "ci", "name": "linux", "uid": "p", "resourceVersion": "1"},
            "spec": {"targetSize": 2, "maxSize": 2, "launchConfigs": [{"name": "sim"}]},
        }));
        world.watched(&Feed::Everywhere, Event::Apply(pool.clone()));
        world.answered(member("linux-a"));
        world.answered(member("linux-b"));
        world.with(|state| {
            let plan = |name: &str| PlannedMember { name: name.into(), launch_config: "sim".into() };
            state.planned.insert(ObjectKey::of(&pool), vec![plan("linux-a"), plan("linux-b")]);
            assert!(may_create(state, &pool, &member("linux-a")) && may_create(state, &pool, &member("linux-b")));
            // One that nobody has written yet will bill as well.
            state.planned.entry(ObjectKey::of(&pool)).or_default().push(plan("linux-c"));
            assert!(!may_create(state, &pool, &member("linux-a")));
        });
    }
}
