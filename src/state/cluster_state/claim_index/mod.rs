//! Keeps the queues of the pools up to date. A claim that names its pool waits in that pool's queue. A claim with a
//! selector waits in the queue of each pool that matches, and counts as the demand of one of them, its home.

use std::collections::{BTreeSet, HashMap, HashSet};

use bullpen_api::{InstancePool, PoolClaim, PoolMember, PoolSelector, PoolState, WhenEmpty};
use bullpen_plan::claim::queue::{Candidate, InUse, choose, has_room, selects};
use kube::ResourceExt;

use super::{State, pool_of_claim};
use crate::state::pool_queue;
use crate::state::pool_queue::{NamespaceQueue, Waiting};
use crate::state::{ObjectKey, QueueKey};

/// The waiting claims with a selector, and the pools that they may choose from.
#[derive(Debug, Default)]
pub(super) struct Selectors {
    pools: HashMap<String, BTreeSet<ObjectKey>>,
    waiting: HashMap<String, HashSet<ObjectKey>>,
    /// The home of each, also while a binding has reserved the claim.
    homes: HashMap<ObjectKey, ObjectKey>,
    /// Whether each pool served claims of its own namespace when one of its members last changed.
    serving: HashMap<ObjectKey, bool>,
    /// Queues that these claims changed, and whose pairing was not woken yet.
    pub(super) changed_queues: HashSet<QueueKey>,
}

impl Selectors {
    /// Records that the pool of this name exists, or not.
    pub(super) fn set_pool(&mut self, key: &ObjectKey, present: bool) {
        let pools = self.pools.entry(key.namespace.clone()).or_default();
        if present {
            pools.insert(key.clone());
            return;
        }
        pools.remove(key);
        self.serving.remove(key);
        if pools.is_empty() {
            self.pools.remove(&key.namespace);
        }
    }

    fn set_claim(&mut self, key: &ObjectKey, waits: bool) {
        if waits {
            self.waiting.entry(key.namespace.clone()).or_default().insert(key.clone());
            return;
        }
        self.homes.remove(key);
        if let Some(claims) = self.waiting.get_mut(&key.namespace) {
            claims.remove(key);
            if claims.is_empty() {
                self.waiting.remove(&key.namespace);
            }
        }
    }
}

/// The parts of a pool that decide whether it serves claims with a selector, and in which order.
pub(super) fn serving_terms(pool: &InstancePool) -> impl PartialEq + use<'_> {
    let rules = &pool.spec.claims;
    let quota = rules.per_namespace.map(|most| (most, pool.wanted_size(), pool.spec.max_size));
    let terms = (pool.spec.lifecycle_class, pool.spec.state, rules.max_priority, quota);
    (&pool.metadata.labels, terms, pool.metadata.deletion_timestamp.is_some(), &pool.metadata.uid)
}

fn is_active(pool: &InstancePool) -> bool {
    pool.spec.state == PoolState::Active && pool.metadata.deletion_timestamp.is_none()
}

impl State {
    /// Reserves a claim and a member for a binding: the claim leaves every queue, and nobody else gets the member.
    pub fn reserve(&mut self, claim: &PoolClaim, member: &PoolMember) {
        let (claim_key, member_key) = (ObjectKey::of(claim), ObjectKey::of(member));
        self.claims_reserved.insert(claim.uid().unwrap_or_default());
        self.members_reserved.insert(member.uid().unwrap_or_default());
        self.given.insert(member_key.clone(), claim_key.namespace.clone());
        self.index_claim(&claim_key);
        self.index_member(&member_key);
    }

    /// Releases a claim and a member after their binding.
    pub fn release(&mut self, claim: (&ObjectKey, &str), member: (&ObjectKey, &str)) {
        self.claims_reserved.remove(claim.1);
        self.members_reserved.remove(member.1);
        self.given.remove(member.0);
        self.index_claim(claim.0);
        self.index_member(member.0);
        self.shorten_claim(claim.0);
    }

    /// Has the pairing of these queues woken with the next change.
    pub fn wake_queues(&mut self, queues: BTreeSet<QueueKey>) {
        self.selectors.changed_queues.extend(queues);
    }

    /// The queues that this claim concerns: that of the pool that it is on, and those in which it waits.
    pub fn waits_at(&self, key: &ObjectKey, claim: &PoolClaim) -> BTreeSet<QueueKey> {
        let places = self.queues.places(key).map(|(queue, _)| queue.clone());
        places.chain(pool_of_claim(claim).map(QueueKey::Pool)).collect()
    }

