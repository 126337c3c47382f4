//! What is written down of members and claims: the statuses, field by field.

use jiff::Timestamp;

use super::binding::secret_name;
use super::lifecycle::Stuck;
use super::queue::{Notice, Refusal};
use super::term::{Expiry, Term, TermRules, Wish, begin};
use crate::api::{
    BindingRef, ClaimInstance, ClaimPhase, ConditionValue, InstanceAddress, MemberInstance, MemberState, ObjectRef,
    PoolClaim, PoolClaimStatus, PoolMember, PoolMemberStatus, RecordedError, ServedByPool, bounded_message,
    condition_is_true, micro_time, set_condition,
};

/// A machine, as far as a member records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedMachine {
    /// The provider's id.
    pub id: String,
    /// Region.
    pub region: String,
    /// Zone.
    pub zone: String,
    /// Instance type.
    pub instance_type: String,
    /// Addresses.
    pub addresses: Vec<InstanceAddress>,
    /// When it was launched.
    pub launch_time: Timestamp,
    /// When it had booted.
    pub boot_time: Option<Timestamp>,
}

/// A member that is to be written, with its status.
fn member(
    member: &PoolMember,
    now: Timestamp,
    condition: &ConditionValue,
    change: impl FnOnce(&mut PoolMemberStatus),
) -> PoolMember {
    let mut member = member.clone();
    let generation = member.metadata.generation;
    let mut status = member.status.take().unwrap_or_default();
    status.observed_generation = generation.unwrap_or(0);
    change(&mut status);
    set_condition(&mut status.conditions, condition, generation, now);
    member.status = Some(status);
    member
}

/// The provider accepted the create.
pub fn warming(before: &PoolMember, machine: &RecordedMachine, now: Timestamp) -> PoolMember {
    let condition = ConditionValue::new("Ready", false, "Warming", "the machine boots");
    member(before, now, &condition, |status| {
        status.state = MemberState::Warming;
        status.instance = Some(instance(machine));
        status.warming_started_at = Some(micro_time(now));
    })
}

/// The machine is ready.
pub fn ready(before: &PoolMember, machine: &RecordedMachine, now: Timestamp) -> PoolMember {
    let condition = claimability(before);
    member(before, now, &condition, |status| {
        status.state = MemberState::Ready;
        status.instance = Some(instance(machine));
        status.ready_since = Some(micro_time(now));
    })
}

/// The member will never be ready.
pub fn errored(before: &PoolMember, class: &str, message: &str, now: Timestamp) -> PoolMember {
    let message = bounded_message(message);
    let condition = ConditionValue::new("Ready", false, "Errored", format!("{class}: {message}"));
    member(before, now, &condition, |status| {
        status.state = MemberState::Errored;
        status.last_error = Some(RecordedError { class: class.to_owned(), message, time: micro_time(now) });
    })
}

/// The claim takes the member.
pub fn claimed(before: &PoolMember, claim: &PoolClaim, now: Timestamp) -> PoolMember {
    let reference =
        reference(claim.metadata.namespace.as_deref(), claim.metadata.name.as_deref(), claim.metadata.uid.as_deref());
    let elsewhere = Some(&reference.namespace) != before.metadata.namespace.as_ref();
    let of = if elsewhere { format!(" of namespace {}", reference.namespace) } else { String::new() };
    let condition = ConditionValue::new("Ready", true, "Claimed", format!("held by claim {}{of}", reference.name));
    member(before, now, &condition, |status| {
        status.state = MemberState::Claimed;
        status.claim_ref = Some(reference);
        status.claimed_at = Some(micro_time(now));
    })
}

/// The claim never showed the member to anybody, so another may have it.
pub fn given_back(before: &PoolMember, now: Timestamp) -> PoolMember {
    let condition = claimability(before);
    member(before, now, &condition, |status| {
        status.state = MemberState::Ready;
        status.claim_ref = None;
        status.claimed_at = None;
    })
}

