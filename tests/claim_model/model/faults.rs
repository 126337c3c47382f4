//! Faults and events from outside. Each one uses up one of the configuration's budget.

use bullpen_api::ClaimPhase;

use crate::controller::Process;
use crate::state::{Carries, Claim, ClaimWrite, MOST, Member, MemberWrite, Object, Sent, Size, State, add_late};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process crashes and restarts: its writes in flight may or may not land, its memory is lost.
    Crash { controller: usize },
    /// The answer of a write never comes; the write may land or not.
    NoAnswer { controller: usize, object: Object },
    /// The user deletes a claim. `held`: a finalizer delays it; `returns`: the user creates it again.
    DeleteClaim { claim: usize, held: bool, returns: bool },
    /// A claim's timeout: it becomes Failed while it waits, Expired while it is bound.
    TimeIsUp { controller: usize, claim: usize },
    /// The user renews a bound claim.
    Renew { claim: usize },
    /// Somebody deletes a member object.
    DeleteMember { member: usize },
    /// The pool controller retires a ready member.
    Retire { controller: usize, member: usize },
    /// A machine fails.
    MachineDies { member: usize },
}

/// Every fault of a configuration.
pub(crate) fn every_fault(size: Size) -> Vec<Fault> {
    let mut faults = Vec::new();
    for controller in 0..size.controllers {
        faults.push(Fault::Crash { controller });
        faults.extend(size.objects().map(|object| Fault::NoAnswer { controller, object }));
        faults.extend((0..size.claims).map(|claim| Fault::TimeIsUp { controller, claim }));
        faults.extend((0..size.members).map(|member| Fault::Retire { controller, member }));
    }
    for claim in 0..size.claims {
        for (held, returns) in [(false, false), (false, true), (true, false), (true, true)] {
            faults.push(Fault::DeleteClaim { claim, held, returns });
        }
        faults.push(Fault::Renew { claim });
    }
    for member in 0..size.members {
        faults.extend([Fault::DeleteMember { member }, Fault::MachineDies { member }]);
    }
    faults
}

impl Fault {
    /// Applies the fault to the state; `None` if it cannot happen in it. `process` returns the process with a number.
    pub(crate) fn happen(self, state: &mut State, process: impl Fn(&mut State, usize) -> Process<'_>) -> Option<()> {
        match self {
            Self::Crash { controller } => {
                crash(state, controller);
                Some(())
            }
            Self::NoAnswer { controller, object: Object::Claim(claim) } => {
                no_answer(&mut state.controllers[controller].claim_writes[claim], &mut state.claims[claim].late)
            }
            Self::NoAnswer { controller, object: Object::Member(member) } => {
                no_answer(&mut state.controllers[controller].member_writes[member], &mut state.members[member].late)
            }
            Self::DeleteClaim { claim, held, returns } => delete_claim(state, claim, held, returns),
            Self::TimeIsUp { controller, claim } => {
                let seen = state.seen_claim(controller, claim)?;
                time_is_up(process(state, controller), seen)
            }
            Self::Renew { claim } => {
                let renewable =
                    |object: &Claim| object.phase == ClaimPhase::Bound && !object.deleting && !object.renewed;
                let object = state.claims[claim].object.filter(renewable)?;
                state.store_claim(claim, Some(Claim { renewed: true, ..object }));
                Some(())
            }
            Self::DeleteMember { member } => {
                let object = state.members[member].object.filter(|object| !object.deleting)?;
                state.store_member(member, Some(Member { deleting: true, ..object }));
                Some(())
            }
            Self::Retire { controller, member } => {
                state.seen_member(controller, member).filter(|seen| seen.claim.is_none() && !seen.deleting)?;
                process(state, controller).send_to_member(member, MemberWrite::Delete)
            }
            Self::MachineDies { member } => {
                state.members[member].object?;
                std::mem::replace(&mut state.members[member].machine, false).then_some(())
            }
        }
    }
}

fn crash(state: &mut State, controller: usize) {
    let controller = &mut state.controllers[controller];
    for number in 0..MOST {
        if let Some(Sent { write: MemberWrite::ResetCall { uses }, .. }) = controller.member_writes[number] {
            state.members[number].late_resets |= 1 << uses;
        }
        abandon(controller.claim_writes[number].take(), &mut state.claims[number].late);
        abandon(controller.member_writes[number].take(), &mut state.members[number].late);
    }
}

/// The write may still land later. One with an old version is dropped because it would change nothing.
fn abandon<W: Copy + Ord>(sent: Option<Sent<W>>, late: &mut [Option<W>; MOST]) {
    if let Some(Sent { write, carries: Carries::Newest }) = sent {
        add_late(late, write);
    }
}

fn no_answer<W: Copy + Ord>(sent: &mut Option<Sent<W>>, late: &mut [Option<W>; MOST]) -> Option<()> {
    let sent = sent.as_mut().filter(|sent| sent.carries == Carries::Newest)?;
    sent.carries = Carries::Unanswered;
    add_late(late, sent.write);
    Some(())
}

fn delete_claim(state: &mut State, claim: usize, held: bool, returns: bool) -> Option<()> {
    let object = state.claims[claim].object.filter(|object| !object.deleting)?;
    state.claims[claim].returns |= returns;
    state.store_claim(claim, held.then_some(Claim { deleting: true, ..object }));
    Some(())
}

fn time_is_up(mut process: Process<'_>, seen: Claim) -> Option<()> {
    match seen.phase {
        ClaimPhase::Pending => process.send_to_claim(ClaimWrite::End { uid: seen.uid, phase: ClaimPhase::Failed }),
        ClaimPhase::Bound => process.write_due(seen, true),
        ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Failed | ClaimPhase::Released => None,
    }
}
