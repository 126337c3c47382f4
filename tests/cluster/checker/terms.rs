//! Checks how long claims last: ttl, renewals, the pool's limits on both, and the deletion of ended claims.

use bullpen_api::{ClaimPhase, ClaimRules, InstancePool, PoolClaim, PoolClaimStatus, RenewTime, Renewal};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::index::{Index, Track, Version, ended_at, holder, is_terminal, phase, report};
use super::{Promise, Rules, Violation};

/// How long the operator may take to handle a renewal or an expiry while nothing is known to prevent it. A leader that
/// died or froze is replaced only when its lease has expired, and on busy cores not at once.
const ANSWERED: SignedDuration = SignedDuration::from_secs(40);
/// Creation times have whole seconds.
const ROUNDED: SignedDuration = SignedDuration::from_secs(1);
/// Tolerance between times computed here and by the operator.
const SAME: SignedDuration = SignedDuration::from_millis(1);

/// The last term of a Bound claim in its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    renewed: Option<Timestamp>,
    expires: Option<Timestamp>,
    /// The renewal that was seen.
    renewal: Option<Renewal>,
    /// The ttl that the claim asked for when this was written.
    ttl: Option<i32>,
}

/// Ttl, renewal and longest hold.
pub(super) fn are_kept(index: &Index<'_>, rules: &Rules, found: &mut Vec<Violation>) {
    for claim in index.claims.values() {
        let pool = index.last_pool_of(claim);
        let mut last_term = None;
        for version in &claim.versions {
            let Some(status) = &version.object.status else { continue };
            let wrong = match status.phase {
                ClaimPhase::Bound => {
                    let (now, wrong) = of_bound(index, pool, version, status, last_term);
                    last_term = Some(now);
                    wrong
                }
                ClaimPhase::Expired => of_expired(version, status, last_term),
                _ => None,
            };
            if let Some(what) = wrong {
                report(found, version.at, Promise::TermsAreKept, format!("claim {}: {what}", claim.name()));
                break;
            }
            if status.phase == ClaimPhase::Expired {
                break;
            }
        }
        unanswered(index, rules, claim, found);
        overdue(index, claim, found);
    }
}

/// Checks that a claim fails soon after the time until which it is to wait.
fn overdue(index: &Index<'_>, claim: &Track<'_, PoolClaim>, found: &mut Vec<Violation>) {
    let Some(first) = claim.versions.first() else { return };
    let Some(timeout) = first.object.spec.wait_timeout_seconds else { return };
    let created = first.object.metadata.creation_timestamp.as_ref().map_or(first.at, |time| time.0);
    let due = created + seconds(timeout) + ROUNDED;
    let waits = |version: &&Version<'_, PoolClaim>| phase(version.object) != ClaimPhase::Pending;
    let ended = claim.versions.iter().find(waits).map(|version| version.at);
    let until = [ended, index.released(claim), claim.gone].into_iter().flatten().min().unwrap_or_else(|| index.end());
    // From the moment that it was given a member on, it only waits for its status.
    let given = index
        .members
        .values()
        .flat_map(|member| &member.versions)
        .any(|version| holder(version.object) == first.object.metadata.uid.as_deref());
    if due < until && !given && index.longest_quiet(due, until) > ANSWERED {
        let what = format!("claim {} was to wait until {due:.3}, and was Pending until {until:.3}", claim.name());
        report(found, due + ANSWERED, Promise::TermsAreKept, what);
    }
}

