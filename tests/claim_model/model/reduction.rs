//! Merges states of which one can do whatever the other can, and leaves out steps that lead nowhere else.
//!
//! Sound because a write that carries an old version changes nothing, and because what an old view of a claim proves
//! stays true (`bullpen_plan::claim::fate` has a property test for that):
//! - a write from an old view is a delivery and then perhaps the same write: only the latter two are steps;
//! - a write that became old is answered at once; answered later it would only keep its sender from acting;
//! - an old view that permits nothing which the newest doesn't is replaced by the newest.
//!
//! What is left of the caches: an old view of a claim that would still queue; an old view of a member that hides which
//! claim it is Claimed for; and one of a member that is no longer Claimed for a claim that still waits.

use bullpen_api::ClaimPhase;
use bullpen_plan::claim;

use crate::binder::Process;
use crate::policy::{Policy, claim_view};
use crate::server;
use crate::state::{BINDERS, Binder, Cached, Carries, Claim, MOST, Member, MemberSlot, MemberWrite, State, claim_name};

pub(crate) fn reduce(state: &mut State, policy: Policy) {
    answer_old_writes(state, policy);
    for binder in 0..BINDERS {
        for name in 0..MOST {
            forget_old_claim(state, binder, name);
        }
        for member in 0..MOST {
            forget_old_member(state, binder, member);
        }
    }
}

fn answer_old_writes(state: &mut State, policy: Policy) {
    for number in 0..BINDERS {
        for object in 0..MOST {
            if state.binders[number].claim_writes[object].is_some_and(|sent| sent.carries != Carries::Newest) {
                Process { state, number, policy, reduced: true }.land_on_claim(object);
            }
            let old = state.binders[number].member_writes[object].is_some_and(|sent| {
                sent.carries != Carries::Newest && !matches!(sent.write, MemberWrite::Terminate | MemberWrite::Finalize)
            });
            if old {
                Process { state, number, policy, reduced: true }.land_on_member(object);
            }
        }
    }
}

fn would_queue(claim: Claim) -> bool {
    claim::queues(&claim_view(claim), false)
}

fn forget_old_claim(state: &mut State, binder: usize, name: usize) {
    let Cached::Old(view) = state.binders[binder].claims[name] else { return };
    let newest = state.claims[name].object;
    let matters = view.is_some_and(|view| would_queue(view) && newest != Some(view));
    if !matters {
        state.binders[binder].claims[name] = Cached::Newest;
    }
}

fn forget_old_member(state: &mut State, binder: usize, member: usize) {
    let Cached::Old(view) = state.binders[binder].members[member] else { return };
    let claimed_for = view.and_then(|view| view.claim);
    let newest_for = state.members[member].object.and_then(|object| object.claim);
    let matters = match (claimed_for, newest_for) {
        (Some(old), newest) => {
            let waits = |claim: Claim| claim.uid == old && claim.phase == ClaimPhase::Pending && !claim.deleting;
            newest != Some(old) && state.claims[claim_name(old)].object.is_some_and(waits)
        }
        (None, Some(newest)) => {
            state.seen_claim(binder, claim_name(newest)).is_some_and(|seen| seen.uid == newest && would_queue(seen))
        }
        (None, None) => false,
    };
    let kept = claimed_for.map(|claim| Member { claim: Some(claim), deleting: false });
    state.binders[binder].members[member] = if matters { Cached::Old(kept) } else { Cached::Newest };
}

/// Only what the API server holds; a member that is on its way out for good counts as gone.
pub(crate) fn stored_only(mut state: State) -> State {
    for member in 0..MOST {
        let unheld = !server::holder_has_not_ended(&state, member);
        let slot = &mut state.members[member];
        let on_its_way_out = slot.object.is_some_and(|object| object.deleting && (unheld || !slot.machine));
        slot.late = [None; MOST];
        if on_its_way_out || slot.object.is_none() {
            *slot = MemberSlot { object: None, machine: false, named: false, late: [None; MOST] };
        }
    }
    for slot in &mut state.claims {
        slot.late = [None; MOST];
    }
    State { faults_left: 0, binders: [Binder::NEW; BINDERS], ..state }
}
