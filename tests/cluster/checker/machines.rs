//! Checks machines and their members: none without the other, claimed machines end only after their claims, and nothing
//! is left at the end.

use bullpen_api::{PoolClaim, PoolMember};
use jiff::Timestamp;
use kube::Resource;

use super::index::{Index, Machine, Track, ended_at, holder, is_terminal, named, report};
use super::{Promise, Violation};

/// Invariant 3.
pub(super) fn have_members(index: &Index<'_>, found: &mut Vec<Violation>) {
    for machine in index.machines.values() {
        let id = machine.id;
        if index.is_orphan(machine, Timestamp::MAX) {
            continue;
        }
        let lived = || machine.ended.map_or_else(|| "lives on".to_owned(), |ended| format!("lived until {ended:.3}"));
        let Some(member) = index.members.get(machine.token) else {
            // Both may have appeared and disappeared in a gap of the watch.
            let noticed = index.settled(machine.began);
            if machine.ended.is_none_or(|ended| ended > noticed) {
                let what = format!(
                    "machine {id} was bought for member {} ({}), which was never seen, and {}",
                    machine.member_name,
                    machine.token,
                    lived()
                );
                report(found, machine.created, Promise::MachineHasMember, what);
            }
            continue;
        };
        let written = member.versions.first().and_then(|version| version.object.metadata.creation_timestamp.as_ref());
        if written.is_some_and(|written| written.0 > machine.began) {
            let what = format!("machine {id} was bought before its member {} was written", member.name());
            report(found, machine.began, Promise::MachineHasMember, what);
        }
        let Some(gone) = member.gone else { continue };
        if machine.created > gone {
            let what = format!("machine {id} was made after its member {} was gone, and {}", member.name(), lived());
            report(found, machine.created, Promise::MachineHasMember, what);
        } else if machine.ended.is_none_or(|ended| ended > gone) {
            let what = format!("member {} went before its machine {id}, which {}", member.name(), lived());
            report(found, gone, Promise::MemberOutlivesMachine, what);
        }
    }
}

/// Invariant 4.
pub(super) fn of_claims_stay(index: &Index<'_>, found: &mut Vec<Violation>) {
    for machine in index.machines.values() {
        let ended = machine.ended.unwrap_or(Timestamp::MAX);
        // A reset takes the machine from its claim as well.
        let resets = machine.resets.iter().map(|(began, _)| began);
        for call in machine.terminates.iter().chain(resets).filter(|call| **call < ended) {
            if let Some(claim) = keeper(index, machine, *call) {
                let what =
                    format!("machine {} was terminated or reset while claim {} held it", machine.id, claim.name());
                report(found, *call, Promise::ClaimedMachineStays, what);
                break;
            }
        }
    }
}

/// The claim that had the machine at this time, and had not ended.
pub(super) fn keeper<'i, 'a>(
    index: &'i Index<'a>,
    machine: &'i Machine<'a>,
    moment: Timestamp,
) -> Option<&'i Track<'a, PoolClaim>> {
    held_by(index, machine, moment).find(|claim| {
        // The test records the release before it deletes the claim.
        let released = index.released(claim).is_some_and(|released| released <= moment);
        let still = index.settled(moment);
        // The claim has to end before its machine.
        let ended = |it: &PoolClaim| is_terminal(it) && ended_at(it).is_none_or(|ended| ended <= moment);
        !released && !claim.within(moment, still).any(ended)
    })
}

/// The claims that had the machine's member at this time, by their status or the member's.
fn held_by<'i, 'a>(
    index: &'i Index<'a>,
    machine: &'i Machine<'a>,
    moment: Timestamp,
) -> impl Iterator<Item = &'i Track<'a, PoolClaim>> {
    let member = index.members.get(machine.token);
    let held = move |member: &Track<'_, PoolMember>, claim: &str| {
        // If it was given back in between, it is not claimed any more.
        let versions = || member.within(moment, index.settled(moment));
        member.at(moment).is_some() && versions().all(|version| holder(version) == Some(claim))
    };
    index.claims.iter().filter_map(move |(uid, claim)| {
        let by_its_word = claim.at(moment).is_some_and(|claim| named(claim) == Some(machine.token));
        let by_the_members = member.is_some_and(|member| held(member, uid)) && claim.at(moment).is_some();
        (by_its_word || by_the_members).then_some(claim)
    })
}

/// Checks that nothing is left at the end of the run.
pub(super) fn nothing_is_left(index: &Index<'_>, found: &mut Vec<Violation>) {
    let Some(over) = index.over() else { return };
    for machine in index.machines.values().filter(|machine| machine.ended.is_none()) {
        let what = format!("machine {} of member {} is left", machine.id, machine.member_name);
        report(found, over, Promise::NothingIsLeft, what);
    }
    left(index.pools.values(), over, found);
    left(index.launch_configs.values(), over, found);
    left(index.members.values(), over, found);
    left(index.claims.values(), over, found);
}

fn left<'i, 'a: 'i, K: Resource<DynamicType = ()> + 'a>(
    tracks: impl Iterator<Item = &'i Track<'a, K>>,
    over: Timestamp,
    found: &mut Vec<Violation>,
) {
    for track in tracks.filter(|track| track.gone.is_none()) {
        let finalizers = track.versions.last().and_then(|version| version.object.meta().finalizers.clone());
        let what =
            format!("{} {} is left, with finalizers {:?}", K::kind(&()), track.name(), finalizers.unwrap_or_default());
        report(found, over, Promise::NothingIsLeft, what);
    }
}