    /// Updates the place of a claim in the queues.
    pub(super) fn index_claim(&mut self, key: &ObjectKey) {
        let readable = !self.unreadable.has::<PoolClaim>(key);
        let Some(claim) = self.claims.read(key).filter(|_| readable) else {
            self.selectors.set_claim(key, false);
            return self.place(key, Vec::new(), true);
        };
        let uid = claim.metadata.uid.as_deref().unwrap_or_default();
        let (named, reserved) = (self.member_index.of_claim(uid).is_some(), self.claims_reserved.contains(uid));
        let arrival = self.claims.arrival(key);
        let Some(selector) = &claim.spec.pool_selector else {
            let Some(pool) = pool_of_claim(&claim).filter(|_| !reserved) else {
                return self.place(key, Vec::new(), false);
            };
            let max_priority = self.pools.get(&pool).and_then(|pool| pool.spec.claims.max_priority);
            let waiting = pool_queue::waiting(&claim, named, arrival, max_priority);
            return self.place(key, waiting.map(|waiting| (pool.into(), waiting)).into_iter().collect(), false);
        };
        let waits = |max_priority| pool_queue::waiting(&claim, named, arrival, max_priority);
        let Some(anywhere) = waits(None) else {
            self.selectors.set_claim(key, false);
            return self.place(key, Vec::new(), true);
        };
        self.selectors.set_claim(key, true);
        if reserved {
            return self.place(key, Vec::new(), true);
        }
        let candidates = self.candidates(key, selector, claim.spec.when_empty);
        let Some(home) = choose(&candidates, self.present_home(key, &claim).as_ref()) else {
            self.selectors.homes.remove(key);
            return self.place(key, vec![(QueueKey::NoMatch(key.namespace.as_str().into()), anywhere)], true);
        };
        let places = candidates.into_iter().filter_map(|candidate| {
            let max_priority = self.pools.get(&candidate.key).and_then(|pool| pool.spec.claims.max_priority);
            let waiting = waits(max_priority)?;
            let waiting = if candidate.key == home { waiting } else { waiting.away() };
            Some((candidate.key.into(), waiting))
        });
        let places = places.collect();
        self.selectors.homes.insert(key.clone(), home);
        self.place(key, places, true);
    }

    /// The present home of a claim. After a start it is the one in its status.
    fn present_home(&self, key: &ObjectKey, claim: &PoolClaim) -> Option<ObjectKey> {
        let by_status = || {
            let queue = claim.status.as_ref()?.queue.as_ref()?;
            Some(ObjectKey::new(key.namespace.clone(), queue.pool.clone()?))
        };
        self.selectors.homes.get(key).cloned().or_else(by_status)
    }

    fn place(&mut self, key: &ObjectKey, now: Vec<(QueueKey, Waiting)>, chooses: bool) {
        let queues: Vec<_> = if chooses { now.iter().map(|(queue, _)| queue.clone()).collect() } else { Vec::new() };
        if let Some(before) = self.queues.put_claim(key, now)
            && chooses
        {
            self.selectors.changed_queues.extend(before.into_iter().map(|(queue, _)| queue).chain(queues));
        }
    }

    /// The pools that match, in the order of their names.
    fn candidates(
        &self,
        claim: &ObjectKey,
        selector: &PoolSelector,
        when_empty: Option<WhenEmpty>,
    ) -> Vec<Candidate<ObjectKey>> {
        let there = self.selectors.pools.get(&claim.namespace).into_iter().flatten();
        let pools = there.filter_map(|key| Some((key, self.pools.get(key)?)));
        let matching =
            pools.filter(|(_, pool)| selects(selector, pool.metadata.labels.as_ref(), pool.spec.lifecycle_class));
        matching.map(|(key, pool)| self.candidate(claim, when_empty, key, pool)).collect()
    }

    fn candidate(
        &self,
        claim: &ObjectKey,
        when_empty: Option<WhenEmpty>,
        key: &ObjectKey,
        pool: &InstancePool,
    ) -> Candidate<ObjectKey> {
        let rules = &pool.spec.claims;
        let patient = |queue: &NamespaceQueue| queue.patient(rules.when_empty);
        let waits = when_empty.unwrap_or(rules.when_empty) == WhenEmpty::Wait;
        // The claim itself does not count as demand when it chooses.
        let is_its_demand = i32::from(waits && self.queues.home(claim).and_then(QueueKey::pool) == Some(key));
        let queue = self.queues.at_pool(key);
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let uid = pool.metadata.uid.as_deref().unwrap_or_default();
        let waiting = queue.map_or(0, |queue| queue.patient(rules.when_empty));
        let own = queue.and_then(|queue| queue.of_namespace(&claim.namespace)).map_or(0, patient);
        Candidate {
            key: key.clone(),
            active: is_active(pool),
            per_namespace: rules.per_namespace,
            held: self.in_use(key, pool, &claim.namespace).total(),
            own_waiting: own - is_its_demand,
            waiting: waiting - is_its_demand,
            max_size: pool.spec.max_size,
            target: pool.wanted_size(),
            members: count(self.member_index.count(key, uid)),
            supply: queue.map_or(0, |queue| count(queue.ready() + queue.warming() + queue.pending())),
            ready: queue.map_or(0, |queue| count(queue.ready())),
        }
    }

