//! The claims that wait at each pool, and the members for them. Every change updates it, so that pairing costs no more
//! than the claims and members that it pairs.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bullpen_api::{ConditionType, MemberState, PoolClaim, PoolMember, WhenEmpty, condition_is_true, find_condition};
use bullpen_plan::claim::queue::{InUse, Turn};
use bullpen_plan::claim::{ClaimView, queues};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::key::{ObjectKey, QueueKey};

/// How many of a pool's last boots predict how long the next one will take.
const BOOTS: usize = 16;

/// The queues of all pools.
#[derive(Debug, Default)]
pub struct PoolQueues {
    queues: HashMap<QueueKey, PoolQueue>,
    claims: HashMap<ObjectKey, Vec<(QueueKey, Waiting)>>,
    members: HashMap<ObjectKey, (ObjectKey, MemberClass)>,
}

/// The queue of one pool, whether it exists or not.
#[derive(Debug, Default)]
pub struct PoolQueue {
    waiting: BTreeMap<String, NamespaceQueue>,
    /// Number of claims in `waiting`.
    count: usize,
    demand: Demand,
    ready: BTreeMap<Kind, BTreeMap<ReadyOrder, ObjectKey>>,
    warming: BTreeSet<(Option<Timestamp>, ObjectKey)>,
    pending: BTreeSet<ObjectKey>,
    held: HashMap<String, i32>,
    ending: HashMap<String, i32>,
    boots: VecDeque<SignedDuration>,
}

/// The claims of one namespace that wait at a pool.
#[derive(Debug, Default)]
pub struct NamespaceQueue {
    turns: BTreeMap<Turn, ObjectKey>,
    priorities: BTreeMap<i32, usize>,
    demand: Demand,
}

/// Claims that are the demand of a pool, counted by what they do when nothing is ready.
#[derive(Debug, Default)]
struct Demand(HashMap<Option<WhenEmpty>, i32>);

impl Demand {
    fn add(&mut self, waiting: &Waiting, count: i32) {
        if waiting.home {
            *self.0.entry(waiting.when_empty).or_default() += count;
        }
    }

    /// Number of those that wait. A claim that does not choose does as `by_default`.
    fn patient(&self, by_default: WhenEmpty) -> i32 {
        let count = |when_empty| self.0.get(&when_empty).copied().unwrap_or(0);
        let silent = if by_default == WhenEmpty::Wait { count(None) } else { 0 };
        count(Some(WhenEmpty::Wait)) + silent
    }
}

/// The launch config and template hash of a member, which decide whether it is of the current template.
type Kind = Arc<(String, String)>;

/// `status.warmingStartedAt` and uid.
type ReadyOrder = (Option<Timestamp>, Arc<str>);

/// A claim's entry in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    turn: Turn,
    when_empty: Option<WhenEmpty>,
    /// Whether the claim counts as this pool's demand. A claim may wait at many pools and is the demand of one.
    home: bool,
}

impl Waiting {
    /// The entry at a pool that may serve the claim but does not buy for it.
    #[must_use]
    pub fn away(self) -> Self {
        Self { home: false, ..self }
    }
}

/// What a member counts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberClass {
    /// It can be claimed, by its own object.
    Ready(Kind, ReadyOrder),
    /// It has been warming since then.
    Warming(Option<Timestamp>),
    /// Its create was not accepted yet.
    Pending,
    /// It is Claimed by, or reserved for, a claim of this namespace.
    Held(String),
    /// It is being terminated after a claim of this namespace that ended.
    Ending(String),
}

/// A claim's entry in a queue, by its object and what the cluster state knows of it. `None` if it does not wait.
pub fn waiting(claim: &PoolClaim, named: bool, arrival: u64, max_priority: Option<i32>) -> Option<Waiting> {
    let status = claim.status.as_ref();
    let view = ClaimView {
        uid: (),
        phase: status.map(|status| status.phase).unwrap_or_default(),
        member: status.and_then(|status| status.member_ref.as_ref()).map(|_| ()),
        deleting: claim.metadata.deletion_timestamp.is_some(),
    };
    if !queues(&view, named) {
        return None;
    }
    let created = claim.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let priority = bullpen_plan::claim::queue::allowed_priority(claim.spec.priority, max_priority);
    let turn = Turn::new(claim.uid().unwrap_or_default(), created, arrival, priority);
    Some(Waiting { turn, when_empty: claim.spec.when_empty, home: true })
}

