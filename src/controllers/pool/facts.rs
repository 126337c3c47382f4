//! What a pass of a pool reads: its launch configs, and its members as the plans count them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bullpen_api::{FINALIZER_LAUNCH_CONFIG, InstancePool, PoolMember, StandbyMode};
use bullpen_plan::pool::sizing::Replenishment;
use bullpen_plan::pool::template::{CurrentTemplate, LaunchConfigProblem, UsableLaunchConfig, resolve};
use bullpen_plan::pool::view::{CountedMember, Standing};
use jiff::Timestamp;

use super::standby;
use super::standby::Switches;
use super::teardown::may_have_served;
use crate::controllers::convert;
use crate::controllers::pool::PoolController;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;

/// The launch configs that the pool may buy by, and why it may not by the others.
pub fn launch_configs(
    state: &State,
    key: &ObjectKey,
    pool: &InstancePool,
) -> (Vec<UsableLaunchConfig>, Vec<LaunchConfigProblem>) {
    let (mut usable, mut problems) = resolve(
        &pool.spec,
        &convert::user_data(state, pool),
        |name| state.launch_configs.get(&ObjectKey::new(key.namespace.clone(), name)).map(Arc::as_ref),
        FINALIZER_LAUNCH_CONFIG,
    );
    leave_to_others(state, key, &mut usable, &mut problems);
    (usable, problems)
}

/// The pool does not buy by launch configs that another installation works on.
fn leave_to_others(
    state: &State,
    pool: &ObjectKey,
    usable: &mut Vec<UsableLaunchConfig>,
    problems: &mut Vec<LaunchConfigProblem>,
) {
    usable.retain(|config| {
        let key = ObjectKey::new(pool.namespace.clone(), config.name.as_str());
        let other = state.launch_config_of_others(&key);
        problems.extend(other.map(|other| LaunchConfigProblem::OtherInstallation {
            name: config.name.clone(),
            installation: other.to_owned(),
        }));
        other.is_none()
    });
}

/// The members of the pool with these uids.
pub fn members_with(state: &State, pool: &InstancePool, uids: &[String]) -> Vec<Arc<PoolMember>> {
    if uids.is_empty() {
        return Vec::new();
    }
    let uids: HashSet<_> = uids.iter().map(String::as_str).collect();
    let is_one = |member: &&Arc<PoolMember>| member.metadata.uid.as_deref().is_some_and(|uid| uids.contains(uid));
    state.members_of(pool).filter(is_one).cloned().collect()
}

/// The members of the pool to start and to stop.
pub fn switches(controller: &PoolController, state: &State, pool: &InstancePool, plan: &Replenishment) -> Switches {
    let mut stops = members_with(state, pool, &plan.stops);
    stops.retain(|member| !may_have_served(&controller.clouds, state, member));
    Switches { starts: members_with(state, pool, &plan.starts), stops, mode: standby_mode(pool) }
}

fn standby_mode(pool: &InstancePool) -> StandbyMode {
    pool.spec.standby.as_ref().map(|standby| standby.mode).unwrap_or_default()
}

/// The members of a pool for the sizing plan, with what this process knows of their creates.
pub fn counted_members(
    controller: &PoolController,
    state: &State,
    pool: &InstancePool,
    template: &CurrentTemplate,
    now: Timestamp,
) -> (Vec<CountedMember>, i32) {
    let (mut members, claimed) = convert::counted_members(state, pool, template, now);
    for member in &mut members {
        if matches!(member.standing, Standing::Pending | Standing::Terminating) {
            member.unanswered_since = controller.machines.unanswered_since(&member.uid);
        }
    }
    if pool.spec.standby.is_some() || members.iter().any(|member| member.standing == Standing::Standby) {
        let known: HashMap<_, _> =
            state.members_of(pool).filter_map(|member| Some((member.metadata.uid.as_deref()?, member))).collect();
        let in_tiers = |member: &&mut CountedMember| {
            matches!(member.standing, Standing::Ready | Standing::Standby | Standing::Warming)
        };
        let mode = standby_mode(pool);
        for member in members.iter_mut().filter(in_tiers) {
            let of = known.get(member.uid.as_str());
            member.power = of.map(|of| standby::power(controller, state, mode, of, now)).unwrap_or_default();
        }
    }
    (members, claimed)
}
