//! What a pool may buy by each of its launch configs: combines breakers, ramps, the refusals of clouds, caps and
//! weights into what the plan needs to place members.

use std::collections::HashSet;
use std::sync::Arc;

use bullpen_api::{
    ErrorClass, EventAction, InstancePool, LaunchConfig, LaunchConfigInUse, MemberState, PoolLaunchConfig, PoolMember,
    Reason,
};
use bullpen_plan::CreateRate;
use bullpen_plan::launch::breaker::{Phase, Rules};
use bullpen_plan::launch::identity::may_have_members;
use bullpen_plan::launch::options;
use bullpen_plan::launch::options::Limits;
use bullpen_plan::launch::placement::LaunchConfigView;
use bullpen_plan::launch::refusals::{ActiveRefusal, Gate, Place};
use bullpen_plan::launch::trial::{FAILURES, MemberProof, Trial};
use bullpen_plan::pool::provisioning::{Cap, LaunchConfigHealth, Refusal};
use bullpen_plan::pool::standby::Failures;
use bullpen_plan::pool::template::UsableLaunchConfig;
use bullpen_plan::pool::view::unanswered_at;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::memory::PoolMemory;
use super::standby;
use crate::cloud::Cloud;
use crate::controllers::convert;
use crate::controllers::convert::place_of;
use crate::controllers::pool::PoolController;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;
use crate::telemetry::labels::{BreakerState, ProviderOperation};

/// After a start, the delay until checking again whether the state of a launch config was restored from its status.
const TAKING_UP: SignedDuration = SignedDuration::from_millis(200);
/// The delay until checking again whether the account is recorded. The answer of the cloud, and the record, wake the pool.
const ACCOUNT_AWAITED: SignedDuration = SignedDuration::from_secs(5);

/// What a pool may buy, and what its status reports of that.
#[derive(Debug, Default)]
pub struct LaunchOptions {
    /// For placing members.
    pub views: Vec<LaunchConfigView>,
    /// For the status.
    pub health: Vec<LaunchConfigHealth>,
    /// Launch configs whose breaker opened (true) or closed (false) since the last pass.
    changed_breakers: Vec<(String, bool)>,
    states: Vec<(String, BreakerState)>,
}

/// What the options are computed from, and the time.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// Gives the clouds and the health of launch configs.
    pub controller: &'a PoolController,
    /// The cluster.
    pub state: &'a State,
    /// The pool.
    pub pool: &'a InstancePool,
    /// Nothing is bought before this moment.
    pub waits_until: Option<Timestamp>,
    /// The present time.
    pub now: Timestamp,
}

/// Computes the options, and records in `memory` what the members prove by now.
pub fn launch_options(moment: Moment<'_>, memory: &mut PoolMemory, usable: &[UsableLaunchConfig]) -> LaunchOptions {
    let Moment { controller, state, pool, .. } = moment;
    if !memory.counted.is_empty() || !memory.unrecorded.is_empty() {
        let present: HashSet<_> = state.members_of(pool).filter_map(|member| member.metadata.uid.as_deref()).collect();
        memory.counted.retain(|uid| present.contains(uid.as_str()));
        memory.unrecorded.retain(|uid| present.contains(uid.as_str()));
    }
    let in_spec = |name: &String| pool.spec.launch_configs.iter().any(|entry| entry.name == *name);
    memory.trials.retain(|name, _| {
        let in_use = in_spec(name);
        if !in_use {
            controller.common.metrics.breaker_gone(&pool.namespace().unwrap_or_default(), &pool.name_any(), name);
        }
        in_use
    });
    match &pool.spec.standby {
        Some(_) => memory.standby.retain(|name| pool.spec.launch_configs.iter().any(|entry| entry.name == name)),
        None => memory.standby = Failures::default(),
    }
    let mut launch_options = LaunchOptions::default();
    for config in usable {
        launch_options.add(moment, memory, config);
    }
    launch_options
}

