//! The status of waiting claims: why they wait, or that they failed. Claims that failed go first, then bindings, then
//! claims that wait.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{ClaimPhase, ConditionType, PoolClaim, ServedByPool, WhenEmpty};
use bullpen_plan::claim;
use bullpen_plan::claim::queue::{
    Admission, Notice, Order, Supply, Turn, Unserved, UnservedReason, UnservedStatus, WaitStatus, judge, no_match,
    not_accepted, not_found, not_listed, not_watched, over_quota, trouble,
};
use bullpen_plan::time::earliest;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tracing::{debug, info};

use super::queue_view::QueueView;
use super::requests::{NoticeTurn, Requests, Sharer};
use crate::backoff::Bounds;
use crate::clock;
use crate::cluster::Written;
use crate::controllers::claim::ClaimController;
use crate::controllers::convert;
use crate::state::cluster_state::State;
use crate::state::{ObjectKey, QueueKey};

/// When the statuses are written for which there was no room.
const NEXT_UPDATES: SignedDuration = SignedDuration::from_millis(100);
/// If more claims than this wait, they are not judged at every change, but after `JUDGED_NEXT`.
const SHORT_QUEUE: usize = 64;
/// The delay between two judgements of a long queue.
const JUDGED_NEXT: SignedDuration = SignedDuration::from_millis(250);
/// Backoff of a claim's failed status writes.
const RETRIES: Bounds = Bounds { first: Duration::from_millis(200), longest: Duration::from_secs(30) };

/// A status to be written to a claim.
pub struct StatusUpdate {
    /// The claim.
    pub claim: Arc<PoolClaim>,
    verdict: UnservedStatus,
    repeated: bool,
    /// Whom it is written for.
    sharer: Sharer,
    /// The place for the write, if the claim waits. One that failed gets its place later.
    turn: Option<NoticeTurn>,
    /// The pool whose queue the claim is in, if it selects its pool by labels.
    queue: Option<ObjectKey>,
}

/// The statuses of the claims that get no member.
#[derive(Default)]
pub struct WaitingPlan {
    updates: Vec<StatusUpdate>,
    look_again_at: Option<Timestamp>,
    judged: bool,
    /// Queues with claims that no pool can serve now, and that must judge them.
    elsewhere: BTreeSet<QueueKey>,
}

/// Judges the claims that get no member in this pass. The first `parked` claims in `order` are skipped: there is a
/// member for each of them as soon as the store shows its new version.
pub fn plan<'a>(
    here: &QueueView<'a>,
    mut order: Order<'a, impl Iterator<Item = (&'a Turn, &'a ObjectKey)>>,
    parked: usize,
    now: Timestamp,
) -> WaitingPlan {
    if let Some(next) = rests_until(here, now) {
        return WaitingPlan { look_again_at: Some(next), ..WaitingPlan::default() };
    }
    let mut waiting = WaitingPlan { judged: true, ..WaitingPlan::default() };
    if let Some(pool) = here.pool {
        let supply = supply(here, pool);
        let served: Vec<_> = order.by_ref().skip(parked).collect();
        let (all, refusal, empty) = (served.len(), supply.inactive(), supply.empty());
        for (index, (_, key)) in served.into_iter().enumerate() {
            match &refusal {
                Some(refusal) => waiting.judge(here, key, refusal, || Notice::without_place(refusal.clone()), now),
                None => waiting.judge(here, key, &empty, || supply.notice(index + 1, all, now), now),
            }
        }
        let per_namespace = pool.spec.claims.per_namespace.unwrap_or(i32::MAX);
        for (_, key) in order.over_quota() {
            let in_use = here.in_use(&key.namespace);
            let refusal = refusal.clone();
            let refusal =
                refusal.unwrap_or_else(|| over_quota(&pool.name_any(), &key.namespace, per_namespace, in_use));
            waiting.judge(here, key, &refusal, || Notice::without_place(refusal.clone()), now);
        }
        let inactive = supply.inactive();
        let refused = here.refused(now).filter(|(key, _, _)| here.admission(&key.namespace) == Admission::Served);
        for (key, _, message) in refused {
            let refusal = inactive.clone().unwrap_or_else(|| not_accepted(message));
            waiting.judge(here, key, &refusal, || Notice::without_place(refusal.clone()), now);
        }
    }
    for (namespace, queue) in here.queue.namespaces() {
        if here.admission(namespace) == Admission::Refused {
            let refusal = not_served(here, namespace);
            for (_, key) in queue.turns() {
                waiting.judge(here, key, &refusal, || Notice::without_place(refusal.clone()), now);
            }
        }
    }
    waiting
}

