//! The binder: pairs the claims of a pool with its members, and has each pair bound.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::bind;
use super::clouds::Listing;
use super::context::Context;
use super::quarantine::{self, Shown};
use super::telling::{self, Message};
use super::{namespaces, views};
use crate::api::{InstancePool, PoolClaim, PoolMember};
use crate::cluster::ObjectKey;
use crate::cluster::lines::Line;
use crate::cluster::world::State;
use crate::plan::claimable;
use crate::plan::queue::{Admission, Offer, Order, Paired, Turn, admission, demand, pair};
use crate::plan::replenish::earliest;

/// What a pass decided, with the objects that it decided on.
struct Pass {
    pairs: Vec<(Arc<PoolClaim>, Arc<PoolMember>)>,
    messages: Vec<Message>,
    look_again_at: Option<Timestamp>,
    /// Namespaces whose labels are to be read.
    unread: Vec<String>,
}

/// One pass over the claims on the pool of this name, there or not. Says when to look again although nothing changed.
pub fn reconcile(context: &Context, key: &ObjectKey) -> Option<Timestamp> {
    let pass = plan(context, key, Timestamp::now())?;
    for (claim, member) in pass.pairs {
        let (context, pool) = (context.clone(), key.clone());
        tokio::spawn(async move {
            let hands = Hands::new(&context, &pool, &claim, Some(&member));
            bind::bind(&context, &pool, &claim, &member).await;
            drop(hands);
        });
    }
    for message in pass.messages {
        let (context, pool) = (context.clone(), key.clone());
        tokio::spawn(async move {
            let hands = Hands::new(&context, &pool, &message.claim, None);
            telling::tell(&context, &message).await;
            drop(hands);
        });
    }
    for namespace in pass.unread {
        tokio::spawn(namespaces::read(context.clone(), namespace));
    }
    pass.look_again_at
}

/// Pairs under the lock, and takes what was paired in hand in the same moment. `None` before every cache is whole: no
/// verdict is given from half of the truth.
fn plan(context: &Context, key: &ObjectKey, now: Timestamp) -> Option<Pass> {
    // The reaper locks in this order, too.
    let mut memories = context.memory.lock();
    context.world.with(|state| {
        if !state.is_synced() {
            return None;
        }
        if state.lines.at(key).is_none_or(Line::is_idle) {
            state.judged.remove(key);
            return None;
        }
        let (unread, read_again_at) = namespaces::wanted(state, key, now);
        let here = Standing::of(state, key)?;
        let mut order = here.order(now);
        let paired = match here.serving() {
            Some(pool) => here.pairs(context, pool, &mut order, now),
            None => Paired { pairs: Vec::new(), parked: 0 },
        };
        let Paired { pairs, parked } = paired;
        let told = telling::plan(&here, order, parked, now);
        for (claim, member) in &pairs {
            state.take_in_hand(claim, member);
            // From here on the reaper counts the member as claimed and may replace it before it is.
            memories.claim_taken(key);
        }
        let (messages, told_at) = telling::take(state, key, told, now);
        let look_again_at = earliest(told_at, read_again_at);
        Some(Pass { pairs, messages, look_again_at, unread })
    })
}

/// A pool, there or not, and those who wait at it, at one moment.
pub struct Standing<'a> {
    /// The cluster.
    pub state: &'a State,
    /// The pool's name.
    pub key: &'a ObjectKey,
    /// The pool, if it is there.
    pub pool: Option<&'a Arc<InstancePool>>,
    /// Who waits.
    pub line: &'a Line,
}

impl<'a> Standing<'a> {
    /// Who waits at the pool of this name; nothing if nobody and nothing is in its line.
    pub fn of(state: &'a State, key: &'a ObjectKey) -> Option<Self> {
        let pool = state.pools.get(key).filter(|_| state.knows(&key.namespace));
        Some(Self { state, key, pool, line: state.lines.at(key)? })
    }

