//! What each change wakes.

use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{InstancePool, LaunchConfig, MemberState, PoolClaim, PoolMember};
use bullpen_plan::claim::queue::trouble;
use jiff::Timestamp;
use kube::ResourceExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::convert;
use crate::cloud::Audience;
use crate::provider::ProviderKey;
use crate::state::store::Changed;
use crate::state::{Change, ObjectKey};
use crate::telemetry::Health;
use crate::telemetry::labels::ClaimEnd;

/// Wakes whom each change concerns, until the term ends.
pub async fn run(
    context: Context,
    mut stream: mpsc::UnboundedReceiver<Change>,
    health: Health,
    shutdown: CancellationToken,
) {
    while let Some(Some(change)) = shutdown.run_until_cancelled(stream.recv()).await {
        match change {
            Change::Pool(changed) => pool(&context, &changed),
            Change::LaunchConfig(changed) => launch_config(&context, &changed),
            Change::Member(changed) => member(&context, &changed),
            Change::Claim(changed) => claim(&context, &changed),
            Change::Line(pool) => {
                context.wakers.binder.wake(pool.clone());
                context.wakers.pools.wake(pool);
            }
            Change::Beat => beat(&context),
            Change::Whole => everything(&context),
            Change::Synced => {
                health.pass(super::WATCHES_CHECK);
                everything(&context);
                tokio::spawn(crate::controllers::claim::quarantine::end_grace(context.clone()));
            }
        }
    }
}

/// The present object, or what was there before it went.
fn subject<K>(changed: &Changed<K>) -> Option<&Arc<K>> {
    changed.new.as_ref().or(changed.old.as_ref())
}

fn pool(context: &Context, changed: &Changed<InstancePool>) {
    let Some(pool) = subject(changed) else { return };
    let key = ObjectKey::of(pool.as_ref());
    context.wakers.pools.wake(key.clone());
    // Claims that wait are told what keeps the pool from buying.
    if changed.old.as_deref().and_then(trouble) != changed.new.as_deref().and_then(trouble) {
        context.wakers.binder.wake(key.clone());
    }
    // A status of our own writing wakes nobody else.
    let generation = |pool: &Arc<InstancePool>| (pool.metadata.generation, convert::deleting(pool.as_ref()));
    if changed.old.as_ref().map(generation) == changed.new.as_ref().map(generation) {
        return;
    }
    context.wakers.binder.wake(key.clone());
    // Pending members wait for an active pool, warming ones for its timeouts.
    let members = context.world.with(|state| {
        let moving =
            |member: &&Arc<PoolMember>| matches!(convert::state(member), MemberState::Pending | MemberState::Warming);
        state.members_of_name(&key).filter(moving).map(|member| ObjectKey::of(member.as_ref())).collect::<Vec<_>>()
    });
    for member in members {
        context.wakers.members.wake(member);
    }
    // What it says of stale claims and of those that have ended holds at once.
    let claims: Vec<_> =
        context.world.with(|state| state.claims_on(&key).map(|claim| ObjectKey::of(claim.as_ref())).collect());
    for claim in claims {
        context.wakers.holds.wake(claim);
    }
}

