//! The status of a member. Each function returns the member with the status to write.

use bullpen_api::{
    ANNOTATION_CONFIRM_RELEASE, ClaimRef, ConditionType, ConditionValue, ErrorClass, InstanceAddress, MemberInstance,
    MemberStandby, MemberState, PoolClaim, PoolMember, PoolMemberStatus, Reason, RecordedError, StandbyMode,
    bounded_message, condition_is_true, micro_time, set_condition,
};
use jiff::Timestamp;

use super::lifecycle::{MemberFailure, Stuck};

/// The facts of a machine that a member's status records.
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
    /// When it finished booting.
    pub boot_time: Option<Timestamp>,
    /// When it last started, by the provider's own clock.
    pub last_start: Timestamp,
}

/// The member with a changed status.
fn with_status(
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

/// The status after the provider accepted the create.
pub fn warming(before: &PoolMember, machine: &RecordedMachine, now: Timestamp) -> PoolMember {
    let condition = ConditionValue::new(ConditionType::Ready, false, Reason::Warming, "the machine boots");
    with_status(before, now, &condition, |status| {
        status.state = MemberState::Warming;
        status.instance = Some(instance(machine));
        status.warming_started_at = Some(micro_time(now));
    })
}

/// The status of a used member whose claim has ended: its machine is reset. What the machine and its claim said of it
/// is dropped, and what is derived for the machine is another one from here on.
pub fn resetting(before: &PoolMember, message: &str, now: Timestamp) -> PoolMember {
    let condition = ConditionValue::new(ConditionType::Ready, false, Reason::Resetting, bounded_message(message));
    with_status(before, now, &condition, |status| {
        status.state = MemberState::Resetting;
        status.uses = status.uses.saturating_add(1);
        status.reset_started_at = Some(micro_time(now));
        (status.claim_ref, status.claimed_at, status.reported, status.standby) = (None, None, None, None);
        let of_claim = [ConditionType::Interrupted, ConditionType::Healthy, ConditionType::ClaimVanished];
        status.conditions.retain(|condition| !of_claim.iter().any(|type_| condition.type_ == *type_));
    })
}

/// The status once the provider shows that the reset is done.
pub fn reset_proved(before: &PoolMember, machine: &RecordedMachine, now: Timestamp) -> PoolMember {
    let message = "the machine was reset to its image, and boots";
    let condition = ConditionValue::new(ConditionType::Ready, false, Reason::Warming, message);
    with_status(before, now, &condition, |status| {
        status.state = MemberState::Warming;
        status.instance = Some(instance(machine));
        status.warming_started_at = Some(micro_time(now));
    })
}

/// The status while the machine runs and is waited for to be ready: `message` says by what, and what was seen last.
pub fn awaited(before: &PoolMember, machine: &RecordedMachine, message: &str, now: Timestamp) -> PoolMember {
    let message = bounded_message(message);
    let condition = ConditionValue::new(ConditionType::Ready, false, Reason::ReadinessAwaited, message);
    with_status(before, now, &condition, |status| status.instance = Some(instance(machine)))
}

/// What a member's status reports of its machine that runs and is not ready, if it does.
pub fn reported_awaited(member: &PoolMember) -> Option<&str> {
    let conditions = member.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == ConditionType::Ready)?;
    (ready.reason == Reason::ReadinessAwaited).then_some(ready.message.as_str())
}

/// The status once the machine is ready.
pub fn ready(before: &PoolMember, machine: &RecordedMachine, now: Timestamp) -> PoolMember {
    let condition = claimability(before);
    with_status(before, now, &condition, |status| {
        status.state = MemberState::Ready;
        status.instance = Some(instance(machine));
        status.ready_since = Some(micro_time(now));
        if let Some(standby) = &mut status.standby {
            standby.last_start = micro_time(machine.last_start);
        }
        if let Some(reported) = &mut status.reported {
            reported.progress = None;
        }
    })
}

/// The status of a ready member whose machine is to be stopped in this mode. `last_start` is when the machine last started,
/// by the provider's clock.
pub fn stopping(before: &PoolMember, mode: StandbyMode, last_start: Timestamp, now: Timestamp) -> PoolMember {
    let message = format!("the machine is being {}, for the standby tier", mode.participle());
    let condition = ConditionValue::new(ConditionType::Ready, false, Reason::Stopping, message);
    with_status(before, now, &condition, |status| {
        status.state = MemberState::Stopping;
        let (since, last_start) = (micro_time(now), micro_time(last_start));
        status.standby = Some(Box::new(MemberStandby { since, last_start, mode }));
    })
}

