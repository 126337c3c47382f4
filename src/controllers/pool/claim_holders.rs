//! The claims that hold members of a pool that is being deleted, perhaps together with its namespace. The pool waits
//! for them, so its status names them and each gets one Event.

use std::sync::Arc;
use std::time::Instant;

use bullpen_api::{EventAction, InstancePool, PoolClaim, PoolMember, Reason};
use bullpen_plan::pool::status::{Holders, waits_for_claims};
use tracing::info;

use crate::cluster::reads::namespaces::{Namespace, look};
use crate::controllers::convert;
use crate::controllers::member::set_aside::LOOK_AT_NAMESPACE_EVERY;
use crate::controllers::pool::PoolController;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;

/// Finds out whether the namespace of a pool that is being deleted is terminating too. If no claim keeps the pool,
/// nothing is read: the pool goes anyway.
pub async fn look_at_namespace(controller: &PoolController, key: &ObjectKey, pool: &InstancePool) {
    if !convert::deleting(pool) || controller.common.cluster.with(|state| keys(state, pool).next().is_none()) {
        return;
    }
    let known = controller.memories.of(key, &convert::uid(pool), |memory| {
        let fresh = memory.namespace_looked.is_some_and(|at| at.elapsed() < LOOK_AT_NAMESPACE_EVERY.unsigned_abs());
        let known = memory.namespace_terminating || fresh;
        if !known {
            memory.namespace_looked = Some(Instant::now());
        }
        known
    });
    if known {
        return;
    }
    if look(&controller.common.writes.client(), &key.namespace).await == Namespace::Ending {
        controller.memories.of(key, &convert::uid(pool), |memory| memory.namespace_terminating = true);
    }
}

/// The claims that hold members of the pool, for its status: of all members if it is to become empty, else of those whose
/// launch config is being deleted.
pub fn of(controller: &PoolController, key: &ObjectKey, pool: &InstancePool) -> Holders {
    let emptying = convert::deleting(pool) || pool.spec.state == bullpen_api::PoolState::Draining;
    let claims: Vec<_> = controller.common.cluster.with(|state| {
        let ends = |member: &PoolMember| {
            let launch_config = state.launch_configs.get(&convert::launch_config_of(member));
            emptying || launch_config.is_some_and(|config| convert::deleting(config.as_ref()))
        };
        let held = held(state, pool).filter(|(member, _)| ends(member));
        held.map(|(_, claim)| claim.to_string()).collect()
    });
    if claims.is_empty() {
        return Holders::default();
    }
    let namespace_ends = controller.memories.of(key, &convert::uid(pool), |memory| memory.namespace_terminating);
    Holders { claims, namespace_ends }
}

/// Sends each claim that holds a member of a deleted pool one Event. If the pool's status already reports that it waits
/// for claims, an earlier leader has sent them.
pub fn send_events(controller: &PoolController, key: &ObjectKey, pool: &InstancePool, namespace_ends: bool) {
    if !convert::deleting(pool) {
        return;
    }
    let first = controller
        .memories
        .of(key, &convert::uid(pool), |memory| !std::mem::replace(&mut memory.holders_notified, true));
    if !first || waits_for_claims(pool) {
        return;
    }
    let claims: Vec<Arc<PoolClaim>> = controller.common.cluster.with(|state| {
        let held = keys(state, pool).filter_map(|key| state.claims.read(&key));
        // No Event can be created in a terminating namespace, and its claims end with it.
        held.filter(|claim| !namespace_ends || claim.metadata.namespace.as_ref() != Some(&key.namespace)).collect()
    });
    if claims.is_empty() {
        return;
    }
    info!(pool = %key, claims = claims.len(), namespace_ends, "is being deleted, and waits for the claims that hold its members");
    let what = if namespace_ends {
        format!("namespace {} with pool {}", key.namespace, key.name)
    } else {
        format!("pool {key}")
    };
    let note = format!("{what} is being deleted and waits for this claim: it keeps its machine until it ends");
    controller.common.events.warn_each(&claims, Reason::PoolBeingDeleted, EventAction::Delete, &note);
}

/// The keys of the claims that have members of this incarnation of the pool.
fn keys<'a>(state: &'a State, pool: &'a InstancePool) -> impl Iterator<Item = ObjectKey> + use<'a> {
    held(state, pool).map(|(_, claim)| claim)
}

/// The same, with their members.
fn held<'a>(
    state: &'a State,
    pool: &'a InstancePool,
) -> impl Iterator<Item = (&'a Arc<PoolMember>, ObjectKey)> + use<'a> {
    state.members_of(pool).filter(|member| !convert::is_released(state, member)).filter_map(|member| {
        let claim = member.status.as_ref()?.claim_ref.as_ref()?;
        Some((member, ObjectKey::new(claim.namespace.clone(), claim.name.clone())))
    })
}