impl LaunchOptions {
    fn add(&mut self, moment: Moment<'_>, memory: &mut PoolMemory, config: &UsableLaunchConfig) {
        let Moment { controller, state, pool, waits_until, now } = moment;
        let key = ObjectKey::new(pool.namespace().unwrap_or_default(), config.name.as_str());
        let Some(launch_config) = state.launch_configs.get(&key) else { return };
        let threshold = pool.spec.provisioning.failure_threshold;
        let opened_before = memory.trials.get(&config.name).map(|trial| trial.breaker.has_opened(threshold));
        let mine = Mine::of(state, pool, &config.name);
        let standby = standby::observe(&mine.members, memory, pool, config);
        let trial = observe(&mine, memory, pool, config);
        let allowed = trial.allowance(threshold, now);
        let place = place_of(launch_config, &config.template_hash);
        let cloud = controller.clouds.of(launch_config);
        if cloud.as_ref().is_some_and(|cloud| cloud.refusals().lapse(&place, now)) {
            controller.common.wakers.launch_configs.wake(key.clone());
        }
        let gate = cloud.as_ref().map_or(Gate::Open, |cloud| cloud.refusals().look(&place, None, now));
        // Its refusals and weight are restored from its status in a moment.
        let unseen = controller.launch_health.get(&key).is_none().then(|| now.checked_add(TAKING_UP).unwrap_or(now));
        let account = awaits_account(state, &key, launch_config, cloud.as_deref())
            .then(|| now.checked_add(ACCOUNT_AWAITED).unwrap_or(now));
        let limited = cloud.as_ref().and_then(|cloud| cloud.delayed_until(ProviderOperation::Create, now));
        let caps = caps(state, pool, config, &mine);
        self.views.push(options::view(&Limits {
            name: &config.name,
            weight: config.weight,
            percent: controller.launch_health.percent(&key),
            paused: config.paused,
            members: mine.count(),
            allowed,
            cap: caps.map(|(left, _)| left),
            gate,
            has_probe: gate == Gate::Probe && mine.has_probe(moment),
            not_before: [waits_until, limited, unseen, account].into_iter().flatten().max(),
        }));

        let opened = trial.breaker.has_opened(threshold);
        if opened_before.unwrap_or(opened) != opened {
            self.changed_breakers.push((config.name.clone(), opened));
        }
        self.states.push((config.name.clone(), breaker_state(trial.breaker.phase(threshold, now))));
        self.health.push(LaunchConfigHealth {
            recorded: LaunchConfigInUse { standby, ..trial.recorded(&config.name) },
            breaker_open: opened,
            paused: config.paused,
            weightless: config.weight == 0,
            cap: caps.filter(|(left, _)| *left <= 0).map(|(_, cap)| cap),
            refusal: refusal(cloud.as_deref(), &place),
            lack: cloud.and_then(|cloud| cloud.refusals().reason_of(&place, true).map(refused)),
        });
    }

    /// Sends an Event for each breaker that opened or closed, and sets the metric of every breaker.
    pub fn report(&self, controller: &PoolController, pool: &InstancePool) {
        let (namespace, name) = (pool.namespace().unwrap_or_default(), pool.name_any());
        for (launch_config, state) in &self.states {
            controller.common.metrics.set_breaker(&namespace, &name, launch_config, *state);
        }
        for (launch_config, opened) in &self.changed_breakers {
            if *opened {
                let health = self.health.iter().find(|health| health.recorded.name == *launch_config);
                let note = health.map(LaunchConfigHealth::breaker_message).unwrap_or_default();
                controller.common.events.warn(pool, Reason::BreakerOpened, EventAction::Create, note);
            } else {
                let note = format!("launch config {launch_config}: buying again");
                controller.common.events.normal(pool, Reason::BreakerClosed, EventAction::Create, note);
            }
        }
    }
}

/// Records what the members of a launch config prove by now. New failures are counted, and marked as not yet in the
/// pool's status.
fn observe<'a>(
    mine: &Mine<'_>,
    memory: &'a mut PoolMemory,
    pool: &InstancePool,
    config: &UsableLaunchConfig,
) -> &'a Trial {
    let in_status = pool.status.as_ref().map(|status| status.launch_configs.as_slice()).unwrap_or_default();
    let recorded = in_status.iter().find(|entry| entry.name == config.name);
    let seed = format!("{}/{}", convert::uid(pool), config.name);
    let provisioning = &pool.spec.provisioning;
    let rules = Rules {
        threshold: provisioning.failure_threshold,
        cooldown: SignedDuration::from_secs(i64::from(provisioning.cooldown_seconds)),
        seed: &seed,
    };
    let trial = memory.trials.entry(config.name.clone()).or_default();
    if trial.hash != config.template_hash {
        *trial = Trial::begin(&config.template_hash, recorded);
    }
    let of_template = mine.members.iter().filter(|member| member.spec.template_hash == config.template_hash);
    let mut proofs: Vec<_> = of_template.filter_map(|member| proof(member)).collect();
    proofs.extend(std::iter::repeat_n(MemberProof::InFlight, mine.unwritten));
    let failed = trial.observe(&proofs, &memory.counted, rules);
    memory.unrecorded.extend(failed.iter().cloned());
    memory.counted.extend(failed);
    trial
}

