//! The next step of one member: from Pending to Ready, and from its deletionTimestamp to its end (`docs/architecture.md`).
//!
//! What becomes of a claimed member is decided in [`fate`](crate::claim::fate); its end is the same as every other's.

use bullpen_api::{ErrorClass, MemberState, Reason};
use jiff::{SignedDuration, Timestamp};

/// Typed NotFounds in a row that prove a machine gone: one list or answer may leave out a machine that lives.
pub const NOT_FOUNDS_THAT_PROVE: u32 = 3;
/// How long after an accepted terminate call it is sent again if the machine is still there.
pub const TERMINATE_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(10);
/// How long to wait between two looks for a machine that may still come up, or may be gone.
pub const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(1);
/// An answer that a machine is not there counts only if the cloud was asked so soon after it whose credentials these are.
/// Else those of another account, put back before anybody asked, would make every machine one that is gone.
pub const CONFIRMED_WITHIN: SignedDuration = SignedDuration::from_secs(2);
/// A first create begins only if the cloud said so lately whose credentials these are.
pub const IDENTITY_FRESH: SignedDuration = SignedDuration::from_secs(30);
/// Terminate calls that fail in a row until the member says that it is stuck.
pub const TERMINATE_FAILURES_STUCK: u32 = 5;
/// How long a machine may still be there after its terminate was first accepted until the member says that it is stuck.
pub const STILL_THERE_STUCK: SignedDuration = SignedDuration::from_mins(1);

/// What is known of the create call of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// This process wrote the member and began no call for it, or every call got a definite refusal.
    Never,
    /// A call was begun at this moment or before, or may have been: a member found at start is taken as asked.
    Perhaps(Timestamp),
}

/// Where the machine of a member is, as the provider last showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// The provider was not asked since it could have shown the machine.
    Unknown,
    /// It was asked at this moment, for this machine or for all, and showed none.
    Missing {
        /// When it was asked.
        at: Timestamp,
        /// Typed NotFounds in a row, for this machine, each with the right account's credentials ([`strike`]).
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
    /// It is on its way out, or switched off: it will never be ready.
    Ending,
    /// Terminated, by the provider's word.
    Terminated,
}

/// What an answer that a machine is not there is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// It is the right account's word.
    Counts,
    /// It is to be asked whose credentials these are.
    Open,
    /// Nobody asked in time: it may be another account's word.
    Void,
}

/// What the answer of this moment is worth, by when the cloud last said that the credentials are the right ones.
pub fn strike(answered: Timestamp, account_confirmed_at: Option<Timestamp>) -> Strike {
    match account_confirmed_at.filter(|asked| *asked > answered) {
        None => Strike::Open,
        Some(asked) if asked <= plus(answered, CONFIRMED_WITHIN) => Strike::Counts,
        Some(_) => Strike::Void,
    }
}

/// How sure it is that a machine is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    No,
    /// By strikes that may be another account's.
    Unconfirmed,
    Yes,
}

/// What is known of claims that were given the machine of a member that is not claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// Nothing.
    Clean,
    /// Its tags name one.
    Served,
    /// The member says so.
    Quarantined,
}

/// Why the end of a machine does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// [`TERMINATE_FAILURES_STUCK`] calls in a row failed.
    TerminateFailing,
    /// A terminate was accepted [`STILL_THERE_STUCK`] ago, and the machine is there.
    StillThere,
}

impl Stuck {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::TerminateFailing, Self::StillThere];

    /// The reason of the condition `Stalled`.
    pub const fn reason(self) -> Reason {
        match self {
            Self::TerminateFailing => Reason::TerminateFailing,
            Self::StillThere => Reason::StillThere,
        }
    }
}

