//! What is known of bursts, as a line of text.

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::bursts::Burst;
use super::series::{Period, Series};
use super::{Followed, MOST_SERIES, Recurring};

/// The first word, with its version.
const VERSION: &str = "bullpen-bursts-1";
/// The word before bursts that belong to no series.
const SINGLE: &str = "single";
/// Longest line, in bytes.
pub const MOST_TEXT: usize = 4_096;
/// So many bursts that belong to no series are written, the largest.
const MOST_SINGLE: usize = 48;
/// So many bursts of a series are written, the last ones: a pattern of an hourly one, and one more.
const MOST_OF_SERIES: usize = 26;
/// The latest second since 1970 that a record may name, and the longest burst in seconds.
const LATEST: i64 = 1 << 35;
const LONGEST: i64 = 1 << 17;
/// Most claims of a burst.
const MOST_CLAIMS: i64 = 1 << 31;

impl Recurring {
    /// As text of at most 4 kB; empty if there is nothing to know. Numbers are in hexadecimal and seconds, times since the one before.
    pub fn write(&self) -> String {
        let mut series: Vec<&Series> = self.followed.iter().map(|followed| &followed.series).collect();
        series.sort_by_key(|series| std::cmp::Reverse(series.bursts().map(|burst| burst.claims).max()));
        let of_series = series.into_iter().filter_map(|series| {
            let last =
                series.bursts().filter(|burst| can_be_read(burst)).rev().take(MOST_OF_SERIES).collect::<Vec<_>>();
            line(series.period.word(), last.into_iter().rev())
        });
        let mut largest: Vec<&Burst> = self.single.iter().filter(|burst| can_be_read(burst)).collect();
        largest.sort_by_key(|burst| std::cmp::Reverse(burst.claims));
        largest.truncate(MOST_SINGLE);
        largest.sort_by_key(|burst| burst.begin);
        let single = line(SINGLE, largest.into_iter());
        let mut text = VERSION.to_owned();
        for part in of_series.chain(single) {
            if text.len() + part.len() <= MOST_TEXT {
                text.push_str(&part);
            }
        }
        if text == VERSION { String::new() } else { text }
    }

    /// Reads what [`write`](Self::write) wrote. `None`: this is no such text.
    pub fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        if text.is_empty() {
            return Some(Self::default());
        }
        if words.next()? != VERSION || text.len() > MOST_TEXT {
            return None;
        }
        let mut recurring = Self::default();
        let mut parts: Vec<(&str, Vec<Burst>)> = Vec::new();
        for word in words {
            if word == SINGLE || Period::ALL.iter().any(|period| period.word() == word) {
                parts.push((word, Vec::new()));
            } else {
                let (_, bursts) = parts.last_mut()?;
                bursts.push(burst(word, bursts.last())?);
            }
        }
        for (word, bursts) in parts {
            if let Some(period) = Period::ALL.into_iter().find(|period| period.word() == word) {
                recurring.followed.push(Followed::new(Series::new(period, bursts)?));
            } else {
                recurring.single = VecDeque::from(bursts);
            }
        }
        recurring.since = recurring.single.front().map(|burst| burst.begin);
        (recurring.followed.len() <= MOST_SERIES).then_some(recurring)
    }
}

/// Whether a record may name it: a clock may have been set beyond what one may name.
fn can_be_read(burst: &Burst) -> bool {
    let (length, claims) = (burst.end - burst.begin, i64::from(burst.claims));
    burst.begin >= 0
        && (0..=LONGEST * 1_000).contains(&length)
        && burst.end <= LATEST * 1_000
        && (1..=MOST_CLAIMS).contains(&claims)
}

/// A word, and bursts in order of time. `None`: there are no bursts.
fn line<'a>(word: &str, bursts: impl Iterator<Item = &'a Burst>) -> Option<String> {
    let (mut text, mut last) = (format!(" {word}"), 0);
    let mut bursts = bursts.peekable();
    bursts.peek()?;
    for burst in bursts {
        let (begin, end) = (burst.begin.div_euclid(1_000), burst.end.div_euclid(1_000));
        let held = if burst.held { "!" } else { "" };
        let _ = write!(text, " {:x}+{:x}*{:x}{held}", (begin - last).max(0), (end - begin).max(0), burst.claims);
        last = begin;
    }
    Some(text)
}

