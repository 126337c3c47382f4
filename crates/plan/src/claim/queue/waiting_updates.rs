//! When a claim that waits is told so, and told anew: seldom, since each telling is a write that no claim waits for.

use std::collections::{HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::notice::Notice;

/// How long a claim waits before its status says so: most are bound sooner, and a write saved is a claim bound.
pub const SAY_SO_AFTER: SignedDuration = SignedDuration::from_secs(1);
/// In this time a claim is told at most twice (`docs/use/waiting.md`).
const WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// Between two tellings of the same reason.
const SAME_REASON: SignedDuration = SignedDuration::from_secs(30);
/// Tellings anew of all claims together, in a second: a thousand that wait must not be a storm.
const MOST_ANEW: usize = 10;
/// Positions up to here are told exactly, those behind them when they are a tenth off.
const EXACT: i32 = 10;

/// What the status of a claim says of why it waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Reason of the condition.
    pub reason: String,
    /// Its message.
    pub message: String,
    /// `status.queue.position`.
    pub position: Option<i32>,
    /// `status.queue.reason`.
    pub queue_reason: String,
    /// `status.queue.pool`.
    pub pool: Option<String>,
}

impl Said {
    /// Whether `notice` says something else that is worth a write. `told` is what this process told the claim last.
    fn is_outdated(&self, notice: &Notice, told: Option<&Notice>) -> bool {
        if self.is_for_another_reason(notice) {
            return true;
        }
        let moved = match (self.position, notice.place.position) {
            (None, None) => 0,
            (Some(before), Some(now)) => before.abs_diff(now),
            _ => return true,
        };
        let position = self.position.unwrap_or(0);
        moved >= (position / EXACT).max(1).unsigned_abs() || (position <= EXACT && !self.is_the_same(notice, told))
    }

    /// Whether the message says what `notice` does, but perhaps another time that it takes. The facts behind a message that
    /// another process has written are not known, so that one has to be the same as a whole.
    fn is_the_same(&self, notice: &Notice, told: Option<&Notice>) -> bool {
        let by_facts = |told: &Notice| told.has_facts_of(notice) && told.message() == self.message;
        self.message == notice.message() || told.is_some_and(by_facts)
    }

    fn is_for_another_reason(&self, notice: &Notice) -> bool {
        self.reason != notice.reason() || self.queue_reason != notice.place.reason || self.pool != notice.place.pool
    }
}

/// The last time that a claim was told something.
#[derive(Clone, Debug)]
struct LastTold {
    at: Timestamp,
    /// The time before that.
    before: Option<Timestamp>,
    /// What it was told, unless it was that it failed.
    notice: Option<Notice>,
}

/// What was told lately, so that nobody is told too often.
#[derive(Clone, Debug, Default)]
pub struct WaitingUpdates {
    /// By uid of the claim.
    told: HashMap<String, LastTold>,
    anew: VecDeque<Timestamp>,
}

impl WaitingUpdates {
    /// When the claim with this uid, which was first seen at `seen`, may be told `notice`, after what its status said; none
    /// if there is nothing new in it. What was told by another process was told when this one saw it.
    pub fn due(&self, uid: &str, said: Option<&Said>, notice: &Notice, seen: Timestamp) -> Option<Timestamp> {
        let after = |moment: Timestamp, pause| moment.checked_add(pause).unwrap_or(Timestamp::MAX);
        let Some(said) = said else { return Some(after(seen, SAY_SO_AFTER)) };
        let told = self.told.get(uid);
        if !said.is_outdated(notice, told.and_then(|told| told.notice.as_ref())) {
            return None;
        }
        let (last, before) = told.map_or((seen, None), |told| (told.at, told.before));
        let by_window = before.map_or(last, |before| after(before, WINDOW));
        let by_reason = if said.is_for_another_reason(notice) { last } else { after(last, SAME_REASON) };
        Some(by_window.max(by_reason))
    }

    /// How many claims may be told anew now.
    pub fn room(&mut self, now: Timestamp) -> usize {
        while self.anew.front().is_some_and(|first| now.duration_since(*first) >= SignedDuration::from_secs(1)) {
            self.anew.pop_front();
        }
        MOST_ANEW.saturating_sub(self.anew.len())
    }

    /// The claim with this uid is told `notice` now, for the first time or `anew`; without one, that it failed.
    pub fn tells(&mut self, uid: &str, notice: Option<&Notice>, anew: bool, now: Timestamp) {
        let before = self.told.get(uid).map(|told| told.at);
        self.told.insert(uid.to_owned(), LastTold { at: now, before, notice: notice.cloned() });
        if anew {
            self.anew.push_back(now);
        }
    }

