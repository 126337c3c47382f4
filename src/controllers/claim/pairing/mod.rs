//! Pairs the claims of a queue with members of its pool, and starts the binding of each pair.
//!
//! In: the key of a queue. Out: reservations in [`state`](crate::state), made under one lock; the writes run in
//! background tasks.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::sync::Arc;

use bullpen_api::{InstancePool, PoolClaim, PoolMember};
use bullpen_plan::claim::claimable;
use bullpen_plan::claim::queue::{Offer, Order, Paired, Turn, pair};
use bullpen_plan::time::earliest;
use jiff::Timestamp;

use super::bind;
use super::namespace_labels;
use super::quarantine;
use super::quarantine::Shown;
use super::queue_view::QueueView;
use super::waiting;
use super::waiting::StatusUpdate;
use crate::clock;
use crate::cloud::Listing;
use crate::controllers::claim::ClaimController;
use crate::controllers::convert;
use crate::state::pool_queue::PoolQueue;
use crate::state::{ObjectKey, QueueKey};
use crate::telemetry::labels::Task;

/// What a pass decided, with the objects that it decided on.
struct Pass {
    pairs: Vec<(Arc<PoolClaim>, Arc<PoolMember>)>,
    updates: Vec<StatusUpdate>,
    look_again_at: Option<Timestamp>,
    /// Namespaces whose labels must be read.
    unread: Vec<String>,
}

/// One pass over the claims in this queue. Returns when to run again if nothing changes.
pub fn reconcile(controller: &ClaimController, key: &QueueKey) -> Option<Timestamp> {
    let pass = plan(controller, key, clock::now())?;
    let tasks = &controller.common.tasks;
    for (claim, member) in pass.pairs {
        let (controller, queue) = (controller.clone(), key.clone());
        tasks.spawn(Task::Binding, async move {
            let guard = PairingGuard::new(&controller, &queue, &claim, Some(&member));
            bind::bind(&controller, &convert::pool_of(&member), &claim, &member).await;
            drop(guard);
        });
    }
    for update in pass.updates {
        let (controller, queue) = (controller.clone(), key.clone());
        tasks.spawn(Task::WaitingStatus, async move {
            let guard = PairingGuard::new(&controller, &queue, &update.claim, None);
            waiting::update_status(&controller.common, &update).await;
            drop(guard);
        });
    }
    for namespace in pass.unread {
        tasks.spawn(Task::NamespaceLabels, namespace_labels::read(controller.common.clone(), namespace));
    }
    pass.look_again_at
}

/// Pairs under the lock and reserves every pair in the same moment. `None` until every cache is complete, because
/// partial caches would give wrong verdicts.
fn plan(controller: &ClaimController, key: &QueueKey, now: Timestamp) -> Option<Pass> {
    controller.pool_memories.with_state(&controller.common.cluster, |memories, state| {
        if !state.is_synced() {
            return None;
        }
        if state.queues.at(key).is_none_or(PoolQueue::is_idle) {
            state.judged.remove(key);
            return None;
        }
        let (unread, read_again_at) = namespace_labels::wanted(state, key.pool(), now);
        let here = QueueView::of(state, key)?;
        let mut order = here.order(now);
        let paired = match here.serving() {
            Some(pool) => pairs(&here, controller, pool, &mut order, now),
            None => Paired { pairs: Vec::new(), parked: 0 },
        };
        let Paired { pairs, parked } = paired;
        let waiting = waiting::plan(&here, order, parked, now);
        for (claim, member) in &pairs {
            state.reserve(claim, member);
            // From here on the pool controller counts the member as claimed and may replace it before the write.
            memories.claim_taken(&convert::pool_of(member));
        }
        let (updates, updated_at) = waiting::reserve_updates(state, key, waiting, now);
        let look_again_at = earliest(updated_at, read_again_at);
        Some(Pass { pairs, updates, look_again_at, unread })
    })
}

