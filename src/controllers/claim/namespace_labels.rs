//! Reads the labels of namespaces for pools that select namespaces by label: in the background, and again as long as a
//! claim waits.

use bullpen_api::NamespacesFrom;
use jiff::{SignedDuration, Timestamp};
use tracing::{debug, warn};

use crate::cluster::reads::namespaces::labels;
use crate::controllers::common::Common;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;
use crate::state::namespace_labels::{READ_AGAIN_AFTER, Read};
use crate::state::pool_queue::PoolQueue;

/// The namespaces whose labels must be read for the claims that wait at this pool, and when to check again whether
/// labels are fresh.
pub fn wanted(state: &mut State, key: Option<&ObjectKey>, now: Timestamp) -> (Vec<String>, Option<Timestamp>) {
    let Some(key) = key else { return (Vec::new(), None) };
    let from = state.pools.get(key).map(|pool| pool.spec.claims.allowed_namespaces.from);
    if from != Some(NamespacesFrom::Selector) {
        return (Vec::new(), None);
    }
    let others = state.queues.at_pool(key).into_iter().flat_map(PoolQueue::namespaces);
    let others: Vec<_> =
        others.map(|(namespace, _)| namespace).filter(|name| **name != key.namespace).cloned().collect();
    if others.is_empty() {
        return (Vec::new(), None);
    }
    let wanted = others.into_iter().filter(|name| state.namespaces.want(name, key)).collect();
    let again = SignedDuration::try_from(READ_AGAIN_AFTER).unwrap_or_default();
    (wanted, now.checked_add(again).ok())
}

/// Reads the labels of a namespace, and wakes the pools that waited for them.
pub async fn read(common: Common, namespace: String) {
    let found = labels(&common.writes.client(), &namespace).await;
    debug!(%namespace, ?found, "labels were read");
    let readable = matches!(found, Read::Labels(_));
    let (pools, news) = common.cluster.with(|state| state.namespaces.put(&namespace, found));
    if news && !readable {
        warn!(%namespace, "its labels cannot be read, so pools that choose namespaces by them do not serve it");
    }
    for pool in pools {
        common.wakers.pairing.wake(pool.clone());
        common.wakers.pools.wake(pool);
    }
}
