//! Checks that after a trouble those that wait are given what is ready.

use bullpen_api::{ClaimPhase, InstancePool, MemberState, PoolClaim, PoolMember, PoolState};
use bullpen_simcloud::ledger::What;
use jiff::{SignedDuration, Timestamp};

use crate::checker::index::{Index, Track, holder, is_aside, phase, report, state};
use crate::checker::{Action, LAG, Promise, Violation, quota};

/// From when a permission is back: the longest pause after a refused write is 4 s, and two busy cores add their part.
const AFTER_REFUSAL: SignedDuration = SignedDuration::from_secs(10);
/// From the last start after an outage: for up to 15 s nothing is handed out that the cloud has not listed.
const AFTER_OUTAGE: SignedDuration = SignedDuration::from_secs(20);
/// Operators that ended in an outage are started so soon after it.
const STARTED_AGAIN: SignedDuration = SignedDuration::from_secs(6);
/// What the cloud said for another account is believed for so long.
const ANOTHER_ACCOUNT: SignedDuration = SignedDuration::from_secs(15);

/// A claim that waits all the time after a trouble, though there is a member for it all the time, is not served. Judged
/// only where nothing else disturbs.
pub(super) fn serves_those_that_wait(index: &Index<'_>, found: &mut Vec<Violation>) {
    let refusals = index.refusals().iter().map(|(_, end)| (*end, AFTER_REFUSAL, "a permission was back"));
    let outages = index.outages().iter().filter(|(_, end)| *end < Timestamp::MAX);
    let outages = outages.map(|(_, end)| (begun_after(index, *end), AFTER_OUTAGE, "the API server was back"));
    for (from, patience, what) in refusals.chain(outages).filter(|(from, ..)| *from < Timestamp::MAX) {
        let until = from + patience;
        let over = index.over().unwrap_or(Timestamp::MAX).min(index.end());
        let calm = until < over && index.longest_quiet(from, until) >= patience;
        if !calm || another_account(index, from - ANOTHER_ACCOUNT, until) {
            continue;
        }
        for (uid, claim) in &index.claims {
            if let Some(why) = in_vain(index, (uid, claim), from, until) {
                let what = format!(
                    "claim {} waited from {from:.3}, when {what}, until {until:.3}, though {why}",
                    claim.name()
                );
                report(found, until, Promise::ServedAfterTrouble, what);
            }
        }
    }
}

/// When the last operator was started again after an outage.
fn begun_after(index: &Index<'_>, end: Timestamp) -> Timestamp {
    let starts = index.record.script.iter().filter(|done| done.action == Action::OperatorStopsOrStarts);
    let starts = starts.map(|done| done.at).filter(|at| end <= *at && *at <= end + STARTED_AGAIN);
    // A quiet span begins after the start, not with it.
    starts.max().map_or(end, |at| at + SignedDuration::from_millis(1))
}

fn another_account(index: &Index<'_>, from: Timestamp, until: Timestamp) -> bool {
    index.record.ledger.iter().any(|entry| {
        let spoke = matches!(&entry.what, What::Fault(fault) if fault.fault == "asAccount");
        spoke && from <= entry.time && entry.time <= until
    })
}

/// What a claim could have got in this span, if it waited all the time.
fn in_vain(
    index: &Index<'_>,
    (uid, claim): (&String, &Track<'_, PoolClaim>),
    from: Timestamp,
    until: Timestamp,
) -> Option<String> {
    let first = claim.versions.first().filter(|first| first.at <= from)?;
    let stays = index.released(claim).is_none_or(|released| released > until + LAG);
    let waits = claim.within(from, until + LAG).all(|claim| phase(claim) == ClaimPhase::Pending);
    let is_there = claim.gone.is_none_or(|gone| gone > until);
    if !(stays && waits && is_there) {
        return None;
    }
    let given = index.members.values().find(|member| {
        let held =
            member.within(from, until).all(|it| holder(it) == Some(uid) && it.metadata.deletion_timestamp.is_none());
        member.since() <= from && member.gone.is_none_or(|gone| gone > until + LAG) && held
    });
    if let Some(member) = given {
        return Some(format!("member {} was Claimed for it all the time", member.name()));
    }
    let pools = index.pools_for(first.object).into_iter();
    let mut idle = pools.filter(|pool| is_idle(index, *pool, claim, from, until));
    idle.next().map(|(_, pool)| format!("pool {} had ready members all the time", pool.name()))
}

/// Whether a pool had members all the time that this claim might have got.
fn is_idle(
    index: &Index<'_>,
    (uid, pool): (&String, &Track<'_, InstancePool>),
    claim: &Track<'_, PoolClaim>,
    from: Timestamp,
    until: Timestamp,
) -> bool {
    let (early, late) = (from - LAG, until + LAG);
    let active =
        |pool: &InstancePool| pool.spec.state == PoolState::Active && pool.metadata.deletion_timestamp.is_none();
    if !pool.within(early, late).all(active) || quota::may_be_reached(index, (uid, pool), claim, (from, until), 0) {
        return false;
    }
    let changes = index
        .members_of(uid)
        .flat_map(|(_, member)| member.versions.iter().map(|version| version.at).chain(member.gone));
    let mut moments = changes.filter(|moment| from <= *moment && *moment <= until).chain([from]);
    moments.all(|moment| index.members_of(uid).any(|(_, member)| member.at(moment).is_some_and(may_be_claimed)))
}

fn may_be_claimed(member: &PoolMember) -> bool {
    let conditions = member.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let is = |type_: &str, status: &str| conditions.iter().any(|it| it.type_ == type_ && it.status == status);
    let there = state(member) == MemberState::Ready && member.metadata.deletion_timestamp.is_none();
    there && !is_aside(member) && !is("Quarantined", "True") && !is("Reachable", "False")
}