fn proof(member: &PoolMember) -> Option<MemberProof> {
    let status = member.status.as_ref();
    if let Some(since) = status.and_then(|status| status.ready_since.as_ref()) {
        return Some(MemberProof::Ready(since.0));
    }
    if convert::deleting(member) {
        return None;
    }
    match convert::state(member) {
        MemberState::Pending | MemberState::Warming | MemberState::Resetting => Some(MemberProof::InFlight),
        MemberState::Errored => {
            let error = status?
                .last_error
                .as_ref()
                .filter(|error| ErrorClass::parse(&error.class).is_some_and(|class| FAILURES.contains(&class)))?;
            Some(MemberProof::Failed(convert::uid(member), error.clone()))
        }
        MemberState::Ready | MemberState::Claimed | MemberState::Stopping | MemberState::Standby => None,
    }
}

/// Whether the first member has to wait until the launch config records the account that its machine will be in.
fn awaits_account(state: &State, key: &ObjectKey, config: &LaunchConfig, cloud: Option<&Cloud>) -> bool {
    let recorded = config.status.as_ref().and_then(|status| status.identity.as_ref());
    let seen = cloud.and_then(Cloud::confirmed_identity).map(|confirmed| confirmed.identity);
    !may_have_members(recorded, seen.as_ref(), || state.uses_launch_config(key))
}

/// The members that a pool has by one launch config.
struct Mine<'a> {
    members: Vec<&'a Arc<PoolMember>>,
    /// Number of members that a pass is about to write.
    unwritten: usize,
}

impl<'a> Mine<'a> {
    fn of(state: &'a State, pool: &InstancePool, launch_config: &str) -> Self {
        let (key, uid) = (ObjectKey::of(pool), convert::uid(pool));
        let config = ObjectKey::new(key.namespace.as_str(), launch_config);
        let unwritten = state.unwritten(&key).filter(|planned| planned.launch_config == launch_config).count();
        // A pool may have many launch configs, and a launch config many pools: walks over the fewer members.
        let members = if state.count_of_launch_config(&config) < state.count_of(pool) {
            let is_mine =
                |member: &PoolMember| member.spec.pool_ref.uid == uid && member.spec.pool_ref.name == key.name;
            state.members_of_launch_config(&config).filter(|member| is_mine(member)).collect()
        } else {
            let by_it = |member: &PoolMember| member.spec.placement.launch_config == launch_config;
            state.members_of(pool).filter(|member| by_it(member)).collect()
        };
        Self { members, unwritten }
    }

    /// How many members the launch config has in the pool or is about to have.
    fn count(&self) -> i64 {
        (self.members.len() + self.unwritten) as i64
    }

    /// Whether a pending member may try whether the cloud accepts creates again. One whose cloud does not answer may
    /// never come to its create.
    fn has_probe(&self, moment: Moment<'_>) -> bool {
        let Moment { controller, now, .. } = moment;
        self.members.iter().any(|member| {
            let since = || controller.machines.unanswered_since(&convert::uid(member.as_ref()));
            convert::state(member) == MemberState::Pending
                && !convert::deleting(member.as_ref())
                && since().is_none_or(|since| unanswered_at(since) > now)
        })
    }
}

/// How many more members `maxInstances` of the pool's entry and of the launch config allow, and which of them is the
/// closer limit.
fn caps(state: &State, pool: &InstancePool, config: &UsableLaunchConfig, mine: &Mine<'_>) -> Option<(i64, Cap)> {
    let left_in_pool = config.max_in_pool.map(|max| (i64::from(max) - mine.count(), Cap::InPool(max)));
    let in_all = || {
        let key = ObjectKey::new(pool.namespace().unwrap_or_default(), config.name.as_str());
        (state.count_of_launch_config(&key) + state.unwritten_of_launch_config(&key)) as i64
    };
    let left_in_all = config.max_in_all.map(|max| (i64::from(max) - in_all(), Cap::InAll(max)));
    [left_in_pool, left_in_all].into_iter().flatten().min_by_key(|(left, _)| *left)
}

