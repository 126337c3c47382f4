//! Checks claims: bindings, the order of phases, and whether each claim ended for a true reason.

mod reuse;

use std::collections::BTreeSet;

use bullpen_api::{ClaimPhase, InstancePool, MemberState, PoolClaim, WhenEmpty};
use jiff::{SignedDuration, Timestamp};

use super::calls::notices;
use super::index::{Index, Track, holder, is_terminal, named, phase, report, state};
use super::{Action, LAG, Promise, Violation, quota, secrets};

/// The allowed transitions of members, as in the table of `docs/use/resources.md`.
const MEMBER_STEPS: [(MemberState, MemberState); 15] = [
    (MemberState::Pending, MemberState::Warming),
    (MemberState::Pending, MemberState::Errored),
    (MemberState::Warming, MemberState::Ready),
    (MemberState::Warming, MemberState::Errored),
    (MemberState::Ready, MemberState::Claimed),
    (MemberState::Ready, MemberState::Errored),
    (MemberState::Ready, MemberState::Stopping),
    (MemberState::Stopping, MemberState::Standby),
    (MemberState::Stopping, MemberState::Errored),
    (MemberState::Standby, MemberState::Warming),
    (MemberState::Standby, MemberState::Errored),
    (MemberState::Claimed, MemberState::Ready),
    (MemberState::Claimed, MemberState::Resetting),
    (MemberState::Resetting, MemberState::Warming),
    (MemberState::Resetting, MemberState::Errored),
];

/// The allowed transitions of claims, likewise.
const CLAIM_STEPS: [(ClaimPhase, ClaimPhase); 5] = [
    (ClaimPhase::Pending, ClaimPhase::Bound),
    (ClaimPhase::Pending, ClaimPhase::Failed),
    (ClaimPhase::Bound, ClaimPhase::Expired),
    (ClaimPhase::Bound, ClaimPhase::Lost),
    (ClaimPhase::Bound, ClaimPhase::Released),
];

/// Invariant 1.
pub(super) fn one_holder(index: &Index<'_>, found: &mut Vec<Violation>) {
    let mut holders = reuse::Holders::new();
    for (uid, claim) in &index.claims {
        let mut members = BTreeSet::new();
        for version in &claim.versions {
            let Some(member) = named(version.object) else { continue };
            if members.insert(member) && members.len() > 1 {
                let what = format!("claim {} named more than one member: {members:?}", claim.name());
                report(found, version.at, Promise::OneHolder, what);
            }
            let machine = version.object.status.as_ref().and_then(|status| status.instance.as_ref());
            let machine = machine.and_then(|machine| index.machines.get(machine.id.as_str()));
            if let Some(machine) = machine.filter(|machine| machine.token != member) {
                let what = format!(
                    "claim {} names machine {}, which is member {}'s",
                    claim.name(),
                    machine.id,
                    machine.member_name
                );
                report(found, version.at, Promise::OneHolder, what);
            }
            let bound = version.object.status.as_ref().and_then(|status| status.bound_at.as_ref());
            let bound = bound.map_or(version.at, |time| time.0);
            holders.entry(member).or_default().entry(uid.clone()).or_insert(bound);
        }
    }
    reuse::is_proved(index, &holders, found);
}

/// Checks the order of phases, that `memberRef` is set once and exactly when the claim is bound, and that ended claims
/// do not change.
pub(super) fn phases(index: &Index<'_>, found: &mut Vec<Violation>) {
    for claim in index.claims.values() {
        let mut before: Option<&PoolClaim> = None;
        for version in &claim.versions {
            let now = phase(version.object);
            let is_bound =
                matches!(now, ClaimPhase::Bound | ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Released);
            let mut say = |what: String| report(found, version.at, Promise::ClaimPhases, what);
            if named(version.object).is_some() != is_bound {
                say(format!("claim {} is {} with memberRef {:?}", claim.name(), now.as_str(), named(version.object)));
            }
            if let Some(before) = before {
                let (then, name) = (phase(before), claim.name());
                if !reaches(&CLAIM_STEPS, then, now, version.relisted) {
                    say(format!("claim {name} went from {} to {}", then.as_str(), now.as_str()));
                } else if is_terminal(before) && before.status != version.object.status {
                    say(format!("claim {name} was changed after it was {}", then.as_str()));
                }
            }
            before = Some(version.object);
        }
    }
}

