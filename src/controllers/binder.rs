//! The binder: pairs the claims of a pool with its members, and has each pair bound.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tracing::{debug, info};

use super::bind;
use super::clouds::Listing;
use super::context::Context;
use super::quarantine::{self, Shown};
use super::queue::backoff;
use super::views;
use crate::api::{ClaimPhase, MemberState, PoolClaim, PoolMember, WhenEmpty};
use crate::cluster::ObjectKey;
use crate::cluster::world::State;
use crate::plan::queue::{Candidate, Pairing, QueuePool, QueuedClaim, Verdict, pair};
use crate::plan::replenish::earliest;
use crate::plan::{Answer, claimable, queues, record};

/// Claims that are told at a time why they wait, or that they failed: binding others is more urgent.
const MOST_TOLD: usize = 8;
/// How soon those come up that were too many.
const TOLD_NEXT: SignedDuration = SignedDuration::from_millis(100);
/// Between two tries to tell a claim.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a pass decided, with the objects that it decided on.
struct Pass {
    pairs: Vec<(Arc<PoolClaim>, Arc<PoolMember>)>,
    verdicts: Vec<(Arc<PoolClaim>, Verdict)>,
    look_again_at: Option<Timestamp>,
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
    for (claim, verdict) in pass.verdicts {
        let (context, pool) = (context.clone(), key.clone());
        tokio::spawn(async move {
            let hands = Hands::new(&context, &pool, &claim, None);
            tell(&context, &claim, &verdict).await;
            drop(hands);
        });
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
        let claims: HashMap<_, _> =
            queued(state, key).map(|claim| (views::uid(claim.as_ref()), claim.clone())).collect();
        if claims.is_empty() {
            return None;
        }
        let members = candidates(context, state, key, now);
        let Pairing { pairs, verdicts, look_again_at } = pair(
            &key.name,
            queue_pool(state, key).as_ref(),
            claims.values().map(|claim| queued_claim(state, claim, now)).collect(),
            members.values().map(|(_, candidate)| candidate.clone()).collect(),
            now,
        );
        let pairs: Vec<_> = pairs
            .iter()
            .filter_map(|(claim, member)| Some((claims.get(claim)?.clone(), members.get(member)?.0.clone())))
            .collect();
        let (verdicts, told_later_at) = to_tell(state, verdicts, now);
        let look_again_at = earliest(look_again_at, told_later_at);
        let verdicts: Vec<_> =
            verdicts.into_iter().filter_map(|(claim, verdict)| Some((claims.get(&claim)?.clone(), verdict))).collect();
        for (claim, member) in &pairs {
            state.claims_in_hand.insert(views::uid(claim.as_ref()));
            state.members_in_hand.insert(views::uid(member.as_ref()));
            // From here on the reaper counts the member as claimed and may replace it before it is.
            memories.claim_taken(key);
        }
        for (claim, _) in &verdicts {
            state.claims_being_told.insert(views::uid(claim.as_ref()));
        }
        Some(Pass { pairs, verdicts, look_again_at })
    })
}

/// The verdicts to write now, and when to come back for the others: those that could not be written lately, and those
/// that are too many at once.
fn to_tell(
    state: &State,
    verdicts: Vec<(String, Verdict)>,
    now: Timestamp,
) -> (Vec<(String, Verdict)>, Option<Timestamp>) {
    let held =
        |claim: &str| state.claims_to_tell_later.get(claim).map(|(_, until)| *until).filter(|until| *until > now);
    let (later, mut due): (Vec<_>, Vec<_>) = verdicts.into_iter().partition(|(claim, _)| held(claim).is_some());
    let mut again = later.iter().filter_map(|(claim, _)| held(claim)).min();
    let room = MOST_TOLD.saturating_sub(state.claims_being_told.len());
    if due.len() > room {
        due.truncate(room);
        again = earliest(again, now.checked_add(TOLD_NEXT).ok());
    }
    (due, again)
}

/// The claims that queue for a pool: Pending, not being deleted, named by no member and not in hand.
fn queued<'a>(state: &'a State, pool: &ObjectKey) -> impl Iterator<Item = &'a Arc<PoolClaim>> {
    state.claims_on(pool).filter(|claim| {
        let view = views::claim_view(claim);
        let named = state.members_claimed_by(&view.uid).next().is_some();
        queues(&view, named) && !state.claims_in_hand.contains(&view.uid)
    })
}

/// How many claims wait for members that are still to be bought.
pub fn waiting(state: &State, pool: &ObjectKey) -> i32 {
    let waits = |claim: &&Arc<PoolClaim>| claim.spec.when_empty.unwrap_or_default() == WhenEmpty::Wait;
    queued(state, pool).filter(waits).count().try_into().unwrap_or(i32::MAX)
}

fn queued_claim(state: &State, claim: &PoolClaim, now: Timestamp) -> QueuedClaim {
    let key = ObjectKey::of(claim);
    let seen_for = state.claims.seen_for(&key).and_then(|seen| SignedDuration::try_from(seen).ok()).unwrap_or_default();
    let said = claim.status.as_ref().and_then(|status| {
        status.conditions.iter().find(|condition| condition.type_ == "Bound").map(|condition| condition.reason.clone())
    });
    QueuedClaim {
        uid: views::uid(claim),
        created: views::created(claim),
        first_seen: now.checked_sub(seen_for).unwrap_or(now),
        arrival: state.claims.arrival(&key),
        when_empty: claim.spec.when_empty.unwrap_or_default(),
        wait_timeout: claim.spec.wait_timeout_seconds.map(|seconds| SignedDuration::from_secs(i64::from(seconds))),
        said,
        // Its version is about to change.
        being_told: state.claims_being_told.contains(&views::uid(claim)),
    }
}

