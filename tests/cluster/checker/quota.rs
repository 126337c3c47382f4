//! Checks that no namespace's claims have more members of a pool than its `claims.perNamespace` allows. Members of
//! claims that ended count as long as their machines are there, but not while the pool has room.

use std::collections::BTreeMap;

use bullpen_api::{InstancePool, PoolClaim, PoolMember};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::index::{Index, Track, ended_at, is_done, is_terminal, named, report};
use super::{LAG, Object, Promise, Violation};

/// How long a write of a killed operator may arrive after its successor has counted without it.
const SAME_MOMENT: SignedDuration = SignedDuration::from_secs(1);

/// The claim of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held<'a> {
    claim: &'a str,
    namespace: &'a str,
    pool: &'a str,
}

/// Judged at the moment of each write that makes a member Claimed, in the order in which the members' watch showed
/// them: a quota that is lowered takes nothing away.
pub(super) fn is_kept(index: &Index<'_>, found: &mut Vec<Violation>) {
    let mut held: BTreeMap<String, Held<'_>> = BTreeMap::new();
    for seen in &index.record.seen {
        let Object::Member(member) = &seen.object else { continue };
        let uid = member.uid().unwrap_or_default();
        let Some(now) = held_by(member).filter(|_| !seen.gone) else {
            held.remove(&uid);
            continue;
        };
        // After a gap, other members may still be recorded as before it.
        let is_new = held.insert(uid, now) != Some(now) && !seen.relisted;
        let Some(pool) = index.pools.get(now.pool).filter(|_| is_new) else { continue };
        let excused =
            index.restarted(seen.at - SAME_MOMENT, seen.at + SAME_MOMENT) || index.in_outage(seen.at - LAG, seen.at);
        let limit = most_allowed(index, pool, seen.at);
        let (Some(limit), false) = (limit, excused) else { continue };
        // A claim counts once, even if another member of it is being given back.
        let mut others: Vec<_> = held
            .iter()
            .filter(|(member, it)| {
                let same = it.namespace == now.namespace && it.pool == now.pool && it.claim != now.claim;
                same && holds_on(index, it.claim, member, seen.at)
            })
            .map(|(_, it)| it.claim)
            .collect();
        others.sort_unstable();
        others.dedup();
        let ending = if others.len() < limit { ending(index, pool, now, seen.at) } else { 0 };
        if others.len() + ending >= limit {
            let what = format!(
                "member {} of pool {} was given to claim {} while {} others of namespace {} held members of it and \
                 {ending} machines of ended ones were there, and perNamespace was {limit}",
                member.name_any(),
                pool.name(),
                index.claims.get(now.claim).map_or_else(|| now.claim.to_owned(), Track::name),
                others.len(),
                now.namespace
            );
            report(found, seen.at, Promise::Quota, what);
        }
    }
}

fn held_by(member: &PoolMember) -> Option<Held<'_>> {
    let claim = member.status.as_ref()?.claim_ref.as_ref()?;
    let there = member.metadata.deletion_timestamp.is_none();
    there.then(|| Held { claim: &claim.uid, namespace: &claim.namespace, pool: &member.spec.pool_ref.uid })
}

/// How many members of a namespace's deleted claims were certainly being terminated at this moment, and certainly
/// counted: not if the pool may have had room for its target beside all of its members.
fn ending(index: &Index<'_>, pool: &Track<'_, InstancePool>, now: Held<'_>, at: Timestamp) -> usize {
    let (from, until) = (at - LAG, index.settled(at));
    let there = |member: &Track<'_, PoolMember>, since: Timestamp, until: Timestamp| {
        let done = member.versions.iter().find(|version| is_done(version.object)).map(|version| version.at);
        member.since() <= since && [member.gone, done].into_iter().flatten().all(|ended| ended > until)
    };
    let is_ending = |member: &Track<'_, PoolMember>| {
        let old = member.at(from).filter(|it| it.metadata.deletion_timestamp.is_some());
        let claim = old.and_then(|it| it.status.as_ref()?.claim_ref.as_ref());
        claim.is_some_and(|claim| {
            let gone = index.claims.get(&claim.uid).is_some_and(|claim| claim.gone.is_some_and(|gone| gone <= from));
            claim.namespace == now.namespace && claim.uid != now.claim && gone
        })
    };
    let counted =
        index.members_of(now.pool).filter(|(_, member)| there(member, from, until) && is_ending(member)).count();
    if counted == 0 {
        return 0;
    }
    // The fewest members that the operator may have known.
    let fewest = index.members_of(now.pool).filter(|(_, member)| there(member, from, until)).count();
    let fewest = i32::try_from(fewest).unwrap_or(i32::MAX);
    let room = |pool: &InstancePool| pool.spec.max_size.saturating_sub(fewest) >= pool.spec.target_size.max(1);
    if index.in_force(pool, at, at).any(room) { 0 } else { counted }
}

/// The highest quota of the versions that may have been in force; `None` if one had none.
fn most_allowed(index: &Index<'_>, pool: &Track<'_, InstancePool>, at: Timestamp) -> Option<usize> {
    let quotas = index.in_force(pool, at, at).map(|pool| pool.spec.claims.per_namespace);
    let most = quotas.collect::<Option<Vec<_>>>()?.into_iter().max()?;
    usize::try_from(most).ok()
}

/// Whether a claim certainly had not come to its end at this moment, and held no other member.
fn holds_on(index: &Index<'_>, uid: &str, member: &str, at: Timestamp) -> bool {
    // A claim that was never seen proves nothing.
    let Some(claim) = index.claims.get(uid) else { return false };
    let settled = index.settled(at);
    let gone = match index.asked_to_release(claim) {
        Some(asked) => asked <= at,
        None => claim.deleted().is_some_and(|deleted| deleted <= settled),
    };
    let elsewhere = claim
        .versions
        .iter()
        .any(|version| version.at <= settled && named(version.object).is_some_and(|named| named != member));
    let ended = claim.versions.iter().any(|version| has_ended(version.object, version.at, settled, at));
    !gone && !elsewhere && !ended
}

/// Whether this version, if it was seen until `settled`, says that the claim had ended at this moment.
fn has_ended(claim: &PoolClaim, seen: Timestamp, settled: Timestamp, at: Timestamp) -> bool {
    seen <= settled && is_terminal(claim) && ended_at(claim).is_none_or(|ended| ended <= at)
}

/// Whether the claim's namespace may have held all that it might in this span, with so many others that waited.
pub(super) fn may_be_reached(
    index: &Index<'_>,
    (pool_uid, pool): (&String, &Track<'_, InstancePool>),
    claim: &Track<'_, PoolClaim>,
    (from, until): (Timestamp, Timestamp),
    rivals: usize,
) -> bool {
    let quotas = index.in_force(pool, from, until).filter_map(|pool| pool.spec.claims.per_namespace);
    let Some(least) = quotas.min().and_then(|least| usize::try_from(least).ok()) else { return false };
    let namespace = claim.versions.first().and_then(|version| version.object.namespace()).unwrap_or_default();
    let members = index.members_of(pool_uid).filter(|(_, member)| {
        let held = |it: &PoolMember| {
            let claim = it.status.as_ref().and_then(|status| status.claim_ref.as_ref());
            claim.is_some_and(|claim| claim.namespace == namespace)
        };
        member.gone.is_none_or(|gone| gone > from - LAG) && member.within(from - LAG, until + LAG).any(held)
    });
    // Perhaps not all of them at the same time.
    members.count() + rivals >= least
}
