//! A pool and the claims that wait for it, at one moment.

use std::borrow::Cow;
use std::sync::Arc;

use bullpen_api::InstancePool;
use bullpen_plan::claim::queue::{Admission, InUse, Order, Turn, admission, demand};
use jiff::Timestamp;

use crate::controllers::convert;
use crate::state::cluster_state::State;
use crate::state::pool_queue::PoolQueue;
use crate::state::{ObjectKey, QueueKey};

/// A pool, whether it exists or not, and the claims that wait for it, at one moment.
pub struct QueueView<'a> {
    /// The cluster.
    pub state: &'a State,
    /// The key of the queue.
    pub key: &'a QueueKey,
    /// The pool, if it exists.
    pub pool: Option<&'a Arc<InstancePool>>,
    /// The waiting claims.
    pub queue: &'a PoolQueue,
}

impl<'a> QueueView<'a> {
    /// The view of this queue, or `None` if the queue is empty.
    pub fn of(state: &'a State, key: &'a QueueKey) -> Option<Self> {
        let pool = key.pool().and_then(|pool| state.pools.get(pool)).filter(|_| state.knows(key.namespace()));
        Some(Self { state, key, pool, queue: state.queues.at(key)? })
    }

    /// The pool, if it exists and serves claims at present.
    pub fn serving(&self) -> Option<&'a Arc<InstancePool>> {
        let active = |pool: &&&Arc<InstancePool>| {
            pool.spec.state == bullpen_api::PoolState::Active && !convert::deleting(pool.as_ref())
        };
        self.pool.as_ref().filter(active).copied()
    }

    /// Whether the pool serves this namespace. A pool that does not exist serves none.
    pub fn admission(&self, namespace: &str) -> Admission {
        self.pool.map_or(Admission::Refused, |pool| admitted(self.state, self.key.namespace(), pool, namespace))
    }

    /// The members of the pool that the claims of this namespace use up.
    pub fn in_use(&self, namespace: &str) -> InUse {
        let pool = self.pool.zip(self.key.pool());
        pool.map_or_else(InUse::default, |(pool, key)| self.state.in_use(key, pool, namespace))
    }

    /// The claims that may be served, in order. Those whose binding the API server has just refused are left out: see
    /// [`refused`](Self::refused).
    pub fn order(&self, now: Timestamp) -> Order<'a, impl Iterator<Item = (&'a Turn, &'a ObjectKey)> + use<'a>> {
        let per_namespace = self.pool.and_then(|pool| pool.spec.claims.per_namespace);
        let troubles = &self.state.binding_troubles;
        let refused: Vec<_> = self.refused(now).collect();
        let mut order = Order::new(per_namespace, now);
        for (namespace, queue) in self.queue.namespaces() {
            if self.admission(namespace) == Admission::Served {
                let mut priorities = Cow::Borrowed(queue.priorities());
                for (_, turn, _) in refused.iter().filter(|(key, _, _)| key.namespace == *namespace) {
                    let priorities = priorities.to_mut();
                    if let Some(count) = priorities.get_mut(&turn.priority()) {
                        *count -= 1;
                    }
                    priorities.retain(|_, count| *count > 0);
                }
                let turns = queue.turns().filter(move |(turn, _)| !troubles.is_refused(turn.uid(), now));
                order.add(self.in_use(namespace), priorities, turns);
            }
        }
        order
    }

    /// The claims that are left alone because the API server refused their binding, with its message. They delay nobody.
    pub fn refused(&self, now: Timestamp) -> impl Iterator<Item = (&'a ObjectKey, &'a Turn, &'a str)> + use<'a> {
        let (queues, queue) = (&self.state.queues, self.key);
        let paused = self.state.binding_troubles.paused(now);
        paused.filter_map(move |(claim, refusal, _)| Some((claim, queues.turn(claim, queue)?, refusal?)))
    }

    /// When the first claim of this queue may be paired again that is left alone now.
    pub fn retries_at(&self, now: Timestamp) -> Option<Timestamp> {
        let paused = self.state.binding_troubles.paused(now);
        paused
            .filter(|(claim, _, _)| self.state.queues.turn(claim, self.key).is_some())
            .map(|(_, _, until)| until)
            .min()
    }
}

fn admitted(state: &State, of_pool: &str, pool: &InstancePool, namespace: &str) -> Admission {
    let allowed = &pool.spec.claims.allowed_namespaces;
    admission(allowed, of_pool, namespace, || state.namespaces.get(namespace))
}

/// How many claims wait for members that are still to be bought: claims that the pool serves, that wait when it is
/// empty, and whose namespace is below its quota.
pub fn waiting(state: &State, key: &ObjectKey) -> i32 {
    let (Some(pool), Some(queue)) = (state.pools.get(key), state.queues.at_pool(key)) else { return 0 };
    let rules = &pool.spec.claims;
    let served = queue
        .namespaces()
        .filter(|(namespace, _)| admitted(state, &key.namespace, pool, namespace) == Admission::Served);
    let of_each = served.map(|(namespace, claims)| {
        demand(claims.patient(rules.when_empty), state.in_use(key, pool, namespace), rules.per_namespace)
    });
    of_each.fold(0, i32::saturating_add)
}