/// A member as its lifecycle sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and any of them may come with any other")]
pub struct LifecycleView {
    /// `status.state`.
    pub state: MemberState,
    /// When its end was decided: the deletionTimestamp of an unclaimed member, or the end of its claim.
    pub ending_since: Option<Timestamp>,
    /// Whether the machine's id is known.
    pub has_instance: bool,
    /// Whether launch config generation and template hash are still what a new member would get.
    pub current: bool,
    /// Whether its pool may begin a create call now.
    pub may_create: bool,
    /// What is known of its create call.
    pub asked: Asked,
    /// Where its machine is.
    pub machine: Machine,
    /// `status.warmingStartedAt`.
    pub warming_started_at: Option<Timestamp>,
    /// `readiness.launchTimeoutSeconds`.
    pub launch_timeout: SignedDuration,
    /// `readiness.warmingTimeoutSeconds`.
    pub warming_timeout: SignedDuration,
    /// How long a create may stay unseen at this provider.
    pub create_grace: SignedDuration,
    /// No provider call for this member before this moment, because the last one failed.
    pub not_before: Option<Timestamp>,
    /// When the machine was last asked for by its id and not found, if that is still to be confirmed or dropped.
    pub struck_at: Option<Timestamp>,
    /// When it is asked for by its id again, after the last `NotFound`.
    pub next_look: Option<Timestamp>,
    /// When the provider last accepted a terminate call.
    pub terminate_accepted_at: Option<Timestamp>,
    /// When it accepted the first one.
    pub terminate_first_accepted_at: Option<Timestamp>,
    /// Terminate calls that failed in a row.
    pub terminate_failures: u32,
    /// What the member says of why its end does not come.
    pub said_stuck: Option<Stuck>,
    /// When the cloud was last asked whose credentials these are; `None` if they are not those of the account that the
    /// machine is in, by its last word, or it has not said it yet.
    pub account_confirmed_at: Option<Timestamp>,
    /// What is known of claims that were given the machine, though the member is not claimed.
    pub past: Past,
    /// Whether a person holds the member, and nothing overrides that: it is not deleted, and its machine's end not begun.
    pub held: bool,
}

/// What to do with a member now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask for the machine.
    Create,
    /// Look for the machine by its token.
    Find,
    /// Ask for this machine by its id: the list did not show it.
    Confirm,
    /// Ask whose credentials these are: what was seen counts only if they are still the right ones.
    ConfirmIdentity,
    /// Write down that a claim was given the machine before, so that nobody else gets it.
    Quarantine,
    /// Write down that the machine's end does not come.
    RecordStuck(Stuck),
    /// Write down that the create was accepted.
    RecordWarming,
    /// Write down that it is ready.
    RecordReady,
    /// Write down that it will never be ready.
    RecordErrored(MemberFailure),
    /// The claim's machine is gone: the fate table has to know.
    RecordMachineGone,
    /// Delete the member.
    Delete,
    /// Ask for the machine's end.
    Terminate,
    /// The machine is gone: the finalizer goes.
    Finish,
    /// Nothing, until something changes or this moment comes.
    Wait(Option<Timestamp>),
}

/// Why a member will never be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberFailure {
    /// No boot within the launch timeout.
    LaunchTimeout,
    /// Not ready within the warming timeout.
    WarmingTimeout,
    /// The machine ended by itself.
    InstanceGone,
}

impl MemberFailure {
    /// The class as it stands in `lastError`.
    pub const fn class(self) -> ErrorClass {
        match self {
            Self::LaunchTimeout => ErrorClass::LaunchTimeout,
            Self::WarmingTimeout => ErrorClass::WarmingTimeout,
            Self::InstanceGone => ErrorClass::InstanceGone,
        }
    }
}

/// Decides the next step.
pub fn next_step(member: &LifecycleView, now: Timestamp) -> Step {
    if member.account_confirmed_at.is_none() {
        // Nothing is done with another account's credentials. What was never asked for is in no account.
        let nothing_to_end = member.ending_since.is_some() && !member.has_instance && member.asked == Asked::Never;
        return if nothing_to_end { Step::Finish } else { Step::Wait(None) };
    }
    if let Some(since) = member.ending_since {
        return end(member, since, now);
    }
    if member.past == Past::Quarantined && matches!(member.state, MemberState::Warming | MemberState::Ready) {
        return quarantined(member, now);
    }
    if member.past == Past::Served && member.has_instance {
        return Step::Quarantine;
    }
    match member.state {
        MemberState::Pending => pending(member, now),
        MemberState::Warming => warming(member, now),
        MemberState::Ready => ready(member, now),
        MemberState::Claimed => claimed(member, now),
        // The reaper deletes it in its next pass, which this state has woken.
        MemberState::Errored => Step::Wait(None),
    }
}

