//! Decides which keys of which queues each change wakes.

use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{
    EventAction, InstancePool, LaunchConfig, MemberState, PoolClaim, PoolMember, PoolMemberStatus, Reason,
    bounded_message,
};
use bullpen_plan::claim::lifetime::TermRules;
use bullpen_plan::claim::queue::trouble;
use kube::ResourceExt;
use tokio::sync::mpsc;
use tracing::error;

use super::common::Common;
use super::convert;
use super::member::health::memory::HealthMemory;
use super::member::machine_memory::Machines;
use super::orphans::{OrphanSweeper, sweep};
use super::pool::memory::PoolMemories;
use super::wake;
use crate::clock;
use crate::cloud::{Audience, Cloud};
use crate::provider::{ProviderError, ProviderKey};
use crate::state::cluster_state::State;
use crate::state::cluster_state::unreadable::UnreadableNews;
use crate::state::marks::Marked as _;
use crate::state::store::Changed;
use crate::state::{Change, ObjectKey, QueueKey};
use crate::telemetry::Health;
use crate::telemetry::labels::{ClaimEnd, Task, WatchedKind};

/// A claim that is seen for the first time came just now if it is not older than this.
const LATEST_NEWS: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

/// What routing needs, to find out whom a change concerns.
#[derive(Debug)]
pub struct Router {
    /// What all controllers use.
    pub common: Common,
    /// What this process knows of machines; dropped with their members.
    pub machines: Machines,
    /// What this process knows of the health of machines; dropped with their members.
    pub machine_health: HealthMemory,
    /// What is remembered of pools; every heartbeat takes its lock.
    pub pool_memories: PoolMemories,
    /// The health of the process.
    pub health: Health,
}

/// Wakes the keys that each change concerns, until the term ends.
pub async fn run(router: Router, mut stream: mpsc::UnboundedReceiver<Change>) {
    let end = router.common.tasks.end().clone();
    while let Some(Some(change)) = end.run_until_cancelled(stream.recv()).await {
        match change {
            Change::Pool(changed) => pool(&router, &changed),
            Change::LaunchConfig(changed) => launch_config(&router, &changed),
            Change::Member(changed) => member(&router, &changed),
            Change::Claim(changed) => claim(&router, &changed),
            Change::Queue(queue) => queue_changed(&router, queue),
            Change::Unreadable(news) => unreadable(&router, *news),
            Change::Doubtful(kind, key, uid) => resolve(&router, kind, key, uid),
            Change::Beat => beat(&router),
            Change::Whole => everything(&router),
            Change::Synced => {
                router.health.pass(super::WATCHES_CHECK);
                everything(&router);
                let grace = crate::controllers::claim::quarantine::end_grace(router.common.clone());
                router.common.tasks.spawn_while_leading(Task::Grace, grace);
            }
        }
    }
}

/// Reads an object that a list did not show although a write of it was answered meanwhile.
fn resolve(router: &Router, kind: WatchedKind, key: ObjectKey, uid: String) {
    let writes = router.common.writes.clone();
    router.common.tasks.spawn_while_leading(Task::Read, async move {
        match kind {
            WatchedKind::InstancePool => writes.resolve::<InstancePool>(&key, &uid).await,
            WatchedKind::LaunchConfig => writes.resolve::<LaunchConfig>(&key, &uid).await,
            WatchedKind::PoolMember => writes.resolve::<PoolMember>(&key, &uid).await,
            WatchedKind::PoolClaim => writes.resolve::<PoolClaim>(&key, &uid).await,
        }
    });
}

/// The claims waiting in a queue changed: pair them, and wake the pool, which may buy for them.
fn queue_changed(router: &Router, queue: QueueKey) {
    if let Some(pool) = queue.pool() {
        router.common.wakers.pools.wake(pool.clone());
    }
    router.common.wakers.pairing.wake(queue);
}

/// The present object, or the last one before it was deleted.
fn subject<K>(changed: &Changed<K>) -> Option<&Arc<K>> {
    changed.new.as_ref().or(changed.old.as_ref())
}