fn candidates(
    context: &Context,
    state: &State,
    key: &ObjectKey,
    now: Timestamp,
) -> HashMap<String, (Arc<PoolMember>, Candidate)> {
    let Some(pool) = state.pools.get(key) else { return HashMap::new() };
    let pool_uid = views::uid(pool.as_ref());
    let mut seen: HashMap<&str, Option<Arc<Listing>>> = HashMap::new();
    let template = views::current_template(state, pool);
    state
        .members_of(pool)
        .filter(|member| claimable(&views::member_view(member), &pool_uid))
        .filter(|member| !state.members_in_hand.contains(&views::uid(member.as_ref())))
        .filter(|member| !state.machines_gone.contains(&views::uid(member.as_ref())))
        .filter_map(|member| {
            let uid = views::uid(member.as_ref());
            let launch_config = member.spec.placement.launch_config.as_str();
            let listing = seen.entry(launch_config).or_insert_with(|| {
                let config = state.launch_configs.get(&ObjectKey::new(key.namespace.clone(), launch_config));
                quarantine::listing(context, config.map(Arc::as_ref))
            });
            let parked = state
                .parked
                .get(&uid)
                .is_some_and(|version| Some(version) == member.metadata.resource_version.as_ref());
            let shown = quarantine::shown(context, listing.as_deref(), member, now);
            let candidate = Candidate {
                uid: uid.clone(),
                current: !template.is_outdated(&member.spec),
                warming_started_at: views::status(member).warming_started_at.map(|time| time.0),
                parked: parked || shown == Shown::NotYet,
            };
            (shown != Shown::ServedBefore).then(|| (uid, (member.clone(), candidate)))
        })
        .collect()
}

fn queue_pool(state: &State, key: &ObjectKey) -> Option<QueuePool> {
    let pool = state.pools.get(key)?;
    let count = |wanted: MemberState| {
        let set_aside = |member: &PoolMember| member.spec.cordoned || member.spec.hold;
        let those = state
            .members_of(pool)
            .filter(|member| views::state(member) == wanted && !views::deleting(member.as_ref()) && !set_aside(member));
        those.count().try_into().unwrap_or(i32::MAX)
    };
    Some(QueuePool {
        name: key.name.clone(),
        state: pool.spec.state,
        deleting: views::deleting(pool.as_ref()),
        target: pool.spec.target_size,
        ready: count(MemberState::Ready),
        warming: count(MemberState::Warming),
    })
}

/// Writes why a claim waits, or that it failed. A claim that changed meanwhile is judged again.
async fn tell(context: &Context, claim: &Arc<PoolClaim>, verdict: &Verdict) {
    let (now, uid) = (Timestamp::now(), views::uid(claim.as_ref()));
    let written = match verdict {
        Verdict::Waits(refusal) => record::waiting(claim, refusal, now),
        Verdict::Failed(refusal) => record::failed(claim, refusal, now),
    };
    match context.writes.update_status(&written).await {
        Ok(written) => {
            context.world.with(|state| state.claims_to_tell_later.remove(&uid));
            if written.status.as_ref().is_some_and(|status| status.phase == ClaimPhase::Failed) {
                info!(claim = %ObjectKey::of(claim.as_ref()), ?verdict, "the claim failed");
            }
        }
        Err(error) if error.answer == Answer::NotFound => {
            context.world.answered_gone::<PoolClaim>(&ObjectKey::of(claim.as_ref()), &uid);
        }
        Err(error) => {
            debug!(%error, "a verdict was not written");
            context.world.with(|state| {
                let failures = state.claims_to_tell_later.get(&uid).map_or(0, |(failures, _)| *failures);
                let delay = backoff(FIRST_PAUSE, LONGEST_PAUSE, failures);
                let again = now.checked_add(SignedDuration::try_from(delay).unwrap_or_default()).unwrap_or(now);
                state.claims_to_tell_later.insert(uid, (failures + 1, again));
            });
            context.writes.get::<PoolClaim>(&ObjectKey::of(claim.as_ref())).await;
        }
    }
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
        let named: Vec<_> = self.context.world.with(|state| {
            match &self.member {
                Some((_, uid)) => {
                    state.claims_in_hand.remove(&self.claim.1);
                    state.members_in_hand.remove(uid);
                }
                None => {
                    state.claims_being_told.remove(&self.claim.1);
                }
            }
            state.members_claimed_by(&self.claim.1).map(|member| ObjectKey::of(member.as_ref())).collect()
        });
        let wakers = &self.context.wakers;
        if let Some((key, _)) = &self.member {
            wakers.members.wake(key.clone());
        }
        for member in named {
            wakers.members.wake(member);
        }
        wakers.holds.wake(self.claim.0.clone());
        wakers.binder.wake(self.pool.clone());
        wakers.pools.wake(self.pool.clone());
    }
}
