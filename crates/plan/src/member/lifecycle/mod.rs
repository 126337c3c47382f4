//! The next step of one member: from Pending to Ready, and from its deletionTimestamp until it is gone
//! (`docs/architecture.md`).
//!
//! Pure functions. Input: a [`LifecycleView`]. Output: a [`Step`]. What happens to a claimed member is decided in
//! [`fate`](crate::claim::fate); once it is to be terminated, it is handled here like every other.

mod end;
mod power;
mod reset;
mod strike;

use bullpen_api::{ErrorClass, MemberState};
use jiff::{SignedDuration, Timestamp};

use self::end::end;
pub use self::end::{Stuck, stuck};
pub use self::power::{PowerCalls, Standby, since_start};
use self::power::{standby, starting, stopping};
use self::reset::resetting;
pub use self::reset::{Reset, sent_by_others_until, since_reset};
pub use self::strike::{CONFIRMED_WITHIN, Strike, strike};
use super::interruption::gives_up;

/// Typed NotFounds in a row that prove a machine gone. One list or answer may miss a machine that exists.
pub const NOT_FOUNDS_THAT_PROVE: u32 = 3;
/// How long after an accepted terminate call it is repeated if the machine still exists.
pub const TERMINATE_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(10);
/// Time between two queries for a machine that may be gone, and the shortest between two for one that may still appear.
pub const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(1);
/// The longest time between two queries for a machine that may still appear. It grows with the time since the create.
pub const LOOK_AT_LEAST_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// A first create is sent only if the account was confirmed within this time before, and since the member was written.
pub const IDENTITY_FRESH: SignedDuration = SignedDuration::from_secs(30);
/// How many terminate calls in a row must fail before the member is reported as stuck.
pub const TERMINATE_FAILURES_STUCK: u32 = 5;
/// How long a machine may exist after its terminate was first accepted before the member is reported as stuck.
pub const STILL_THERE_STUCK: SignedDuration = SignedDuration::from_mins(1);

/// What is known of a member's create call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// None was accepted: this process created the member object and sent no call, or each got a definite refusal.
    Never,
    /// A call was sent at this time or before, or may have been. This is assumed of every member found at the start.
    Perhaps(Timestamp),
}

/// The state of a member's machine, as the provider last showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// The provider was not queried since it could have shown the machine.
    Unknown,
    /// A query for this machine, or a list of all, did not show it.
    Missing {
        /// When the query was sent.
        at: Timestamp,
        /// Typed NotFounds in a row for this machine, each with the right account's credentials ([`strike`]).
        not_founds: u32,
    },
    /// It boots.
    Booting {
        /// When this was shown.
        at: Timestamp,
    },
    /// It runs.
    Running {
        /// When this was shown.
        at: Timestamp,
        /// Since when it runs.
        since: Timestamp,
        /// Whether it is ready, by the pool's readiness.
        ready: bool,
    },
    /// It is switched off, or about to be.
    Stopped {
        /// When this was shown.
        at: Timestamp,
        /// Whether it is off by now.
        done: bool,
    },
    /// It is terminating: it will never be ready.
    Ending,
    /// The provider reports it as terminated.
    Terminated,
}

/// Whether a machine is proved gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    No,
    /// There are enough strikes, but the account must be confirmed again.
    Unconfirmed,
    Yes,
}

/// Whether the machine of an unclaimed member was claimed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// Not that anybody knows.
    Clean,
    /// Its tags name a claim.
    Served,
    /// The member has the condition `Quarantined`.
    Quarantined,
}