fn pool(router: &Router, changed: &Changed<InstancePool>) {
    let Some(pool) = subject(changed) else { return };
    let key = ObjectKey::of(pool.as_ref());
    router.common.wakers.pools.wake(key.clone());
    // The status of waiting claims reports what keeps the pool from buying.
    if changed.old.as_deref().and_then(trouble) != changed.new.as_deref().and_then(trouble) {
        router.common.wakers.pairing.wake(key.clone());
    }
    // Our own status write wakes nobody else, unless it is the one that takes the pool over.
    let mark = |pool: &Arc<InstancePool>| pool.mark().map(str::to_owned);
    let taken_over = changed.old.as_ref().map(mark) != changed.new.as_ref().map(mark);
    let generation = |pool: &Arc<InstancePool>| (pool.metadata.generation, convert::deleting(pool.as_ref()));
    if !taken_over && changed.old.as_ref().map(generation) == changed.new.as_ref().map(generation) {
        return;
    }
    router.common.wakers.pairing.wake(key.clone());
    // Pending members wait for the pool to be active, warming ones for its timeouts; others may be probed otherwise.
    let health = |pool: &Arc<InstancePool>| pool.spec.health.clone();
    let otherwise = changed.old.as_ref().map(health) != changed.new.as_ref().map(health);
    let members = router.common.cluster.with(|state| {
        let moving = |member: &&Arc<PoolMember>| convert::comes_up(member);
        let concerned = |member: &&Arc<PoolMember>| taken_over || otherwise || moving(member);
        state.members_of_name(&key).filter(concerned).map(|member| ObjectKey::of(member.as_ref())).collect::<Vec<_>>()
    });
    for member in members {
        router.common.wakers.members.wake(member);
    }
    // Changed rules for stale and ended claims apply at once. Other changes, such as of the size, concern none of them.
    let rules = |pool: &Arc<InstancePool>| {
        let claims = &pool.spec.claims;
        (convert::uid(pool.as_ref()), TermRules::of(claims), claims.on_interrupt)
    };
    if changed.old.as_ref().map(rules) == changed.new.as_ref().map(rules) {
        return;
    }
    let claims: Vec<_> = router.common.cluster.with(|state| state.claims_on(&key).cloned().collect());
    for claim in claims {
        router.common.wakers.claims.wake(claim);
    }
}

fn launch_config(router: &Router, changed: &Changed<LaunchConfig>) {
    let Some(config) = subject(changed) else { return };
    let key = ObjectKey::of(config.as_ref());
    router.common.wakers.launch_configs.wake(key.clone());
    let identity = |config: &Arc<LaunchConfig>| config.status.as_ref().and_then(|status| status.identity.clone());
    let image = |config: &Arc<LaunchConfig>| config.image().map(str::to_owned);
    // Our own status write wakes nobody else, unless it changes the recorded account or the image.
    let wording = |config: &Arc<LaunchConfig>| {
        let deleting = convert::deleting(config.as_ref());
        let mark = config.mark().map(str::to_owned);
        (config.metadata.generation, deleting, config.finalizers().to_vec(), identity(config), image(config), mark)
    };
    if changed.old.as_ref().map(wording) == changed.new.as_ref().map(wording) {
        return;
    }
    let (pools, members) = router.common.cluster.with(|state| {
        let uses = |pool: &InstancePool| pool.spec.launch_configs.iter().any(|entry| entry.name == key.name);
        let in_namespace = |other: &&ObjectKey| other.namespace == key.namespace;
        let pools: Vec<_> = state
            .pools
            .iter()
            .filter(|(other, pool)| in_namespace(other) && uses(pool))
            .map(|(key, _)| key.clone())
            .collect();
        let place = |config: &Arc<LaunchConfig>| (identity(config), config.mark().map(str::to_owned));
        let moved = changed.old.as_ref().map(place) != changed.new.as_ref().map(place);
        let waits =
            |member: &PoolMember| matches!(convert::state(member), MemberState::Pending | MemberState::Resetting);
        let concerned = |member: &&Arc<PoolMember>| moved || waits(member);
        let members = state.members_of_launch_config(&key).filter(concerned);
        let members: Vec<_> = members.map(|member| ObjectKey::of(member.as_ref())).collect();
        (pools, members)
    });
    for pool in pools {
        router.common.wakers.pools.wake(pool);
    }
    for member in members {
        router.common.wakers.members.wake(member);
    }
}

