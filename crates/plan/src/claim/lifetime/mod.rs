//! How long a claim has its machine: its ttl, its renewals, and the pool's limits on both (`docs/use/claims.md`).
//!
//! Pure functions. The granted term is recorded in the claim's status. So a change of the pool's rules does not shorten
//! a term that was granted before: it applies when a claim is next bound, renewed, or asks for another ttl.

use std::time::Duration;

use bullpen_api::{
    ClaimPhase, ClaimRules, ConditionType, PoolClaim, PoolClaimSpec, PoolMember, Reason, RenewTime, Renewal,
    condition_is_true, micro_time,
};
use jiff::{SignedDuration, Timestamp};

use crate::time::earliest;

/// Nothing expires for this long after a term of leadership began or after an outage of the API server, because
/// renewals could not be written or were not seen meanwhile.
pub const EXPIRY_GRACE: SignedDuration = SignedDuration::from_secs(120);
/// An API server that answered nothing for longer than this had an outage.
pub const API_GAP: Duration = Duration::from_secs(30);

/// A pool's rules for the terms of its claims. The default, without any rule, is used for a pool that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TermRules {
    /// The ttl of claims without `ttlSeconds`.
    pub default_ttl: Option<SignedDuration>,
    /// The longest ttl, also for claims without one.
    pub max_ttl: Option<SignedDuration>,
    /// The longest time that a claim may have a machine, renewed or not.
    pub max_hold: Option<SignedDuration>,
    /// How long a claim may have a machine before it gets the condition `Stale`.
    pub stale_after: Option<SignedDuration>,
    /// How long a finished claim is kept; forever if unset.
    pub ttl_after_finished: Option<SignedDuration>,
    /// Whether a claim ends when its machine reports that its job is done.
    pub release_on_done: bool,
}

impl TermRules {
    /// The rules of a pool.
    pub fn of(rules: &ClaimRules) -> Self {
        Self {
            default_ttl: rules.default_ttl_seconds.map(seconds),
            max_ttl: rules.max_ttl_seconds.map(seconds),
            max_hold: rules.max_hold_seconds.map(seconds),
            stale_after: Some(seconds(rules.stale_after_seconds)),
            ttl_after_finished: rules.ttl_seconds_after_finished.map(seconds),
            release_on_done: rules.release_on_done,
        }
    }

    /// The granted ttl of a claim that asks for `asked`.
    fn ttl(&self, asked: Option<i32>) -> Option<SignedDuration> {
        let wanted = asked.map(seconds).or(self.default_ttl);
        self.max_ttl.map_or(wanted, |longest| Some(wanted.map_or(longest, |wanted| wanted.min(longest))))
    }
}

/// What a claim asks for in its spec, or what its status last observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// `ttlSeconds`.
    pub ttl_seconds: Option<i32>,
    /// `renewTime`: each new value is a renewal.
    pub renewal: Option<Renewal>,
}

impl Wish {
    /// The wish of this spec.
    pub fn of(spec: &PoolClaimSpec) -> Self {
        Self { ttl_seconds: spec.ttl_seconds, renewal: spec.renew_time.as_ref().map(RenewTime::renewal) }
    }
}

/// The term of a claim, as its status records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// When the current ttl began.
    pub renewed_at: Timestamp,
    /// When the claim expires; never if unset.
    pub expires_at: Option<Timestamp>,
    /// The wish that this term was granted for.
    pub answers: Wish,
}

/// The first term of a claim that is bound at `bound_at`, which has whole microseconds.
pub fn begin(wish: Wish, rules: &TermRules, bound_at: Timestamp) -> Term {
    term(wish, rules, bound_at, bound_at)
}

fn term(wish: Wish, rules: &TermRules, bound_at: Timestamp, renewed_at: Timestamp) -> Term {
    let by_ttl = rules.ttl(wish.ttl_seconds).map(|ttl| after(renewed_at, ttl));
    let by_hold = rules.max_hold.map(|longest| after(bound_at, longest));
    Term { renewed_at, expires_at: earliest(by_ttl, by_hold), answers: wish }
}

