//! Everything the process knows of its cluster, under one lock, so that each decision sees one moment.
//!
//! Watches and the answers of own writes update it. Each change goes to the routing, which decides what it wakes.

mod claim_index;
pub mod indexing;
mod kept;
mod member_index;
pub mod unreadable;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use bullpen_plan::claim::queue::WaitingUpdates;
use bullpen_plan::operator::watched_namespaces::{Feed, WatchedNamespaces};
use jiff::Timestamp;
use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::binding_troubles::BindingTroubles;
use super::cluster_state::claim_index::Selectors;
use super::cluster_state::indexing::{StoredKind, pruned};
use super::cluster_state::member_index::MemberIndex;
use super::cluster_state::unreadable::{UnreadableNews, UnreadableObjects};
use super::contents::Contents;
use super::fits::Fits;
use super::key::{ObjectKey, QueueKey};
use super::key_ring::KeyRing;
use super::lock_order::{Rank, enter};
use super::namespace_labels::NamespaceLabels;
use super::planned::Planned;
use super::pool_queue::PoolQueues;
use super::store::{Changed, Progress, Store};
use crate::backoff::Backoff;
use crate::telemetry::labels::WatchedKind;

/// What changed in the cluster state.
#[derive(Clone, Debug)]
pub enum Change {
    /// A pool.
    Pool(Changed<InstancePool>),
    /// A launch config.
    LaunchConfig(Changed<LaunchConfig>),
    /// A member.
    Member(Changed<PoolMember>),
    /// A claim.
    Claim(Changed<PoolClaim>),
    /// The waiting claims with a selector changed in this queue: which ones wait, or which count as its pool's demand.
    Queue(QueueKey),
    /// An object that an own write answered during a list that does not show it: whether it is still there is not known.
    Doubtful(WatchedKind, ObjectKey, String),
    /// Every kind has been listed completely for the first time.
    Synced,
    /// A namespace that could not be listed before has been listed completely.
    Whole,
    /// An object became unreadable, or one can be read again.
    Unreadable(Box<UnreadableNews>),
    /// No change: a heartbeat for every queue.
    Beat,
}

/// The stores and what is reserved, at one moment.
#[derive(Debug, Default)]
pub struct State {
    /// Pools.
    pub pools: Store<InstancePool>,
    /// Launch configs.
    pub launch_configs: Store<LaunchConfig>,
    /// Members.
    pub members: Store<PoolMember>,
    /// Claims.
    pub claims: Store<PoolClaim>,
    /// Uids of claims that are reserved by a binding.
    pub claims_reserved: HashSet<String>,
    /// Uids of claims whose waiting or failed status is being written. They still wait.
    pub claims_being_updated: HashSet<String>,
    /// Backoff of failed status writes, by the claim's uid.
    pub claim_update_retries: HashMap<String, Backoff>,
    /// The last status updates of waiting claims.
    pub waiting_updates: WaitingUpdates,
    /// When the claims without a member were last judged, by queue.
    pub judged: HashMap<QueueKey, Timestamp>,
    /// When claims were last paired, by queue.
    pub passes: HashMap<QueueKey, Instant>,
    /// Uids of members that are reserved by a binding.
    pub members_reserved: HashSet<String>,
    /// Claims and members whose binding was not accepted.
    pub binding_troubles: BindingTroubles,
    /// Members of each pool that are just being written.
    pub planned: Planned,
    /// When each pool was last read by an uncached GET.
    pub pools_read: HashMap<ObjectKey, Instant>,
    /// Uids of members whose machine is gone, as confirmed by the provider.
    pub machines_gone: HashSet<String>,
    /// The content of Secrets and ConfigMaps that pools refer to.
    pub contents: Contents,
    /// Whether the user data of each pool and what is added to it fit together.
    pub fits: Fits,
    /// The secret that SSH keys are derived from.
    pub keyring: KeyRing,
    /// Backoff of Secrets that could not be created, by the claim's uid.
    pub secret_retries: HashMap<String, Backoff>,
    /// Labels of namespaces whose claims are on pools that select namespaces by label.
    pub namespaces: NamespaceLabels,
    /// The claims that wait at each pool, and the members for them.
    pub queues: PoolQueues,
    /// This installation's id.
    pub installation: Arc<str>,
    /// The URL under which machines reach this installation, if they may call it.
    pub advertised: Option<Arc<str>>,
    /// The objects that cannot be read.
    pub unreadable: UnreadableObjects,
    pub(super) given: HashMap<ObjectKey, String>,
    /// The waiting claims with a selector, and the pools that they may choose from.
    selectors: Selectors,
    member_index: MemberIndex,
    claims_by_pool: HashMap<ObjectKey, HashSet<ObjectKey>>,
    /// How many Bound claims of each pool have the condition `Stale`.
    stale_claims: HashMap<ObjectKey, usize>,
    watched: WatchedNamespaces,
    /// The namespaces in which every kind was listed completely; only used with a list of namespaces.
    whole: HashSet<Arc<str>>,
    synced: bool,
}