fn pending(member: &LifecycleView, now: Timestamp) -> Step {
    match member.machine {
        Machine::Booting { .. } | Machine::Running { .. } => return Step::RecordWarming,
        Machine::Ending | Machine::Terminated => return Step::RecordErrored(MemberFailure::InstanceGone),
        Machine::Unknown | Machine::Missing { .. } => {}
    }
    if let Some(wait) = hold_off(member, now) {
        return wait;
    }
    match (member.asked, member.machine) {
        (Asked::Never, _) if !member.current => delete(member),
        (Asked::Never, _) if member.may_create && confirmed_after(member, minus(now, IDENTITY_FRESH)) => Step::Create,
        (Asked::Never, _) if member.may_create => Step::ConfirmIdentity,
        (Asked::Never, _) => Step::Wait(None),
        (Asked::Perhaps(asked), Machine::Missing { at, .. }) if at > asked => {
            let settled = plus(asked, member.create_grace) <= at;
            match (member.current, member.may_create) {
                // In another account the same token would buy a second machine.
                (true, true) if confirmed_after(member, at) => Step::Create,
                (true, true) => Step::ConfirmIdentity,
                (false, _) if settled => delete(member),
                _ => look_again(at, now),
            }
        }
        (Asked::Perhaps(_), _) => Step::Find,
    }
}

fn delete(member: &LifecycleView) -> Step {
    if member.held { Step::Wait(None) } else { Step::Delete }
}

fn warming(member: &LifecycleView, now: Timestamp) -> Step {
    match member.machine {
        Machine::Running { ready: true, .. } => Step::RecordReady,
        Machine::Running { at, since, ready: false } => {
            within(plus(since, member.warming_timeout), at, now, MemberFailure::WarmingTimeout)
        }
        Machine::Booting { at } => {
            let started = member.warming_started_at.unwrap_or(at);
            within(plus(started, member.launch_timeout), at, now, MemberFailure::LaunchTimeout)
        }
        Machine::Ending | Machine::Terminated => Step::RecordErrored(MemberFailure::InstanceGone),
        Machine::Missing { .. } => confirm(member, now, Step::RecordErrored(MemberFailure::InstanceGone)),
        Machine::Unknown => Step::Wait(None),
    }
}

/// Too late only when the provider was asked after the deadline and still said no.
fn within(deadline: Timestamp, shown_at: Timestamp, now: Timestamp, failure: MemberFailure) -> Step {
    if shown_at >= deadline {
        Step::RecordErrored(failure)
    } else {
        Step::Wait(Some(deadline.max(plus(now, LOOK_EVERY))))
    }
}

fn ready(member: &LifecycleView, now: Timestamp) -> Step {
    match member.machine {
        Machine::Ending | Machine::Terminated => Step::RecordErrored(MemberFailure::InstanceGone),
        Machine::Missing { .. } => confirm(member, now, Step::RecordErrored(MemberFailure::InstanceGone)),
        Machine::Unknown | Machine::Booting { .. } | Machine::Running { .. } => Step::Wait(None),
    }
}

fn claimed(member: &LifecycleView, now: Timestamp) -> Step {
    match member.machine {
        Machine::Terminated => Step::RecordMachineGone,
        Machine::Missing { .. } => confirm(member, now, Step::RecordMachineGone),
        // A claimant may switch its machine off; only its end is an end.
        Machine::Ending | Machine::Unknown | Machine::Booting { .. } | Machine::Running { .. } => Step::Wait(None),
    }
}

/// A machine that a claim was given before stays as it is until a person deletes the member, or it is gone by itself.
fn quarantined(member: &LifecycleView, now: Timestamp) -> Step {
    match member.machine {
        Machine::Terminated => Step::RecordErrored(MemberFailure::InstanceGone),
        Machine::Missing { .. } => confirm(member, now, Step::RecordErrored(MemberFailure::InstanceGone)),
        Machine::Ending | Machine::Unknown | Machine::Booting { .. } | Machine::Running { .. } => Step::Wait(None),
    }
}

fn confirm(member: &LifecycleView, now: Timestamp, when_gone: Step) -> Step {
    match gone(member) {
        Gone::Yes => when_gone,
        Gone::Unconfirmed => hold_off(member, now).unwrap_or(Step::ConfirmIdentity),
        Gone::No => ask_for(member, now),
    }
}