/// What the next step of a member depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and any of them may come with any other")]
pub struct LifecycleView {
    /// `status.state`.
    pub state: MemberState,
    /// When it was decided to terminate it: the deletionTimestamp of an unclaimed member, or the end of its claim.
    pub ending_since: Option<Timestamp>,
    /// Whether the machine's id is known.
    pub has_instance: bool,
    /// Whether its launch config generation and template hash are still those of a new member.
    pub current: bool,
    /// Whether its pool may send a create call now.
    pub may_create: bool,
    /// What is known of its create call.
    pub asked: Asked,
    /// When this process wrote the member; `None` if another one did. A first create needs the account confirmed after
    /// that.
    pub written_at: Option<Timestamp>,
    /// Whether the cloud names another account than the member's.
    pub other_account: bool,
    /// The state of its machine.
    pub machine: Machine,
    /// `status.warmingStartedAt`.
    pub warming_started_at: Option<Timestamp>,
    /// `readiness.launchTimeoutSeconds`.
    pub launch_timeout: SignedDuration,
    /// `readiness.warmingTimeoutSeconds`.
    pub warming_timeout: SignedDuration,
    /// How long this provider may not show the machine of an accepted create.
    pub create_grace: SignedDuration,
    /// Whether the provider's creates have no token against repeats: none is repeated before the machine was looked for after
    /// the grace.
    pub find_before_retry: bool,
    /// No provider call for this member before this time, because the last one failed.
    pub not_before: Option<Timestamp>,
    /// No create call, and no call that only a create needs, before this time: the last one failed, or the cloud is given
    /// a short pause.
    pub create_not_before: Option<Timestamp>,
    /// When a query by the machine's id was last answered `NotFound`, if that is not judged as a strike yet.
    pub struck_at: Option<Timestamp>,
    /// When to query by the machine's id again, after the last `NotFound`.
    pub next_look: Option<Timestamp>,
    /// When the provider last accepted a terminate call.
    pub terminate_accepted_at: Option<Timestamp>,
    /// When it accepted the first terminate call.
    pub terminate_first_accepted_at: Option<Timestamp>,
    /// Terminate calls that failed in a row.
    pub terminate_failures: u32,
    /// What the member's status reports as stuck.
    pub reported_stuck: Option<Stuck>,
    /// When the cloud last confirmed that the credentials belong to the machine's account. `None` if they belong to
    /// another one, or it has not answered yet.
    pub account_confirmed_at: Option<Timestamp>,
    /// Whether its machine was claimed before, if the member is not claimed.
    pub past: Past,
    /// Whether the cloud has announced that it takes the machine away.
    pub interrupted: bool,
    /// When the health probe began that proves the machine unhealthy, if the member is to be replaced because of that.
    pub unhealthy_at: Option<Timestamp>,
    /// When the cloud last showed the machine.
    pub shown_at: Option<Timestamp>,
    /// Whether `spec.hold` is set and not overridden: the member is not deleted and its machine not terminated.
    pub held: bool,
    /// Whether its machine has reported that it is broken.
    pub broken: bool,
    /// What is known of the reset of a used machine.
    pub reset: Reset,
    /// What is known of its stop or start for the standby tier.
    pub standby: Standby,
}

/// What to do with a member now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send the create call.
    Create,
    /// Query for the machine by its token.
    Find,
    /// Query for the machine by its id, because the list did not show it.
    Confirm,
    /// Ask the cloud which account the credentials belong to: what was seen counts only if it is the right one.
    ConfirmIdentity,
    /// Set the condition `Quarantined`: the machine was claimed before.
    Quarantine,
    /// Set the condition `Stalled`: the machine cannot be terminated.
    RecordStuck(Stuck),
    /// Send the reset call.
    Reset,
    /// Send the stop call.
    Stop,
    /// Send the start call.
    Start,
    /// Set the state Standby: the machine is stopped.
    RecordStandby,
    /// Set the state Warming: the create was accepted.
    RecordWarming,
    /// Set the state Warming: the cloud shows that the reset is done.
    RecordReset,
    /// Set the state Ready.
    RecordReady,
    /// Set the state Errored: it will never be ready.
    RecordErrored(MemberFailure),
    /// Record that the claim's machine is gone, for the fate table.
    RecordMachineGone,
    /// Delete the member object.
    Delete,
    /// Send the terminate call.
    Terminate,
    /// Remove the finalizer: the machine is gone.
    Finish,
    /// Wait until something changes, or until this time.
    Wait(Option<Timestamp>),
}

