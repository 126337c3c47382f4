//! The writes of a pass over a pool. They run in the background, so that they do not delay the next pass. A later pass
//! repeats failed writes, with a backoff.

use std::time::{Duration, Instant};

use bullpen_api::{InstancePool, PoolMember};
use futures::{StreamExt, stream};
use kube::ResourceExt;
use tracing::{debug, info, warn};

use super::memory::PoolMemory;
use crate::clock;
use crate::cluster::Written;
use crate::controllers::convert;
use crate::controllers::pool::PoolController;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;
use crate::state::cluster_state::PlannedMember;
use crate::telemetry::labels::Controller;

/// How many writes of one pass run at the same time.
pub const WRITES_AT_ONCE: usize = 16;

/// The members that a pass is about to write. Dropping it gives up what is left of them: a member that is counted but
/// never written would take a place for ever.
pub struct Reserved {
    controller: PoolController,
    pool: ObjectKey,
    members: Vec<PoolMember>,
}

impl Reserved {
    /// Holds the members that were just planned.
    pub fn new(controller: &PoolController, pool: &ObjectKey, members: Vec<PoolMember>) -> Self {
        Self { controller: controller.clone(), pool: pool.clone(), members }
    }

    fn settled(&self, name: &str) {
        self.controller.common.cluster.with(|state| {
            if let Some(planned) = state.planned.get_mut(&self.pool) {
                planned.retain(|planned| planned.name != name);
            }
        });
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let left = |planned: &PlannedMember| self.members.iter().all(|member| member.name_any() != planned.name);
        self.controller.common.cluster.with(|state| {
            if let Some(planned) = state.planned.get_mut(&self.pool) {
                planned.retain(left);
            }
        });
    }
}

/// Writes the members that a pass over the pool with this uid has planned. Returns false if a write failed; the pool
/// then writes no members until the backoff is over.
pub async fn write_members(reserved: Reserved, uid: String) -> bool {
    let (controller, key, began) = (&reserved.controller, &reserved.pool, Instant::now());
    if reserved.members.is_empty() {
        return true;
    }
    let mut writes = stream::iter(reserved.members.clone())
        .map(|member| async move { (member.name_any(), controller.common.writes.create_member(&member).await) })
        .buffer_unordered(WRITES_AT_ONCE);
    let mut worst = Ok(());
    while let Some((name, answer)) = writes.next().await {
        if let Ok(written) = &answer {
            controller.machines.written(&convert::uid(written.as_ref()));
        }
        reserved.settled(&name);
        match answer {
            Ok(written) => controller.common.wakers.members.wake(ObjectKey::of(written.as_ref())),
            Err(error) => worst = worst.and(Err(error)),
        }
    }
    let now = clock::now();
    info!(pool = %key, members = reserved.members.len(), "replenished");
    let trouble = update_memory(controller, key, &uid, |memory| {
        memory.replenished_at = Some(now);
        match worst {
            Ok(()) => {
                memory.creates.reset();
                None
            }
            Err(error) => {
                memory.namespace_terminating |= error.namespace_terminating;
                let failure: Failure = error.into();
                let delay = failure.note(&mut memory.creates, now);
                Some(((memory.creates.failures(), delay), failure))
            }
        }
    })
    .flatten();
    let written = trouble.is_none();
    if let Some((again, failure)) = trouble {
        log_failure(controller, key, &failure, again, began, "members cannot be written");
    }
    controller.common.wakers.pools.wake(key.clone());
    written
}

/// Marks the end of a status write when it is dropped. There is one at a time, because two would conflict.
struct StatusWrite<'a> {
    controller: &'a PoolController,
    key: &'a ObjectKey,
    uid: &'a str,
}

impl Drop for StatusWrite<'_> {
    fn drop(&mut self) {
        update_memory(self.controller, self.key, self.uid, |memory| memory.status_in_flight = false);
        self.controller.common.wakers.pools.wake(self.key.clone());
    }
}

/// Writes the status of a pool, whose memory shows a write under way. Returns false if the write failed; another pass
/// follows.
pub async fn write_status(controller: &PoolController, pool: &InstancePool) -> bool {
    let (key, uid, began) = (ObjectKey::of(pool), convert::uid(pool), Instant::now());
    let _saying = StatusWrite { controller, key: &key, uid: &uid };
    match controller.common.writes.update_status_when_idle(pool).await {
        Ok(Written::Written(_)) => {
            update_memory(controller, &key, &uid, |memory| {
                memory.status_written = Some(Instant::now());
                memory.statuses.reset();
            });
            true
        }
        // The spec changed meanwhile, or the pool is gone: another pass follows.
        Ok(Written::Changed(_) | Written::Gone) => false,
        Err(error) => {
            let failure: Failure = error.into();
            let again = update_memory(controller, &key, &uid, |memory| {
                let delay = failure.note(&mut memory.statuses, clock::now());
                (memory.statuses.failures(), delay)
            });
            if let Some(again) = again {
                log_failure(controller, &key, &failure, again, began, "the status cannot be written");
            }
            false
        }
    }
}

/// Changes the memory of this incarnation of the pool, unless the pool is gone.
fn update_memory<T>(
    controller: &PoolController,
    key: &ObjectKey,
    uid: &str,
    note: impl FnOnce(&mut PoolMemory) -> T,
) -> Option<T> {
    controller.memories.with(|memories| memories.known(key, uid).map(note))
}

fn log_failure(
    controller: &PoolController,
    key: &ObjectKey,
    failure: &Failure,
    (tries, delay): (u32, Duration),
    began: Instant,
    what: &str,
) {
    let again_in_ms = delay.as_millis();
    if matches!(failure, Failure::NotLeading(_)) {
        debug!(pool = %key, "left alone: this process does not lead at the moment");
    } else {
        controller.common.metrics.reconcile_failed(Controller::Pool, began.elapsed());
        warn!(pool = %key, tries, again_in_ms, reason = %failure, "{what}");
    }
}
