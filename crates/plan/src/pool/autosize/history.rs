//! The claims that came, bounded, from which everything else can be learnt again.

use std::collections::VecDeque;
use std::fmt::Write as _;

/// Most times at which claims came.
const MOST: usize = 60_000;
/// Most claims that count as one moment: a hundred times the largest size that is told apart (`forecaster/scale.rs`), so more change nothing.
pub const MOST_AT_ONCE: u32 = 1_000_000;
/// The latest millisecond since 1970 that a record may name: in the year 3084, so that sums of such times fit.
const LATEST: i64 = 1 << 45;
/// For how long they are kept: 14 days, in milliseconds.
const LONGEST: i64 = 14 * 86_400_000;
/// The first word of a record, with its version.
const VERSION: &str = "bullpen-arrivals-1";

/// How many claims came when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Milliseconds that are told apart.
    tick: i64,
    /// When it began, in ticks since 1970.
    begins: Option<i64>,
    /// Times when nobody counted: from this tick to that one.
    blanks: VecDeque<(i64, i64)>,
    /// Ticks with claims, and how many they were.
    came: VecDeque<(i64, u32)>,
}

/// What of a history is played again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// So many claims came at this millisecond.
    Came(i64, u32),
    /// Nobody counted from this millisecond until that one.
    Blank(i64, i64),
}

impl History {
    /// An empty history that tells so many milliseconds apart.
    pub fn new(tick: i64) -> Self {
        Self { tick: tick.max(1), ..Self::default() }
    }

    /// So many claims came at this millisecond; 0: somebody looked.
    pub fn add(&mut self, at: i64, count: u32) {
        let at = at.div_euclid(self.tick);
        if self.begins.is_none() {
            self.begins = Some(at);
        }
        if count == 0 {
            return;
        }
        match self.came.back_mut() {
            Some((last, before)) if *last >= at => *before = before.saturating_add(count).min(MOST_AT_ONCE),
            _ => self.came.push_back((at, count.min(MOST_AT_ONCE))),
        }
        self.forget_before(at * self.tick - LONGEST);
        while self.came.len() > MOST {
            self.came.pop_front();
            self.begins = self.came.front().map(|(tick, _)| *tick);
        }
        self.drop_old_blanks();
    }

    /// Forgets what was before this millisecond.
    pub fn forget_before(&mut self, at: i64) {
        let oldest = at.div_euclid(self.tick);
        self.begins = self.begins.map(|begins| begins.max(oldest));
        while self.came.front().is_some_and(|(tick, _)| *tick < oldest) {
            self.came.pop_front();
        }
        self.drop_old_blanks();
    }

    /// Forgets what came after this millisecond, as by a clock that was ahead.
    pub fn forget_after(&mut self, at: i64) {
        let last = at.div_euclid(self.tick);
        self.begins = self.begins.map(|begins| begins.min(last));
        while self.came.back().is_some_and(|(tick, _)| *tick > last) {
            self.came.pop_back();
        }
        self.blanks.iter_mut().for_each(|(_, to)| *to = (*to).min(last));
        self.blanks.retain(|(from, to)| from < to);
    }

    fn drop_old_blanks(&mut self) {
        while self.blanks.front().is_some_and(|(_, to)| self.begins.is_some_and(|begins| *to <= begins)) {
            self.blanks.pop_front();
        }
    }

    /// Nobody counted between these milliseconds.
    pub fn skip(&mut self, from: i64, to: i64) {
        let blank = (from.div_euclid(self.tick), to.div_euclid(self.tick));
        if blank.0 < blank.1 && self.begins.is_some() {
            self.blanks.push_back(blank);
            if self.blanks.len() > MOST_BLANKS {
                self.blanks.pop_front();
            }
        }
    }

    /// When it began, in milliseconds since 1970.
    pub fn begins(&self) -> Option<i64> {
        self.begins.map(|tick| tick * self.tick)
    }

    /// What happened, in order of time.
    pub fn all(&self) -> Vec<Happened> {
        let came = self.came.iter().map(|(tick, count)| (*tick, Happened::Came(tick * self.tick, *count)));
        let blanks = self.blanks.iter().map(|(from, to)| (*from, Happened::Blank(from * self.tick, to * self.tick)));
        let mut all: Vec<(i64, Happened)> = came.chain(blanks).collect();
        all.sort_by_key(|(tick, _)| *tick);
        all.into_iter().map(|(_, happened)| happened).collect()
    }

    /// As text, up to this millisecond, of at most so many bytes, which is enough for 100: the oldest are left out. Numbers are in
    /// hexadecimal, times since the one before.
    pub fn write(&self, until: i64, most: usize) -> String {
        let mut part = self.clone();
        loop {
            let text = part.text(until);
            if text.len() <= most || part.came.len() + part.blanks.len() == 0 {
                return text;
            }
            // What is a little too long loses a little.
            let left = part.came.len() * most / text.len() * 9 / 10;
            part.came.drain(..part.came.len() - left.min(part.came.len()));
            part.begins = part.came.front().map(|(tick, _)| *tick).or(part.begins);
            part.blanks.retain(|(from, _)| !part.came.is_empty() && part.begins.is_some_and(|begins| *from >= begins));
        }
    }