fn refused(refusal: &ActiveRefusal) -> Refusal {
    Refusal { class: refusal.cause.class(), message: refusal.error.message.clone(), until: refusal.until }
}

fn refusal(cloud: Option<&Cloud>, place: &Place) -> Option<Refusal> {
    let cloud = cloud?;
    let held = cloud.refusals().reason_of(place, false).map(refused);
    let limited = || {
        let message = "the cloud says that there are too many create calls".to_owned();
        let until = cloud.limited_until(ProviderOperation::Create)?;
        Some(Refusal { class: ErrorClass::RateLimited, message, until })
    };
    held.or_else(limited)
}

const fn breaker_state(phase: Phase) -> BreakerState {
    match phase {
        Phase::Closed => BreakerState::Closed,
        Phase::HalfOpen => BreakerState::HalfOpen,
        Phase::Open(_) => BreakerState::Open,
    }
}

/// How often machines can be bought by the pool's launch configs that exist.
pub fn create_rate(state: &State, pool: &InstancePool) -> Option<CreateRate> {
    let namespace = pool.namespace().unwrap_or_default();
    let key = |entry: &PoolLaunchConfig| ObjectKey::new(namespace.clone(), entry.name.clone());
    let configs = pool.spec.launch_configs.iter().filter_map(|entry| state.launch_configs.get(&key(entry)));
    CreateRate::of(configs.map(|config| &config.spec))
}

#[cfg(test)]
mod tests {
    use bullpen_api::Placement;
    use bullpen_plan::operator::watched_namespaces::{Feed, WatchedNamespaces};
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::*;
    use crate::state::ClusterState;
    use crate::state::planned::PlannedMember;

    fn of<K: serde::de::DeserializeOwned>(object: Value) -> K {
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn members_that_are_being_written_count_once_for_the_share_and_the_caps_of_their_launch_config() {
        let cluster = ClusterState::new(WatchedNamespaces::All).0;
        let pool: InstancePool = of(json!({
            "metadata": {"namespace": "ci", "name": "linux", "uid": "p", "resourceVersion": "1"},
            "spec": {"targetSize": 4, "maxSize": 4, "launchConfigs": [{"name": "sim"}, {"name": "other"}]},
        }));
        cluster.watched(&Feed::Everywhere, Event::Apply(pool.clone()));
        cluster.answered::<PoolMember>(of(json!({
            "metadata": {"namespace": "ci", "name": "linux-a", "uid": "a", "resourceVersion": "4"},
            "spec": {
                "poolRef": {"name": "linux", "uid": "p"},
                "placement": {"launchConfig": "sim", "generation": 1, "image": "i", "zone": "z"},
                "templateHash": "h",
            },
        })));
        let capped = |max_in_pool, max_in_all| UsableLaunchConfig {
            name: "sim".into(),
            weight: 100,
            max_in_pool,
            max_in_all,
            placement: Placement::default(),
            template_hash: "h".into(),
            ssh: None,
            phone_home: None,
            paused: false,
        };
        cluster.with(|state| {
            let plan = |name: &str, config: &str| PlannedMember { name: name.into(), launch_config: config.into() };
            let planned = [plan("linux-a", "sim"), plan("linux-b", "sim"), plan("linux-c", "other")];
            state.planned.add(&ObjectKey::of(&pool), planned);
            let of = |config: &str| Mine::of(state, &pool, config);
            assert_eq!((of("sim").count(), of("other").count()), (2, 1));
            assert_eq!(caps(state, &pool, &capped(Some(2), None), &of("sim")), Some((0, Cap::InPool(2))));
            assert_eq!(caps(state, &pool, &capped(None, Some(3)), &of("sim")), Some((1, Cap::InAll(3))));
            assert_eq!(caps(state, &pool, &capped(Some(2), Some(3)), &of("sim")), Some((0, Cap::InPool(2))));
        });
    }
}