    /// The claim waits no longer.
    pub fn forget(&mut self, uid: &str) {
        self.told.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use bullpen_api::{PoolState, Reason};
    use proptest::prelude::*;

    use super::*;
    use crate::claim::queue::{Supply, UnservedReason};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(50_000 + second).unwrap()
    }

    fn notice(reason: Reason, position: i32, message: &str) -> Notice {
        let mut notice = Notice::without_place(UnservedReason { reason, message: message.into() });
        notice.place.position = Some(position);
        notice
    }

    fn said(notice: &Notice) -> Said {
        Said {
            reason: notice.reason().to_string(),
            message: notice.message(),
            position: notice.place.position,
            queue_reason: notice.place.reason.clone(),
            pool: notice.place.pool.clone(),
        }
    }

    /// What the claim at position 3 of 7 is told while two machines warm, the next of which takes so many seconds yet.
    fn queued(seconds: i64) -> Notice {
        let supply = Supply {
            pool: "ci".into(),
            state: PoolState::Active,
            deleting: false,
            target: 5,
            ready: 0,
            warming: 2,
            pending: 0,
            next_ready_at: Some(at(seconds)),
            trouble: None,
        };
        supply.notice(3, 7, at(0))
    }

    #[test]
    fn a_claim_is_told_after_a_second_and_the_same_thing_never_again() {
        let mut telling = WaitingUpdates::default();
        let first = queued(40);
        assert_eq!(telling.due("c", None, &first, at(0)), Some(at(1)));
        telling.tells("c", Some(&first), false, at(1));
        assert_ne!(queued(5).message(), first.message());
        assert_eq!(telling.due("c", Some(&said(&first)), &queued(5), at(0)), None);
    }

    #[test]
    fn what_another_process_told_stays_unless_its_words_differ() {
        let telling = WaitingUpdates::default();
        assert_eq!(telling.due("c", Some(&said(&queued(40))), &queued(40), at(0)), None);
        assert_eq!(telling.due("c", Some(&said(&queued(40))), &queued(5), at(0)), Some(at(30)));
    }

    #[test]
    fn what_was_not_written_is_not_taken_for_said() {
        let mut telling = WaitingUpdates::default();
        let before = said(&notice(Reason::NoReadyMembers, 3, "x"));
        let now = notice(Reason::NoReadyMembers, 3, "y");
        telling.tells("c", Some(&now), true, at(1));
        assert!(telling.due("c", Some(&before), &now, at(0)).is_some());
    }

    #[test]
    fn another_position_is_told_after_half_a_minute_and_another_reason_at_once() {
        let mut telling = WaitingUpdates::default();
        telling.tells("c", None, false, at(1));
        let before = said(&notice(Reason::NoReadyMembers, 3, "x"));
        assert_eq!(telling.due("c", Some(&before), &notice(Reason::NoReadyMembers, 2, "x"), at(0)), Some(at(31)));
        assert_eq!(telling.due("c", Some(&before), &notice(Reason::PoolNotActive, 3, "x"), at(0)), Some(at(1)));
        assert_eq!(telling.due("c", Some(&before), &notice(Reason::NoReadyMembers, 3, "y"), at(0)), Some(at(31)));
    }

    #[test]
    fn far_back_only_a_tenth_of_the_way_is_worth_telling() {
        let telling = WaitingUpdates::default();
        let before = said(&notice(Reason::NoReadyMembers, 200, "x"));
        assert_eq!(telling.due("c", Some(&before), &notice(Reason::NoReadyMembers, 181, "y"), at(0)), None);
        assert!(telling.due("c", Some(&before), &notice(Reason::NoReadyMembers, 180, "y"), at(0)).is_some());
    }

    #[test]
    fn of_many_claims_only_a_few_a_second_are_told_anew() {
        let mut telling = WaitingUpdates::default();
        for claim in 0..10 {
            assert!(telling.room(at(0)) > 0);
            telling.tells(&claim.to_string(), None, true, at(0));
        }
        assert_eq!(telling.room(at(0)), 0);
        assert_eq!(telling.room(at(1)), 10);
    }

    proptest! {
        #[test]
        fn no_claim_is_told_more_than_twice_a_minute(changes in proptest::collection::vec((0..20_i64, 1..30_i32, 0..3_usize), 1..200)) {
            let (mut telling, mut now, mut told, mut before) = (WaitingUpdates::default(), 0, Vec::new(), None);
            for (pause, position, reason) in changes {
                now += pause;
                let notice = notice(Reason::ALL[reason], position, "x");
                if telling.due("c", before.as_ref(), &notice, at(0)).is_some_and(|due| due <= at(now)) {
                    telling.tells("c", Some(&notice), before.is_some(), at(now));
                    before = Some(said(&notice));
                    told.push(now);
                }
            }
            for three in told.windows(3) {
                prop_assert!(three[2] - three[0] >= 60, "{three:?}");
            }
        }
    }
}