fn member(router: &Router, changed: &Changed<PoolMember>) {
    let Some(member) = subject(changed) else { return };
    router.common.wakers.members.wake(ObjectKey::of(member.as_ref()));
    router.common.wakers.pools.wake(convert::pool_of(member));
    // A change of state may make it claimable, change when waiting claims can expect a member, or free a place in a
    // namespace's quota.
    let counts = |member: &Arc<PoolMember>| (convert::state(member), convert::deleting(member.as_ref()));
    let ready = changed.new.as_ref().is_some_and(|member| convert::state(member) == MemberState::Ready);
    if ready || changed.old.as_ref().map(counts) != changed.new.as_ref().map(counts) {
        router.common.wakers.pairing.wake(convert::pool_of(member));
        // A launch config that is being deleted says what it waits for.
        let launch_config = convert::launch_config_of(member);
        let ends = |state: &mut State| {
            state.launch_configs.get(&launch_config).is_some_and(|of| convert::deleting(of.as_ref()))
        };
        if router.common.cluster.with(ends) {
            router.common.wakers.launch_configs.wake(launch_config);
        }
    }
    if changed.old.is_none() || changed.new.as_ref().is_some_and(|member| is_ready_or_failed(member)) {
        router.common.wakers.launch_configs.wake(convert::launch_config_of(member));
    }
    if changed.new.is_none() {
        router.machines.forget(&convert::uid(member.as_ref()));
        router.machine_health.forget(&convert::uid(member.as_ref()));
        router.common.wakers.launch_configs.wake(convert::launch_config_of(member));
    }
    let holders = [no_longer_held_by(changed), job_done_for(changed), has_news_for(changed)];
    for claim in holders.into_iter().flatten() {
        router.common.wakers.claims.wake(claim);
    }
}

/// The claim whose job the member's machine has reported as done with this change.
fn job_done_for(changed: &Changed<PoolMember>) -> Option<ObjectKey> {
    let done = |member: &Arc<PoolMember>| member.status.as_ref()?.reported.as_ref()?.done.clone();
    let now = changed.new.as_ref().and_then(done)?;
    let new = changed.old.as_ref().and_then(done).as_ref() != Some(&now);
    let claim = changed.new.as_ref()?.status.as_ref()?.claim_ref.as_ref().filter(|_| new)?;
    Some(ObjectKey::new(claim.namespace.as_str(), claim.name.as_str()))
}

/// The claim that has the member, if it repeats something of the member's status that changed.
fn has_news_for(changed: &Changed<PoolMember>) -> Option<ObjectKey> {
    let (old, new) = (changed.old.as_ref()?.status.as_ref()?, changed.new.as_ref()?.status.as_ref()?);
    let claim = new.claim_ref.as_ref().filter(|_| new.state == MemberState::Claimed)?;
    let addresses = |status: &PoolMemberStatus| status.instance.as_ref().map(|machine| machine.addresses.clone());
    let news = old.conditions != new.conditions || addresses(old) != addresses(new);
    news.then(|| ObjectKey::new(claim.namespace.clone(), claim.name.clone()))
}

/// The claim that the member was Claimed for until this change.
fn no_longer_held_by(changed: &Changed<PoolMember>) -> Option<ObjectKey> {
    let claim = |member: &Arc<PoolMember>| member.status.as_ref().and_then(|status| status.claim_ref.clone());
    let before = changed.old.as_ref().and_then(claim)?;
    let left = changed.new.as_ref().and_then(claim).is_none_or(|claim| claim.uid != before.uid);
    left.then(|| ObjectKey::new(before.namespace, before.name))
}