    /// Updates what a member counts as in the queue of its pool.
    pub(super) fn index_member(&mut self, key: &ObjectKey) {
        let member = self.members.get(key);
        let pool = match member {
            Some(member) => Some(ObjectKey::new(key.namespace.clone(), member.spec.pool_ref.name.clone())),
            None => self.queues.pool_of_member(key).cloned(),
        };
        let Some(pool) = pool else { return };
        let class = member.and_then(|member| {
            let holder = member.status.as_ref().and_then(|status| status.claim_ref.as_ref());
            let ended = holder.is_some_and(|claim| {
                let present = self.claims.uid(&ObjectKey::new(claim.namespace.as_str(), claim.name.as_str()));
                present != Some(claim.uid.as_str())
            });
            // Nothing can be written to an unreadable member, so it is of no use to waiting claims.
            let unwritable = holder.is_none() && self.unreadable.has::<PoolMember>(key);
            pool_queue::classify(member, self.given.get(key), ended).filter(|_| !unwritable)
        });
        let before = self.serves_its_own(&pool);
        self.queues.put_member(key, &pool, class);
        let serves = self.serves_its_own(&pool);
        // The count of all members, which decides whether the pool has room, may have changed earlier.
        let known = self.pools.get(&pool).and_then(|_| self.selectors.serving.insert(pool.clone(), serves));
        if before != serves || known.is_some_and(|known| known != serves) {
            self.quota_changed(&pool);
        }
    }

    /// The members of a pool that the claims of a namespace use up, as its quota counts them.
    pub fn in_use(&self, key: &ObjectKey, pool: &InstancePool, namespace: &str) -> InUse {
        let in_use = self.queues.at_pool(key).map_or_else(InUse::default, |queue| queue.in_use(namespace));
        let members = i32::try_from(self.count_of(pool)).unwrap_or(i32::MAX);
        in_use.counted(has_room(pool.wanted_size(), pool.spec.max_size, members))
    }

    /// Whether the pool is active and the quota has room for claims of its own namespace.
    fn serves_its_own(&self, key: &ObjectKey) -> bool {
        let Some(pool) = self.pools.get(key).filter(|pool| is_active(pool)) else { return false };
        self.in_use(key, pool, &key.namespace).is_below(pool.spec.claims.per_namespace)
    }

    /// The quota of a pool was just reached, so its demand may go elsewhere, or it has room again for claims that no
    /// pool served. No other claim gets another choice by this.
    fn quota_changed(&mut self, pool: &ObjectKey) {
        let Some(waiting) = self.selectors.waiting.get(&pool.namespace) else { return };
        let there = self.selectors.pools.get(&pool.namespace).into_iter().flatten();
        let serving: HashSet<_> = there.filter(|pool| self.serves_its_own(pool)).collect();
        if serving.is_empty() {
            return;
        }
        let unserved = |claim: &&ObjectKey| self.selectors.homes.get(*claim).is_none_or(|home| !serving.contains(home));
        let claims: Vec<_> = waiting.iter().filter(unserved).cloned().collect();
        self.index_in_turn(claims);
    }

    /// Places the claims with a selector of a namespace, the oldest first.
    pub(super) fn index_selectors_in(&mut self, namespace: &str) {
        let claims: Vec<_> = self.selectors.waiting.get(namespace).into_iter().flatten().cloned().collect();
        self.index_in_turn(claims);
    }

    fn index_in_turn(&mut self, mut claims: Vec<ObjectKey>) {
        claims.sort_by_cached_key(|key| self.claims.arrival(key));
        for key in claims {
            self.index_claim(&key);
        }
    }

    /// Chooses all homes again, because the choices before the caches were complete were poor.
    pub(super) fn choose_all_homes(&mut self) {
        self.selectors.homes.clear();
        let namespaces: Vec<_> = self.selectors.waiting.keys().cloned().collect();
        for namespace in namespaces {
            let claims: Vec<_> = self.selectors.waiting.get(&namespace).into_iter().flatten().cloned().collect();
            for claim in claims {
                self.place(&claim, Vec::new(), true);
            }
            self.index_selectors_in(&namespace);
        }
    }

    pub(super) fn index_claims_on(&mut self, pool: &ObjectKey) {
        for key in self.claims_by_pool.get(pool).cloned().unwrap_or_default() {
            self.index_claim(&key);
        }
    }

    pub(super) fn index_members_claimed_by(&mut self, claim_uid: &str) {
        for key in self.member_index.of_claim(claim_uid).cloned().unwrap_or_default() {
            self.index_member(&key);
        }
    }
}

#[cfg(test)]
mod tests;