/// What the decision needs to know of a Bound claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundClaim {
    /// What its spec asks for.
    pub wish: Wish,
    /// Its current term.
    pub term: Term,
    /// When it was bound.
    pub bound_at: Timestamp,
    /// Whether `status.observedGeneration` is older than its generation.
    pub unobserved: bool,
    /// Whether it has the condition `Stale`.
    pub flagged: bool,
}

impl BoundClaim {
    /// The view of a claim; `None` if it is not Bound.
    pub fn of(claim: &PoolClaim) -> Option<Self> {
        let status = claim.status.as_ref().filter(|status| status.phase == ClaimPhase::Bound)?;
        let bound_at = status.bound_at.as_ref()?.0;
        let answers = Wish {
            ttl_seconds: status.observed_ttl_seconds,
            renewal: status.observed_renew_time.as_ref().map(RenewTime::renewal),
        };
        let renewed_at = status.renewed_at.as_ref().map_or(bound_at, |time| time.0);
        Some(Self {
            wish: Wish::of(&claim.spec),
            term: Term { renewed_at, expires_at: status.expires_at.as_ref().map(|time| time.0), answers },
            bound_at,
            unobserved: claim.metadata.generation.is_some_and(|generation| generation > status.observed_generation),
            flagged: condition_is_true(&status.conditions, ConditionType::Stale),
        })
    }
}

/// Why a claim expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// `TtlExpired` or `MaxHoldReached`.
    pub reason: Reason,
    /// The message of the conditions.
    pub message: String,
}

/// What to write to the status of a Bound claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// The spec changed: its term, and the observed generation.
    Seen(Term),
    /// The condition `Stale`, with this message.
    Flag(String),
    /// The phase `Expired`.
    End(Expiry),
}

/// What to write now, and when to decide again although nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermDecision {
    /// What to write, over the version of the claim that was judged.
    pub due: Due,
    /// When the next write is due without a change.
    pub look_again_at: Option<Timestamp>,
}

/// Why a Bound claim is over before its time: the machine of its member has reported that the job of this claim is done,
/// and its pool ends such claims.
pub fn job_done(claim_uid: &str, member: &PoolMember, rules: &TermRules) -> Option<String> {
    let done = member.status.as_ref()?.reported.as_ref()?.done.as_ref()?;
    let mine = rules.release_on_done && done.claim_uid == claim_uid;
    let result = if done.result.is_empty() { String::new() } else { format!(": {}", done.result) };
    mine.then(|| format!("its machine reported that the job is done{result}"))
}

/// Decides about a Bound claim. It does not expire before `not_before`, see [`not_before`](not_before()).
///
/// A renewal is handled first: as long as the claim is Bound it is in time, however late it is seen. A claim that is
/// being deleted is judged like any other: it has its machine for as long as a finalizer keeps it.
pub fn judge(claim: &BoundClaim, rules: &TermRules, not_before: Timestamp, now: Timestamp) -> TermDecision {
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

/// The term of a claim whose spec changed. Changes of other fields do not change the term.
fn seen(claim: &BoundClaim, rules: &TermRules, now: Timestamp) -> Term {
    if claim.wish == claim.term.answers {
        return claim.term;
    }
    let renewed = claim.wish.renewal != claim.term.answers.renewal;
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

/// The time before which nothing expires: `grace` after this term of leadership began, or after the end of the last API
/// server outage if that was later.
pub fn not_before(term_began: Timestamp, last_gap: Option<Timestamp>, grace: SignedDuration) -> Timestamp {
    after(last_gap.map_or(term_began, |gap| gap.max(term_began)), grace)
}

/// When a finished claim is deleted; `None` if it has not finished or the pool keeps finished claims.
pub fn deleted_at(finished_at: Option<Timestamp>, rules: &TermRules) -> Option<Timestamp> {
    Some(after(finished_at?, rules.ttl_after_finished?))
}

fn seconds(seconds: i32) -> SignedDuration {
    SignedDuration::from_secs(i64::from(seconds))
}

fn after(moment: Timestamp, time: SignedDuration) -> Timestamp {
    moment.checked_add(time).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