/// The status once the machine is stopped. Its last start may be later than was known when its stop was decided: then an older
/// list would pass for a later start. `last_start` is what the cloud shows, by its own clock.
pub fn on_standby(before: &PoolMember, last_start: Option<Timestamp>, now: Timestamp) -> PoolMember {
    let message = format!("the machine is {}, and is started when the pool needs it", mode(before).participle());
    let condition = ConditionValue::new(ConditionType::Ready, false, Reason::Standby, message);
    with_status(before, now, &condition, |status| {
        status.state = MemberState::Standby;
        if let (Some(standby), Some(shown)) = (&mut status.standby, last_start.map(micro_time)) {
            standby.last_start = shown.max(standby.last_start.clone());
        }
    })
}

/// How the machine of a member was stopped last.
pub fn mode(member: &PoolMember) -> StandbyMode {
    member.status.as_ref().and_then(|status| status.standby.as_ref()).map(|standby| standby.mode).unwrap_or_default()
}

/// The status of a standby member whose machine is to be started. When it booted is dated anew.
pub fn starting(before: &PoolMember, now: Timestamp) -> PoolMember {
    let message = format!("the {} machine is started", mode(before).participle());
    let condition = ConditionValue::new(ConditionType::Ready, false, Reason::Warming, message);
    with_status(before, now, &condition, |status| {
        status.state = MemberState::Warming;
        status.warming_started_at = Some(micro_time(now));
        if let Some(instance) = &mut status.instance {
            instance.boot_time = None;
        }
    })
}

/// Why a machine was not stopped for the standby tier, or not started again, within so many seconds.
pub fn not_switched(failure: MemberFailure, seconds: i64) -> String {
    match failure {
        MemberFailure::StopFailed => format!(
            "the cloud refused to stop the machine for the standby tier, or did not show it stopped within {seconds} s"
        ),
        MemberFailure::StartedByOthers => "somebody else has started the machine, which was on standby".to_owned(),
        _ => format!("the cloud refused to start the stopped machine, or still showed it stopped after {seconds} s"),
    }
}

/// The status of a member that will never be ready.
pub fn errored(before: &PoolMember, class: ErrorClass, message: &str, now: Timestamp) -> PoolMember {
    let message = bounded_message(message);
    let condition = ConditionValue::new(ConditionType::Ready, false, Reason::Errored, format!("{class}: {message}"));
    with_status(before, now, &condition, |status| {
        status.state = MemberState::Errored;
        status.last_error = Some(RecordedError { class: class.to_string(), message, time: micro_time(now) });
    })
}

/// The status of a member that `claim` takes.
pub fn claimed(before: &PoolMember, claim: &PoolClaim, now: Timestamp) -> PoolMember {
    held_by(before, ClaimRef::to(&claim.metadata), now)
}

/// The status of a member that was kept and goes to `claim`: the same claim applied again, under another uid.
pub fn returned(before: &PoolMember, claim: &PoolClaim, now: Timestamp) -> PoolMember {
    let former = before.status.as_ref().and_then(|status| status.claim_ref.as_ref()).map(|claim| claim.uid.clone());
    let mut member = held_by(before, ClaimRef { former_uid: former, ..ClaimRef::to(&claim.metadata) }, now);
    if let Some(status) = &mut member.status {
        status.conditions.retain(|condition| condition.type_ != ConditionType::ClaimVanished);
    }
    member
}

fn held_by(before: &PoolMember, reference: ClaimRef, now: Timestamp) -> PoolMember {
    let elsewhere = Some(&reference.namespace) != before.metadata.namespace.as_ref();
    let of = if elsewhere { format!(" of namespace {}", reference.namespace) } else { String::new() };
    let condition = ConditionValue::new(
        ConditionType::Ready,
        true,
        Reason::Claimed,
        format!("held by claim {}{of}", reference.name),
    );
    with_status(before, now, &condition, |status| {
        status.state = MemberState::Claimed;
        status.claim_ref = Some(reference);
        status.claimed_at = Some(micro_time(now));
    })
}

/// The status of a member that is given back: its claim's status never named it, so another claim may have it.
pub fn given_back(before: &PoolMember, now: Timestamp) -> PoolMember {
    let condition = claimability(before);
    with_status(before, now, &condition, |status| {
        status.state = MemberState::Ready;
        status.claim_ref = None;
        status.claimed_at = None;
    })
}