/// The cluster state, shared by all controllers.
#[derive(Clone, Debug)]
pub struct ClusterState {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changes: mpsc::UnboundedSender<Change>,
    watched: WatchedNamespaces,
    pools_answered: Mutex<HashMap<Feed, Instant>>,
}

impl ClusterState {
    /// An empty cluster state of these namespaces, and the stream of its changes.
    pub fn new(watched: WatchedNamespaces) -> (Self, mpsc::UnboundedReceiver<Change>) {
        let (changes, receiver) = mpsc::unbounded_channel();
        let state = State { watched: watched.clone(), ..State::default() };
        let inner = Inner { state: Mutex::new(state), changes, watched, pools_answered: Mutex::default() };
        (Self { inner: Arc::new(inner) }, receiver)
    }

    /// Runs `look` under the lock. It must not do anything slow.
    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let _rank = enter(Rank::ClusterState);
        let mut state = self.inner.state.lock();
        let seen = look(&mut state);
        self.announce_queues(&mut state);
        seen
    }

    /// Whether this namespace is watched. Nothing is read or proved of any other.
    pub fn watches(&self, namespace: &str) -> bool {
        self.inner.watched.contains(namespace)
    }

    /// Applies an event of the watch of a feed.
    pub fn watched<K: StoredKind>(&self, feed: &Feed, event: Event<K>) {
        let _rank = enter(Rank::ClusterState);
        let mut state = self.inner.state.lock();
        let listed = matches!(event, Event::InitDone);
        let changes = match event {
            Event::Init => {
                K::store(&mut state).begin_list(feed);
                Vec::new()
            }
            Event::InitApply(object) => {
                K::store(&mut state).note_listed(feed, &ObjectKey::of(&object));
                taken(&mut state, &Arc::new(pruned(object)))
            }
            Event::Apply(object) => taken(&mut state, &Arc::new(pruned(object))),
            Event::Delete(object) => gone(&mut state, &ObjectKey::of(&object), &object.uid().unwrap_or_default()),
            Event::InitDone => K::store(&mut state).end_list(feed),
        };
        self.send_changes(&mut state, changes);
        if listed {
            for (key, uid) in K::store(&mut state).take_doubtful() {
                let _ = self.inner.changes.send(Change::Doubtful(K::WATCHED, key, uid));
            }
            self.send_progress(&mut state, feed);
        }
    }

    /// Records that the API server does not allow listing a feed.
    pub fn refused<K: StoredKind>(&self, feed: &Feed) {
        let _rank = enter(Rank::ClusterState);
        let mut state = self.inner.state.lock();
        K::store(&mut state).refuse_list(feed);
        self.send_progress(&mut state, feed);
    }

    /// Sends a change if the cluster state, or the namespace of this feed, has just become complete.
    fn send_progress(&self, state: &mut State, feed: &Feed) {
        let was_synced = state.synced;
        let became_whole = state.note_progress(feed);
        if state.synced && (became_whole || !was_synced) {
            state.choose_all_homes();
            self.announce_queues(state);
            let _ = self.inner.changes.send(if was_synced { Change::Whole } else { Change::Synced });
        }
    }

    /// Applies an object from the answer of an own write or of an uncached GET. Returns it as it is stored.
    pub fn answered<K: StoredKind>(&self, object: K) -> Arc<K> {
        let object = Arc::new(pruned(object));
        let _rank = enter(Rank::ClusterState);
        let mut state = self.inner.state.lock();
        let changes = taken(&mut state, &object);
        self.send_changes(&mut state, changes);
        object
    }

    /// Records that the object with this uid is gone, by the answer of a write or of an uncached GET.
    pub fn answered_gone<K: StoredKind>(&self, key: &ObjectKey, uid: &str) {
        let _rank = enter(Rank::ClusterState);
        let mut state = self.inner.state.lock();
        let changes = gone::<K>(&mut state, key, uid);
        self.send_changes(&mut state, changes);
    }

    /// Records that the watch of the pools of a feed was answered.
    pub fn record_pools_answer(&self, feed: &Feed) {
        self.inner.pools_answered.lock().insert(feed.clone(), Instant::now());
    }

    /// When the watch of this namespace's pools was last answered.
    pub fn pools_last_answered(&self, namespace: &str) -> Option<Instant> {
        let answered = self.inner.pools_answered.lock();
        answered.iter().find(|(feed, _)| feed.covers(namespace)).map(|(_, at)| *at)
    }

    /// Sends a heartbeat the way that every change goes.
    pub fn beat(&self) {
        // Takes the lock as every change does, so that a lock that is never released stops the heartbeat.
        let _rank = enter(Rank::ClusterState);
        let _state = self.inner.state.lock();
        let _ = self.inner.changes.send(Change::Beat);
    }

    fn send_changes<K: StoredKind>(&self, state: &mut State, changes: Vec<Changed<K>>) {
        for changed in changes {
            let news = state.unreadable.remove::<K>(&changed.key);
            K::reindex(state, &changed);
            let _ = news.map(|news| self.inner.changes.send(Change::Unreadable(Box::new(news))));
            // Fails only when the receiver is gone because the process ends.
            let _ = self.inner.changes.send(K::change(changed));
        }
        self.announce_queues(state);
    }

    fn announce_queues(&self, state: &mut State) {
        for queue in state.selectors.changed_queues.drain() {
            let _ = self.inner.changes.send(Change::Queue(queue));
        }
    }
}

