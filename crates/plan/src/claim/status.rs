//! The status of a claim. Each function returns the claim with the status to write.

use bullpen_api::{
    BindingRef, ClaimInstance, ClaimPhase, ConditionType, ConditionValue, ObjectRef, PoolClaim, PoolClaimSpec,
    PoolClaimStatus, PoolMember, Reason, RenewTime, ServedByPool, bounded_message, find_condition, micro_time,
    set_condition,
};
use jiff::Timestamp;

use super::binding::secret_name;
use super::lifetime::{Expiry, Term, TermRules, Wish, begin};
use super::queue::{Notice, UnservedReason};

fn with_status(
    claim: &PoolClaim,
    now: Timestamp,
    conditions: &[ConditionValue],
    change: impl FnOnce(&mut PoolClaimStatus),
) -> PoolClaim {
    let mut claim = claim.clone();
    let generation = claim.metadata.generation;
    let mut status = claim.status.take().unwrap_or_default();
    status.observed_generation = generation.unwrap_or(0);
    change(&mut status);
    for condition in conditions {
        set_condition(&mut status.conditions, condition, generation, now);
    }
    claim.status = Some(status);
    claim
}

/// The status of a claim that is Bound to `member`. `rules` of the member's pool limit its term.
pub fn bound(before: &PoolClaim, member: &PoolMember, rules: &TermRules, now: Timestamp) -> PoolClaim {
    let name = member.metadata.name.as_deref();
    let message = format!("holds member {}", name.unwrap_or_default());
    let conditions = [
        ConditionValue::new(ConditionType::Bound, true, Reason::MemberBound, message.clone()),
        ConditionValue::new(ConditionType::Ready, true, Reason::MemberBound, message),
    ];
    let machine = member.status.as_ref().and_then(|status| status.instance.as_ref());
    let uses = member.status.as_ref().map_or(0, |status| status.uses);
    with_status(before, now, &conditions, |status| {
        status.phase = ClaimPhase::Bound;
        status.member_ref = Some(ObjectRef::to(&member.metadata));
        status.pool_ref = Some(pool_of(member));
        status.instance = machine.map(|machine| ClaimInstance {
            id: machine.id.clone(),
            region: machine.region.clone(),
            zone: machine.zone.clone(),
            type_: machine.type_.clone(),
            addresses: machine.addresses.clone(),
            former_uses: Some(uses).filter(|uses| *uses > 0),
        });
        status.binding = secret_name(before).map(|name| BindingRef { name });
        let bound_at = micro_time(now);
        set_term(status, &before.spec, &begin(Wish::of(&before.spec), rules, bound_at.0));
        status.bound_at = Some(bound_at);
        status.queue = None;
    })
}

/// `term` was granted for what `spec` asks.
fn set_term(status: &mut PoolClaimStatus, spec: &PoolClaimSpec, term: &Term) {
    status.renewed_at = Some(micro_time(term.renewed_at));
    status.expires_at = term.expires_at.map(micro_time);
    status.observed_renew_time = spec.renew_time.as_ref().map(RenewTime::canonical);
    status.observed_ttl_seconds = term.answers.ttl_seconds;
}

/// The status of a Bound claim after its spec changed, with its new term.
pub fn seen(before: &PoolClaim, term: &Term, now: Timestamp) -> PoolClaim {
    let generation = before.metadata.generation;
    with_status(before, now, &[], |status| {
        set_term(status, &before.spec, term);
        // The conditions still apply; `kubectl wait` and others compare their observedGeneration.
        for condition in &mut status.conditions {
            condition.observed_generation = generation;
        }
    })
}

/// Sets the condition `Stale`: the claim has had its machine for longer than `staleAfterSeconds`.
pub fn stale(before: &PoolClaim, message: &str, now: Timestamp) -> PoolClaim {
    with_status(before, now, &[ConditionValue::new(ConditionType::Stale, true, Reason::HeldForLong, message)], |_| {})
}

/// The status of a claim whose term is over.
pub fn expired(before: &PoolClaim, expiry: &Expiry, now: Timestamp) -> PoolClaim {
    ended(before, ClaimPhase::Expired, expiry.reason, &expiry.message, now)
}

/// The status of a claim that waits in a queue.
pub fn waiting(before: &PoolClaim, notice: &Notice, now: Timestamp) -> PoolClaim {
    let (reason, message) = (notice.reason(), notice.message());
    let conditions = [
        ConditionValue::new(ConditionType::Bound, false, reason, message.clone()),
        ConditionValue::new(ConditionType::Ready, false, reason, message),
    ];
    with_status(before, now, &conditions, |status| status.queue = Some(notice.place.clone()))
}