/// Why a member will never be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberFailure {
    /// It did not boot within the launch timeout.
    LaunchTimeout,
    /// It was not ready within the warming timeout.
    WarmingTimeout,
    /// The machine ended without being asked to.
    InstanceGone,
    /// The machine reported that it is broken.
    ReportedBroken,
    /// The cloud has announced that it takes the machine away.
    Interrupted,
    /// It was ready, and does not answer the pool's health probes any more.
    Unhealthy,
    /// The cloud refused to reset the used machine.
    ResetRefused,
    /// The cloud did not show within the launch timeout that the used machine was reset.
    ResetTimeout,
    /// The cloud refused to stop the machine, or did not show it stopped within the launch timeout.
    StopFailed,
    /// The cloud refused to start the stopped machine, or still showed it stopped after the launch timeout.
    StartFailed,
    /// The cloud shows that a machine on standby was started.
    StartedByOthers,
}

impl MemberFailure {
    /// The class in `lastError`.
    pub const fn class(self) -> ErrorClass {
        match self {
            Self::LaunchTimeout => ErrorClass::LaunchTimeout,
            Self::WarmingTimeout => ErrorClass::WarmingTimeout,
            Self::InstanceGone => ErrorClass::InstanceGone,
            Self::ReportedBroken => ErrorClass::ReportedBroken,
            Self::Interrupted => ErrorClass::Interrupted,
            Self::Unhealthy => ErrorClass::Unhealthy,
            Self::ResetRefused => ErrorClass::ResetRefused,
            Self::ResetTimeout => ErrorClass::ResetTimeout,
            Self::StopFailed => ErrorClass::StopFailed,
            Self::StartFailed | Self::StartedByOthers => ErrorClass::StartFailed,
        }
    }
}

/// Decides the next step.
pub fn next_step(member: &LifecycleView, now: Timestamp) -> Step {
    if member.account_confirmed_at.is_none() {
        // Do nothing with another account's credentials. A machine that was never created needs no account.
        let never_bought = !member.has_instance && member.asked == Asked::Never;
        return match member.ending_since {
            Some(_) if never_bought => Step::Finish,
            // It would seem to be in the account that it was written for, and keep the launch config from another.
            None if never_bought && member.other_account && member.state == MemberState::Pending => delete(member),
            _ => Step::Wait(None),
        };
    }
    if let Some(since) = member.ending_since {
        return end(member, since, now);
    }
    if member.past == Past::Quarantined && gives_up(member.state) {
        return quarantined(member, now);
    }
    if member.past == Past::Served && member.has_instance {
        return Step::Quarantine;
    }
    if member.interrupted && gives_up(member.state) {
        return Step::RecordErrored(MemberFailure::Interrupted);
    }
    match member.state {
        MemberState::Pending => pending(member, now),
        MemberState::Warming => warming(member, now),
        MemberState::Ready => ready(member, now),
        MemberState::Claimed => claimed(member, now),
        MemberState::Resetting => resetting(member, now),
        MemberState::Stopping => stopping(member, now),
        MemberState::Standby => standby(member, now),
        // The pool controller deletes it in its next pass, which this state has woken.
        MemberState::Errored => Step::Wait(None),
    }
}

