//! Checks that a member that a claim has named serves another one only after a reset that the cloud's ledger shows, and no
//! more claims than its pool allows.

use std::collections::{BTreeMap, BTreeSet};

use bullpen_api::PoolClaim;
use jiff::Timestamp;

use super::super::index::{Index, Track, ended_at, holder, is_terminal, report};
use super::super::{Promise, Violation};

/// By the uid of a member: the claims that named it, each with when it was bound.
pub(super) type Holders<'a> = BTreeMap<&'a str, BTreeMap<String, Timestamp>>;

/// Invariant 1, of one claim after the other.
pub(super) fn is_proved(index: &Index<'_>, holders: &Holders<'_>, found: &mut Vec<Violation>) {
    for (member, claims) in holders {
        let name = |uid: &str| index.claims.get(uid).map_or_else(|| uid.to_owned(), Track::name);
        let of_member = index.members.get(*member).map_or_else(|| (*member).to_owned(), Track::name);
        // Those that took the member, by their word or by its own.
        let mut takes: BTreeSet<(Timestamp, &str)> = claims.iter().map(|(uid, bound)| (*bound, uid.as_str())).collect();
        let versions = index.members.get(*member).map_or(&[][..], |track| &track.versions);
        for version in versions {
            let status = version.object.status.as_ref();
            let claimed_at = status.and_then(|status| status.claimed_at.as_ref()).map_or(version.at, |time| time.0);
            takes.extend(holder(version.object).map(|by| (claimed_at, by)));
        }
        let before = found.len();
        for (by, bound) in claims {
            let later =
                takes.iter().find(|(at, other)| at > bound && other != by && !reset_before(index, member, by, *at));
            if let Some((at, other)) = later {
                let (by, other) = (name(by), name(other));
                let what = format!(
                    "member {of_member}, which claim {by} had named, was taken by claim {other} without a reset after the end \
                     of {by}"
                );
                report(found, *at, Promise::OneHolder, what);
                break;
            }
        }
        if found.len() == before {
            too_often(index, member, claims, found);
        }
    }
}

/// Whether the ledger shows a reset of the member's machine that began after this claim had ended, and was done before
/// this moment.
fn reset_before(index: &Index<'_>, member: &str, claim: &str, moment: Timestamp) -> bool {
    let Some(ended) = index.claims.get(claim).and_then(|claim| ended(index, claim)) else { return false };
    let machines = index.machines.values().filter(|machine| machine.token == member);
    let mut resets = machines.flat_map(|machine| &machine.resets);
    resets.any(|(began, done)| *began >= ended && done.is_some_and(|done| done <= moment))
}

/// The earliest moment at which the claim may have ended: when the test was about to delete it, or when it says that it
/// ended.
fn ended(index: &Index<'_>, claim: &Track<'_, PoolClaim>) -> Option<Timestamp> {
    let terminal = claim.versions.iter().find(|version| is_terminal(version.object));
    let terminal = terminal.map(|version| ended_at(version.object).map_or(version.at, |ended| ended.min(version.at)));
    [index.released(claim), terminal, claim.gone].into_iter().flatten().min()
}

/// Reports a member that served more claims than its pool ever allowed.
fn too_often(index: &Index<'_>, member: &str, claims: &BTreeMap<String, Timestamp>, found: &mut Vec<Violation>) {
    let Some(track) = index.members.get(member) else { return };
    let pool = track.versions.first().and_then(|version| index.pools.get(&version.object.spec.pool_ref.uid));
    let Some(pool) = pool else { return };
    let allowed = |version: &bullpen_api::InstancePool| version.spec.reuse.as_ref().map_or(1, |reuse| reuse.max_uses);
    let most = pool.versions.iter().map(|version| allowed(version.object)).max().unwrap_or(1);
    if i32::try_from(claims.len()).unwrap_or(i32::MAX) > most {
        let what = format!("member {} has served {} claims, and {most} are allowed", track.name(), claims.len());
        report(found, claims.values().copied().max().unwrap_or_default(), Promise::OneHolder, what);
    }
}