/// The status of a claim that has a machine but not the Secret that it asked for. `None` if the status is that already.
pub fn unfinished(before: &PoolClaim, reason: Reason, message: &str, now: Timestamp) -> Option<PoolClaim> {
    let conditions = [ConditionType::Bound, ConditionType::Ready]
        .map(|type_| ConditionValue::new(type_, false, reason, bounded_message(message)));
    let changed = with_status(before, now, &conditions, |status| status.queue = None);
    (changed != *before).then_some(changed)
}

/// The status of a claim whose Secret could not be made in time. `member` is the one that it would have been bound to.
pub fn without_secret(
    before: &PoolClaim,
    reason: Reason,
    message: &str,
    member: &PoolMember,
    now: Timestamp,
) -> PoolClaim {
    let message = bounded_message(&format!("{message}; it was not so in time: make another claim"));
    failed_at(before, (reason, &message), Some(pool_of(member)), now)
}

/// The status of a claim whose Secret describes a machine that is gone. The claim was never bound; `member` is the one
/// that it would have been bound to.
pub fn vanished(before: &PoolClaim, secret: &str, member: &PoolMember, now: Timestamp) -> PoolClaim {
    let message = format!("the machine that Secret {secret} speaks of is gone: make another claim");
    failed_at(before, (Reason::InstanceGone, &message), Some(pool_of(member)), now)
}

/// The status of a claim that failed without a machine. `queue` is the pool in whose queue it was; it is recorded only
/// for claims with a selector.
pub fn failed(before: &PoolClaim, refusal: &UnservedReason, queue: Option<ServedByPool>, now: Timestamp) -> PoolClaim {
    failed_at(before, (refusal.reason, &refusal.message), queue, now)
}

fn failed_at(
    before: &PoolClaim,
    (reason, message): (Reason, &str),
    pool: Option<ServedByPool>,
    now: Timestamp,
) -> PoolClaim {
    let mut failed = ended(before, ClaimPhase::Failed, reason, message, now);
    if let Some(status) = &mut failed.status {
        status.pool_ref = pool.filter(|_| before.spec.pool_selector.is_some());
    }
    failed
}

fn pool_of(member: &PoolMember) -> ServedByPool {
    let namespace = member.metadata.namespace.clone().unwrap_or_default();
    ServedByPool { namespace, name: member.spec.pool_ref.name.clone() }
}

/// The status of a claim whose machine is gone. If the cloud had announced that, it says so.
pub fn lost(before: &PoolClaim, now: Timestamp) -> PoolClaim {
    let conditions = before.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let gone = "the machine that this claim held is gone";
    match find_condition(conditions, ConditionType::Interrupted, true) {
        Some(notice) => taken_away(before, &format!("{gone}: {}", notice.message), now),
        None => ended(before, ClaimPhase::Lost, Reason::InstanceGone, gone, now),
    }
}

/// The status of a claim whose machine the cloud takes away, as it had announced.
pub fn taken_away(before: &PoolClaim, message: &str, now: Timestamp) -> PoolClaim {
    ended(before, ClaimPhase::Lost, Reason::Interrupted, message, now)
}

/// The status of a claim whose job is done. It has come to a good end, so it is neither Ready nor Stalled any more.
pub fn released(before: &PoolClaim, message: &str, now: Timestamp) -> PoolClaim {
    let condition = ConditionValue::new(ConditionType::Bound, false, Reason::JobDone, bounded_message(message));
    with_status(before, now, &[condition], |status| {
        status.phase = ClaimPhase::Released;
        status.finished_at = Some(micro_time(now));
        status.queue = None;
        status.conditions.retain(|condition| condition.type_ != ConditionType::Ready);
    })
}

fn ended(before: &PoolClaim, phase: ClaimPhase, reason: Reason, message: &str, now: Timestamp) -> PoolClaim {
    let conditions = [
        ConditionValue::new(ConditionType::Bound, false, reason, message),
        ConditionValue::new(ConditionType::Ready, false, reason, message),
        ConditionValue::new(ConditionType::Stalled, true, reason, message),
    ];
    with_status(before, now, &conditions, |status| {
        status.phase = phase;
        status.finished_at = Some(micro_time(now));
        status.queue = None;
    })
}