    /// The pool, if it serves anybody at all.
    pub fn serving(&self) -> Option<&'a Arc<InstancePool>> {
        let active = |pool: &&&Arc<InstancePool>| {
            pool.spec.state == crate::api::PoolState::Active && !views::deleting(pool.as_ref())
        };
        self.pool.as_ref().filter(active).copied()
    }

    /// Whether the pool serves this namespace. A pool that is not there serves none.
    pub fn admission(&self, namespace: &str) -> Admission {
        self.pool.map_or(Admission::Refused, |pool| admitted(self.state, self.key, pool, namespace))
    }

    /// The claims that may be served, in their order.
    fn order(&self, now: Timestamp) -> Order<impl Iterator<Item = (&'a Turn, &'a ObjectKey)> + use<'a>> {
        let per_namespace = self.pool.and_then(|pool| pool.spec.claims.per_namespace);
        let mut order = Order::new(per_namespace, now);
        for (namespace, line) in self.line.namespaces() {
            if self.admission(namespace) == Admission::Served {
                order.add(self.line.held(namespace), line.priorities().clone(), line.turns());
            }
        }
        order
    }

    /// Pairs the claims with the members that may be handed out. Parked are those whose present version the store does not
    /// show, and those whose machine no list has shown yet.
    fn pairs(
        &self,
        context: &Context,
        pool: &InstancePool,
        order: &mut Order<impl Iterator<Item = (&'a Turn, &'a ObjectKey)>>,
        now: Timestamp,
    ) -> Paired<Arc<PoolClaim>, Arc<PoolMember>> {
        let (state, pool_uid) = (self.state, views::uid(pool));
        let template = LazyCell::new(|| views::current_template(state, pool));
        let mut lists: HashMap<String, Option<Arc<Listing>>> = HashMap::new();
        let in_order = self.line.in_order(|config, hash| !template.is_outdated_hash(config, hash));
        let offers = in_order.filter_map(|key| state.members.get(key)).filter_map(|member| {
            let uid = member.metadata.uid.as_deref()?;
            if !claimable(&views::member_view(member), &pool_uid) || state.machines_gone.contains(uid) {
                return None;
            }
            let launch_config = &member.spec.placement.launch_config;
            let list = lists.entry(launch_config.clone()).or_insert_with(|| {
                let config = ObjectKey::new(self.key.namespace.as_str(), launch_config.as_str());
                quarantine::listing(context, state.launch_configs.get(&config).map(Arc::as_ref))
            });
            let parked = state.parked.get(uid).is_some_and(|it| Some(it) == member.metadata.resource_version.as_ref());
            match quarantine::shown(context, list.as_deref(), member, now) {
                Shown::ServedBefore => None,
                Shown::NotYet => Some(Offer::Parked),
                Shown::Free if parked => Some(Offer::Parked),
                Shown::Free => Some(Offer::Free(member.clone())),
            }
        });
        let paired = pair(order, offers, |uid| state.claims_being_told.contains(uid));
        let claimed = paired.pairs.into_iter();
        let pairs = claimed.filter_map(|(claim, member)| Some((state.claims.get(claim)?.clone(), member))).collect();
        Paired { pairs, parked: paired.parked }
    }
}

fn admitted(state: &State, key: &ObjectKey, pool: &InstancePool, namespace: &str) -> Admission {
    let allowed = &pool.spec.claims.allowed_namespaces;
    admission(allowed, &key.namespace, namespace, || state.namespaces.get(namespace))
}

/// How many claims wait for members that are still to be bought: those that the pool serves, that wait when it is empty,
/// and whose namespace may hold another member.
pub fn waiting(state: &State, key: &ObjectKey) -> i32 {
    let (Some(pool), Some(line)) = (state.pools.get(key), state.lines.at(key)) else { return 0 };
    let rules = &pool.spec.claims;
    let served = line.namespaces().filter(|(namespace, _)| admitted(state, key, pool, namespace) == Admission::Served);
    let of_each = served
        .map(|(namespace, claims)| demand(claims.patient(rules.when_empty), line.held(namespace), rules.per_namespace));
    of_each.fold(0, i32::saturating_add)
}

/// What is in the binder's hands: let go when this is dropped, whatever happened, and everybody concerned looks again.
struct Hands<'a> {
    context: &'a Context,
    pool: &'a ObjectKey,
    claim: (ObjectKey, String),
    member: Option<(ObjectKey, String)>,
}

impl<'a> Hands<'a> {
    fn new(
        context: &'a Context,
        pool: &'a ObjectKey,
        claim: &Arc<PoolClaim>,
        member: Option<&Arc<PoolMember>>,
    ) -> Self {
        Self {
            context,
            pool,
            claim: (ObjectKey::of(claim.as_ref()), views::uid(claim.as_ref())),
            member: member.map(|member| (ObjectKey::of(member.as_ref()), views::uid(member.as_ref()))),
        }
    }
}

impl Drop for Hands<'_> {
    fn drop(&mut self) {
        let (named, pools): (Vec<_>, _) = self.context.world.with(|state| {
            match &self.member {
                Some((member, uid)) => state.let_go((&self.claim.0, &self.claim.1), (member, uid)),
                None => {
                    state.claims_being_told.remove(&self.claim.1);
                }
            }
            let named = state.members_claimed_by(&self.claim.1).map(|member| ObjectKey::of(member.as_ref())).collect();
            let pools: Vec<_> = state.lines.places(&self.claim.0).map(|(pool, _)| pool.clone()).collect();
            (named, pools)
        });
        let wakers = &self.context.wakers;
        if let Some((key, _)) = &self.member {
            wakers.members.wake(key.clone());
        }
        for member in named {
            wakers.members.wake(member);
        }
        wakers.holds.wake(self.claim.0.clone());
        for pool in pools.into_iter().filter(|pool| pool != self.pool) {
            wakers.binder.wake(pool);
        }
        wakers.binder.wake(self.pool.clone());
        wakers.pools.wake(self.pool.clone());
    }
}

#[cfg(test)]
#[path = "binder_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "binder_selector_tests.rs"]
mod selector_tests;