/// The machine's end does not come.
pub fn stuck(before: &PoolMember, stuck: Stuck, message: &str, now: Timestamp) -> PoolMember {
    let condition = ConditionValue::new("Stalled", true, stuck.reason(), bounded_message(message));
    member(before, now, &condition, |_| {})
}

/// A claim was given the machine before, by its tags: nobody else gets it.
pub fn quarantined(before: &PoolMember, instance: &str, now: Timestamp) -> PoolMember {
    let message = format!(
        "instance {instance} was claimed before, by its tags, as after a restored backup: it is handed out to nobody, and \
         ends when a person deletes this member"
    );
    let mut quarantined =
        member(before, now, &ConditionValue::new("Quarantined", true, "MachineClaimedBefore", message), |_| {});
    let ready = ConditionValue::new("Ready", false, "Quarantined", "the machine was claimed before");
    if let Some(status) = &mut quarantined.status {
        set_condition(&mut status.conditions, &ready, before.metadata.generation, now);
    }
    quarantined
}

/// What a person changed in the spec was seen. Only of a Ready member does more follow for its status.
pub fn observed(before: &PoolMember, now: Timestamp) -> PoolMember {
    let status = before.status.clone().unwrap_or_default();
    let present = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let quarantined = condition_is_true(&status.conditions, "Quarantined");
    match present {
        Some(_) if status.state == MemberState::Ready && !quarantined => {
            member(before, now, &claimability(before), |_| {})
        }
        _ => {
            let mut member = before.clone();
            let generation = member.metadata.generation.unwrap_or(0);
            member.status = Some(PoolMemberStatus { observed_generation: generation, ..status });
            member
        }
    }
}

/// What the condition of a Ready member says.
fn claimability(member: &PoolMember) -> ConditionValue {
    match (member.spec.hold, member.spec.cordoned) {
        (true, _) => ConditionValue::new("Ready", false, "Held", "kept and not claimable while spec.hold is true"),
        (_, true) => ConditionValue::new("Ready", false, "Cordoned", "not claimable while spec.cordoned is true"),
        _ => ConditionValue::new("Ready", true, "Ready", "the machine can be claimed"),
    }
}

fn instance(machine: &RecordedMachine) -> MemberInstance {
    MemberInstance {
        id: machine.id.clone(),
        region: machine.region.clone(),
        zone: machine.zone.clone(),
        type_: machine.instance_type.clone(),
        addresses: machine.addresses.clone(),
        launch_time: Some(micro_time(machine.launch_time)),
        boot_time: machine.boot_time.map(micro_time),
    }
}