/// What a member counts as, by its object. `given_to` is the namespace of the claim that it is reserved for; `ended`
/// means that the claim that it names is gone. `None` if it is of no use to waiting claims.
pub fn classify(member: &PoolMember, given_to: Option<&String>, ended: bool) -> Option<MemberClass> {
    let status = member.status.as_ref();
    let deleting = member.metadata.deletion_timestamp.is_some();
    if let Some(claim) = status.and_then(|status| status.claim_ref.as_ref()) {
        let namespace = claim.namespace.clone();
        return Some(if deleting && ended { MemberClass::Ending(namespace) } else { MemberClass::Held(namespace) });
    }
    if let Some(namespace) = given_to {
        return Some(MemberClass::Held(namespace.clone()));
    }
    let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let aside = member.spec.cordoned
        || member.spec.hold
        || condition_is_true(conditions, ConditionType::Quarantined)
        || find_condition(conditions, ConditionType::Reachable, false).is_some();
    if deleting || aside {
        return None;
    }
    let warming_since = status.and_then(|status| status.warming_started_at.as_ref()).map(|time| time.0);
    match status.map(|status| status.state).unwrap_or_default() {
        MemberState::Pending => Some(MemberClass::Pending),
        MemberState::Warming => Some(MemberClass::Warming(warming_since)),
        MemberState::Resetting => {
            let since = status.and_then(|status| status.reset_started_at.as_ref()).map(|time| time.0);
            Some(MemberClass::Warming(since))
        }
        MemberState::Ready => {
            let kind = (member.spec.placement.launch_config.clone(), member.spec.template_hash.clone());
            let uid = member.metadata.uid.as_deref().unwrap_or_default();
            Some(MemberClass::Ready(kind.into(), (warming_since, uid.into())))
        }
        MemberState::Claimed | MemberState::Stopping | MemberState::Standby | MemberState::Errored => None,
    }
}

/// How long a member took from its accepted create until it was ready. A reset or a start is no boot of a new machine.
pub fn boot(member: &PoolMember) -> Option<SignedDuration> {
    let status = member.status.as_ref().filter(|status| status.uses == 0 && status.standby.is_none())?;
    let took = status.ready_since.as_ref()?.0.duration_since(status.warming_started_at.as_ref()?.0);
    took.is_positive().then_some(took)
}

impl PoolQueues {
    /// The queue of this key, unless it is empty.
    pub fn at(&self, key: &QueueKey) -> Option<&PoolQueue> {
        self.queues.get(key)
    }

    /// The queue of this pool, unless it is empty.
    pub fn at_pool(&self, pool: &ObjectKey) -> Option<&PoolQueue> {
        self.at(&pool.clone().into())
    }

    /// The queues in which a claim waits.
    pub fn with_claims(&self) -> impl Iterator<Item = &QueueKey> {
        self.queues.iter().filter(|(_, queue)| !queue.is_idle()).map(|(key, _)| key)
    }

    /// Moves a claim to these queues, each named once. Returns the former places if they differ.
    pub fn put_claim(&mut self, key: &ObjectKey, now: Vec<(QueueKey, Waiting)>) -> Option<Vec<(QueueKey, Waiting)>> {
        if self.claims.get(key).map_or(&[][..], Vec::as_slice) == now {
            return None;
        }
        let before = self.claims.remove(key).unwrap_or_default();
        for (queue, waiting) in &before {
            self.change(queue.clone(), |queue| queue.remove_claim(&key.namespace, waiting));
        }
        for (queue, waiting) in &now {
            self.change(queue.clone(), |queue| queue.add_claim(key, waiting));
        }
        if !now.is_empty() {
            self.claims.insert(key.clone(), now);
        }
        Some(before)
    }

    /// The pools at which a claim waits, each with whether it is the claim's home.
    pub fn places(&self, claim: &ObjectKey) -> impl Iterator<Item = (&QueueKey, bool)> {
        self.claims.get(claim).into_iter().flatten().map(|(queue, waiting)| (queue, waiting.home))
    }

    /// The place of a claim in this queue, if it waits there.
    pub fn turn(&self, claim: &ObjectKey, queue: &QueueKey) -> Option<&Turn> {
        let mut places = self.claims.get(claim)?.iter();
        places.find(|(key, _)| key == queue).map(|(_, waiting)| &waiting.turn)
    }