fn launch_config(context: &Context, changed: &Changed<LaunchConfig>) {
    let Some(config) = subject(changed) else { return };
    let key = ObjectKey::of(config.as_ref());
    context.wakers.launch_configs.wake(key.clone());
    let identity = |config: &Arc<LaunchConfig>| config.status.as_ref().and_then(|status| status.identity.clone());
    // A status of our own writing wakes nobody else, unless it says whose credentials these are.
    let wording = |config: &Arc<LaunchConfig>| {
        let deleting = convert::deleting(config.as_ref());
        (config.metadata.generation, deleting, config.finalizers().to_vec(), identity(config))
    };
    if changed.old.as_ref().map(wording) == changed.new.as_ref().map(wording) {
        return;
    }
    let (pools, members) = context.world.with(|state| {
        let uses = |pool: &InstancePool| pool.spec.launch_configs.iter().any(|entry| entry.name == key.name);
        let in_namespace = |other: &&ObjectKey| other.namespace == key.namespace;
        let pools: Vec<_> = state
            .pools
            .iter()
            .filter(|(other, pool)| in_namespace(other) && uses(pool))
            .map(|(key, _)| key.clone())
            .collect();
        let moved = changed.old.as_ref().map(identity) != changed.new.as_ref().map(identity);
        let pinned = |member: &PoolMember| {
            convert::launch_config_of(member) == key && (moved || convert::state(member) == MemberState::Pending)
        };
        let members: Vec<_> =
            state.members.iter().filter(|(_, member)| pinned(member)).map(|(key, _)| key.clone()).collect();
        (pools, members)
    });
    for pool in pools {
        context.wakers.pools.wake(pool);
    }
    for member in members {
        context.wakers.members.wake(member);
    }
}

fn member(context: &Context, changed: &Changed<PoolMember>) {
    let Some(member) = subject(changed) else { return };
    context.wakers.members.wake(ObjectKey::of(member.as_ref()));
    context.wakers.pools.wake(convert::pool_of(member));
    // A claim may have it, or is told that it comes, or its namespace may hold another one.
    let counts = |member: &Arc<PoolMember>| (convert::state(member), convert::deleting(member.as_ref()));
    let ready = changed.new.as_ref().is_some_and(|member| convert::state(member) == MemberState::Ready);
    if ready || changed.old.as_ref().map(counts) != changed.new.as_ref().map(counts) {
        context.wakers.binder.wake(convert::pool_of(member));
    }
    if changed.old.is_none() || changed.new.as_ref().is_some_and(|member| settled(member)) {
        context.wakers.launch_configs.wake(convert::launch_config_of(member));
    }
    if changed.new.is_none() {
        context.machines.forget(&convert::uid(member.as_ref()));
        context.wakers.launch_configs.wake(convert::launch_config_of(member));
    }
    if let Some(claim) = no_longer_held_by(changed) {
        context.wakers.holds.wake(claim);
    }
}

/// The claim that the member was Claimed for until now.
fn no_longer_held_by(changed: &Changed<PoolMember>) -> Option<ObjectKey> {
    let claim = |member: &Arc<PoolMember>| member.status.as_ref().and_then(|status| status.claim_ref.clone());
    let before = changed.old.as_ref().and_then(claim)?;
    let left = changed.new.as_ref().and_then(claim).is_none_or(|claim| claim.uid != before.uid);
    left.then(|| ObjectKey::new(before.namespace, before.name))
}

/// Ready or failed: the success rate of its launch config moved.
fn settled(member: &PoolMember) -> bool {
    matches!(convert::state(member), MemberState::Ready | MemberState::Errored)
}

fn claim(context: &Context, changed: &Changed<PoolClaim>) {
    let Some(claim) = subject(changed) else { return };
    let key = ObjectKey::of(claim.as_ref());
    if let Some((end, held)) = crate::controllers::claim::lifetime::ended(changed, Timestamp::now()) {
        ended(context, changed, end, held);
    }
    let uid = claim.uid().unwrap_or_default();
    let (pools, named) = context.world.with(|state| {
        let named: Vec<_> = state.members_claimed_by(&uid).map(|member| ObjectKey::of(member.as_ref())).collect();
        (state.waits_at(&key, claim), named)
    });
    for pool in pools {
        context.wakers.binder.wake(pool.clone());
        context.wakers.pools.wake(pool);
    }
    context.wakers.holds.wake(key);
    for member in named {
        context.wakers.members.wake(member);
    }
}