/// Reads a burst, of which the one before is known.
fn burst(word: &str, before: Option<&Burst>) -> Option<Burst> {
    let hex = |word: &str, most: i64| {
        let is_number = word.bytes().all(|byte| byte.is_ascii_hexdigit());
        i64::from_str_radix(word, 16).ok().filter(|number| is_number && (0..=most).contains(number))
    };
    let (word, held) = word.strip_suffix('!').map_or((word, false), |word| (word, true));
    let (since, rest) = word.split_once('+')?;
    let (length, claims) = rest.split_once('*')?;
    let begin = before.map_or(0, |before| before.begin / 1_000) + hex(since, LATEST)?;
    let end = begin + hex(length, LONGEST)?;
    let claims = u32::try_from(hex(claims, MOST_CLAIMS)?).ok().filter(|claims| *claims > 0)?;
    (end <= LATEST).then_some(Burst { begin: begin * 1_000, end: end * 1_000, claims, held })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_record_is_not_read() {
        assert!(Recurring::read("bullpen-bursts-1 day 5+1*8 15180+2*9! single 4+1*f").is_some());
        for text in [
            "bullpen-bursts-2 day 5+1*8",
            "bullpen-bursts-1 5+1*8",
            "bullpen-bursts-1 year 5+1*8",
            "bullpen-bursts-1 day",
            "bullpen-bursts-1 day 5*8",
            "bullpen-bursts-1 day -5+1*8",
            "bullpen-bursts-1 day 5+1*80000001",
            "bullpen-bursts-1 day fffffffff+1*8",
            "bullpen-bursts-1 day 5+fffff*8",
            "bullpen-bursts-1 day 5+1*0",
            "bullpen-bursts-1 day 5++1*8",
            "bullpen-bursts-1 day 5+1*8!!",
            "bullpen-bursts-1 day 5+1*NaN",
            "bullpen-bursts-1 day 5+1*ffffffffffffffffffff",
            "bullpen-bursts-1 day 5+1*8  5+1*8",
            "bullpen-bursts-1 ",
        ] {
            assert!(Recurring::read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_came_by_a_clock_beyond_all_records_is_not_written() {
        let at = |begin: i64| Burst { begin: begin * 1_000, end: (begin + 8) * 1_000, claims: 10, held: false };
        let followed = [vec![at(LATEST - 2)], vec![at(100), at(LATEST - 9), at(LATEST - 2)]]
            .into_iter()
            .map(|bursts| Followed::new(Series::new(Period::Day, bursts).unwrap()))
            .collect();
        let recurring = Recurring { followed, single: [at(9), at(LATEST - 3)].into(), ..Recurring::default() };
        let read = Recurring::read(&recurring.write()).expect("a record");
        assert_eq!((read.followed.len(), read.single), (1, [at(9)].into()));
    }

    fn any_bursts() -> impl Strategy<Value = Vec<Burst>> {
        let gaps = proptest::collection::vec((1..2_000_000_i64, 0..9_000_i64, 8..10_000_u32, any::<bool>()), 1..40);
        gaps.prop_map(|gaps| {
            let mut begin = 1_700_000_000_000;
            let next = |(gap, length, claims, held)| {
                begin += gap * 1_000;
                Burst { begin, end: begin + length * 1_000, claims, held }
            };
            gaps.into_iter().map(next).collect()
        })
    }

    proptest! {
        #[test]
        fn bursts_are_read_as_they_were_written(day in any_bursts(), hour in any_bursts(), single in any_bursts()) {
            let followed = [(Period::Day, day), (Period::Hour, hour)]
                .into_iter()
                .map(|(period, bursts)| Followed::new(Series::new(period, bursts).unwrap()))
                .collect();
            let recurring = Recurring { followed, single: single.into(), ..Recurring::default() };
            let text = recurring.write();
            prop_assert!(text.len() <= MOST_TEXT);
            prop_assert_eq!(Recurring::read(&text).map(|read| read.write()), Some(text));
        }

        #[test]
        fn no_text_makes_it_panic(text in "bullpen-bursts-1( (day|hour|week|single|[0-9a-f]{1,9}[+][0-9a-f]{1,5}[*][0-9a-f]{1,8}!?)){0,9}") {
            if let Some(read) = Recurring::read(&text) {
                let mut recurring = read;
                let lengths = super::super::Lengths { slot: 5_000.0, lead: 95_000.0 };
                for slot in 0..100 {
                    recurring.pass(slot * 5_000, 3, 20.0, lengths, None, 10_000);
                }
                prop_assert!(recurring.write().len() <= MOST_TEXT);
            }
        }
    }
}