/// Checks the order of members' states, and that `claimRef` is set exactly while the state is Claimed.
pub(super) fn member_states(index: &Index<'_>, found: &mut Vec<Violation>) {
    for member in index.members.values() {
        let mut before: Option<(MemberState, Option<&str>)> = None;
        for version in &member.versions {
            let (now, by) = (state(version.object), holder(version.object));
            let mut say = |what: String| report(found, version.at, Promise::MemberStates, what);
            if by.is_some() != (now == MemberState::Claimed) {
                say(format!("member {} is {} with claimRef {by:?}", member.name(), now.as_str()));
            }
            if let Some((then, then_by)) = before {
                if !reaches(&MEMBER_STEPS, then, now, version.relisted) {
                    say(format!("member {} went from {} to {}", member.name(), then.as_str(), now.as_str()));
                }
                if then_by.is_some() && by.is_some() && then_by != by && !version.relisted {
                    say(format!("member {} went from claim {then_by:?} to {by:?}", member.name()));
                }
            }
            before = Some((now, by));
        }
    }
}

/// Whether one step is allowed; or several, if versions in between may be missing.
fn reaches<S: Copy + PartialEq>(steps: &[(S, S)], from: S, to: S, gap: bool) -> bool {
    if from == to || steps.contains(&(from, to)) {
        return true;
    }
    let mut reached = vec![from];
    let mut next = 0;
    while gap && next < reached.len() {
        let here = reached[next];
        for (_, there) in steps.iter().filter(|(begin, _)| *begin == here) {
            if !reached.contains(there) {
                reached.push(*there);
            }
        }
        next += 1;
    }
    reached.contains(&to)
}

/// Checks that each ended claim had a reason to end.
pub(super) fn outcomes(index: &Index<'_>, found: &mut Vec<Violation>) {
    for claim in index.claims.values() {
        is_of_its_pool(index, claim, found);
        let ended = claim.versions.iter().find(|version| is_terminal(version.object));
        let Some(version) = ended else { continue };
        let wrong = match phase(version.object) {
            ClaimPhase::Failed if secrets::machine_is_gone(index, version.object, version.at) => None,
            ClaimPhase::Failed => wrongly_failed(index, claim, version.object, version.at),
            ClaimPhase::Lost => wrongly_lost(index, version.object, version.at),
            ClaimPhase::Released => wrongly_released(index, version.object),
            // Whether it had expired is checked elsewhere.
            ClaimPhase::Expired | ClaimPhase::Pending | ClaimPhase::Bound => None,
        };
        if let Some(why) = wrong {
            let what = format!("claim {} is {}, but {why}", claim.name(), phase(version.object).as_str());
            report(found, version.at, Promise::OutcomeIsRight, what);
        }
    }
    for done in &index.record.script {
        match &done.action {
            Action::GaveUp(claim) => {
                report(found, done.at, Promise::EveryoneIsServed, format!("claim {claim} was waited for in vain"));
            }
            Action::NeverExpired(claim) => {
                report(found, done.at, Promise::TermsAreKept, format!("claim {claim} did not expire"));
            }
            _ => {}
        }
    }
}

