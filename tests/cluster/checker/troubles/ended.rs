//! Checks members that the operator is done with, and that finalizers of others keep: their machines are gone, and they
//! are neither counted nor terminated any more.

use bullpen_api::{InstancePool, PoolMember};
use jiff::Timestamp;

use crate::checker::index::{Index, Track, is_done, report};
use crate::checker::{LAG, Promise, Violation};

/// All members without the operator's finalizer, and the counts of pools that have such members.
pub(super) fn is_done_with(index: &Index<'_>, found: &mut Vec<Violation>) {
    for (uid, member) in &index.members {
        let Some(since) = done_since(member).filter(|_| !index.was_forced(member)) else { continue };
        let Some(machine) = index.machines.values().find(|machine| machine.token == uid) else { continue };
        if machine.ended.is_none_or(|ended| ended > since) {
            let what =
                format!("the operator was done with member {} before its machine {} ended", member.name(), machine.id);
            report(found, since, Promise::MemberOutlivesMachine, what);
        }
        // A call that was sent before may be held back.
        if let Some(call) = machine.terminates.iter().find(|call| **call > since + LAG) {
            let what = format!(
                "machine {} of member {} was terminated again, though it was gone since {since:.3}",
                machine.id,
                member.name()
            );
            report(found, *call, Promise::EndedIsDone, what);
        }
    }
    for (uid, pool) in &index.pools {
        counts(index, uid, pool, found);
    }
}

/// When a member was first seen with finalizers of others alone.
fn done_since(member: &Track<'_, PoolMember>) -> Option<Timestamp> {
    member.versions.iter().find(|version| is_done(version.object)).map(|version| version.at)
}

/// The pool's status counts no more members than there may have been.
fn counts(index: &Index<'_>, uid: &str, pool: &Track<'_, InstancePool>, found: &mut Vec<Violation>) {
    for version in &pool.versions {
        let at = version.at;
        let members = version.object.status.as_ref().and_then(|status| status.members);
        let Some(total) = members.map(|members| members.total) else { continue };
        // It may be an old status that somebody else's write shows again, and new members may be seen late.
        let from =
            pool.versions.iter().find(|it| it.object.status == version.object.status).map_or(at, |it| it.at) - LAG;
        let kept = index.members_of(uid).filter_map(|(_, member)| done_since(member)).any(|since| since <= from);
        if !kept
            || index.in_outage(from, at + LAG)
            || index.is_refused(from, at + LAG)
            || index.is_blind(from, at + LAG)
        {
            continue;
        }
        let there = |member: &Track<'_, PoolMember>| {
            let ended = [member.gone, done_since(member)].into_iter().flatten().min();
            member.since() <= at + LAG && ended.is_none_or(|ended| ended >= from)
        };
        let most = index.members_of(uid).filter(|(_, member)| there(member)).count();
        if usize::try_from(total).is_ok_and(|total| total > most) {
            let what =
                format!("pool {} counts {total} members, and had at most {most} that were not done", pool.name());
            report(found, at, Promise::EndedIsDone, what);
            return;
        }
    }
}
