//! The queue of a pool: which claim gets which member, and the status of claims that get none (`docs/use/waiting.md`).
//!
//! Pure functions. Input: claims in their order, members, and the pool's supply. Output: pairs of claim and member, and
//! status updates for waiting claims. The only state is [`WaitingUpdates`], which limits how often these are written.

mod admission;
mod choice;
mod notice;
mod order;
mod trouble;
mod waiting_updates;

use jiff::{SignedDuration, Timestamp};

pub use self::admission::{Admission, InUse, Labels, admission, demand, has_room};
pub use self::choice::{Candidate, choose, selects};
pub use self::notice::{
    Notice, Supply, UnservedReason, no_match, not_accepted, not_found, not_listed, not_watched, over_quota,
};
pub use self::order::{Offer, Order, Paired, Turn, allowed_priority, pair};
pub use self::trouble::{PoolTrouble, trouble};
pub use self::waiting_updates::{WaitStatus, WaitingUpdates};
use bullpen_api::{Reason, WhenEmpty};

/// How long a claim with `whenEmpty: Fail` waits for a pool that does not exist, or for an API server that does not
/// accept its binding, unless `waitTimeoutSeconds` is set. Both may be over in a moment.
pub const SHORT_TROUBLE_TIMEOUT: SignedDuration = SignedDuration::from_secs(30);

/// A claim for which there is no member now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// Uid.
    pub uid: String,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// When this process first saw it; `created` has whole seconds only.
    pub first_seen: Timestamp,
    /// `spec.whenEmpty`, or the pool's default if it serves the claim, or the API's default.
    pub when_empty: WhenEmpty,
    /// `spec.waitTimeoutSeconds`.
    pub wait_timeout: Option<SignedDuration>,
    /// What its status reports now; `None` before the first update.
    pub reported: Option<WaitStatus>,
}

/// The status of a claim that got no member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnservedStatus {
    /// It waits, for this reason.
    Waits(Notice),
    /// It failed, for this reason.
    Failed(UnservedReason),
}

/// What to do about a claim that gets no member now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The status to write, if any.
    pub verdict: Option<UnservedStatus>,
    /// When to judge it again although nothing changed.
    pub look_again_at: Option<Timestamp>,
}