fn of_bound(
    index: &Index<'_>,
    pool: Option<&Track<'_, InstancePool>>,
    version: &Version<'_, PoolClaim>,
    status: &PoolClaimStatus,
    before: Option<Term>,
) -> (Term, Option<String>) {
    let asked = version.object.spec.ttl_seconds;
    let bound = status.bound_at.as_ref().map_or(version.at, |time| time.0);
    let renewed = status.renewed_at.as_ref().map(|time| time.0);
    let expires = status.expires_at.as_ref().map(|time| time.0);
    let mut now =
        Term { renewed, expires, renewal: status.observed_renew_time.as_ref().map(RenewTime::renewal), ttl: asked };
    let mut asks = vec![asked];
    if let Some(before) = before {
        if (renewed, expires, now.renewal) == (before.renewed, before.expires, before.renewal) {
            // The operator has not handled the latest spec yet.
            now.ttl = before.ttl;
            return (now, None);
        }
        let wrong = if renewed < before.renewed {
            Some(format!("its renewedAt went back from {:?} to {renewed:?}", before.renewed))
        } else if now.renewal != before.renewal && renewed == before.renewed {
            Some("it was renewed, and its renewedAt stayed".to_owned())
        } else if now.renewal == before.renewal && renewed != before.renewed && !version.relisted {
            Some("its renewedAt moved, and nobody had renewed it".to_owned())
        } else if renewed == before.renewed && asked == before.ttl && !version.relisted {
            Some(format!(
                "its expiresAt went from {:?} to {expires:?}, and it was not renewed and has the ttl that it had",
                before.expires
            ))
        } else {
            None
        };
        if wrong.is_some() {
            return (now, wrong);
        }
        // Over a gap the ttl may be one that was not answered yet.
        asks.extend(version.relisted.then_some(before.ttl));
    }
    let Some(pool) = pool else { return (now, None) };
    let is_renewal = before.is_none_or(|before| before.renewed != renewed);
    let renewed = renewed.unwrap_or(bound);
    let began = if is_renewal { renewed } else { version.at };
    let possible: Vec<_> = index
        .in_force(pool, began, version.at)
        .flat_map(|pool| asks.iter().map(|asked| expiry(*asked, &pool.spec.claims, bound, renewed)))
        .collect();
    let same = |one: Option<Timestamp>, other: Option<Timestamp>| match (one, other) {
        (Some(one), Some(other)) => one.duration_since(other).abs() <= SAME,
        (one, other) => one == other,
    };
    let wrong = !possible.is_empty() && !possible.iter().any(|possible| same(*possible, expires));
    let wrong = wrong.then(|| {
        format!("its expiresAt is {expires:?}; by its ttl {asked:?} and its pool's rules it is one of {possible:?}")
    });
    (now, wrong)
}

/// `docs/use/claims.md` once more.
fn expiry(asked: Option<i32>, rules: &ClaimRules, bound: Timestamp, renewed: Timestamp) -> Option<Timestamp> {
    let wanted = asked.or(rules.default_ttl_seconds);
    let ttl = [wanted, rules.max_ttl_seconds].into_iter().flatten().min();
    let of_ttl = ttl.map(|ttl| renewed + seconds(ttl));
    let of_hold = rules.max_hold_seconds.map(|longest| bound + seconds(longest));
    [of_ttl, of_hold].into_iter().flatten().min()
}

/// The first version of a claim that is Expired.
fn of_expired(version: &Version<'_, PoolClaim>, status: &PoolClaimStatus, before: Option<Term>) -> Option<String> {
    let Some(expires) = status.expires_at.as_ref().map(|time| time.0) else {
        return Some("it is Expired and had no expiresAt".to_owned());
    };
    if version.at < expires {
        return Some(format!("it is Expired before {expires}"));
    }
    if let Some(before) = before.filter(|before| before.expires != Some(expires) && !version.relisted) {
        return Some(format!("it is Expired at {expires}, and was told {:?} before", before.expires));
    }
    // This version has the spec at the time of its write; a version from a list may have a later one.
    let asked = version.object.spec.renew_time.as_ref().map(RenewTime::renewal);
    let renewed = asked != status.observed_renew_time.as_ref().map(RenewTime::renewal) && !version.relisted;
    renewed.then(|| "it is Expired though it had been renewed in time".to_owned())
}

