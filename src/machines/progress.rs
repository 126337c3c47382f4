//! Reports of progress that wait: a member's status is written every few seconds at most, and the last report wins.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bullpen_plan::member::reports::Content;

use crate::state::ObjectKey;

/// The shortest time between two writes for one member.
pub const EVERY: Duration = Duration::from_secs(5);

/// A report of progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The member.
    pub member: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// After how many uses its machine got the token.
    pub uses: i32,
    /// What the machine said.
    pub content: Content,
}

#[derive(Debug)]
struct Slot {
    written: Instant,
    waiting: Option<Progress>,
}

/// What waits, by the uid of the member.
#[derive(Debug, Default)]
pub struct Waiting(HashMap<String, Slot>);

impl Waiting {
    /// Takes a report in. Returns it if it is to be written now; else it waits, in place of one that came before.
    pub fn take_in(&mut self, progress: Progress, now: Instant) -> Option<Progress> {
        match self.0.get_mut(&progress.uid) {
            Some(slot) if slot.waiting.is_some() || slot.written + EVERY > now => {
                slot.waiting = Some(progress);
                None
            }
            _ => {
                self.0.insert(progress.uid.clone(), Slot { written: now, waiting: None });
                Some(progress)
            }
        }
    }

    /// Puts a report back that could not be written, unless a newer one waits.
    pub fn put_back(&mut self, progress: Progress) {
        if let Some(slot) = self.0.get_mut(&progress.uid) {
            slot.waiting.get_or_insert(progress);
        }
    }

    /// Drops what waits of a member: something more important was reported.
    pub fn drop_of(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    /// The reports that are to be written now. Forgets members that say nothing any more.
    pub fn due(&mut self, now: Instant) -> Vec<Progress> {
        self.0.retain(|_, slot| slot.waiting.is_some() || slot.written + EVERY > now);
        let due = self.0.values_mut().filter(|slot| slot.written + EVERY <= now);
        due.filter_map(|slot| {
            slot.written = now;
            slot.waiting.take()
        })
        .collect()
    }

    /// All reports that wait.
    pub fn all(&mut self) -> Vec<Progress> {
        self.0.drain().filter_map(|(_, slot)| slot.waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> Progress {
        let content = Content { text: text.to_owned(), ..Content::default() };
        Progress { member: ObjectKey::new("ci", "ci-1"), uid: "u-1".to_owned(), uses: 0, content }
    }

    #[test]
    fn the_first_report_is_written_at_once_and_of_those_that_follow_the_last_a_little_later() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        assert_eq!(waiting.take_in(says("one"), now), Some(says("one")));
        assert_eq!(waiting.take_in(says("two"), now), None);
        assert_eq!(waiting.take_in(says("three"), now), None);
        assert!(waiting.due(now).is_empty());
        assert_eq!(waiting.due(now + EVERY), [says("three")]);
        assert!(waiting.due(now + EVERY * 2).is_empty());
        assert_eq!(waiting.take_in(says("four"), now + EVERY * 2), Some(says("four")), "its slot was forgotten");
    }

    #[test]
    fn a_report_that_could_not_be_written_waits_unless_a_newer_one_does() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        waiting.take_in(says("one"), now);
        waiting.put_back(says("one"));
        assert_eq!(waiting.due(now + EVERY), [says("one")]);
        waiting.take_in(says("two"), now + EVERY);
        waiting.put_back(says("one"));
        assert_eq!(waiting.all(), [says("two")]);
        waiting.take_in(says("three"), now);
        waiting.take_in(says("four"), now);
        waiting.drop_of("u-1");
        assert!(waiting.all().is_empty());
    }
}