/// Asks for a machine by its id once more; whose credentials these are is asked right after each time that it is missing.
fn ask_for(member: &LifecycleView, now: Timestamp) -> Step {
    hold_off(member, now).unwrap_or_else(|| match (member.struck_at, member.next_look) {
        (Some(_), _) => Step::ConfirmIdentity,
        (None, Some(next)) if next > now => Step::Wait(Some(next)),
        (None, _) => Step::Confirm,
    })
}

/// Whether the provider's word is good enough to say that the machine is gone.
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

/// Why the end of this machine does not come, if it should have come by now.
pub fn stuck(member: &LifecycleView, now: Timestamp) -> Option<Stuck> {
    let shown = matches!(member.machine, Machine::Booting { .. } | Machine::Running { .. } | Machine::Ending);
    let late = member.terminate_first_accepted_at.is_some_and(|first| plus(first, STILL_THERE_STUCK) <= now);
    if member.terminate_failures >= TERMINATE_FAILURES_STUCK {
        Some(Stuck::TerminateFailing)
    } else if late && shown {
        Some(Stuck::StillThere)
    } else {
        None
    }
}

fn end(member: &LifecycleView, since: Timestamp, now: Timestamp) -> Step {
    if member.has_instance {
        return end_machine(member, now);
    }
    match (member.asked, member.machine) {
        (Asked::Never, _) => Step::Finish,
        (_, Machine::Booting { .. } | Machine::Running { .. } | Machine::Ending) => end_machine(member, now),
        (_, Machine::Terminated) => Step::Finish,
        (Asked::Perhaps(asked), Machine::Missing { at, .. }) if at >= plus(asked.max(since), member.create_grace) => {
            match strike(at, member.account_confirmed_at) {
                Strike::Counts => Step::Finish,
                Strike::Open => hold_off(member, now).unwrap_or(Step::ConfirmIdentity),
                Strike::Void => hold_off(member, now).unwrap_or(Step::Find),
            }
        }
        (Asked::Perhaps(_), Machine::Missing { at, .. }) => {
            hold_off(member, now).unwrap_or_else(|| look_again(at, now))
        }
        (Asked::Perhaps(_), Machine::Unknown) => hold_off(member, now).unwrap_or(Step::Find),
    }
}

fn end_machine(member: &LifecycleView, now: Timestamp) -> Step {
    match gone(member) {
        Gone::Yes => return Step::Finish,
        Gone::Unconfirmed => return hold_off(member, now).unwrap_or(Step::ConfirmIdentity),
        Gone::No => {}
    }
    if let Some(stuck) = stuck(member, now).filter(|stuck| member.said_stuck != Some(*stuck)) {
        return Step::RecordStuck(stuck);
    }
    // What was begun before goes on: a hold brings no machine back. One that is switched off is held like any other.
    if member.held && member.terminate_accepted_at.is_none() {
        return match member.machine {
            Machine::Missing { .. } => ask_for(member, now),
            _ => Step::Wait(None),
        };
    }
    if let Some(wait) = hold_off(member, now) {
        return wait;
    }
    match member.terminate_accepted_at {
        None => Step::Terminate,
        Some(accepted) if plus(accepted, TERMINATE_AGAIN_AFTER) <= now => Step::Terminate,
        Some(accepted) => match member.machine {
            Machine::Missing { .. } => ask_for(member, now),
            _ => Step::Wait(Some(plus(accepted, TERMINATE_AGAIN_AFTER))),
        },
    }
}

fn hold_off(member: &LifecycleView, now: Timestamp) -> Option<Step> {
    member.not_before.filter(|moment| *moment > now).map(|moment| Step::Wait(Some(moment)))
}

fn look_again(last: Timestamp, now: Timestamp) -> Step {
    let due = plus(last, LOOK_EVERY);
    if due <= now { Step::Find } else { Step::Wait(Some(due)) }
}

fn minus(moment: Timestamp, duration: SignedDuration) -> Timestamp {
    moment.checked_sub(duration).unwrap_or(Timestamp::MIN)
}

fn plus(moment: Timestamp, duration: SignedDuration) -> Timestamp {
    moment.checked_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