/// When the claims of a long queue are judged next, if they were judged a moment ago.
pub fn rests_until(here: &QueueView<'_>, now: Timestamp) -> Option<Timestamp> {
    if here.queue.count() <= SHORT_QUEUE {
        return None;
    }
    let next = here.state.judged.get(here.key)?.checked_add(JUDGED_NEXT).ok()?;
    (next > now).then_some(next)
}

/// Why nobody in this queue serves the claims of a namespace.
fn not_served(here: &QueueView<'_>, namespace: &str) -> UnservedReason {
    let QueueKey::Pool(pool) = here.key else { return no_match() };
    let own = pool.namespace.as_str();
    if !here.state.watched().contains(own) {
        not_watched(own)
    } else if !here.state.knows(own) {
        not_listed(own)
    } else {
        not_found(&pool.name, (namespace != own).then_some(own))
    }
}

impl WaitingPlan {
    fn judge(
        &mut self,
        here: &QueueView<'_>,
        key: &ObjectKey,
        refusal: &UnservedReason,
        notice: impl FnOnce() -> Notice,
        now: Timestamp,
    ) {
        let Some(claim) = here.state.claims.read(key) else { return };
        if claim.spec.pool_selector.is_some() && here.pool.is_some() {
            return self.judge_by_home(here, (key, &claim), refusal, notice, now);
        }
        if !is_being_updated(here, &claim) {
            let unserved = unserved(here, key, &claim, now);
            self.add_update(here, &claim, &unserved, (refusal, &notice()), None, now);
        }
    }

    /// Judges a claim that several pools may serve, which its home pool does alone. So a pool costs nothing but a look
    /// for each claim that is only passing through its queue.
    fn judge_by_home(
        &mut self,
        here: &QueueView<'_>,
        (key, claim): (&ObjectKey, &Arc<PoolClaim>),
        refusal: &UnservedReason,
        notice: impl FnOnce() -> Notice,
        now: Timestamp,
    ) {
        let Some(home) = here.state.queues.home(key).and_then(QueueKey::pool) else { return };
        let at_home = Some(home) == here.key.pool();
        let home_pool = || if at_home { here.pool } else { here.state.pools.get(home) };
        let by_default = || home_pool().map(|pool| pool.spec.claims.when_empty).unwrap_or_default();
        let when_empty = claim.spec.when_empty.unwrap_or_else(by_default);
        let fails = when_empty == WhenEmpty::Fail;
        if !(at_home || fails) || is_being_updated(here, claim) {
            return;
        }
        if fails && may_be_served_elsewhere(here, key) {
            return;
        }
        if !at_home {
            self.elsewhere.insert(home.clone().into());
            return;
        }
        let unserved = Unserved { when_empty, ..unserved(here, key, claim, now) };
        let pools = here.state.queues.places(key).count();
        let statuses = (&refusal.clone().among(pools), &notice().among(pools, &home.name));
        self.add_update(here, claim, &unserved, statuses, Some(home.clone()), now);
    }

    fn add_update(
        &mut self,
        here: &QueueView<'_>,
        claim: &Arc<PoolClaim>,
        unserved: &Unserved,
        (refusal, notice): (&UnservedReason, &Notice),
        queue: Option<ObjectKey>,
        now: Timestamp,
    ) {
        let judgement = judge(unserved, refusal, notice, &here.state.waiting_updates, now);
        self.look_again_at = earliest(self.look_again_at, judgement.look_again_at);
        let repeated = unserved.reported.is_some();
        if let Some(verdict) = judgement.verdict {
            let sharer = Sharer::new(here.key, &claim.namespace().unwrap_or_default());
            self.updates.push(StatusUpdate { claim: claim.clone(), verdict, repeated, sharer, turn: None, queue });
        }
    }
}

