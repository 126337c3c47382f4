//! Counts events of the last minute.

use std::collections::VecDeque;

use jiff::Timestamp;

/// The length of the window in seconds.
pub(super) const WINDOW: i64 = 60;

/// One count for each second of the window.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    seconds: VecDeque<(i64, u32)>,
}

impl Rate {
    /// Counts one event.
    pub(super) fn note(&mut self, now: Timestamp) {
        let second = now.as_second();
        match self.seconds.back_mut() {
            Some((last, count)) if *last >= second => *count = count.saturating_add(1),
            _ => self.seconds.push_back((second, 1)),
        }
        while self.seconds.front().is_some_and(|(first, _)| *first <= second - WINDOW) {
            self.seconds.pop_front();
        }
    }

    /// The number of events in the minute before `now`.
    pub(super) fn per_minute(&self, now: Timestamp) -> u32 {
        let from = now.as_second() - WINDOW;
        self.seconds.iter().filter(|(second, _)| *second > from).map(|(_, count)| count).sum()
    }

    /// The counts of the minute before `now` in `parts` equal parts, the latest last.
    pub(super) fn course(&self, now: Timestamp, parts: usize) -> Vec<u64> {
        let mut course = vec![0; parts];
        let from = now.as_second() - WINDOW;
        for (second, count) in self.seconds.iter().filter(|(second, _)| *second > from) {
            let age = usize::try_from((second - from - 1).clamp(0, WINDOW - 1)).unwrap_or(0);
            let part = age * parts / usize::try_from(WINDOW).unwrap_or(1);
            if let Some(slot) = course.get_mut(part) {
                *slot += u64::from(*count);
            }
        }
        course
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_counts_for_a_minute() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut rate = Rate::default();
        for second in [0, 0, 30, 59, 70] {
            rate.note(at(second));
        }
        assert_eq!(rate.per_minute(at(70)), 3);
        assert_eq!(rate.per_minute(at(130)), 0);
        assert_eq!(rate.course(at(70), 2), [1, 2]);
    }
}
