//! What goes wrong from outside; each costs one of the budget.

use bullpen_api::ClaimPhase;

use crate::binder::Process;
use crate::state::{Carries, Claim, ClaimWrite, MOST, Member, MemberWrite, Object, Sent, Size, State, add_late};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies and starts again: its writes may land or not, its memory is gone.
    Crash { binder: usize },
    /// The answer of a write never comes; the write may land or not.
    NoAnswer { binder: usize, object: Object },
    /// The user deletes a claim; `held` by a finalizer for a while or not, and made again or not.
    DeleteClaim { claim: usize, held: bool, returns: bool },
    /// A claim's time is up: Failed while it waits, Expired while it is bound.
    TimeIsUp { binder: usize, claim: usize },
    /// The user renews a bound claim.
    Renew { claim: usize },
    /// Somebody else sets a member's deletionTimestamp.
    DeleteMember { member: usize },
    /// The reaper retires a ready member.
    Retire { binder: usize, member: usize },
    /// A machine dies.
    MachineDies { member: usize },
}

/// Every fault of a configuration.
pub(crate) fn every_fault(size: Size) -> Vec<Fault> {
    let mut faults = Vec::new();
    for binder in 0..size.binders {
        faults.push(Fault::Crash { binder });
        faults.extend(size.objects().map(|object| Fault::NoAnswer { binder, object }));
        faults.extend((0..size.claims).map(|claim| Fault::TimeIsUp { binder, claim }));
        faults.extend((0..size.members).map(|member| Fault::Retire { binder, member }));
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
    /// Does to the state what the fault does, if it can happen in it. `process` gives the binder process of a number.
    pub(crate) fn happen(self, state: &mut State, process: impl Fn(&mut State, usize) -> Process<'_>) -> Option<()> {
        match self {
            Self::Crash { binder } => {
                crash(state, binder);
                Some(())
            }
            Self::NoAnswer { binder, object: Object::Claim(claim) } => {
                no_answer(&mut state.binders[binder].claim_writes[claim], &mut state.claims[claim].late)
            }
            Self::NoAnswer { binder, object: Object::Member(member) } => {
                no_answer(&mut state.binders[binder].member_writes[member], &mut state.members[member].late)
            }
            Self::DeleteClaim { claim, held, returns } => delete_claim(state, claim, held, returns),
            Self::TimeIsUp { binder, claim } => {
                let seen = state.seen_claim(binder, claim)?;
                time_is_up(process(state, binder), seen)
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
            Self::Retire { binder, member } => {
                state.seen_member(binder, member).filter(|seen| seen.claim.is_none() && !seen.deleting)?;
                process(state, binder).send_to_member(member, MemberWrite::Delete)
            }
            Self::MachineDies { member } => {
                state.members[member].object?;
                std::mem::replace(&mut state.members[member].machine, false).then_some(())
            }
        }
    }
}

fn crash(state: &mut State, binder: usize) {
    let binder = &mut state.binders[binder];
    for number in 0..MOST {
        abandon(binder.claim_writes[number].take(), &mut state.claims[number].late);
        abandon(binder.member_writes[number].take(), &mut state.members[number].late);
    }
}

/// A write with an old version changes nothing, and a terminate call is made again by whoever sees the member.
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
        ClaimPhase::Bound => process.keep_term(seen, true),
        ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Failed => None,
    }
}