/// Checks Bound claims for renewals that were not handled and for expiries that are overdue.
fn unanswered(index: &Index<'_>, rules: &Rules, claim: &Track<'_, PoolClaim>, found: &mut Vec<Violation>) {
    let end = [index.released(claim), claim.gone].into_iter().flatten().min().unwrap_or_else(|| index.end());
    let mut renewed: Option<Timestamp> = None;
    for (place, version) in claim.versions.iter().enumerate() {
        let status = version.object.status.as_ref().filter(|status| status.phase == ClaimPhase::Bound);
        let Some(status) = status else { continue };
        let until = claim.versions.get(place + 1).map_or(end, |next| next.at.min(end));
        let is_renewed = version.object.spec.renew_time.as_ref().map(RenewTime::renewal)
            != status.observed_renew_time.as_ref().map(RenewTime::renewal);
        renewed = renewed.filter(|_| is_renewed).or_else(|| is_renewed.then_some(version.at));
        let over = status.expires_at.as_ref().map(|time| time.0.max(version.at)).filter(|_| !is_renewed);
        let waits = [(renewed, ANSWERED, "it was renewed"), (over, ANSWERED + rules.expiry_grace, "its time was over")];
        for (since, patience, what) in waits {
            let since = since.filter(|since| *since < until);
            if let Some(since) = since.filter(|since| index.longest_quiet(*since, until) > patience) {
                let what =
                    format!("claim {}: {what} at {since:.3}, and until {until:.3} nothing followed", claim.name());
                report(found, since + patience, Promise::TermsAreKept, what);
                return;
            }
        }
    }
}

/// Checks that a claim becomes Stale once, not too early, and stays so.
pub(super) fn flags_stay(index: &Index<'_>, found: &mut Vec<Violation>) {
    for claim in index.claims.values() {
        let pool = index.last_pool_of(claim);
        let mut flagged: Option<&Condition> = None;
        for version in &claim.versions {
            let status = version.object.status.as_ref();
            let now = status.and_then(|status| condition(status, "Stale"));
            let wrong = match (flagged, now) {
                (Some(before), now) => {
                    let stays = now.is_some_and(|now| {
                        (&now.status, &now.last_transition_time) == (&before.status, &before.last_transition_time)
                    });
                    (!stays).then(|| "its flag Stale changed".to_owned())
                }
                (None, Some(_)) => {
                    let bound = status.and_then(|status| status.bound_at.as_ref()).map_or(version.at, |time| time.0);
                    let after = pool.and_then(|pool| {
                        let rules = index.in_force(pool, version.at, version.at);
                        rules.map(|pool| pool.spec.claims.stale_after_seconds).min()
                    });
                    let early = after.filter(|after| bound + seconds(*after) > version.at);
                    early.map(|after| format!("it is Stale before it was held for {after} s"))
                }
                (None, None) => None,
            };
            if let Some(what) = wrong {
                report(found, version.at, Promise::TermsAreKept, format!("claim {}: {what}", claim.name()));
                break;
            }
            flagged = now.or(flagged);
        }
    }
}

/// Checks that claims that nobody deleted are gone only after they ended, and the pool's delay after that.
pub(super) fn records_stay(index: &Index<'_>, found: &mut Vec<Violation>) {
    for claim in index.claims.values() {
        let Some(gone) = claim.gone else { continue };
        if index.asked_to_release(claim).is_some_and(|asked| asked <= gone) {
            continue;
        }
        let ended = claim.versions.iter().find(|version| is_terminal(version.object));
        // It ended and was deleted in a gap of the watch.
        if ended.is_none() && index.is_blind(claim.versions.last().map_or(gone, |version| version.at), gone) {
            continue;
        }
        let pool = index.last_pool_of(claim);
        let kept = pool.and_then(|pool| {
            index.in_force(pool, gone, gone).filter_map(|pool| pool.spec.claims.ttl_seconds_after_finished).min()
        });
        let wrong = match (ended, kept) {
            (None, _) => Some("it had not ended".to_owned()),
            (_, None) => Some("its pool keeps records".to_owned()),
            (Some(ended), Some(kept)) => {
                let due = ended_at(ended.object).unwrap_or(ended.at) + seconds(kept);
                (gone < due).then(|| format!("its record was to stay until {due:.3}"))
            }
        };
        if let Some(why) = wrong {
            let what = format!("claim {} was removed by nobody, and {why}", claim.name());
            report(found, gone, Promise::RecordStays, what);
        }
    }
}

/// A condition that holds.
fn condition<'a>(status: &'a PoolClaimStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True")
}

fn seconds(seconds: i32) -> SignedDuration {
    SignedDuration::from_secs(seconds.into())
}