    fn text(&self, until: i64) -> String {
        let begins = self.begins.unwrap_or(0);
        let mut text = format!("{VERSION} {:x} {:x} {:x}", self.tick, begins, until.div_euclid(self.tick).max(begins));
        for (from, to) in &self.blanks {
            let from = (*from).max(begins);
            let _ = write!(text, " -{:x}+{:x}", from - begins, (to - from).max(0));
        }
        let mut last = begins;
        for (tick, count) in &self.came {
            let _ = write!(text, " {:x}", (tick - last).max(0));
            if *count != 1 {
                let _ = write!(text, "*{count:x}");
            }
            last = *tick;
        }
        text
    }

    /// Reads what [`write`](Self::write) wrote, and until when it goes. `None`: this is no such text.
    pub fn read(text: &str) -> Option<(Self, i64)> {
        let hex = |word: &str| i64::from_str_radix(word, 16).ok().filter(|number| (0..=LATEST).contains(number));
        let mut words = text.split(' ');
        if words.next()? != VERSION {
            return None;
        }
        let (tick, begins, until) = (hex(words.next()?)?, hex(words.next()?)?, hex(words.next()?)?);
        if !(1..=3_600_000).contains(&tick) || begins > until || until > LATEST / tick {
            return None;
        }
        let mut history = Self { begins: Some(begins), ..Self::new(tick) };
        let mut last = begins;
        for word in words {
            if let Some(blank) = word.strip_prefix('-') {
                let (from, length) = blank.split_once('+')?;
                let from = begins.checked_add(hex(from)?).filter(|tick| *tick <= until)?;
                history.blanks.push_back((from, from.checked_add(hex(length)?).filter(|tick| *tick <= until)?));
                continue;
            }
            let (gap, count) = word.split_once('*').unwrap_or((word, "1"));
            last = last.checked_add(hex(gap)?).filter(|tick| *tick <= until)?;
            let count = u32::try_from(hex(count)?).ok().filter(|count| *count <= MOST_AT_ONCE)?;
            history.came.push_back((last, count));
        }
        let spans = last - history.came.front().map_or(last, |(first, _)| *first);
        let bounded = history.came.len() <= MOST && history.blanks.len() <= MOST_BLANKS && spans <= LONGEST / tick;
        bounded.then_some((history, until * tick))
    }
}

/// Most times when nobody counted.
const MOST_BLANKS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_record_is_not_read() {
        let good = "bullpen-arrivals-1 3e8 5 9 0 2*3";
        assert!(History::read(good).is_some());
        for text in [
            "",
            "bullpen-arrivals-2 3e8 5 9",
            "bullpen-arrivals-1 0 5 9",
            "bullpen-arrivals-1 3e8 5 9 6",
            "bullpen-arrivals-1 3e8 5 9 x",
            // It ends before it begins.
            "bullpen-arrivals-1 3e8 9 5",
            // Milliseconds that fit into no number.
            "bullpen-arrivals-1 36ee80 0 200000000000",
            "bullpen-arrivals-1 36ee80 5 9 -1+3ffffffffffff",
            // More claims at once, and over a longer time, than are kept.
            "bullpen-arrivals-1 3e8 5 9 0*ffffffff",
            "bullpen-arrivals-1 3e8 5 fffffff 0 fffffff",
        ] {
            assert_eq!(History::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_history_is_bounded_in_time_and_size() {
        let mut history = History::new(1_000);
        for second in 0..200_000 {
            history.add(second * 10_000, 1);
        }
        assert!(history.came.len() <= MOST && history.write(2_000_000_000, 9_000).len() <= 9_000);
        assert!(history.begins().is_some_and(|begins| begins >= 2_000_000_000 - LONGEST - 10_000));
    }

    proptest! {
        #[test]
        fn a_history_is_read_as_it_was_written(gaps in proptest::collection::vec((0..9_000_i64, 0..40_u32), 0..200)) {
            let (mut history, mut at) = (History::new(5_000), 1_700_000_000_000);
            for (gap, count) in gaps {
                at += gap;
                history.add(at, count);
                if count == 7 {
                    history.skip(at, at + 20_000);
                    at += 20_000;
                }
            }
            if history.begins().is_some() {
                let read = History::read(&history.write(at + 5_000, usize::MAX));
                prop_assert_eq!(read.map(|(read, _)| read), Some(history));
            }
        }

        #[test]
        fn no_text_makes_it_panic(
            text in "(bullpen-arrivals-1)?( [0-9a-f]{1,13}){0,3}( -?[0-9a-f]{1,13}([*+][0-9a-f]{1,13})?){0,6}",
        ) {
            if let Some((history, until)) = History::read(&text) {
                prop_assert!(history.begins().is_some_and(|begins| begins <= until) && until <= LATEST, "{}", text);
                let _ = history.all();
            }
        }
    }
}
