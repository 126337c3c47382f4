//! Checks that no namespace's claims have more members of a pool than its `claims.perNamespace` allows.

use std::collections::BTreeMap;

use bullpen_api::{InstancePool, PoolClaim, PoolMember};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::index::{Index, Track, ended_at, is_terminal, named, report};
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
        if others.len() >= limit {
            let what = format!(
                "member {} of pool {} was given to claim {} while {} others of namespace {} held members of it, and \
                 perNamespace was {limit}",
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