    /// The home of a waiting claim: the pool whose demand it is.
    pub fn home(&self, claim: &ObjectKey) -> Option<&QueueKey> {
        self.places(claim).find(|(_, home)| *home).map(|(queue, _)| queue)
    }

    /// The pool that a member counts for.
    pub fn pool_of_member(&self, key: &ObjectKey) -> Option<&ObjectKey> {
        self.members.get(key).map(|(pool, _)| pool)
    }

    /// Updates what a member counts as.
    pub fn put_member(&mut self, key: &ObjectKey, pool: &ObjectKey, now: Option<MemberClass>) {
        let mut place = now.map(|class| (pool.clone(), class));
        if self.members.get(key) == place.as_ref() {
            return;
        }
        if let Some(place) = &mut place {
            self.share(place);
        }
        if let Some((pool, class)) = self.members.remove(key) {
            self.change(pool.into(), |queue| queue.remove_member(key, &class));
        }
        if let Some((pool, class)) = place {
            self.change(pool.clone().into(), |queue| queue.add_member(key, &class));
            self.members.insert(key.clone(), (pool, class));
        }
    }

    /// A pool has thousands of members: they share its name and the name of their kind.
    fn share(&self, (pool, class): &mut (ObjectKey, MemberClass)) {
        let Some((QueueKey::Pool(known), queue)) = self.queues.get_key_value(&pool.clone().into()) else { return };
        *pool = known.clone();
        if let MemberClass::Ready(kind, _) = class
            && let Some((known, _)) = queue.ready.get_key_value(kind)
        {
            *kind = known.clone();
        }
    }

    /// Records how long a member of the pool took to become ready.
    pub fn booted(&mut self, pool: &ObjectKey, took: SignedDuration) {
        let boots = &mut self.queues.entry(pool.clone().into()).or_default().boots;
        if boots.len() == BOOTS {
            boots.pop_front();
        }
        boots.push_back(took);
    }

    /// Drops the boot times of a pool that is gone.
    pub fn pool_gone(&mut self, pool: &ObjectKey) {
        self.change(pool.clone().into(), |queue| queue.boots.clear());
    }

    fn change(&mut self, key: QueueKey, change: impl FnOnce(&mut PoolQueue)) {
        let mut queue = match self.queues.entry(key) {
            Entry::Occupied(queue) => queue,
            Entry::Vacant(place) => place.insert_entry(PoolQueue::default()),
        };
        change(queue.get_mut());
        if queue.get().is_empty() {
            queue.remove();
        }
    }
}