/// Whether a status of the claim is just being written.
fn is_being_updated(here: &QueueView<'_>, claim: &PoolClaim) -> bool {
    let updates = &here.state.claims_being_updated;
    claim.metadata.uid.as_ref().is_some_and(|uid| updates.contains(uid))
}

/// Whether another pool has a member for the claim, or may find one in its next pass.
fn may_be_served_elsewhere(here: &QueueView<'_>, claim: &ObjectKey) -> bool {
    let others = here.state.queues.places(claim).map(|(queue, _)| queue).filter(|queue| *queue != here.key);
    others.filter_map(|key| QueueView::of(here.state, key)).any(|there| {
        let quota = there.pool.and_then(|pool| pool.spec.claims.per_namespace);
        let room = there.in_use(&claim.namespace).is_below(quota);
        there.serving().is_some() && room && there.queue.ready() > 0
    })
}

fn unserved(here: &QueueView<'_>, key: &ObjectKey, claim: &PoolClaim, now: Timestamp) -> Unserved {
    let state = here.state;
    let seen_for = state.claims.seen_for(key).and_then(|seen| SignedDuration::try_from(seen).ok()).unwrap_or_default();
    // A pool that does not serve the claim is treated as absent: its defaults for claims do not apply.
    let served = here.pool.filter(|_| here.admission(&key.namespace) == Admission::Served);
    let by_default = served.map_or(WhenEmpty::Wait, |pool| pool.spec.claims.when_empty);
    // The pool may exist but is not listed yet, so the claim must not fail at once.
    let unlisted = state.watched().contains(here.key.namespace()) && !state.knows(here.key.namespace());
    let when_empty = if unlisted { WhenEmpty::Wait } else { claim.spec.when_empty.unwrap_or(by_default) };
    Unserved {
        uid: convert::uid(claim),
        created: convert::created(claim),
        first_seen: now.checked_sub(seen_for).unwrap_or(now),
        when_empty,
        wait_timeout: claim.spec.wait_timeout_seconds.map(|seconds| SignedDuration::from_secs(i64::from(seconds))),
        reported: reported(claim),
    }
}

fn reported(claim: &PoolClaim) -> Option<WaitStatus> {
    let status = claim.status.as_ref()?;
    let bound = status.conditions.iter().find(|condition| condition.type_ == ConditionType::Bound)?;
    let place = status.queue.clone().unwrap_or_default();
    Some(WaitStatus {
        reason: bound.reason.clone(),
        message: bound.message.clone(),
        position: place.position,
        queue_reason: place.reason,
        pool: place.pool,
    })
}

fn supply(here: &QueueView<'_>, pool: &bullpen_api::InstancePool) -> Supply {
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    Supply {
        pool: pool.name_any(),
        state: pool.spec.state,
        deleting: convert::deleting(pool),
        target: pool.wanted_size(),
        ready: count(here.queue.ready()),
        warming: count(here.queue.warming()),
        pending: count(here.queue.pending()),
        claimed: pool.status.as_ref().and_then(|status| status.members).map_or(0, |members| members.claimed),
        next_ready_at: here.queue.next_ready_at(),
        trouble: trouble(pool),
    }
}

