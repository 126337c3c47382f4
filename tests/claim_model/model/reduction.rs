//! Merges states that allow the same steps, and leaves out redundant steps.
//!
//! This is sound because a write with an old version changes nothing, and because what an old view of a claim proves
//! stays true (`bullpen_plan::claim::fate` has a property test for that):
//! - a write from an old view equals a delivery and then perhaps the same write: only those two are steps;
//! - a write that became old is answered at once; a later answer would only block its sender;
//! - an old view that allows nothing more than the newest one is replaced by the newest.
//!
//! These old views remain: of a claim that would still queue; of a member that does not yet show its claim; and of a
//! member that still shows a waiting claim for which it is no longer Claimed.

use bullpen_api::ClaimPhase;
use bullpen_plan::claim;

use crate::controller::Process;
use crate::policy::{Policy, claim_view};
use crate::server;
use crate::state::{
    CONTROLLERS, Cached, Carries, Claim, Controller, MOST, Member, MemberSlot, MemberWrite, State, claim_name,
};

pub(crate) fn reduce(state: &mut State, policy: Policy) {
    answer_old_writes(state, policy);
    for controller in 0..CONTROLLERS {
        for name in 0..MOST {
            forget_old_claim(state, controller, name);
        }
        for member in 0..MOST {
            forget_old_member(state, controller, member);
        }
    }
}

fn answer_old_writes(state: &mut State, policy: Policy) {
    for number in 0..CONTROLLERS {
        for object in 0..MOST {
            if state.controllers[number].claim_writes[object].is_some_and(|sent| sent.carries != Carries::Newest) {
                Process { state, number, policy, reduced: true }.land_on_claim(object);
            }
            let old = state.controllers[number].member_writes[object].is_some_and(|sent| {
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

fn forget_old_claim(state: &mut State, controller: usize, name: usize) {
    let Cached::Old(view) = state.controllers[controller].claims[name] else { return };
    let newest = state.claims[name].object;
    let matters = view.is_some_and(|view| would_queue(view) && newest != Some(view));
    if !matters {
        state.controllers[controller].claims[name] = Cached::Newest;
    }
}

fn forget_old_member(state: &mut State, controller: usize, member: usize) {
    let Cached::Old(view) = state.controllers[controller].members[member] else { return };
    let claimed_for = view.and_then(|view| view.claim);
    let newest_for = state.members[member].object.and_then(|object| object.claim);
    let matters = match (claimed_for, newest_for) {
        (Some(old), newest) => {
            let waits = |claim: Claim| claim.uid == old && claim.phase == ClaimPhase::Pending && !claim.deleting;
            newest != Some(old) && state.claims[claim_name(old)].object.is_some_and(waits)
        }
        (None, Some(newest)) => {
            state.seen_claim(controller, claim_name(newest)).is_some_and(|seen| seen.uid == newest && would_queue(seen))
        }
        (None, None) => false,
    };
    let reduced = claimed_for.map(|claim| Member { claim: Some(claim), ..Member::default() });
    state.controllers[controller].members[member] = if matters { Cached::Old(reduced) } else { Cached::Newest };
}

/// Only the API server's objects. A member whose deletion cannot be stopped any more counts as gone.
pub(crate) fn stored_only(mut state: State) -> State {
    for member in 0..MOST {
        let unclaimed = !server::claim_has_not_ended(&state, member);
        let slot = &mut state.members[member];
        let is_ending = slot.object.is_some_and(|object| object.deleting && (unclaimed || !slot.machine));
        slot.late = [None; MOST];
        if is_ending || slot.object.is_none() {
            *slot = MemberSlot::NONE;
        }
    }
    for slot in &mut state.claims {
        slot.late = [None; MOST];
    }
    State { faults_left: 0, controllers: [Controller::NEW; CONTROLLERS], ..state }
}
