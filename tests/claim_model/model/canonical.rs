//! Symmetry reduction: one canonical state for all that differ only in the numbering of claims, members and processes.

use crate::state::{
    CONTROLLERS, Cached, Claim, ClaimUid, ClaimWrite, Controller, MOST, Member, MemberWrite, Sent, State, claim_name,
    claim_uid,
};

/// Every renumbering of claims, members and processes.
#[derive(Clone, Debug)]
pub(crate) struct Renamings {
    claims: Vec<[u8; MOST]>,
    members: Vec<[u8; MOST]>,
    swap_controllers: bool,
}

impl Renamings {
    pub(crate) fn new(claims: usize, members: usize, controllers: usize) -> Self {
        Self {
            claims: permutations(claims),
            members: permutations(members),
            swap_controllers: controllers == CONTROLLERS,
        }
    }

    /// The least of all renumbered states.
    pub(crate) fn canonical(&self, mut state: State) -> State {
        renumber_incarnations(&mut state);
        let mut least: Option<State> = None;
        for claims in &self.claims {
            for members in &self.members {
                let mut renamed = rename(&state, *claims, *members);
                if self.swap_controllers && renamed.controllers[1] < renamed.controllers[0] {
                    renamed.controllers.swap(0, 1);
                }
                if least.as_ref().is_none_or(|least| renamed < *least) {
                    least = Some(renamed);
                }
            }
        }
        least.unwrap_or(state)
    }
}

/// The permutations of the first `count` numbers; the others stay.
fn permutations(count: usize) -> Vec<[u8; MOST]> {
    let all: [[u8; MOST]; 6] = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    all.into_iter().filter(|order| (count..MOST).all(|place| usize::from(order[place]) == place)).collect()
}

/// Moves each item from index `old` to index `order[old]`.
fn reorder<T: Copy>(items: &mut [T; MOST], order: [u8; MOST]) {
    let before = *items;
    for (old, item) in before.into_iter().enumerate() {
        items[usize::from(order[old])] = item;
    }
}

fn rename(state: &State, claims: [u8; MOST], members: [u8; MOST]) -> State {
    let mut renamed = *state;
    reorder(&mut renamed.claims, claims);
    reorder(&mut renamed.members, members);
    for controller in &mut renamed.controllers {
        reorder(&mut controller.claims, claims);
        reorder(&mut controller.claim_writes, claims);
        reorder(&mut controller.members, members);
        reorder(&mut controller.member_writes, members);
    }
    each_reference(
        &mut renamed,
        |uid| *uid = claims[claim_name(*uid)] << 2 | *uid & 3,
        |member| *member = members[usize::from(*member)],
    );
    for slot in &mut renamed.claims {
        slot.late.sort_unstable();
    }
    for slot in &mut renamed.members {
        slot.late.sort_unstable();
    }
    renamed
}

/// Renumbers the uids of each name, the stored claim's first. Uids are only compared for equality.
fn renumber_incarnations(state: &mut State) {
    let mut used = [0_u8; MOST];
    each_reference(state, |uid| used[claim_name(*uid)] |= 1 << (*uid & 3), |_| {});
    if used.iter().all(|used| *used <= 1) {
        return;
    }
    let mut number = [[0_u8; 4]; MOST];
    for (name, used) in used.into_iter().enumerate() {
        let stored = state.claims[name].object.map(|claim| claim.uid & 3);
        let others = (0..4).filter(|old| used & 1 << old != 0 && Some(*old) != stored);
        for (new, old) in stored.into_iter().chain(others).enumerate() {
            number[name][usize::from(old)] = new as u8;
        }
    }
    each_reference(
        state,
        |uid| *uid = claim_uid(claim_name(*uid), number[claim_name(*uid)][usize::from(*uid & 3)]),
        |_| {},
    );
    for slot in &mut state.members {
        slot.late.sort_unstable();
    }
}

/// The uids of a name that are still referred to, as a bit set.
pub(crate) fn incarnations_used(state: &State, name: usize) -> u8 {
    let mut used = 0;
    let mut state = *state;
    each_reference(
        &mut state,
        |uid| {
            if claim_name(*uid) == name {
                used |= 1 << (*uid & 3);
            }
        },
        |_| {},
    );
    used
}

/// Visits every claim uid and every member number in the state.
fn each_reference(state: &mut State, mut on_claim: impl FnMut(&mut ClaimUid), mut on_member: impl FnMut(&mut u8)) {
    for slot in &mut state.claims {
        in_claim(slot.object.as_mut(), &mut on_claim, &mut on_member);
        for write in slot.late.iter_mut().flatten() {
            in_claim_write(write, &mut on_claim, &mut on_member);
        }
    }
    for slot in &mut state.members {
        in_member(&mut slot.object, &mut on_claim);
        for write in slot.late.iter_mut().flatten() {
            in_member_write(write, &mut on_claim);
        }
    }
    for controller in &mut state.controllers {
        in_controller(controller, &mut on_claim, &mut on_member);
    }
}

fn in_controller(
    controller: &mut Controller,
    on_claim: &mut impl FnMut(&mut ClaimUid),
    on_member: &mut impl FnMut(&mut u8),
) {
    for entry in &mut controller.claims {
        if let Cached::Old(view) = entry {
            in_claim(view.as_mut(), on_claim, on_member);
        }
    }
    for entry in &mut controller.members {
        if let Cached::Old(view) = entry {
            in_member(view, on_claim);
        }
    }
    for Sent { write, .. } in controller.claim_writes.iter_mut().flatten() {
        in_claim_write(write, on_claim, on_member);
    }
    for Sent { write, .. } in controller.member_writes.iter_mut().flatten() {
        in_member_write(write, on_claim);
    }
}

fn in_claim(claim: Option<&mut Claim>, on_claim: &mut impl FnMut(&mut ClaimUid), on_member: &mut impl FnMut(&mut u8)) {
    if let Some(claim) = claim {
        on_claim(&mut claim.uid);
        if let Some(member) = &mut claim.member {
            on_member(member);
        }
    }
}

fn in_member(member: &mut Option<Member>, on_claim: &mut impl FnMut(&mut ClaimUid)) {
    if let Some(Member { claim: Some(uid), .. }) = member {
        on_claim(uid);
    }
}

fn in_claim_write(
    write: &mut ClaimWrite,
    on_claim: &mut impl FnMut(&mut ClaimUid),
    on_member: &mut impl FnMut(&mut u8),
) {
    match write {
        ClaimWrite::Bind { uid, member } => {
            on_claim(uid);
            on_member(member);
        }
        ClaimWrite::End { uid, .. } | ClaimWrite::Seen { uid } => on_claim(uid),
    }
}

fn in_member_write(write: &mut MemberWrite, on_claim: &mut impl FnMut(&mut ClaimUid)) {
    if let MemberWrite::Swap { claim } = write {
        on_claim(claim);
    }
}
