//! The API server's time, as its answers show it.
//!
//! Each answer has a `Date` of whole seconds, and lies between two moments of this process's own clock. Many of them
//! together give the difference of the two clocks to milliseconds. The wall clock of this process has no part in it, so
//! it may be wrong or be set.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::election::Boottime;

/// A difference between the API server's clock and this process's own that people should know of.
pub const SKEW_NOTICED: SignedDuration = SignedDuration::from_secs(5);
/// How much two clocks may drift apart, as a part of the time that passes: twice what NTP corrects at most.
const DRIFT: u32 = 1_000;
/// So many answers in a row that contradict what is known show that the clock was set. Fewer may come from another API
/// server, or from a proxy.
const CONTRADICTIONS: u8 = 3;
/// A correction of the clock that is larger than this is a step.
const STEP: SignedDuration = SignedDuration::from_secs(5);
const DATE_RESOLUTION: SignedDuration = SignedDuration::from_secs(1);

/// An answer of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its `Date`.
    pub date: Timestamp,
    /// When its request was sent.
    pub sent: Boottime,
    /// When it was received.
    pub received: Boottime,
}

/// What is known of the API server's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerClock {
    known: Option<Difference>,
    contradictions: u8,
    stepped: Option<Boottime>,
    set_back: Option<Boottime>,
}

/// The API server's time since 1970 less the time since this computer's boot is between these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Difference {
    low: SignedDuration,
    high: SignedDuration,
    at: Boottime,
}

impl Difference {
    fn of(answer: &Answer) -> Self {
        let date = answer.date.as_duration();
        Self {
            low: date.saturating_sub(signed(answer.received.since_start())),
            high: date.saturating_add(DATE_RESOLUTION).saturating_sub(signed(answer.sent.since_start())),
            at: answer.received,
        }
    }

    /// The same at a later moment: the clocks may have drifted.
    fn later(self, now: Boottime) -> Self {
        let drift = signed(now.since(self.at) / DRIFT);
        Self { low: self.low.saturating_sub(drift), high: self.high.saturating_add(drift), at: now }
    }

    fn and(self, other: Self) -> Option<Self> {
        let both = Self { low: self.low.max(other.low), high: self.high.min(other.high), at: other.at };
        (both.low <= both.high).then_some(both)
    }

    fn middle(self) -> SignedDuration {
        self.low.saturating_add(self.high.saturating_sub(self.low) / 2)
    }
}

impl ServerClock {
    /// Nothing was heard yet.
    pub const fn new() -> Self {
        Self { known: None, contradictions: 0, stepped: None, set_back: None }
    }

    /// Takes an answer into account.
    pub fn heard(&mut self, answer: &Answer) {
        let shown = Difference::of(answer);
        let Some(known) = self.known else {
            self.known = Some(shown);
            return;
        };
        if let Some(both) = known.later(answer.received).and(shown) {
            self.known = Some(both);
            self.contradictions = 0;
            return;
        }
        self.contradictions += 1;
        if self.contradictions >= CONTRADICTIONS {
            let step = shown.middle().saturating_sub(known.middle());
            if step.abs() > STEP {
                self.stepped = Some(answer.received);
                self.set_back = step.is_negative().then_some(answer.received).or(self.set_back);
            }
            self.known = Some(shown);
            self.contradictions = 0;
        }
    }

    /// The API server's time at this moment, as far as it has certainly come: nothing expires and nobody fails even a
    /// millisecond early. It is behind by less than a second after the first answer, and by milliseconds after many.
    /// `None` before the first.
    pub fn at(&self, now: Boottime) -> Option<Timestamp> {
        let since_1970 = self.known?.low.saturating_add(signed(now.since_start()));
        Timestamp::from_duration(since_1970).ok()
    }

    /// The API server's time at this moment. The wall clock of this computer refines it as long as no answer contradicts
    /// it; otherwise it is [`at`](Self::at). `None` before the first answer.
    pub fn with_hint(&self, now: Boottime, wall: Timestamp) -> Option<Timestamp> {
        let known = self.known?;
        let hint = wall.as_duration().saturating_sub(signed(now.since_start()));
        if (known.low..=known.high).contains(&hint) { Some(wall) } else { self.at(now) }
    }

    /// The best guess of the API server's time, which may be ahead of it: for people, not for deadlines.
    pub fn about(&self, now: Boottime) -> Option<Timestamp> {
        let since_1970 = self.known?.middle().saturating_add(signed(now.since_start()));
        Timestamp::from_duration(since_1970).ok()
    }

    /// When it was last set by more than a few seconds, as far as this process has seen.
    pub const fn stepped(&self) -> Option<Boottime> {
        self.stepped
    }