fn pending(member: &LifecycleView, now: Timestamp) -> Step {
    match member.machine {
        Machine::Booting { .. } | Machine::Running { .. } => return Step::RecordWarming,
        Machine::Stopped { .. } | Machine::Ending | Machine::Terminated => {
            return Step::RecordErrored(MemberFailure::InstanceGone);
        }
        Machine::Unknown | Machine::Missing { .. } => {}
    }
    if let Some(wait) = backoff(member, now) {
        return wait;
    }
    match (member.asked, member.machine) {
        (Asked::Never, _) if !member.current => delete(member),
        (Asked::Never, _) if member.may_create => create(member, confirmed_since(member, now), now),
        (Asked::Never, _) => Step::Wait(None),
        (Asked::Perhaps(asked), Machine::Missing { at, .. }) if at > asked => {
            let settled = plus(asked, member.create_grace);
            match (member.current, member.may_create) {
                // It would buy a second machine if the first create is still on its way.
                (true, true) if member.find_before_retry && at < settled => find_again(at, asked, settled, now),
                // In another account, the same token would buy a second machine.
                (true, true) => create(member, at, now),
                (false, _) if settled <= at => delete(member),
                _ => find_again(at, asked, settled, now),
            }
        }
        (Asked::Perhaps(_), _) => Step::Find,
    }
}

/// A first create is sent only if the account was confirmed after this moment: shortly before, and since the member was
/// written. What was confirmed before may have changed while nobody had a machine there.
pub fn confirmed_since(member: &LifecycleView, now: Timestamp) -> Timestamp {
    member.written_at.unwrap_or(Timestamp::MIN).max(minus(now, IDENTITY_FRESH))
}

/// Creates the machine, once the account is confirmed after `account_after` and creates may be sent again.
fn create(member: &LifecycleView, account_after: Timestamp, now: Timestamp) -> Step {
    if let Some(later) = member.create_not_before.filter(|moment| *moment > now) {
        return Step::Wait(Some(later));
    }
    if confirmed_after(member, account_after) { Step::Create } else { Step::ConfirmIdentity }
}

fn delete(member: &LifecycleView) -> Step {
    if member.held { Step::Wait(None) } else { Step::Delete }
}

fn warming(member: &LifecycleView, now: Timestamp) -> Step {
    match member.machine {
        Machine::Booting { .. } | Machine::Running { .. } if member.broken => {
            Step::RecordErrored(MemberFailure::ReportedBroken)
        }
        Machine::Running { ready: true, .. } => Step::RecordReady,
        Machine::Running { at, since, ready: false } => {
            within(plus(since, member.warming_timeout), at, now, MemberFailure::WarmingTimeout)
        }
        Machine::Booting { at } => {
            let started = member.warming_started_at.unwrap_or(at);
            within(plus(started, member.launch_timeout), at, now, MemberFailure::LaunchTimeout)
        }
        Machine::Stopped { at, .. } if member.standby.since.is_some() => starting(member, at, now),
        Machine::Stopped { .. } | Machine::Ending | Machine::Terminated => {
            Step::RecordErrored(MemberFailure::InstanceGone)
        }
        Machine::Missing { .. } => confirm(member, now, Step::RecordErrored(MemberFailure::InstanceGone)),
        Machine::Unknown => Step::Wait(None),
    }
}

/// Fails the member only if a query after the deadline still showed it not ready.
fn within(deadline: Timestamp, shown_at: Timestamp, now: Timestamp, failure: MemberFailure) -> Step {
    if shown_at >= deadline {
        Step::RecordErrored(failure)
    } else {
        Step::Wait(Some(deadline.max(plus(now, LOOK_EVERY))))
    }
}

fn ready(member: &LifecycleView, now: Timestamp) -> Step {
    match member.machine {
        Machine::Booting { .. } | Machine::Running { .. } if member.broken => {
            Step::RecordErrored(MemberFailure::ReportedBroken)
        }
        Machine::Stopped { .. } | Machine::Ending | Machine::Terminated => {
            Step::RecordErrored(MemberFailure::InstanceGone)
        }
        Machine::Missing { .. } => confirm(member, now, Step::RecordErrored(MemberFailure::InstanceGone)),
        Machine::Running { .. } => healthy(member, now),
        Machine::Unknown | Machine::Booting { .. } => Step::Wait(None),
    }
}