/// Counts the end of a claim at its pool; of one that any of several might have served, at the one in whose queue it was.
fn ended(context: &Context, changed: &Changed<PoolClaim>, end: ClaimEnd, held: Option<Duration>) {
    let mut versions = [&changed.new, &changed.old].into_iter().flatten();
    let Some((namespace, name)) = versions.find_map(|claim| claim.pool_or_queue()) else { return };
    // A claim may name any pool: only those that are there have series.
    if context.world.with(|state| state.pools.get(&ObjectKey::new(namespace, name)).is_some()) {
        context.metrics.claim_ended(namespace, name, end, held);
    }
}

/// A beat goes through every queue. It comes by every lock, so that one that is held for ever shows.
fn beat(context: &Context) {
    drop(context.memory.lock());
    let wakers = &context.wakers;
    for waker in [&wakers.pools, &wakers.members, &wakers.binder, &wakers.holds, &wakers.launch_configs] {
        waker.wake(ObjectKey::beat());
    }
}

/// Every cache is whole: what was held back until now is looked at.
fn everything(context: &Context) {
    let wakers = &context.wakers;
    context.world.with(|state| {
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
        for (key, claim) in state.claims.iter() {
            wakers.holds.wake(key.clone());
            for pool in state.waits_at(key, claim) {
                wakers.binder.wake(pool);
            }
        }
    });
}

/// Wakes whom a cloud's list concerns.
#[derive(Debug)]
pub struct Listeners(Context);

impl Listeners {
    /// Listeners of one cloud.
    pub const fn new(context: Context) -> Self {
        Self(context)
    }

    fn bought_at(&self, provider: &ProviderKey, wanted: impl Fn(&PoolMember) -> bool) -> Vec<ObjectKey> {
        self.0.world.with(|state| {
            let configs: std::collections::HashSet<_> = state
                .launch_configs
                .iter()
                .filter(|(_, config)| self.0.clouds.key(&config.spec).as_ref() == Some(provider))
                .map(|(key, _)| key.clone())
                .collect();
            state
                .members
                .iter()
                .filter(|(_, member)| wanted(member) && configs.contains(&convert::launch_config_of(member)))
                .map(|(key, _)| key.clone())
                .collect()
        })
    }
}

impl Audience for Listeners {
    fn hurries(&self, provider: &ProviderKey) -> bool {
        let moving = |member: &PoolMember| {
            convert::deleting(member) || matches!(convert::state(member), MemberState::Pending | MemberState::Warming)
        };
        !self.bought_at(provider, moving).is_empty()
    }

    fn machine_changed(&self, member: ObjectKey) {
        self.0.wakers.members.wake(member);
    }

    fn first_listed(&self, provider: &ProviderKey) {
        for member in self.bought_at(provider, |_| true) {
            self.0.wakers.members.wake(member);
        }
        // Ready members may be handed out now that their tags were seen.
        let pools: Vec<_> = self.0.world.with(|state| state.pools.iter().map(|(key, _)| key.clone()).collect());
        for pool in pools {
            self.0.wakers.binder.wake(pool);
        }
    }

    fn answering_changed(&self, provider: &ProviderKey) {
        let configs: Vec<_> = self.0.world.with(|state| {
            state
                .launch_configs
                .iter()
                .filter(|(_, config)| self.0.clouds.key(&config.spec).as_ref() == Some(provider))
                .map(|(key, _)| key.clone())
                .collect()
        });
        for config in configs {
            self.0.wakers.launch_configs.wake(config);
        }
    }

    fn identity_changed(&self, provider: &ProviderKey) {
        self.answering_changed(provider);
        for member in self.bought_at(provider, |_| true) {
            self.0.wakers.members.wake(member);
        }
    }

    fn listed(&self, provider: &ProviderKey) {
        // A list that began before a call for a machine may be the first to show what became of it, and is then too old to
        // count; the next one shows nothing new.
        for member in self.0.machines.overtaken() {
            self.0.wakers.members.wake(member);
        }
        crate::controllers::orphans::sweep::listed(&self.0, provider);
    }
}