/// Pairs the claims with the members that may be handed out. Parked members are left out: those whose present version
/// the store does not have, and those whose machine no list has shown yet.
fn pairs<'a>(
    here: &QueueView<'a>,
    controller: &ClaimController,
    pool: &InstancePool,
    order: &mut Order<impl Iterator<Item = (&'a Turn, &'a ObjectKey)>>,
    now: Timestamp,
) -> Paired<Arc<PoolClaim>, Arc<PoolMember>> {
    let (state, pool_uid) = (here.state, convert::uid(pool));
    let template = LazyCell::new(|| convert::current_template(state, pool));
    let mut lists: HashMap<String, Option<Arc<Listing>>> = HashMap::new();
    let in_order = here.queue.in_order(|config, hash| !template.is_outdated_hash(config, hash));
    let offers = in_order.filter_map(|key| state.members.get(key)).filter_map(|member| {
        let uid = member.metadata.uid.as_deref()?;
        if !claimable(&convert::member_view(member), &pool_uid) || state.machines_gone.contains(uid) {
            return None;
        }
        let launch_config = &member.spec.placement.launch_config;
        let list = lists.entry(launch_config.clone()).or_insert_with(|| {
            let config = ObjectKey::new(here.key.namespace(), launch_config.as_str());
            quarantine::listing(controller, state.launch_configs.get(&config).map(Arc::as_ref))
        });
        let parked = state.parked.get(uid).is_some_and(|it| Some(it) == member.metadata.resource_version.as_ref());
        match quarantine::shown(controller, list.as_deref(), member, now) {
            Shown::ClaimedBefore => None,
            Shown::NotYet => Some(Offer::Parked),
            Shown::Free if parked => Some(Offer::Parked),
            Shown::Free => Some(Offer::Free(member.clone())),
        }
    });
    let paired = pair(order, offers, |uid| state.claims_being_updated.contains(uid));
    let claimed = paired.pairs.into_iter();
    let pairs = claimed.filter_map(|(claim, member)| Some((state.claims.get(claim)?.clone(), member))).collect();
    Paired { pairs, parked: paired.parked }
}

/// Reserves a claim and its member. Dropping it, however the binding ended, releases them and wakes everybody
/// concerned.
struct PairingGuard<'a> {
    controller: &'a ClaimController,
    queue: &'a QueueKey,
    claim: (ObjectKey, String),
    member: Option<(ObjectKey, String)>,
}

impl<'a> PairingGuard<'a> {
    fn new(
        controller: &'a ClaimController,
        queue: &'a QueueKey,
        claim: &Arc<PoolClaim>,
        member: Option<&Arc<PoolMember>>,
    ) -> Self {
        Self {
            controller,
            queue,
            claim: (ObjectKey::of(claim.as_ref()), convert::uid(claim.as_ref())),
            member: member.map(|member| (ObjectKey::of(member.as_ref()), convert::uid(member.as_ref()))),
        }
    }
}

impl Drop for PairingGuard<'_> {
    fn drop(&mut self) {
        let (named, queues): (Vec<_>, _) = self.controller.common.cluster.with(|state| {
            match &self.member {
                Some((member, uid)) => state.release((&self.claim.0, &self.claim.1), (member, uid)),
                None => {
                    state.claims_being_updated.remove(&self.claim.1);
                }
            }
            let named = state.members_claimed_by(&self.claim.1).map(|member| ObjectKey::of(member.as_ref())).collect();
            let queues: Vec<_> = state.queues.places(&self.claim.0).map(|(queue, _)| queue.clone()).collect();
            (named, queues)
        });
        let wakers = &self.controller.common.wakers;
        if let Some((key, _)) = &self.member {
            wakers.members.wake(key.clone());
        }
        for member in named {
            wakers.members.wake(member);
        }
        wakers.claims.wake(self.claim.0.clone());
        for queue in queues.into_iter().filter(|queue| queue != self.queue) {
            wakers.pairing.wake(queue);
        }
        wakers.pairing.wake(self.queue.clone());
        if let Some(pool) = self.queue.pool() {
            wakers.pools.wake(pool.clone());
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod selector_tests;