/// Sets the condition `Stalled`: the machine cannot be terminated.
pub fn stuck(before: &PoolMember, stuck: Stuck, message: &str, now: Timestamp) -> PoolMember {
    let condition = ConditionValue::new(ConditionType::Stalled, true, stuck.reason(), bounded_message(message));
    with_status(before, now, &condition, |_| {})
}

/// Sets the condition `Reachable`: whether the launch config leads to the cloud of the machine, with why it does not.
/// `None` if the status says that already, or never had to.
pub fn reachable(before: &PoolMember, unreachable: Option<(Reason, &str)>, now: Timestamp) -> Option<PoolMember> {
    let conditions = before.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let present = conditions.iter().find(|condition| condition.type_ == ConditionType::Reachable);
    let condition = match unreachable {
        Some((reason, message)) => {
            ConditionValue::new(ConditionType::Reachable, false, reason, bounded_message(message))
        }
        None => ConditionValue::new(
            ConditionType::Reachable,
            true,
            Reason::LaunchConfigLeadsThere,
            "the launch config leads to the cloud that the machine was bought at",
        ),
    };
    let said = match present {
        None => unreachable.is_none(),
        Some(present) => {
            let holds = present.status == "True";
            (holds, present.reason.as_str(), &present.message)
                == (condition.holds, condition.reason.as_str(), &condition.message)
        }
    };
    (!said).then(|| with_status(before, now, &condition, |_| {}))
}

/// The status of a quarantined member: by its tags the machine was claimed before, so it is not handed out.
pub fn quarantined(before: &PoolMember, instance: &str, now: Timestamp) -> PoolMember {
    let message = format!(
        "instance {instance} was claimed before, by its tags, as after a restored backup: it is handed out to nobody, and \
         ends when a person deletes this member"
    );
    let mut quarantined = with_status(
        before,
        now,
        &ConditionValue::new(ConditionType::Quarantined, true, Reason::MachineClaimedBefore, message),
        |_| {},
    );
    let ready = ConditionValue::new(ConditionType::Ready, false, Reason::Quarantined, "the machine was claimed before");
    if let Some(status) = &mut quarantined.status {
        set_condition(&mut status.conditions, &ready, before.metadata.generation, now);
    }
    quarantined
}

/// The status of a claimed member whose claim went with its definition: it is kept until a person says what was meant.
pub fn claim_vanished(before: &PoolMember, claim: &ClaimRef, now: Timestamp) -> PoolMember {
    let (name, namespace) =
        (before.metadata.name.as_deref().unwrap_or_default(), before.metadata.namespace.as_deref().unwrap_or_default());
    let message = format!(
        "claim {}/{} went while its CustomResourceDefinition was being deleted, which may have been an accident, so the \
         machine is kept. The claim gets it back when it is applied again. If the machine may end instead: kubectl annotate poolmember {name} --namespace {namespace} \
         {ANNOTATION_CONFIRM_RELEASE}={}",
        claim.namespace, claim.name, claim.uid
    );
    let condition = ConditionValue::new(ConditionType::ClaimVanished, true, Reason::DefinitionDeleted, message);
    with_status(before, now, &condition, |_| {})
}

/// The status after a change of the spec. Only for a Ready member does more than the observed generation change.
pub fn observed(before: &PoolMember, now: Timestamp) -> PoolMember {
    let status = before.status.clone().unwrap_or_default();
    let present = status.conditions.iter().find(|condition| condition.type_ == ConditionType::Ready);
    let quarantined = condition_is_true(&status.conditions, ConditionType::Quarantined);
    match present {
        Some(_) if status.state == MemberState::Ready && !quarantined => {
            with_status(before, now, &claimability(before), |_| {})
        }
        _ => {
            let mut member = before.clone();
            let generation = member.metadata.generation.unwrap_or(0);
            member.status = Some(PoolMemberStatus { observed_generation: generation, ..status });
            member
        }
    }
}

/// The condition `Ready` of a member in state Ready.
fn claimability(member: &PoolMember) -> ConditionValue {
    match (member.spec.hold, member.spec.cordoned) {
        (true, _) => ConditionValue::new(
            ConditionType::Ready,
            false,
            Reason::Held,
            "kept and not claimable while spec.hold is true",
        ),
        (_, true) => ConditionValue::new(
            ConditionType::Ready,
            false,
            Reason::Cordoned,
            "not claimable while spec.cordoned is true",
        ),
        _ => ConditionValue::new(ConditionType::Ready, true, Reason::Ready, "the machine can be claimed"),
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
