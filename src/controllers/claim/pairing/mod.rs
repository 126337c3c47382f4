//! Pairs the claims of a queue with members of its pool, and starts the binding of each pair.
//!
//! In: the key of a queue. Out: reservations in [`state`](crate::state), made under one lock; the writes run in
//! background tasks.

mod last_look;

use std::cell::{LazyCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bullpen_api::{InstancePool, PoolClaim, PoolMember};
use bullpen_plan::claim::claimable;
use bullpen_plan::claim::queue::{Offer, Order, Paired, Turn, pair};
use bullpen_plan::member::health::{Candidate, Rules};
use bullpen_plan::time::earliest;
use jiff::Timestamp;

use super::bind;
use super::bind::{Pair, Taking};
use super::namespace_labels;
use super::quarantine;
use super::quarantine::{Shown, Source};
use super::queue_view::QueueView;
use super::waiting;
use super::waiting::StatusUpdate;
use crate::clock;
use crate::controllers::claim::ClaimController;
use crate::controllers::convert;
use crate::state::cluster_state::State;
use crate::state::pool_queue::PoolQueue;
use crate::state::{ObjectKey, QueueKey};
use crate::telemetry::labels::Task;

mod returning;

/// What a pass decided, with the objects that it decided on.
#[derive(Default)]
struct Pass {
    pairs: Vec<Pair>,
    updates: Vec<StatusUpdate>,
    look_again_at: Option<Timestamp>,
    /// Namespaces whose labels must be read.
    unread: Vec<String>,
}

/// One pass over the claims in this queue. Returns when to run again if nothing changes.
pub fn reconcile(controller: &ClaimController, key: &QueueKey) -> Option<Timestamp> {
    let pass = plan(controller, key, clock::now())?;
    let tasks = &controller.common.tasks;
    for pair in pass.pairs {
        let (controller, queue) = (controller.clone(), key.clone());
        tasks.spawn(Task::Binding, async move {
            let guard = PairingGuard::new(&controller, &queue, &pair.claim, Some(&pair.member));
            let pool = convert::pool_of(&pair.member);
            if last_look::passes(&controller, &pair).await {
                bind::bind(&controller, &pool, &pair).await;
            } else {
                controller.pool_memories.with(|memories| memories.claim_missed(&pool));
            }
            drop(guard);
        });
    }
    for update in pass.updates {
        let (controller, queue) = (controller.clone(), key.clone());
        tasks.spawn(Task::WaitingStatus, async move {
            let guard = PairingGuard::new(&controller, &queue, &update.claim.clone(), None);
            waiting::update_status(&controller, update).await;
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
        let of_others = key.pool().is_some_and(|pool| state.pool_of_others(pool).is_some());
        if of_others || state.queues.at(key).is_none_or(PoolQueue::is_idle) {
            state.judged.remove(key);
            state.passes.remove(key);
            return None;
        }
        let returning = QueueView::of(state, key).map_or_else(Vec::new, |here| returning::returning(&here, now));
        if !returning.is_empty() {
            for pair in &returning {
                state.reserve(&pair.claim, &pair.member);
            }
            // The other claims are paired right afterwards.
            return Some(Pass { pairs: returning, look_again_at: Some(now), ..Pass::default() });
        }
        if let Some(rests_until) = QueueView::of(state, key).and_then(|here| nothing_to_do_until(&here, now)) {
            // It saw the claims that are there: none of them is new for the next pass.
            state.passes.insert(key.clone(), Instant::now());
            return Some(Pass { look_again_at: Some(rests_until), ..Pass::default() });
        }
        let (unread, read_again_at) = namespace_labels::wanted(state, key.pool(), now);
        let here = QueueView::of(state, key)?;
        let mut order = here.order(now);
        let (paired, unparked_at) = match here.serving() {
            Some(pool) => pairs(&here, controller, pool, &mut order, now),
            None => (Paired { pairs: Vec::new(), parked: 0 }, None),
        };
        let Paired { pairs, parked } = paired;
        let waiting = waiting::plan(&here, order, parked, now);
        let retries_at = earliest(here.retries_at(now), unparked_at);
        let last_pass = state.passes.insert(key.clone(), Instant::now());
        let pairs: Vec<_> = pairs.into_iter().map(|(claim, member)| pair_of(state, claim, member, last_pass)).collect();
        for pair in &pairs {
            state.reserve(&pair.claim, &pair.member);
            // From here on the pool controller counts the member as claimed and may replace it before the write.
            memories.claim_taken(&convert::pool_of(&pair.member));
        }
        let crowded = controller.common.writes.is_crowded_with(pairs.len());
        let (updates, updated_at) = waiting::reserve_updates(state, key, waiting, (&controller.requests, crowded), now);
        let look_again_at = earliest(earliest(updated_at, read_again_at), retries_at);
        Some(Pass { pairs, updates, look_again_at, unread })
    })
}

/// Until when a pass would do nothing unless something changes: no member is ready, and the claims were judged just now.
/// Most passes over a long queue end here, so that they cost nothing for each claim and namespace.
fn nothing_to_do_until(here: &QueueView<'_>, now: Timestamp) -> Option<Timestamp> {
    let may_pair = here.serving().is_some() && here.queue.ready() > 0;
    waiting::rests_until(here, now).filter(|_| !may_pair)
}

/// A claim that the last pass of its queue did not see has not waited for a member.
fn pair_of(state: &State, claim: Arc<PoolClaim>, member: Arc<PoolMember>, last_pass: Option<Instant>) -> Pair {
    let seen = state.claims.first_seen(&ObjectKey::of(claim.as_ref()));
    let fresh = last_pass.is_none_or(|last| seen.is_some_and(|seen| seen > last));
    Pair { claim, member, fresh, taking: Taking::New }
}

/// Pairs the claims with the members that may be handed out. Parked members are left out: those that the API server did
/// not let a claim have a moment ago, and those whose machine no list has shown yet. Also returns when the first of the
/// former may be handed out again.
fn pairs<'a>(
    here: &QueueView<'a>,
    controller: &ClaimController,
    pool: &InstancePool,
    order: &mut Order<'a, impl Iterator<Item = (&'a Turn, &'a ObjectKey)>>,
    now: Timestamp,
) -> (Paired<Arc<PoolClaim>, Arc<PoolMember>>, Option<Timestamp>) {
    let (state, pool_uid) = (here.state, convert::uid(pool));
    let template = LazyCell::new(|| convert::current_template(state, pool));
    let mut clouds: HashMap<String, Source> = HashMap::new();
    let health = pool.spec.health.as_ref().map(|health| (ObjectKey::of(pool), Rules::of(health)));
    let failing = RefCell::new(VecDeque::new());
    let mut unparked_at = None;
    let in_order = here.queue.in_order(|config, hash| !template.is_outdated_hash(config, hash));
    let offers = in_order.filter_map(|key| state.members.get(key)).filter_map(|member| {
        let uid = member.metadata.uid.as_deref()?;
        if !claimable(&convert::member_view(member), &pool_uid) || state.machines_gone.contains(uid) {
            return None;
        }
        let launch_config = &member.spec.placement.launch_config;
        let source = clouds.entry(launch_config.clone()).or_insert_with(|| {
            let config = ObjectKey::new(here.key.namespace(), launch_config.as_str());
            Source::of(controller, state.launch_configs.get(&config))
        });
        if !source.has(member) {
            return None;
        }
        let parked_until = state.binding_troubles.parked_until(uid, now);
        unparked_at = earliest(unparked_at, parked_until);
        match quarantine::shown(controller, source.listing(), member, now) {
            Shown::ClaimedBefore | Shown::Announced => None,
            Shown::NotYet => Some(Offer::Parked),
            Shown::Free if parked_until.is_some() => Some(Offer::Parked),
            Shown::Free => {
                match health.as_ref().map(|(key, rules)| controller.health.candidate(uid, key, rules, now)) {
                    Some(Candidate::Doubted(until)) => {
                        unparked_at = earliest(unparked_at, Some(until));
                        None
                    }
                    Some(Candidate::Failing(_) | Candidate::Silent) => {
                        failing.borrow_mut().push_back(member.clone());
                        None
                    }
                    _ => Some(Offer::Free(member.clone())),
                }
            }
        }
    });
    // Those whose last probe failed, or whose heartbeat is overdue, come after all others.
    let offers = offers.chain(std::iter::from_fn(|| failing.borrow_mut().pop_front().map(Offer::Free)));
    let paired = pair(order, offers, |uid| {
        state.claims_being_updated.contains(uid) || state.binding_troubles.is_unclear(uid, now)
    });
    let claimed = paired.pairs.into_iter();
    let pairs = claimed.filter_map(|(claim, member)| Some((state.claims.read(claim)?, member))).collect();
    (Paired { pairs, parked: paired.parked }, unparked_at)
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
            for queue in &queues {
                // The claim is back and not new, also if the queue was empty meanwhile.
                state.passes.entry(queue.clone()).or_insert_with(Instant::now);
            }
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
pub(super) mod tests;

#[cfg(test)]
mod health_tests;

#[cfg(test)]
mod selector_tests;
