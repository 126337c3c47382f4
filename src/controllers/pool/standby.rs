//! The standby tier of a pool: what can be stopped and started, and the writes that decide it.
//!
//! Only the states are written here, before anything is asked of a cloud; the member controller makes the calls.

use std::sync::Arc;

use bullpen_api::{InstancePool, MemberState, PoolMember, StandbyFailures, StandbyMode};
use bullpen_plan::launch::breaker::Rules;
use bullpen_plan::launch::refusals::Gate;
use bullpen_plan::member;
use bullpen_plan::member::lifecycle::PowerCalls;
use bullpen_plan::pool::standby::{Failures, Power, StandbyTier, proofs};
use bullpen_plan::pool::template::UsableLaunchConfig;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tracing::info;

use super::memory::PoolMemory;
use super::write_back::WRITES_AT_ONCE;
use crate::clock;
use crate::cluster::Written;
use crate::controllers::convert;
use crate::controllers::pool::PoolController;
use crate::provider::InstancePhase;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;

/// When to look again for a machine that is to be stopped and that the last list does not show as running.
const UNSEEN: SignedDuration = SignedDuration::from_secs(2);

/// Members whose machines are to be started or stopped.
#[derive(Debug, Default)]
pub struct Switches {
    /// Standby members to start.
    pub starts: Vec<Arc<PoolMember>>,
    /// Ready members to stop.
    pub stops: Vec<Arc<PoolMember>>,
    /// How to stop them.
    pub mode: StandbyMode,
}

/// What the pool wants on standby, and which of its launch configs buy machines that can be stopped.
pub fn tier(
    controller: &PoolController,
    state: &State,
    pool: &InstancePool,
    usable: &[UsableLaunchConfig],
    failures: &Failures,
) -> StandbyTier {
    let Some(standby) = &pool.spec.standby else { return StandbyTier::default() };
    let namespace = convert::namespace(pool);
    let stops = |name: &str| {
        let config = state.launch_configs.get(&ObjectKey::new(namespace.as_str(), name));
        config.is_some_and(|config| {
            let cloud = controller.clouds.of(config);
            cloud.is_some_and(|cloud| cloud.provider().can_stop(&config.spec, standby.mode))
        })
    };
    failures.heeded(StandbyTier {
        size: Some(standby.size),
        mode: standby.mode,
        launch_configs: usable.iter().filter(|config| stops(&config.name)).map(|config| config.name.clone()).collect(),
        usable: !usable.is_empty(),
        ..StandbyTier::default()
    })
}

/// Records what the members of a launch config prove by now about its stops and starts. New failures are counted, and marked as
/// not yet in the pool's status. Returns what belongs there.
pub fn observe(
    members: &[&Arc<PoolMember>],
    memory: &mut PoolMemory,
    pool: &InstancePool,
    config: &UsableLaunchConfig,
) -> Option<Box<StandbyFailures>> {
    let mode = pool.spec.standby.as_ref()?.mode;
    let in_status = pool.status.as_ref().map(|status| status.launch_configs.as_slice()).unwrap_or_default();
    let recorded = in_status.iter().find(|entry| entry.name == config.name);
    let recorded = recorded.filter(|entry| entry.template_hash == config.template_hash);
    let recorded = recorded.and_then(|entry| entry.standby.as_deref());
    memory.standby.begin(&config.name, (&config.template_hash, mode), recorded);
    let mut new = Vec::new();
    for member in members.iter().filter(|member| member.spec.template_hash == config.template_hash) {
        let Some(status) = &member.status else { continue };
        for (_, proof) in proofs(status).filter(|(of, _)| *of == mode) {
            if proof.is_failure() {
                let uid = convert::uid(member.as_ref());
                if convert::deleting(member.as_ref()) || !memory.counted.insert(uid.clone()) {
                    continue;
                }
                memory.unrecorded.insert(uid);
            }
            new.push(proof);
        }
    }
    let seed = format!("{}/{}/standby", convert::uid(pool), config.name);
    let cooldown = SignedDuration::from_secs(i64::from(pool.spec.provisioning.cooldown_seconds));
    memory.standby.learn(&config.name, new, Rules { threshold: 1, cooldown, seed: &seed });
    memory.standby.recorded(&config.name).map(Box::new)
}

/// What the machine of a member can do for the standby tier: a ready one may be stopped, a standby one started.
pub fn power(
    controller: &PoolController,
    state: &State,
    mode: StandbyMode,
    member: &PoolMember,
    now: Timestamp,
) -> Power {
    let config = state.launch_configs.get(&convert::launch_config_of(member));
    let Some((config, cloud)) = config.and_then(|config| Some((config, controller.clouds.of(config)?))) else {
        return Power::default();
    };
    let place = convert::place_of(config, &member.spec.template_hash);
    let refused_until = match cloud.refusals().look(&place, None, now) {
        Gate::Closed(until) => Some(until),
        Gate::Wait | Gate::Open | Gate::Probe => None,
    };
    Power {
        can_stop: cloud.provider().can_stop(&config.spec, mode),
        refused_until,
        ran_before: convert::came(member) > convert::created(member),
        from_standby: member.status.as_ref().is_some_and(|status| status.standby.is_some()),
    }
}

/// Writes which machines are to be started and stopped. A member that changed meanwhile, such as one that a claim got, is left
/// as it is. Returns when to look again, if the last list does not show a machine that is to be stopped.
pub async fn write(controller: &PoolController, switches: &Switches) -> Result<Option<Timestamp>, Failure> {
    let now = clock::now();
    let mut unseen = None;
    let mut members = Vec::new();
    for member in &switches.starts {
        members.push(member::status::starting(member, now));
    }
    for member in &switches.stops {
        match last_start(controller, member) {
            Some(last) => members.push(member::status::stopping(member, switches.mode, last, now)),
            None => unseen = now.checked_add(UNSEEN).ok(),
        }
    }
    let mut writes = stream::iter(members).map(|member| switch(controller, member)).buffer_unordered(WRITES_AT_ONCE);
    let mut worst = Ok(());
    while let Some(answer) = writes.next().await {
        worst = worst.and(answer);
    }
    worst.map(|()| unseen)
}

async fn switch(controller: &PoolController, member: PoolMember) -> Result<(), Failure> {
    let since = member.status.as_ref().and_then(|status| status.standby.as_ref()).map(|standby| standby.since.0);
    if convert::state(&member) == MemberState::Stopping {
        // No call of this stay was made yet, nor can one be before this is written.
        controller.machines.with(&convert::uid(&member), |record| record.power = (since, PowerCalls::NEW));
    }
    if let Written::Written(_) = controller.common.writes.update_status(&member).await? {
        let (key, state) = (ObjectKey::of(&member), convert::state(&member).as_str());
        info!(member = %key, state, "switched for the standby tier");
        controller.common.wakers.members.wake(key);
    }
    Ok(())
}

/// When the machine of a ready member last started, if the last list shows that it runs.
fn last_start(controller: &PoolController, member: &PoolMember) -> Option<Timestamp> {
    let id = &member.status.as_ref()?.instance.as_ref()?.id;
    let key = convert::launch_config_of(member);
    let config = controller.common.cluster.with(|state| state.launch_configs.get(&key).cloned())?;
    let listing = controller.clouds.of(&config)?.listing()?;
    let shown = listing.with_id(id).filter(|instance| instance.phase == InstancePhase::Running)?;
    let recorded = member.status.as_ref()?.standby.as_ref().map(|standby| standby.last_start.0);
    // An older list may show the machine before its last stop.
    let start = shown.last_start();
    recorded.is_none_or(|recorded| recorded <= start).then_some(start)
}