/// Whether the member is ready or failed, which changes the success rate of its launch config.
fn is_ready_or_failed(member: &PoolMember) -> bool {
    matches!(convert::state(member), MemberState::Ready | MemberState::Errored)
}

fn claim(router: &Router, changed: &Changed<PoolClaim>) {
    let Some(claim) = subject(changed) else { return };
    let key = ObjectKey::of(claim.as_ref());
    if let Some((end, held)) = crate::controllers::claim::lifetime::ended(changed, clock::now()) {
        ended(router, changed, end, held);
    }
    let uid = claim.uid().unwrap_or_default();
    let (queues, named) = router.common.cluster.with(|state| {
        let named: Vec<_> = state.members_claimed_by(&uid).map(|member| ObjectKey::of(member.as_ref())).collect();
        (state.waits_at(&key, claim), named)
    });
    if came(changed)
        && let Some(pool) = queues.iter().find_map(QueueKey::pool)
    {
        router.pool_memories.with(|memories| memories.claim_came(pool));
    }
    for queue in queues {
        queue_changed(router, queue);
    }
    router.common.wakers.claims.wake(key);
    for member in named {
        router.common.wakers.members.wake(member);
    }
}

/// Whether the claim came just now: it was not known, and is no older one that a new leader or a first list shows.
fn came(changed: &Changed<PoolClaim>) -> bool {
    let (None, Some(claim)) = (&changed.old, &changed.new) else { return false };
    clock::now().duration_since(convert::created(claim.as_ref())) < LATEST_NEWS
}

/// Counts the end of a claim at its pool. A claim with a selector counts at the pool whose queue it was in.
fn ended(router: &Router, changed: &Changed<PoolClaim>, end: ClaimEnd, held: Option<Duration>) {
    let mut versions = [&changed.new, &changed.old].into_iter().flatten();
    let Some((namespace, name)) = versions.find_map(|claim| claim.pool_or_queue()) else { return };
    // A claim may name any pool; only existing pools have series.
    if router.common.cluster.with(|state| state.pools.get(&ObjectKey::new(namespace, name)).is_some()) {
        router.common.metrics.claim_ended(namespace, name, end, held);
    }
}

/// Reports an object that cannot be read.
fn unreadable(router: &Router, news: UnreadableNews) {
    router.common.metrics.set_unreadable_objects(&news.kind, news.present);
    let Some((object, trouble)) = news.report else { return };
    let name = |text: &Option<String>| text.clone().unwrap_or_default();
    error!(kind = %news.kind, namespace = %name(&object.namespace), name = %name(&object.name), error = %trouble, "an object cannot be read");
    let note = format!(
        "it cannot be read, so what was last read of it stays in force, and nothing is written to it: {trouble}. Is it of a later version?"
    );
    router.common.events.warn_about(object, Reason::Unreadable, EventAction::Observe, bounded_message(&note));
}

/// Sends a heartbeat through every queue. It takes every lock first, so that a lock that is never released shows.
fn beat(router: &Router) {
    router.pool_memories.with(|_| ());
    let wakers = &router.common.wakers;
    for waker in [&wakers.pools, &wakers.members, &wakers.claims, &wakers.launch_configs] {
        waker.send_heartbeat();
    }
    wakers.pairing.send_heartbeat();
}

/// Every cache is complete: wakes everything that waited for that.
fn everything(router: &Router) {
    let wakers = &router.common.wakers;
    router.common.cluster.with(|state| {
        for (key, _) in state.launch_configs.iter() {
            wakers.launch_configs.wake(key.clone());
        }
        for (key, _) in state.pools.iter() {
            wakers.pools.wake(key.clone());
        }
        for (key, member) in state.members.iter() {
            wakers.members.wake(key.clone());
            wakers.pools.wake(convert::pool_of(member));
        }
        for key in state.claims.keys() {
            wakers.claims.wake(key.clone());
        }
        for queue in state.queues.with_claims() {
            wakers.pairing.wake(queue.clone());
        }
    });
}

