//! How long a claim holds its machine: its ttl, its renewals, and what its pool says of both (`docs/use/claims.md`).
//!
//! What was decided stands in the claim's status, so that a pool whose rules change ends no hold that was granted before:
//! they count from the next time on that a claim is bound, renewed, or asks for another ttl.

use std::time::Duration;

use bullpen_api::{
    ClaimPhase, ClaimRules, ConditionType, PoolClaim, PoolClaimSpec, Reason, condition_is_true, micro_time,
};
use jiff::{SignedDuration, Timestamp};

use crate::time::earliest;

/// Nothing expires for this long after a term of leadership began, or after a gap of the API server: whoever wanted to
/// renew could not, or was not heard.
pub const EXPIRY_GRACE: SignedDuration = SignedDuration::from_secs(120);
/// An API server that answered nothing for longer than this was away.
pub const API_GAP: Duration = Duration::from_secs(30);

/// What a pool says of the time of the claims on it. By default nothing, as of a pool that nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TermRules {
    /// The ttl of claims that ask for none.
    pub default_ttl: Option<SignedDuration>,
    /// The longest ttl, also of claims that ask for no end.
    pub max_ttl: Option<SignedDuration>,
    /// The longest hold in all.
    pub max_hold: Option<SignedDuration>,
    /// How long a hold lasts until it is flagged.
    pub stale_after: Option<SignedDuration>,
    /// How long a claim stays that has ended; for ever if unset.
    pub kept_after_end: Option<SignedDuration>,
}

impl TermRules {
    /// The rules of a pool.
    pub fn of(rules: &ClaimRules) -> Self {
        Self {
            default_ttl: rules.default_ttl_seconds.map(seconds),
            max_ttl: rules.max_ttl_seconds.map(seconds),
            max_hold: rules.max_hold_seconds.map(seconds),
            stale_after: Some(seconds(rules.stale_after_seconds)),
            kept_after_end: rules.ttl_seconds_after_finished.map(seconds),
        }
    }

    /// The ttl of a claim that asks for this one.
    fn ttl(&self, asked: Option<i32>) -> Option<SignedDuration> {
        let wanted = asked.map(seconds).or(self.default_ttl);
        self.max_ttl.map_or(wanted, |longest| Some(wanted.map_or(longest, |wanted| wanted.min(longest))))
    }
}

/// What a claim asks for, or what it was last answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// `ttlSeconds`.
    pub ttl_seconds: Option<i32>,
    /// `renewTime`: another moment is another renewal.
    pub renew_time: Option<Timestamp>,
}

impl Wish {
    /// What this spec asks for. A status has whole microseconds, so anything finer would never count as answered.
    pub fn of(spec: &PoolClaimSpec) -> Self {
        let renew_time = spec.renew_time.as_ref().map(|time| micro_time(time.0).0);
        Self { ttl_seconds: spec.ttl_seconds, renew_time }
    }
}

/// How long a claim holds its machine, as its status says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// When the present ttl began.
    pub renewed_at: Timestamp,
    /// When the hold ends; never if unset.
    pub expires_at: Option<Timestamp>,
    /// What was asked for.
    pub answers: Wish,
}

/// The first term of a claim: it is bound at this moment, which has whole microseconds.
pub fn begin(wish: Wish, rules: &TermRules, bound_at: Timestamp) -> Term {
    term(wish, rules, bound_at, bound_at)
}

fn term(wish: Wish, rules: &TermRules, bound_at: Timestamp, renewed_at: Timestamp) -> Term {
    let by_ttl = rules.ttl(wish.ttl_seconds).map(|ttl| after(renewed_at, ttl));
    let by_hold = rules.max_hold.map(|longest| after(bound_at, longest));
    Term { renewed_at, expires_at: earliest(by_ttl, by_hold), answers: wish }
}

/// A Bound claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundClaim {
    /// What its spec asks for.
    pub wish: Wish,
    /// Its present term.
    pub term: Term,
    /// When it was bound.
    pub bound_at: Timestamp,
    /// Whether its status speaks of an older generation of its spec.
    pub unobserved: bool,
    /// Whether it was flagged as held for long.
    pub flagged: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl BoundClaim {
    /// The claim, if it is Bound.
    pub fn of(claim: &PoolClaim) -> Option<Self> {
        let status = claim.status.as_ref().filter(|status| status.phase == ClaimPhase::Bound)?;
        let bound_at = status.bound_at.as_ref()?.0;
        let answers = Wish {
            ttl_seconds: status.observed_ttl_seconds,
            renew_time: status.observed_renew_time.as_ref().map(|time| time.0),
        };
        let renewed_at = status.renewed_at.as_ref().map_or(bound_at, |time| time.0);
        Some(Self {
            wish: Wish::of(&claim.spec),
            term: Term { renewed_at, expires_at: status.expires_at.as_ref().map(|time| time.0), answers },
            bound_at,
            unobserved: claim.metadata.generation.is_some_and(|generation| generation > status.observed_generation),
            flagged: condition_is_true(&status.conditions, ConditionType::Stale),
            deleting: claim.metadata.deletion_timestamp.is_some(),
        })
    }
}