/// Checks that a claim's member is of a pool that it asked for, and that its status names that pool.
fn is_of_its_pool(index: &Index<'_>, claim: &Track<'_, PoolClaim>, found: &mut Vec<Violation>) {
    let Some(version) = claim.versions.iter().find(|version| named(version.object).is_some()) else { return };
    let member =
        named(version.object).and_then(|uid| index.members.get(uid)).and_then(|member| member.versions.first());
    let Some(pool) = member.map(|member| &member.object.spec.pool_ref) else { return };
    let said = version.object.status.as_ref().and_then(|status| status.pool_ref.as_ref());
    let other = said.is_some_and(|said| said.name != pool.name);
    if index.pools.contains_key(&pool.uid) && (other || !index.may_serve(&pool.uid, version.object)) {
        let what = format!("claim {} holds a machine of pool {}, for which it did not ask", claim.name(), pool.name);
        report(found, version.at, Promise::OutcomeIsRight, what);
    }
}

fn wrongly_failed(index: &Index<'_>, track: &Track<'_, PoolClaim>, claim: &PoolClaim, at: Timestamp) -> Option<String> {
    let created = claim.metadata.creation_timestamp.as_ref().map_or(at, |time| time.0);
    if claim.spec.when_empty.unwrap_or_default() == WhenEmpty::Wait {
        let Some(timeout) = claim.spec.wait_timeout_seconds else {
            return Some("it is to wait for ever".to_owned());
        };
        let due = created + SignedDuration::from_secs(timeout.into());
        return (at < due).then(|| format!("it is to wait until {due:.3}"));
    }
    // With `Fail` there must have been no member for it at some time since its creation.
    index.pools_for(claim).into_iter().find_map(|pool| could_have_served(index, pool, track, at))
}

/// Why a Failed claim could have got a member of this pool at any time since its creation.
fn could_have_served(
    index: &Index<'_>,
    pool: (&String, &Track<'_, InstancePool>),
    track: &Track<'_, PoolClaim>,
    at: Timestamp,
) -> Option<String> {
    let since = track.since();
    let active = pool
        .1
        .within(since - LAG, at + LAG)
        .all(|pool| pool.spec.state == bullpen_api::PoolState::Active && pool.metadata.deletion_timestamp.is_none());
    let rivals = index.claims.values().filter(|other| {
        other.since() <= at && index.may_serve(pool.0, other.versions[0].object) && waits(other, since, at)
    });
    let moments = index.members_of(pool.0).flat_map(|(_, member)| member.versions.iter().map(|version| version.at));
    let moments = moments.filter(|moment| since - LAG <= *moment && *moment <= at + LAG).chain([since - LAG, at]);
    let fewest = moments.map(|moment| index.ready_at(pool.0, moment)).min().unwrap_or(0);
    let rivals = rivals.count();
    let full = quota::may_be_reached(index, pool, track, (since, at), rivals);
    (active && fewest > rivals && !full)
        .then(|| format!("at least {fewest} members of its pool were ready all the time"))
}

/// Whether a claim was Pending at some moment of this span.
fn waits(claim: &Track<'_, PoolClaim>, from: Timestamp, until: Timestamp) -> bool {
    claim.gone.is_none_or(|gone| gone > from) && claim.within(from, until).any(|it| phase(it) == ClaimPhase::Pending)
}

fn wrongly_released(index: &Index<'_>, claim: &PoolClaim) -> Option<String> {
    let member = index.members.get(named(claim)?)?;
    let said = member.versions.iter().any(|version| {
        let reported = version.object.status.as_ref().and_then(|status| status.reported.as_ref());
        let done = reported.and_then(|reported| reported.done.as_ref());
        done.is_some_and(|done| Some(&done.claim_uid) == claim.metadata.uid.as_ref())
    });
    (!said).then(|| "its machine has not reported that its job is done".to_owned())
}

fn wrongly_lost(index: &Index<'_>, claim: &PoolClaim, at: Timestamp) -> Option<String> {
    let member = named(claim)?;
    let machine = index.machines.values().find(|machine| machine.token == member)?;
    if notices::may_end(index, claim, machine.id, at) {
        return None;
    }
    match machine.ended.filter(|ended| *ended <= at) {
        None => Some(format!("its machine {} lived", machine.id)),
        Some(_) if machine.ended_by_itself() => None,
        Some(ended) => Some(format!("its machine {} was terminated, and ended at {ended:.3}", machine.id)),
    }
}
