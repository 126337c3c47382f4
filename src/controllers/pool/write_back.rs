//! The writes of a pass over a pool. They run in the background, so that they do not delay the next pass. A later pass
//! repeats failed writes, with a backoff.

use std::time::{Duration, Instant};

use bullpen_api::{EventAction, InstancePool, PoolMember, Reason};
use bullpen_plan::claim::Answer;
use bullpen_plan::pool::provisioning::members_refused;
use futures::{StreamExt, stream};
use kube::ResourceExt;
use tracing::{debug, info, warn};

use super::memory::{MemberWrites, PoolMemory};
use crate::clock;
use crate::cluster::{WriteError, Written};
use crate::controllers::convert;
use crate::controllers::pool::PoolController;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;
use crate::telemetry::labels::Controller;

/// How many writes of one pass run at the same time.
pub const WRITES_AT_ONCE: usize = 16;
/// After this many failures in a row to write members, an answer that is no definite refusal is reported as one.
const FAILURES_TOLD: u32 = 3;

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
        self.controller.common.cluster.with(|state| state.planned.settle(&self.pool, name));
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.controller.common.cluster.with(|state| {
            for member in &self.members {
                state.planned.settle(&self.pool, &member.name_any());
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
    let (mut worst, mut accepted, mut refused) = (Ok(()), 0_usize, None);
    while let Some((name, answer)) = writes.next().await {
        if let Ok(written) = &answer {
            controller.machines.written(&convert::uid(written.as_ref()));
        }
        reserved.settled(&name);
        match answer {
            Ok(written) => {
                accepted += 1;
                controller.common.wakers.members.wake(ObjectKey::of(written.as_ref()));
            }
            Err(error) => {
                refused = refused.or_else(|| message_of(&error, &name));
                worst = worst.and(Err(error));
            }
        }
    }
    let now = clock::now();
    if accepted > 0 {
        info!(pool = %key, members = accepted, "replenished");
    }
    let mut to_announce = None;
    let trouble = update_memory(controller, key, &uid, |memory| {
        if accepted > 0 {
            memory.replenished_at = Some(now);
        }
        match worst {
            Ok(()) => {
                memory.creates.reset();
                to_announce = Some(std::mem::replace(&mut memory.member_writes, MemberWrites::Accepted));
                None
            }
            Err(error) => {
                memory.namespace_terminating |= error.namespace_terminating;
                let definite = error.answer == Answer::Refused && !error.namespace_terminating;
                let failure: Failure = error.into();
                let delay = failure.note(&mut memory.creates, now);
                // A webhook that does not answer looks like an API server that is about to: it has a few tries.
                let told = refused.filter(|_| definite || memory.creates.failures() >= FAILURES_TOLD);
                let refused = told.map(MemberWrites::Refused);
                to_announce = refused.map(|refused| std::mem::replace(&mut memory.member_writes, refused));
                Some(((memory.creates.failures(), delay), failure))
            }
        }
    })
    .flatten();
    if let Some(before) = to_announce {
        announce(controller, key, &uid, &before);
    }
    let written = trouble.is_none();
    if let Some((again, failure)) = trouble {
        log_failure(controller, key, &failure, again, began, "members cannot be written");
    }
    controller.common.wakers.pools.wake(key.clone());
    written
}

/// The API server's message about a member that it did not accept. The member's name is cut to what all names of its
/// pool begin with, because the next try has another one.
fn message_of(error: &WriteError, member: &str) -> Option<String> {
    if error.namespace_terminating || matches!(error.answer, Answer::Conflict | Answer::NotFound) {
        return None;
    }
    let begin = member.rsplit_once('-').map_or(member, |(begin, _)| begin);
    let message = error.message()?.replace(member, &format!("{begin}-*"));
    // Conditions have one line for each problem.
    Some(message.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Sends an Event if the API server began to refuse members of the pool, or accepts them again. `before` is what was
/// known before.
fn announce(controller: &PoolController, key: &ObjectKey, uid: &str, before: &MemberWrites) {
    let Some(pool) = controller.common.cluster.with(|state| state.pools.get(key).cloned()) else { return };
    let Some(now) = update_memory(controller, key, uid, |memory| memory.member_writes.clone()) else { return };
    let events = &controller.common.events;
    match (before.refusal(&pool), now.refusal(&pool)) {
        (None, Some(message)) => {
            events.warn(pool.as_ref(), Reason::MembersRefused, EventAction::Create, members_refused(message));
        }
        (Some(_), None) => {
            let note = "the API server accepts new members again".to_owned();
            events.normal(pool.as_ref(), Reason::MembersAccepted, EventAction::Create, note);
        }
        _ => {}
    }
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
