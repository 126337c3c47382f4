//! The end of a member's machine: terminate calls until it is proved gone, and what to say if it does not go.

use bullpen_api::Reason;
use jiff::Timestamp;

use super::{
    Asked, Gone, LifecycleView, Machine, STILL_THERE_STUCK, Step, Strike, TERMINATE_AGAIN_AFTER,
    TERMINATE_FAILURES_STUCK, backoff, find_again, gone, plus, query_by_id, strike,
};

/// Why a machine cannot be terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// [`TERMINATE_FAILURES_STUCK`] calls in a row failed.
    TerminateFailing,
    /// A terminate was accepted [`STILL_THERE_STUCK`] ago, and the machine still exists.
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

/// Why the machine cannot be terminated, if it should be gone by now.
pub fn stuck(member: &LifecycleView, now: Timestamp) -> Option<Stuck> {
    let shown = matches!(
        member.machine,
        Machine::Booting { .. } | Machine::Running { .. } | Machine::Stopped { .. } | Machine::Ending
    );
    let late = member.terminate_first_accepted_at.is_some_and(|first| plus(first, STILL_THERE_STUCK) <= now);
    if member.terminate_failures >= TERMINATE_FAILURES_STUCK {
        Some(Stuck::TerminateFailing)
    } else if late && shown {
        Some(Stuck::StillThere)
    } else {
        None
    }
}

pub(super) fn end(member: &LifecycleView, since: Timestamp, now: Timestamp) -> Step {
    if member.has_instance {
        return terminate_machine(member, now);
    }
    match (member.asked, member.machine) {
        (Asked::Never, _) => Step::Finish,
        (_, Machine::Booting { .. } | Machine::Running { .. } | Machine::Stopped { .. } | Machine::Ending) => {
            terminate_machine(member, now)
        }
        (_, Machine::Terminated) => Step::Finish,
        (Asked::Perhaps(asked), Machine::Missing { at, .. }) => {
            let from = asked.max(since);
            let settled = plus(from, member.create_grace);
            if at < settled {
                return backoff(member, now).unwrap_or_else(|| find_again(at, from, settled, now));
            }
            match strike(at, member.account_confirmed_at) {
                Strike::Counts => Step::Finish,
                Strike::Open => backoff(member, now).unwrap_or(Step::ConfirmIdentity),
                Strike::Void => backoff(member, now).unwrap_or(Step::Find),
            }
        }
        (Asked::Perhaps(_), Machine::Unknown) => backoff(member, now).unwrap_or(Step::Find),
    }
}

fn terminate_machine(member: &LifecycleView, now: Timestamp) -> Step {
    match gone(member) {
        Gone::Yes => return Step::Finish,
        Gone::Unconfirmed => return backoff(member, now).unwrap_or(Step::ConfirmIdentity),
        Gone::No => {}
    }
    if let Some(stuck) = stuck(member, now).filter(|stuck| member.reported_stuck != Some(*stuck)) {
        return Step::RecordStuck(stuck);
    }
    // A hold does not stop a termination that has begun, because that cannot be undone. It also applies to stopped
    // machines.
    if member.held && member.terminate_accepted_at.is_none() {
        return match member.machine {
            Machine::Missing { .. } => query_by_id(member, now),
            _ => Step::Wait(None),
        };
    }
    if let Some(wait) = backoff(member, now) {
        return wait;
    }
    match member.terminate_accepted_at {
        None => Step::Terminate,
        Some(accepted) if plus(accepted, TERMINATE_AGAIN_AFTER) <= now => Step::Terminate,
        Some(accepted) => match member.machine {
            Machine::Missing { .. } => query_by_id(member, now),
            _ => Step::Wait(Some(plus(accepted, TERMINATE_AGAIN_AFTER))),
        },
    }
}