fn claim(
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

/// The claim holds the member, for as long as it and the rules of the member's pool say.
pub fn bound(before: &PoolClaim, member: &PoolMember, rules: &TermRules, now: Timestamp) -> PoolClaim {
    let name = member.metadata.name.as_deref();
    let message = format!("holds member {}", name.unwrap_or_default());
    let conditions = [
        ConditionValue::new("Bound", true, "MemberBound", message.clone()),
        ConditionValue::new("Ready", true, "MemberBound", message),
    ];
    let machine = member.status.as_ref().and_then(|status| status.instance.as_ref());
    claim(before, now, &conditions, |status| {
        status.phase = ClaimPhase::Bound;
        status.member_ref = Some(reference(member.metadata.namespace.as_deref(), name, member.metadata.uid.as_deref()));
        status.pool_ref = Some(pool_of(member));
        status.instance = machine.map(|machine| ClaimInstance {
            id: machine.id.clone(),
            region: machine.region.clone(),
            zone: machine.zone.clone(),
            type_: machine.type_.clone(),
            addresses: machine.addresses.clone(),
        });
        status.binding = secret_name(before).map(|name| BindingRef { name });
        let bound_at = micro_time(now);
        set_term(status, &begin(Wish::of(&before.spec), rules, bound_at.0));
        status.bound_at = Some(bound_at);
        status.queue = None;
    })
}

fn set_term(status: &mut PoolClaimStatus, term: &Term) {
    status.renewed_at = Some(micro_time(term.renewed_at));
    status.expires_at = term.expires_at.map(micro_time);
    status.observed_renew_time = term.answers.renew_time.map(micro_time);
    status.observed_ttl_seconds = term.answers.ttl_seconds;
}

/// The spec of a Bound claim was seen, and this is its term.
pub fn seen(before: &PoolClaim, term: &Term, now: Timestamp) -> PoolClaim {
    let generation = before.metadata.generation;
    claim(before, now, &[], |status| {
        set_term(status, term);
        // They hold as before, and say so of the new spec: who waits for one of them looks at this.
        for condition in &mut status.conditions {
            condition.observed_generation = generation;
        }
    })
}

/// The claim has held its machine for long.
pub fn stale(before: &PoolClaim, message: &str, now: Timestamp) -> PoolClaim {
    claim(before, now, &[ConditionValue::new("Stale", true, "HeldForLong", message)], |_| {})
}

/// The claim's time is over.
pub fn expired(before: &PoolClaim, expiry: &Expiry, now: Timestamp) -> PoolClaim {
    ended(before, ClaimPhase::Expired, expiry.reason, &expiry.message, now)
}

/// The claim waits.
pub fn waiting(before: &PoolClaim, notice: &Notice, now: Timestamp) -> PoolClaim {
    let Refusal { reason, message } = &notice.refusal;
    let conditions = [
        ConditionValue::new("Bound", false, reason, message.clone()),
        ConditionValue::new("Ready", false, reason, message.clone()),
    ];
    claim(before, now, &conditions, |status| status.queue = Some(notice.place.clone()))
}

/// The claim has a machine but not what it asked for beside it. Nothing if it says so already.
pub fn unfinished(before: &PoolClaim, reason: &'static str, message: &str, now: Timestamp) -> Option<PoolClaim> {
    let conditions =
        ["Bound", "Ready"].map(|type_| ConditionValue::new(type_, false, reason, bounded_message(message)));
    let written = claim(before, now, &conditions, |status| status.queue = None);
    (written != *before).then_some(written)
}

/// The machine that the claim's Secret speaks of is gone, and was never bound; `member` is the one that it was to be bound to.
pub fn vanished(before: &PoolClaim, secret: &str, member: &PoolMember, now: Timestamp) -> PoolClaim {
    let message = format!("the machine that Secret {secret} speaks of is gone: make another claim");
    failed_at(before, ("InstanceGone", &message), Some(pool_of(member)), now)
}

/// The claim gets no machine; `queue` is the pool in whose queue it was, of one that any of several might have served.
pub fn failed(before: &PoolClaim, refusal: &Refusal, queue: Option<ServedByPool>, now: Timestamp) -> PoolClaim {
    failed_at(before, (refusal.reason, &refusal.message), queue, now)
}

fn failed_at(
    before: &PoolClaim,
    (reason, message): (&'static str, &str),
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

/// The machine that the claim held is gone.
pub fn lost(before: &PoolClaim, now: Timestamp) -> PoolClaim {
    ended(before, ClaimPhase::Lost, "InstanceGone", "the machine that this claim held is gone", now)
}

fn ended(before: &PoolClaim, phase: ClaimPhase, reason: &'static str, message: &str, now: Timestamp) -> PoolClaim {
    let conditions = [
        ConditionValue::new("Bound", false, reason, message),
        ConditionValue::new("Ready", false, reason, message),
        ConditionValue::new("Stalled", true, reason, message),
    ];
    claim(before, now, &conditions, |status| {
        status.phase = phase;
        status.finished_at = Some(micro_time(now));
        status.queue = None;
    })
}

fn reference(namespace: Option<&str>, name: Option<&str>, uid: Option<&str>) -> ObjectRef {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    ObjectRef { namespace: text(namespace), name: text(name), uid: text(uid) }
}