impl State {
    /// Whether every kind has been listed completely in every watched namespace that the operator may list. Nothing is
    /// decided before.
    pub const fn is_synced(&self) -> bool {
        self.synced
    }

    /// [`is_synced`](Self::is_synced), and every kind has been listed completely in this namespace. Nothing is decided
    /// about its objects before.
    pub fn knows(&self, namespace: &str) -> bool {
        self.synced
            && match &self.watched {
                WatchedNamespaces::All => true,
                WatchedNamespaces::These(_) => self.whole.contains(namespace),
            }
    }

    /// The namespaces that are watched.
    pub const fn watched(&self) -> &WatchedNamespaces {
        &self.watched
    }

    fn progress(&self, feed: &Feed) -> [Progress; 4] {
        [
            self.pools.progress(feed),
            self.launch_configs.progress(feed),
            self.members.progress(feed),
            self.claims.progress(feed),
        ]
    }

    /// Records how far the lists of a feed are. Returns whether it has just become complete. One namespace of several
    /// that may not be listed, or whose permissions do not exist yet, does not delay the others.
    fn note_progress(&mut self, feed: &Feed) -> bool {
        let is_whole = |progress: [Progress; 4]| progress.iter().all(|kind| *kind == Progress::Whole);
        let whole = is_whole(self.progress(feed));
        let became_whole = whole && feed.namespace().is_some_and(|namespace| self.whole.insert(namespace.into()));
        if !self.synced {
            let feeds = self.watched.feeds();
            let settled = |feed: &Feed| {
                let progress = self.progress(feed);
                is_whole(progress) || (feeds.len() > 1 && progress.contains(&Progress::Refused))
            };
            self.synced = feeds.iter().all(settled) && feeds.iter().any(|feed| is_whole(self.progress(feed)));
        }
        became_whole
    }

    /// Whether claims wait for members of the pool of this name.
    pub fn is_waited_for(&self, pool: &ObjectKey) -> bool {
        self.queues.at_pool(pool).is_some_and(|queue| !queue.is_idle())
    }

    /// How many Bound claims on the pool of this name are flagged because they have held their machine for long.
    pub fn stale_claims_on(&self, pool: &ObjectKey) -> usize {
        self.stale_claims.get(pool).copied().unwrap_or(0)
    }

    /// The keys of the claims on the pool of this name.
    pub fn claims_on<'a>(&'a self, pool: &ObjectKey) -> impl Iterator<Item = &'a ObjectKey> + use<'a> {
        self.claims_by_pool.get(pool).into_iter().flatten()
    }
}

/// The pool that a claim is on: the one that it names, or the one that served it. `None` for a claim with a selector
/// that was not served yet: see [`State::waits_at`].
pub fn pool_of_claim(claim: &PoolClaim) -> Option<ObjectKey> {
    claim.pool().map(|(namespace, name)| ObjectKey::new(namespace, name))
}

/// Stores a version of an object. One that is over, although the API server still has it, is gone for all decisions.
fn taken<K: StoredKind>(state: &mut State, object: &Arc<K>) -> Vec<Changed<K>> {
    if object.is_over() {
        return gone(state, &ObjectKey::of(object.as_ref()), &object.uid().unwrap_or_default());
    }
    K::store(state).apply(object.clone())
}

fn gone<K: StoredKind>(state: &mut State, key: &ObjectKey, uid: &str) -> Vec<Changed<K>> {
    K::store(state).delete(key, uid).into_iter().collect()
}

#[cfg(test)]
mod tests;