/// Before a member fails because of its health, the cloud is asked once more: it may know better what has happened, and
/// one whose cloud does not answer is kept.
fn healthy(member: &LifecycleView, now: Timestamp) -> Step {
    match member.unhealthy_at {
        None => Step::Wait(None),
        Some(proved) if member.shown_at.is_some_and(|shown| shown > proved) => {
            Step::RecordErrored(MemberFailure::Unhealthy)
        }
        Some(_) => backoff(member, now).unwrap_or(Step::Confirm),
    }
}

fn claimed(member: &LifecycleView, now: Timestamp) -> Step {
    match member.machine {
        Machine::Terminated => Step::RecordMachineGone,
        Machine::Missing { .. } => confirm(member, now, Step::RecordMachineGone),
        // A user may stop a claimed machine; only a terminated one is gone.
        Machine::Stopped { .. }
        | Machine::Ending
        | Machine::Unknown
        | Machine::Booting { .. }
        | Machine::Running { .. } => Step::Wait(None),
    }
}

/// A quarantined member stays as it is until a person deletes it, or its machine is gone.
fn quarantined(member: &LifecycleView, now: Timestamp) -> Step {
    match member.machine {
        Machine::Terminated => Step::RecordErrored(MemberFailure::InstanceGone),
        Machine::Missing { .. } => confirm(member, now, Step::RecordErrored(MemberFailure::InstanceGone)),
        Machine::Stopped { .. }
        | Machine::Ending
        | Machine::Unknown
        | Machine::Booting { .. }
        | Machine::Running { .. } => Step::Wait(None),
    }
}

fn confirm(member: &LifecycleView, now: Timestamp, when_gone: Step) -> Step {
    match gone(member) {
        Gone::Yes => when_gone,
        Gone::Unconfirmed => backoff(member, now).unwrap_or(Step::ConfirmIdentity),
        Gone::No => query_by_id(member, now),
    }
}

/// Queries by the machine's id once more. After each `NotFound`, the account is confirmed first.
fn query_by_id(member: &LifecycleView, now: Timestamp) -> Step {
    backoff(member, now).unwrap_or_else(|| match (member.struck_at, member.next_look) {
        (Some(_), _) => Step::ConfirmIdentity,
        (None, Some(next)) if next > now => Step::Wait(Some(next)),
        (None, _) => Step::Confirm,
    })
}

/// Whether the provider's answers prove that the machine is gone.
fn gone(member: &LifecycleView) -> Gone {
    match member.machine {
        Machine::Terminated => Gone::Yes,
        Machine::Missing { at, not_founds } if not_founds >= NOT_FOUNDS_THAT_PROVE => {
            if confirmed_after(member, at) {
                Gone::Yes
            } else {
                Gone::Unconfirmed
            }
        }
        _ => Gone::No,
    }
}

fn confirmed_after(member: &LifecycleView, moment: Timestamp) -> bool {
    member.account_confirmed_at.is_some_and(|asked| asked > moment)
}

fn backoff(member: &LifecycleView, now: Timestamp) -> Option<Step> {
    member.not_before.filter(|moment| *moment > now).map(|moment| Step::Wait(Some(moment)))
}

/// Queries again for a machine that a query at `last` did not show: after as long a time as has passed between `from` and
/// that query, but not after `settled`, when an answer decides.
fn find_again(last: Timestamp, from: Timestamp, settled: Timestamp, now: Timestamp) -> Step {
    let pause = last.duration_since(from).clamp(LOOK_EVERY, LOOK_AT_LEAST_EVERY);
    let due = if last < settled { plus(last, pause).min(settled) } else { plus(last, pause) };
    if due <= now { Step::Find } else { Step::Wait(Some(due)) }
}

fn minus(moment: Timestamp, duration: SignedDuration) -> Timestamp {
    moment.checked_sub(duration).unwrap_or(Timestamp::MIN)
}

fn plus(moment: Timestamp, duration: SignedDuration) -> Timestamp {
    moment.checked_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod retry_tests;
#[cfg(test)]
mod tests;