/// Judges a claim that gets no member now: it fails with `refusal` once its timeout is over; until then its status
/// reports `notice`.
pub fn judge(
    claim: &Unserved,
    refusal: &UnservedReason,
    notice: &Notice,
    updates: &WaitingUpdates,
    now: Timestamp,
) -> Judgement {
    let timeout = match (claim.when_empty, refusal.reason) {
        (WhenEmpty::Fail, Reason::PoolNotFound | Reason::BindingNotAccepted) => {
            Some(claim.wait_timeout.unwrap_or(SHORT_TROUBLE_TIMEOUT))
        }
        (WhenEmpty::Fail, _) => Some(SignedDuration::ZERO),
        (WhenEmpty::Wait, _) => claim.wait_timeout,
    };
    let deadline = timeout.and_then(|timeout| claim.created.checked_add(timeout).ok());
    if deadline.is_some_and(|deadline| deadline <= now) {
        return Judgement { verdict: Some(UnservedStatus::Failed(refusal.clone())), look_again_at: None };
    }
    let seen = claim.created.max(claim.first_seen);
    match updates.due(&claim.uid, claim.reported.as_ref(), notice, seen) {
        Some(due) if due <= now => {
            Judgement { verdict: Some(UnservedStatus::Waits(notice.clone())), look_again_at: deadline }
        }
        due => Judgement { verdict: None, look_again_at: crate::time::earliest(deadline, due) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bullpen_api::PoolState;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(50_000 + seconds).unwrap()
    }

    fn claim(when_empty: WhenEmpty) -> Unserved {
        Unserved { uid: "c".into(), created: at(0), first_seen: at(0), when_empty, wait_timeout: None, reported: None }
    }

    fn supply() -> Supply {
        Supply {
            pool: "ci".into(),
            state: PoolState::Active,
            deleting: false,
            target: 5,
            ready: 0,
            warming: 3,
            pending: 0,
            claimed: 0,
            next_ready_at: None,
            trouble: None,
        }
    }

    fn judge_by(claim: &Unserved, refusal: &UnservedReason, now: i64) -> Judgement {
        let notice = Notice::without_place(refusal.clone());
        judge(claim, refusal, &notice, &WaitingUpdates::default(), at(now))
    }

    fn reported(refusal: &UnservedReason) -> WaitStatus {
        let (reason, message) = (refusal.reason.to_string(), refusal.message.clone());
        WaitStatus { queue_reason: reason.clone(), reason, message, position: None, pool: None }
    }

    #[test]
    fn fail_on_an_empty_pool_names_target_ready_and_warming() {
        let judgement = judge_by(&claim(WhenEmpty::Fail), &supply().empty(), 0);
        let Some(UnservedStatus::Failed(refusal)) = &judgement.verdict else { panic!("{judgement:?}") };
        assert_eq!(refusal.reason.as_str(), "NoReadyMembers");
        assert_eq!(refusal.message, "no member of pool ci is ready: target 5, ready 0, warming 3");
    }

    #[test]
    fn a_paused_or_draining_or_deleted_pool_hands_out_nothing() {
        for pool in [
            Supply { state: PoolState::Paused, ..supply() },
            Supply { state: PoolState::Draining, ..supply() },
            Supply { deleting: true, ..supply() },
        ] {
            let refusal = pool.inactive().expect("it is not active");
            assert_eq!(refusal.reason.as_str(), "PoolNotActive");
            let waits = judge_by(&claim(WhenEmpty::Wait), &refusal, 5).verdict;
            assert!(matches!(waits, Some(UnservedStatus::Waits(notice)) if notice.place.position.is_none()));
            assert!(matches!(judge_by(&claim(WhenEmpty::Fail), &refusal, 0).verdict, Some(UnservedStatus::Failed(_))));
        }
        assert_eq!(supply().inactive(), None);
    }

    #[test]
    fn the_status_of_a_waiting_claim_is_written_once_and_only_after_a_second() {
        let empty = supply().empty();
        assert_eq!(
            judge_by(&claim(WhenEmpty::Wait), &empty, 0),
            Judgement { verdict: None, look_again_at: Some(at(1)) }
        );
        assert!(matches!(judge_by(&claim(WhenEmpty::Wait), &empty, 1).verdict, Some(UnservedStatus::Waits(_))));
        let updated = Unserved { reported: Some(reported(&empty)), ..claim(WhenEmpty::Wait) };
        assert_eq!(judge_by(&updated, &empty, 60), Judgement { verdict: None, look_again_at: None });
    }

    #[test]
    fn a_claim_that_waited_long_enough_fails_with_the_reason_it_waited_for() {
        let missing = not_found("ci", None);
        let patient = Unserved {
            wait_timeout: Some(SignedDuration::from_secs(20)),
            reported: Some(reported(&missing)),
            ..claim(WhenEmpty::Wait)
        };
        assert_eq!(judge_by(&patient, &missing, 19), Judgement { verdict: None, look_again_at: Some(at(20)) });
        let after = judge_by(&patient, &missing, 20).verdict;
        assert!(matches!(after, Some(UnservedStatus::Failed(refusal)) if refusal.reason == Reason::PoolNotFound));
    }

    #[test]
    fn with_fail_a_claim_waits_thirty_seconds_for_a_missing_pool() {
        let missing = not_found("ci", None);
        let fail = Unserved { reported: Some(reported(&missing)), ..claim(WhenEmpty::Fail) };
        assert_eq!(judge_by(&fail, &missing, 29).verdict, None);
        assert!(judge_by(&fail, &missing, 30).verdict.is_some());
    }

    #[test]
    fn with_fail_a_claim_waits_thirty_seconds_for_an_api_server_that_refuses_to_bind_it() {
        let refused = not_accepted("poolmembers/status is forbidden");
        assert_eq!(refused.reason.as_str(), "BindingNotAccepted");
        let fail = Unserved { reported: Some(reported(&refused)), ..claim(WhenEmpty::Fail) };
        assert_eq!(judge_by(&fail, &refused, 29), Judgement { verdict: None, look_again_at: Some(at(30)) });
        let after = judge_by(&fail, &refused, 30).verdict;
        assert!(matches!(after, Some(UnservedStatus::Failed(refusal)) if refusal.message.contains("is forbidden")));
    }
}