/// Picks the statuses to write now and reserves them: first those of claims that failed, then those of claims that wait,
/// of which few are written while the API server is `crowded` with bindings. Also returns when to write the others:
/// those in backoff, and those for which there is no room. Room is counted for each queue and namespace, so that none
/// takes that of another.
pub fn reserve_updates(
    state: &mut State,
    key: &QueueKey,
    waiting: WaitingPlan,
    (requests, crowded): (&Requests, bool),
    now: Timestamp,
) -> (Vec<StatusUpdate>, Option<Timestamp>) {
    state.wake_queues(waiting.elsewhere);
    let mut again = waiting.look_again_at;
    if waiting.judged {
        state.judged.insert(key.clone(), now);
    }
    let queue = key.to_string();
    let mut failures_room: HashMap<Sharer, usize> = HashMap::new();
    let mut repeated_room = state.waiting_updates.room(&queue, now);
    let mut taken = Vec::new();
    let (failed, notices): (Vec<_>, Vec<_>) = waiting.updates.into_iter().partition(StatusUpdate::is_failure);
    for mut update in failed.into_iter().chain(notices) {
        let uid = convert::uid(update.claim.as_ref());
        let tried = state.claim_update_retries.get(&uid).and_then(|tries| tries.pending(now));
        if tried.is_some() {
            again = earliest(again, tried);
            continue;
        }
        let has_room = match &update.verdict {
            UnservedStatus::Failed(_) => {
                let room = failures_room
                    .entry(update.sharer.clone())
                    .or_insert_with(|| requests.room_for_failures(&update.sharer));
                let left = room.checked_sub(1);
                *room = left.unwrap_or(0);
                left.is_some()
            }
            UnservedStatus::Waits(_) if update.repeated && repeated_room == 0 => false,
            UnservedStatus::Waits(_) => {
                update.turn = requests.notice_turn(update.sharer.clone(), crowded);
                update.turn.is_some()
            }
        };
        if !has_room {
            again = earliest(again, now.checked_add(NEXT_UPDATES).ok());
            continue;
        }
        if let UnservedStatus::Waits(notice) = &update.verdict {
            state.waiting_updates.record(&uid, Some(notice), now);
            if update.repeated {
                repeated_room -= 1;
                state.waiting_updates.record_repeated(&queue, now);
            }
        } else {
            state.waiting_updates.record(&uid, None, now);
        }
        state.claims_being_updated.insert(uid);
        taken.push(update);
    }
    (taken, again)
}

impl StatusUpdate {
    /// Whether the claim failed.
    pub const fn is_failure(&self) -> bool {
        matches!(self.verdict, UnservedStatus::Failed(_))
    }

    #[cfg(test)]
    pub fn message(&self) -> String {
        match &self.verdict {
            UnservedStatus::Waits(notice) => notice.message(),
            UnservedStatus::Failed(refusal) => refusal.message.clone(),
        }
    }
}

/// Writes why a claim waits, or that it failed. If the claim changed meanwhile, it is judged again.
pub async fn update_status(controller: &ClaimController, update: StatusUpdate) {
    let _turn = match update.turn {
        Some(turn) => turn,
        None => match controller.failure_turn(update.sharer).await {
            Some(turn) => turn,
            None => return,
        },
    };
    let common = &controller.common;
    let (now, claim, verdict) = (clock::now(), &update.claim, &update.verdict);
    let uid = convert::uid(claim.as_ref());
    let written = match verdict {
        UnservedStatus::Waits(notice) => claim::status::waiting(claim, notice, now),
        UnservedStatus::Failed(refusal) => {
            let queue = update.queue;
            let queue = queue.map(|pool| ServedByPool { namespace: pool.namespace.clone(), name: pool.name.clone() });
            claim::status::failed(claim, refusal, queue, now)
        }
    };
    match common.writes.update_status(&written).await {
        Ok(Written::Written(written)) => {
            common.cluster.with(|state| state.claim_update_retries.remove(&uid));
            if written.status.as_ref().is_some_and(|status| status.phase == ClaimPhase::Failed) {
                info!(claim = %ObjectKey::of(claim.as_ref()), ?verdict, "the claim failed");
            }
        }
        Ok(Written::Changed(_) | Written::Gone) => {}
        Err(error) => {
            debug!(%error, "the status of a waiting claim was not written");
            common.cluster.with(|state| {
                state.claim_update_retries.entry(uid).or_default().failed(RETRIES, now);
            });
        }
    }
}
