//! When to update the status of a waiting claim: rarely, because each update is a write that competes with bindings.

use std::collections::{HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::notice::Notice;

/// How long a claim waits before the first update. Most claims are bound sooner and need none.
pub const FIRST_UPDATE_AFTER: SignedDuration = SignedDuration::from_secs(1);
/// A claim gets at most two updates within this time (`docs/use/waiting.md`).
const WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// Least time between two updates with the same reason.
const SAME_REASON: SignedDuration = SignedDuration::from_secs(30);
/// Most repeated updates per second, over all claims, so that a long queue does not cause a storm of writes. One queue
/// alone gets half of them, so that it leaves some to the others.
const MOST_REPEATED: usize = 20;
/// Positions up to this one are always exact; later ones are updated when they are off by a tenth.
const EXACT: i32 = 10;

/// What the status of a claim reports about its waiting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitStatus {
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

impl WaitStatus {
    /// Whether `notice` differs enough to be worth a write. `last` is the last notice that this process wrote for the
    /// claim.
    fn is_outdated(&self, notice: &Notice, last: Option<&Notice>) -> bool {
        if self.has_another_reason(notice) {
            return true;
        }
        let moved = match (self.position, notice.place.position) {
            (None, None) => 0,
            (Some(before), Some(now)) => before.abs_diff(now),
            _ => return true,
        };
        let position = self.position.unwrap_or(0);
        moved >= (position / EXACT).max(1).unsigned_abs() || (position <= EXACT && !self.is_the_same(notice, last))
    }

    /// Whether the message has the facts of `notice`; the remaining time may differ. For a message that another process
    /// wrote the facts are not known, so the whole text must be equal.
    fn is_the_same(&self, notice: &Notice, last: Option<&Notice>) -> bool {
        let by_facts = |last: &Notice| last.has_facts_of(notice) && last.message() == self.message;
        self.message == notice.message() || last.is_some_and(by_facts)
    }

    fn has_another_reason(&self, notice: &Notice) -> bool {
        self.reason != notice.reason() || self.queue_reason != notice.place.reason || self.pool != notice.place.pool
    }
}

/// The last update of a claim's status by this process.
#[derive(Clone, Debug)]
struct LastUpdate {
    at: Timestamp,
    /// When the update before that was.
    before: Option<Timestamp>,
    /// What was written; `None` if the claim failed.
    notice: Option<Notice>,
}

/// Recent updates, which limit the rate of further ones.
#[derive(Clone, Debug, Default)]
pub struct WaitingUpdates {
    /// By uid of the claim.
    last: HashMap<String, LastUpdate>,
    /// Times and queues of the repeated updates of the last second.
    repeated: VecDeque<(Timestamp, String)>,
}

impl WaitingUpdates {
    /// When `notice` may be written to the status of the claim with this uid; `None` if it has nothing new. `reported`
    /// is what the status reports now. An update by another process counts as written at `seen`, when this process
    /// first saw the claim.
    pub fn due(&self, uid: &str, reported: Option<&WaitStatus>, notice: &Notice, seen: Timestamp) -> Option<Timestamp> {
        let after = |moment: Timestamp, pause| moment.checked_add(pause).unwrap_or(Timestamp::MAX);
        let Some(reported) = reported else { return Some(after(seen, FIRST_UPDATE_AFTER)) };
        let last = self.last.get(uid);
        if !reported.is_outdated(notice, last.and_then(|last| last.notice.as_ref())) {
            return None;
        }
        // Who was told of a machine that somebody else got should not go on waiting for it.
        let told_of_machines = last.and_then(|last| last.notice.as_ref()).is_some_and(Notice::has_machines_coming);
        let at_once = reported.has_another_reason(notice) || (told_of_machines && !notice.has_machines_coming());
        let (last, before) = last.map_or((seen, None), |last| (last.at, last.before));
        let by_window = before.map_or(last, |before| after(before, WINDOW));
        let by_reason = if at_once { last } else { after(last, SAME_REASON) };
        Some(by_window.max(by_reason))
    }

    /// How many repeated updates of this queue may be written now: as many as it leaves to the others.
    pub fn room(&mut self, queue: &str, now: Timestamp) -> usize {
        let is_over = |first: &(Timestamp, String)| now.duration_since(first.0) >= SignedDuration::from_secs(1);
        while self.repeated.front().is_some_and(is_over) {
            self.repeated.pop_front();
        }
        let own = self.repeated.iter().filter(|(_, other)| other == queue).count();
        MOST_REPEATED.saturating_sub(self.repeated.len() + own).div_ceil(2)
    }

    /// Records that `notice` is written now for the claim with this uid. Without a notice, the claim failed.
    pub fn record(&mut self, uid: &str, notice: Option<&Notice>, now: Timestamp) {
        let before = self.last.get(uid).map(|last| last.at);
        self.last.insert(uid.to_owned(), LastUpdate { at: now, before, notice: notice.cloned() });
    }

    /// Records that an update of a claim in this queue is written now that is not the claim's first.
    pub fn record_repeated(&mut self, queue: &str, now: Timestamp) {
        self.repeated.push_back((now, queue.to_owned()));
    }

    /// Forgets a claim that no longer waits.
    pub fn forget(&mut self, uid: &str) {
        self.last.remove(uid);
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

    fn reported(notice: &Notice) -> WaitStatus {
        WaitStatus {
            reason: notice.reason().to_string(),
            message: notice.message(),
            position: notice.place.position,
            queue_reason: notice.place.reason.clone(),
            pool: notice.place.pool.clone(),
        }
    }

    /// Two machines warm; the next one takes `seconds` more.
    fn supply_of_two(seconds: i64) -> Supply {
        Supply {
            pool: "ci".into(),
            state: PoolState::Active,
            deleting: false,
            target: 5,
            ready: 0,
            warming: 2,
            pending: 0,
            claimed: 0,
            next_ready_at: Some(at(seconds)),
            trouble: None,
        }
    }

    /// The notice for position 3 of 7 while two machines warm; the next one takes `seconds` more.
    fn queued(seconds: i64) -> Notice {
        supply_of_two(seconds).notice(3, 7, at(0))
    }

    #[test]
    fn a_status_is_written_after_a_second_and_the_same_facts_never_again() {
        let mut updates = WaitingUpdates::default();
        let first = queued(40);
        assert_eq!(updates.due("c", None, &first, at(0)), Some(at(1)));
        updates.record("c", Some(&first), at(1));
        assert_ne!(queued(5).message(), first.message());
        assert_eq!(updates.due("c", Some(&reported(&first)), &queued(5), at(0)), None);
    }

    #[test]
    fn what_another_process_wrote_stays_unless_its_text_differs() {
        let updates = WaitingUpdates::default();
        assert_eq!(updates.due("c", Some(&reported(&queued(40))), &queued(40), at(0)), None);
        assert_eq!(updates.due("c", Some(&reported(&queued(40))), &queued(5), at(0)), Some(at(30)));
    }

    #[test]
    fn what_was_recorded_but_not_written_does_not_count() {
        let mut updates = WaitingUpdates::default();
        let before = reported(&notice(Reason::NoReadyMembers, 3, "x"));
        let now = notice(Reason::NoReadyMembers, 3, "y");
        updates.record("c", Some(&now), at(1));
        assert!(updates.due("c", Some(&before), &now, at(0)).is_some());
    }

    #[test]
    fn another_position_is_written_after_half_a_minute_and_another_reason_at_once() {
        let mut updates = WaitingUpdates::default();
        updates.record("c", None, at(1));
        let before = reported(&notice(Reason::NoReadyMembers, 3, "x"));
        assert_eq!(updates.due("c", Some(&before), &notice(Reason::NoReadyMembers, 2, "x"), at(0)), Some(at(31)));
        assert_eq!(updates.due("c", Some(&before), &notice(Reason::PoolNotActive, 3, "x"), at(0)), Some(at(1)));
        assert_eq!(updates.due("c", Some(&before), &notice(Reason::NoReadyMembers, 3, "y"), at(0)), Some(at(31)));
    }

    #[test]
    fn that_the_machines_on_their_way_are_gone_is_written_at_once() {
        let mut updates = WaitingUpdates::default();
        let first = queued(40);
        updates.record("c", Some(&first), at(1));
        let gone = Supply { warming: 0, ..supply_of_two(40) }.notice(3, 7, at(0));
        assert_eq!(updates.due("c", Some(&reported(&first)), &gone, at(0)), Some(at(1)));
        let fewer = Supply { warming: 1, ..supply_of_two(40) }.notice(3, 7, at(0));
        assert_eq!(updates.due("c", Some(&reported(&first)), &fewer, at(0)), Some(at(31)));
    }

    #[test]
    fn far_back_in_the_queue_a_position_is_written_only_if_it_is_a_tenth_off() {
        let updates = WaitingUpdates::default();
        let before = reported(&notice(Reason::NoReadyMembers, 200, "x"));
        assert_eq!(updates.due("c", Some(&before), &notice(Reason::NoReadyMembers, 181, "y"), at(0)), None);
        assert!(updates.due("c", Some(&before), &notice(Reason::NoReadyMembers, 180, "y"), at(0)).is_some());
    }

    #[test]
    fn of_many_claims_only_a_few_a_second_get_a_repeated_update_and_no_queue_takes_all_of_them() {
        let mut updates = WaitingUpdates::default();
        for _ in 0..10 {
            assert!(updates.room("ns/ci", at(0)) > 0);
            updates.record_repeated("ns/ci", at(0));
        }
        assert_eq!(updates.room("ns/ci", at(0)), 0);
        assert_eq!(updates.room("ns/other", at(0)), 5);
        assert_eq!(updates.room("ns/ci", at(1)), 10);
    }

    proptest! {
        #[test]
        fn no_claim_gets_more_than_two_updates_a_minute(changes in proptest::collection::vec((0..20_i64, 1..30_i32, 0..3_usize), 1..200)) {
            let (mut updates, mut now, mut written, mut before) = (WaitingUpdates::default(), 0, Vec::new(), None);
            for (pause, position, reason) in changes {
                now += pause;
                let notice = notice(Reason::ALL[reason], position, "x");
                if updates.due("c", before.as_ref(), &notice, at(0)).is_some_and(|due| due <= at(now)) {
                    updates.record("c", Some(&notice), at(now));
                    before = Some(reported(&notice));
                    written.push(now);
                }
            }
            for three in written.windows(3) {
                prop_assert!(three[2] - three[0] >= 60, "{three:?}");
            }
        }
    }
}