impl PoolQueue {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && self.ready.is_empty()
            && self.warming.is_empty()
            && self.pending.is_empty()
            && self.held.is_empty()
            && self.ending.is_empty()
            && self.boots.is_empty()
    }

    /// Whether no claim waits.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Number of waiting claims.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Number of claims of all namespaces that are this pool's demand and wait when nothing is ready. A claim that does
    /// not choose does as `by_default`.
    pub fn patient(&self, by_default: WhenEmpty) -> i32 {
        self.demand.patient(by_default)
    }

    /// The waiting claims, by namespace.
    pub fn namespaces(&self) -> impl Iterator<Item = (&String, &NamespaceQueue)> {
        self.waiting.iter()
    }

    /// The waiting claims of this namespace.
    pub fn of_namespace(&self, namespace: &str) -> Option<&NamespaceQueue> {
        self.waiting.get(namespace)
    }

    /// How many members are Claimed by, or reserved for, claims of a namespace, and how many of its claims that ended
    /// are being terminated.
    pub fn in_use(&self, namespace: &str) -> InUse {
        let count = |members: &HashMap<String, i32>| members.get(namespace).copied().unwrap_or(0);
        InUse { held: count(&self.held), ending: count(&self.ending) }
    }

    /// Number of ready members that are not reserved.
    pub fn ready(&self) -> usize {
        self.ready.values().map(BTreeMap::len).sum()
    }

    /// Number of warming members.
    pub fn warming(&self) -> usize {
        self.warming.len()
    }

    /// Number of members whose create was not accepted yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// When the next warming member is likely to be ready, by the median of the last boots.
    pub fn next_ready_at(&self) -> Option<Timestamp> {
        let first = self.warming.iter().find_map(|(since, _)| *since)?;
        let mut boots: Vec<_> = self.boots.iter().copied().collect();
        boots.sort_unstable();
        first.checked_add(*boots.get(boots.len() / 2)?).ok()
    }

    /// The ready members in the order in which they are handed out: first those of a kind for which `current` is true,
    /// then those that began to warm first. The iterator is lazy.
    pub fn in_order(&self, current: impl Fn(&str, &str) -> bool) -> impl Iterator<Item = &ObjectKey> {
        // With one kind there is nothing to prefer, and `current` costs time.
        let many = self.ready.len() > 1;
        let mut kinds: Vec<_> = self
            .ready
            .iter()
            .map(|(kind, members)| (many && !current(&kind.0, &kind.1), members.iter().peekable()))
            .collect();
        std::iter::from_fn(move || {
            let heads = kinds.iter_mut().filter_map(|(outdated, members)| {
                let (order, _) = members.peek()?;
                let order: &ReadyOrder = order;
                Some(((*outdated, order), members))
            });
            let (_, members) = heads.min_by(|(one, _), (other, _)| one.cmp(other))?;
            members.next().map(|(_, key)| key)
        })
    }

    fn add_claim(&mut self, key: &ObjectKey, waiting: &Waiting) {
        let queue = self.waiting.entry(key.namespace.clone()).or_default();
        if queue.turns.insert(waiting.turn.clone(), key.clone()).is_none() {
            self.count += 1;
            self.demand.add(waiting, 1);
        }
        *queue.priorities.entry(waiting.turn.priority()).or_default() += 1;
        queue.demand.add(waiting, 1);
    }

    fn remove_claim(&mut self, namespace: &str, waiting: &Waiting) {
        let Some(queue) = self.waiting.get_mut(namespace) else { return };
        if queue.turns.remove(&waiting.turn).is_some() {
            self.count -= 1;
            self.demand.add(waiting, -1);
        }
        let priority = waiting.turn.priority();
        if let Some(count) = queue.priorities.get_mut(&priority) {
            *count -= 1;
            if *count == 0 {
                queue.priorities.remove(&priority);
            }
        }
        queue.demand.add(waiting, -1);
        if queue.turns.is_empty() {
            self.waiting.remove(namespace);
        }
    }

    fn add_member(&mut self, key: &ObjectKey, class: &MemberClass) {
        match class {
            MemberClass::Ready(kind, order) => {
                self.ready.entry(kind.clone()).or_default().insert(order.clone(), key.clone());
            }
            MemberClass::Warming(since) => drop(self.warming.insert((*since, key.clone()))),
            MemberClass::Pending => drop(self.pending.insert(key.clone())),
            MemberClass::Held(namespace) => *self.held.entry(namespace.clone()).or_default() += 1,
            MemberClass::Ending(namespace) => *self.ending.entry(namespace.clone()).or_default() += 1,
        }
    }

    fn remove_member(&mut self, key: &ObjectKey, class: &MemberClass) {
        match class {
            MemberClass::Ready(kind, order) => {
                if let Some(members) = self.ready.get_mut(kind) {
                    members.remove(order);
                    if members.is_empty() {
                        self.ready.remove(kind);
                    }
                }
            }
            MemberClass::Warming(since) => drop(self.warming.remove(&(*since, key.clone()))),
            MemberClass::Pending => drop(self.pending.remove(key)),
            MemberClass::Held(namespace) => one_less(&mut self.held, namespace),
            MemberClass::Ending(namespace) => one_less(&mut self.ending, namespace),
        }
    }
}

fn one_less(counts: &mut HashMap<String, i32>, namespace: &str) {
    if let Some(count) = counts.get_mut(namespace) {
        *count -= 1;
        if *count == 0 {
            counts.remove(namespace);
        }
    }
}

impl NamespaceQueue {
    /// The claims in order.
    pub fn turns(&self) -> impl Iterator<Item = (&Turn, &ObjectKey)> + use<'_> {
        self.turns.iter()
    }

    /// Number of claims.
    pub fn count(&self) -> usize {
        self.turns.len()
    }

    /// Number of claims of each priority.
    pub const fn priorities(&self) -> &BTreeMap<i32, usize> {
        &self.priorities
    }

    /// Number of claims that are this pool's demand and wait when nothing is ready. A claim that does not choose does
    /// as `by_default`.
    pub fn patient(&self, by_default: WhenEmpty) -> i32 {
        self.demand.patient(by_default)
    }
}

#[cfg(test)]
mod tests;