    /// When it was last set back by more than a few seconds: every moment that was kept before is too late by that much.
    pub const fn set_back(&self) -> Option<Boottime> {
        self.set_back
    }
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The API server's clock is so far from the boot of this computer.
    const TRUE: i64 = 1_800_000_000_000;

    /// An answer that was made at this millisecond, by a server whose clock is so many milliseconds ahead.
    fn answer(at: u64, ahead: i64) -> Answer {
        let server = TRUE + i64::try_from(at).unwrap() + ahead;
        Answer {
            date: Timestamp::from_second(server.div_euclid(1_000)).unwrap(),
            sent: Boottime::new(Duration::from_millis(at - 3)),
            received: Boottime::new(Duration::from_millis(at + 2)),
        }
    }

    /// How wrong the clock is at this millisecond, in milliseconds.
    fn error(clock: &ServerClock, at: u64) -> i64 {
        let shown = clock.at(Boottime::new(Duration::from_millis(at))).unwrap().as_millisecond();
        shown - TRUE - i64::try_from(at).unwrap()
    }

    #[test]
    fn a_few_answers_give_the_time_to_milliseconds_although_dates_are_whole_seconds() {
        let mut clock = ServerClock::new();
        assert_eq!(clock.at(Boottime::new(Duration::from_secs(1))), None);
        clock.heard(&answer(10_417, 0));
        assert!((-1_005..=0).contains(&error(&clock, 10_500)), "{}", error(&clock, 10_500));
        for step in 1..60 {
            clock.heard(&answer(10_417 + step * 217, 0));
        }
        assert!((-30..=0).contains(&error(&clock, 25_000)), "{}", error(&clock, 25_000));
    }

    #[test]
    fn a_wall_clock_that_no_answer_contradicts_is_believed_and_no_other() {
        let mut clock = ServerClock::new();
        clock.heard(&answer(10_417, 0));
        let at = Boottime::new(Duration::from_millis(10_500));
        let wall = |ahead: i64| Timestamp::from_millisecond(TRUE + 10_500 + ahead).unwrap();
        assert_eq!(clock.with_hint(at, wall(0)), Some(wall(0)));
        for ahead in [-120_000, -3_000, 3_000, 120_000] {
            assert_eq!(clock.with_hint(at, wall(ahead)), clock.at(at));
        }
    }

    #[test]
    fn one_answer_from_elsewhere_changes_nothing_and_a_clock_that_was_set_is_followed() {
        let mut clock = ServerClock::new();
        for step in 0..40 {
            clock.heard(&answer(10_000 + step * 173, 0));
        }
        clock.heard(&answer(20_000, 3_600_000));
        assert!(error(&clock, 20_000).abs() < 60 && clock.stepped().is_none());
        clock.heard(&answer(20_500, 0));
        for step in 0..3 {
            clock.heard(&answer(21_000 + step, -3_600_000));
        }
        assert!((error(&clock, 22_000) + 3_600_000).abs() < 1_100, "{}", error(&clock, 22_000));
        assert_eq!(clock.stepped(), Some(answer(21_002, 0).received));
        assert_eq!(clock.set_back(), clock.stepped());
        for step in 0..3 {
            clock.heard(&answer(23_000 + step, 0));
        }
        assert_eq!(clock.stepped(), Some(answer(23_002, 0).received));
        assert_eq!(clock.set_back(), Some(answer(21_002, 0).received), "the last step was forward");
    }

    #[test]
    fn a_small_correction_is_no_step() {
        let mut clock = ServerClock::new();
        for step in 0..40 {
            clock.heard(&answer(10_000 + step * 173, 0));
        }
        for step in 0..5 {
            clock.heard(&answer(20_000 + step, 2_000));
        }
        assert!(clock.stepped().is_none());
        assert!((error(&clock, 22_000) - 2_000).abs() < 1_100);
    }

    #[test]
    fn a_clock_that_drifts_is_followed() {
        let mut clock = ServerClock::new();
        for minute in 1..600_u64 {
            let at = minute * 60_000;
            clock.heard(&answer(at, i64::try_from(at / 5_000).unwrap()));
        }
        let drifted = 599 * 60_000 / 5_000;
        assert!((error(&clock, 599 * 60_000) - drifted).abs() < 1_000 && clock.stepped().is_none());
    }

    proptest! {
        #[test]
        fn the_time_is_never_ahead_of_the_servers(pauses in proptest::collection::vec(1_u64..70_000, 1..200)) {
            let (mut clock, mut at) = (ServerClock::new(), 10_000);
            for pause in pauses {
                at += pause;
                clock.heard(&answer(at, 0));
                for later in [2, 500, 60_000] {
                    prop_assert!((-1_100..=0).contains(&error(&clock, at + later)), "{}", error(&clock, at + later));
                }
            }
        }
    }
}
