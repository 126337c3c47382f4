//! The status of waiting claims: why they wait, or that they failed. Bindings go first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{ClaimPhase, ConditionType, PoolClaim, ServedByPool, WhenEmpty};
use bullpen_plan::claim;
use bullpen_plan::claim::queue::{
    Admission, Notice, Order, Supply, Turn, Unserved, UnservedReason, UnservedStatus, WaitStatus, judge, no_match,
    not_found, not_listed, not_watched, over_quota, trouble,
};
use bullpen_plan::time::earliest;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tracing::{debug, info};

use super::queue_view::QueueView;
use crate::backoff::Bounds;
use crate::clock;
use crate::cluster::Written;
use crate::controllers::common::Common;
use crate::controllers::convert;
use crate::state::cluster_state::State;
use crate::state::{ObjectKey, QueueKey};

/// How many statuses of waiting claims are written at a time.
const MOST_UPDATES: usize = 8;
/// When the statuses beyond that number are written.
const NEXT_UPDATES: SignedDuration = SignedDuration::from_millis(100);
/// While more pairs than this are being bound, no status of a waiting claim is written.
const MOST_BINDINGS: usize = 16;
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
    mut order: Order<impl Iterator<Item = (&'a Turn, &'a ObjectKey)>>,
    parked: usize,
    now: Timestamp,
) -> WaitingPlan {
    let many = here.queue.namespaces().map(|(_, queue)| queue.count()).sum::<usize>() > SHORT_QUEUE;
    let next = here.state.judged.get(here.key).and_then(|last| last.checked_add(JUDGED_NEXT).ok());
    if let Some(next) = next.filter(|next| many && *next > now) {
        return WaitingPlan { look_again_at: Some(next), ..WaitingPlan::default() };
    }
    let mut waiting = WaitingPlan { judged: true, ..WaitingPlan::default() };
    if let Some(pool) = here.pool {
        let supply = supply(here, pool);
        let served: Vec<_> = order.by_ref().skip(parked).collect();
        let (all, refusal) = (served.len(), supply.inactive());
        for (index, (_, key)) in served.into_iter().enumerate() {
            match &refusal {
                Some(refusal) => waiting.judge(here, key, refusal, &Notice::without_place(refusal.clone()), now),
                None => waiting.judge(here, key, &supply.empty(), &supply.notice(index + 1, all, now), now),
            }
        }
        let per_namespace = pool.spec.claims.per_namespace.unwrap_or(i32::MAX);
        for (_, key) in order.over_quota() {
            let held = here.queue.held(&key.namespace);
            let refusal = refusal.clone();
            let refusal = refusal.unwrap_or_else(|| over_quota(&pool.name_any(), &key.namespace, per_namespace, held));
            waiting.judge(here, key, &refusal, &Notice::without_place(refusal.clone()), now);
        }
    }
    for (namespace, queue) in here.queue.namespaces() {
        if here.admission(namespace) == Admission::Refused {
            let refusal = not_served(here, namespace);
            for (_, key) in queue.turns() {
                waiting.judge(here, key, &refusal, &Notice::without_place(refusal.clone()), now);
            }
        }
    }
    waiting
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
        notice: &Notice,
        now: Timestamp,
    ) {
        let Some(claim) = here.state.claims.get(key) else { return };
        let mut unserved = unserved(here, key, claim, now);
        if here.state.claims_being_updated.contains(&unserved.uid) {
            return;
        }
        if claim.spec.pool_selector.is_none() || here.pool.is_none() {
            return self.add_update(here, claim, &unserved, (refusal, notice), None, now);
        }
        // A claim that several pools may serve is judged by its home pool only.
        let Some(home) = here.state.queues.home(key).and_then(QueueKey::pool) else { return };
        let by_default = here.state.pools.get(home).map(|pool| pool.spec.claims.when_empty).unwrap_or_default();
        unserved.when_empty = claim.spec.when_empty.unwrap_or(by_default);
        let fails = unserved.when_empty == WhenEmpty::Fail;
        if fails && may_be_served_elsewhere(here, key) {
            return;
        }
        if Some(home) != here.key.pool() {
            if fails {
                self.elsewhere.insert(home.clone().into());
            }
            return;
        }
        let pools = here.state.queues.places(key).count();
        let statuses = (&refusal.clone().among(pools), &notice.clone().among(pools, &home.name));
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
        let update = judgement.verdict.map(|verdict| StatusUpdate { claim: claim.clone(), verdict, repeated, queue });
        self.updates.extend(update);
    }
}

/// Whether another pool has a member for the claim, or may find one in its next pass.
fn may_be_served_elsewhere(here: &QueueView<'_>, claim: &ObjectKey) -> bool {
    let others = here.state.queues.places(claim).map(|(queue, _)| queue).filter(|queue| *queue != here.key);
    others.filter_map(|key| QueueView::of(here.state, key)).any(|there| {
        let quota = there.pool.and_then(|pool| pool.spec.claims.per_namespace);
        let room = quota.is_none_or(|most| there.queue.held(&claim.namespace) < most);
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
        target: pool.spec.target_size,
        ready: count(here.queue.ready()),
        warming: count(here.queue.warming()),
        pending: count(here.queue.pending()),
        next_ready_at: here.queue.next_ready_at(),
        trouble: trouble(pool),
    }
}

/// Picks the statuses to write now and reserves them. Also returns when to write the others: those in backoff, and
/// those beyond `MOST_UPDATES`.
pub fn reserve_updates(
    state: &mut State,
    key: &QueueKey,
    waiting: WaitingPlan,
    now: Timestamp,
) -> (Vec<StatusUpdate>, Option<Timestamp>) {
    state.wake_queues(waiting.elsewhere);
    let mut again = waiting.look_again_at;
    if waiting.judged {
        state.judged.insert(key.clone(), now);
    }
    let mut room = MOST_UPDATES.saturating_sub(state.claims_being_updated.len());
    if state.claims_reserved.len() > MOST_BINDINGS {
        room = 0;
    }
    let mut repeated_room = state.waiting_updates.room(now);
    let mut taken = Vec::new();
    for update in waiting.updates {
        let uid = convert::uid(update.claim.as_ref());
        let tried = state.claim_update_retries.get(&uid).and_then(|tries| tries.pending(now));
        if tried.is_some() {
            again = earliest(again, tried);
            continue;
        }
        // A verdict that ends a claim is written whatever its status was.
        let notice = match &update.verdict {
            UnservedStatus::Waits(notice) => Some(notice),
            UnservedStatus::Failed(_) => None,
        };
        let repeated = update.repeated && notice.is_some();
        if room == 0 || (repeated && repeated_room == 0) {
            again = earliest(again, now.checked_add(NEXT_UPDATES).ok());
            continue;
        }
        room -= 1;
        if repeated {
            repeated_room -= 1;
        }
        state.waiting_updates.record(&uid, notice, repeated, now);
        state.claims_being_updated.insert(uid);
        taken.push(update);
    }
    (taken, again)
}

/// Writes why a claim waits, or that it failed. If the claim changed meanwhile, it is judged again.
pub async fn update_status(common: &Common, update: &StatusUpdate) {
    let (now, claim, verdict) = (clock::now(), &update.claim, &update.verdict);
    let uid = convert::uid(claim.as_ref());
    let written = match verdict {
        UnservedStatus::Waits(notice) => claim::status::waiting(claim, notice, now),
        UnservedStatus::Failed(refusal) => {
            let queue = update.queue.clone();
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