/// Why a hold is over, and what is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// One word for machines: `TtlExpired` or `MaxHoldReached`.
    pub reason: Reason,
    /// A sentence for people.
    pub message: String,
}

/// What is to be written of a Bound claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// Its spec was seen, and this is its term now.
    Seen(Term),
    /// The condition `Stale`, with this message.
    Flag(String),
    /// The phase `Expired`.
    End(Expiry),
}

/// What is due now, and when to look again although nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermDecision {
    /// What is to be written, on the version of the claim that was judged.
    pub due: Due,
    /// The next moment at which something is due by itself.
    pub look_again_at: Option<Timestamp>,
}

/// Judges a Bound claim. Nothing expires before `not_before`, see [`not_before`](not_before()).
///
/// A renewal comes before everything else: as long as the claim is Bound it is in time, however late it is seen.
pub fn judge(claim: &BoundClaim, rules: &TermRules, not_before: Timestamp, now: Timestamp) -> TermDecision {
    // It ends anyway, and whoever deletes it waits for no word about it.
    if claim.deleting {
        return TermDecision { due: Due::Nothing, look_again_at: None };
    }
    let ends_at = claim.term.expires_at.map(|at| at.max(not_before));
    let flagged_at = rules.stale_after.filter(|_| !claim.flagged).map(|long| after(claim.bound_at, long));
    let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
    let due = if claim.wish != claim.term.answers || claim.unobserved {
        Due::Seen(seen(claim, rules, now))
    } else if is_due(ends_at) {
        Due::End(expiry(claim, rules))
    } else if is_due(flagged_at) {
        Due::Flag(format!(
            "it has held its machine since {:.0}, which is longer than claims.staleAfterSeconds of its pool: is it still \
             needed? Nothing is ended because of this",
            claim.bound_at
        ))
    } else {
        Due::Nothing
    };
    TermDecision { due, look_again_at: earliest(ends_at, flagged_at).map(|at| at.max(now)) }
}

/// The term of a claim whose spec changed. A change that concerns no term leaves it as it is.
fn seen(claim: &BoundClaim, rules: &TermRules, now: Timestamp) -> Term {
    if claim.wish == claim.term.answers {
        return claim.term;
    }
    let renewed = claim.wish.renew_time != claim.term.answers.renew_time;
    let renewed_at = if renewed { micro_time(now).0 } else { claim.term.renewed_at };
    term(claim.wish, rules, claim.bound_at, renewed_at)
}

fn expiry(claim: &BoundClaim, rules: &TermRules) -> Expiry {
    let Term { renewed_at, expires_at, .. } = claim.term;
    let ended = expires_at.unwrap_or(renewed_at);
    match rules.max_hold {
        Some(longest) if after(claim.bound_at, longest) <= ended => Expiry {
            reason: Reason::MaxHoldReached,
            message: format!(
                "it held its machine since {:.0}, and its pool lets no claim hold one for longer than {} s, renewed or \
                 not: the machine is terminated",
                claim.bound_at,
                longest.as_secs()
            ),
        },
        _ => {
            let last = if renewed_at == claim.bound_at { "bound" } else { "last renewed" };
            let message = format!(
                "its time was over at {ended:.0}: it was {last} at {renewed_at:.0} and not renewed since, so its machine \
                 is terminated"
            );
            Expiry { reason: Reason::TtlExpired, message }
        }
    }
}

/// The moment before which nothing expires: `grace` after this term of leadership began, or after the end of the last
/// gap in the API server's answers, if that was later.
pub fn not_before(term_began: Timestamp, last_gap: Option<Timestamp>, grace: SignedDuration) -> Timestamp {
    after(last_gap.map_or(term_began, |gap| gap.max(term_began)), grace)
}

/// When a claim that came to its end at this moment is deleted; never if the pool does not say so.
pub fn deleted_at(finished_at: Option<Timestamp>, rules: &TermRules) -> Option<Timestamp> {
    Some(after(finished_at?, rules.kept_after_end?))
}

fn seconds(seconds: i32) -> SignedDuration {
    SignedDuration::from_secs(i64::from(seconds))
}

fn after(moment: Timestamp, time: SignedDuration) -> Timestamp {
    moment.checked_add(time).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