/// Wakes the keys that a cloud's list concerns.
#[derive(Debug)]
pub struct Listeners {
    common: Common,
    machines: Machines,
    sweeper: OrphanSweeper,
}

impl Listeners {
    /// Listens to the lists of all clouds.
    pub const fn new(common: Common, machines: Machines, sweeper: OrphanSweeper) -> Self {
        Self { common, machines, sweeper }
    }

    /// A launch config is gone, perhaps the last one of its account.
    pub fn launch_config_gone(&self) {
        sweep::withdraw_unused(&self.sweeper);
    }

    /// The members whose machines this provider has.
    fn bought_at<'a>(
        &'a self,
        state: &'a State,
        provider: &'a ProviderKey,
    ) -> impl Iterator<Item = &'a Arc<PoolMember>> {
        let configs = state.launch_configs.iter();
        let configs = configs.filter(|(_, config)| self.sweeper.clouds.key(config).as_ref() == Some(provider));
        configs.flat_map(|(key, _)| state.members_of_launch_config(key))
    }

    fn wake_all_bought_at(&self, provider: &ProviderKey) {
        let keys: Vec<_> = self
            .common
            .cluster
            .with(|state| self.bought_at(state, provider).map(|member| ObjectKey::of(member.as_ref())).collect());
        for member in keys {
            self.common.wakers.members.wake(member);
        }
    }
}

impl Audience for Listeners {
    fn needs_list_soon(&self, provider: &ProviderKey) -> bool {
        let moving = |member: &PoolMember| convert::deleting(member) || convert::comes_up(member);
        self.common.cluster.with(|state| self.bought_at(state, provider).any(|member| moving(member)))
    }

    fn machine_changed(&self, member: ObjectKey) {
        self.common.wakers.members.wake(member);
    }

    fn first_listed(&self, provider: &ProviderKey) {
        self.wake_all_bought_at(provider);
        // Ready members can be handed out now that the tags of their machines are known.
        let pools: Vec<_> = self.common.cluster.with(|state| state.pools.iter().map(|(key, _)| key.clone()).collect());
        for pool in pools {
            // So can surplus ones be retired.
            self.common.wakers.pools.wake(pool.clone());
            self.common.wakers.pairing.wake(pool);
        }
    }

    fn answering_changed(&self, provider: &ProviderKey) {
        // A closed account has no machines that anybody could count.
        let closed = |cloud: &Arc<Cloud>| matches!(cloud.answering(), Some(Err(ProviderError::Auth { .. })));
        if self.sweeper.clouds.get(provider).as_ref().is_some_and(closed) {
            sweep::withdraw(&self.sweeper, provider, &self.sweeper.sweeps.memory(provider));
        }
        let configs: Vec<_> = self.common.cluster.with(|state| {
            state
                .launch_configs
                .iter()
                .filter(|(_, config)| self.sweeper.clouds.key(config).as_ref() == Some(provider))
                .map(|(key, _)| key.clone())
                .collect()
        });
        for config in configs {
            self.common.wakers.launch_configs.wake(config);
        }
    }

    fn identity_changed(&self, provider: &ProviderKey) {
        // Among them pools that wait for the account.
        wake::buyers(&self.common, &self.sweeper.clouds, provider);
        self.wake_all_bought_at(provider);
    }

    fn listed(&self, provider: &ProviderKey) {
        // A list that began before a call for a machine may be the first to show its change, and is then outdated. The
        // next list shows no change, so these members are woken here.
        for member in self.machines.take_waiting_for_list() {
            self.common.wakers.members.wake(member);
        }
        sweep::listed(&self.sweeper, provider);
    }

    fn closed(&self, provider: &ProviderKey) {
        sweep::withdraw(&self.sweeper, provider, &self.sweeper.sweeps.memory(provider));
        self.sweeper.sweeps.forget(provider);
    }
}
