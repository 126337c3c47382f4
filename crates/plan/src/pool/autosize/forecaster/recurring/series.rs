//! Bursts that come again: at the same minute of each hour, or at the same time of each day or of each week.

use std::collections::VecDeque;

use super::bursts::Burst;
use crate::call_rate::CreateRate;

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;

/// After how long bursts come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// An hour.
    Hour,
    /// A day of 24 hours.
    Day,
    /// A week.
    Week,
}

impl Period {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// Its length in milliseconds.
    pub const fn length(self) -> i64 {
        match self {
            Self::Hour => HOUR,
            Self::Day => 24 * HOUR,
            Self::Week => 168 * HOUR,
        }
    }

    /// Whether it is long enough for machines that take so long: else they would be kept for most of it.
    pub fn suits(self, lead: f64) -> bool {
        LEADS * lead <= self.length() as f64
    }

    /// How much earlier or later than in the mean a burst may begin, in milliseconds. Those who start jobs by the clock say so much
    /// of their own delay: GitHub's documentation of `schedule` speaks of minutes at busy times.
    pub const fn tolerance(self) -> i64 {
        match self {
            Self::Hour => 120 * SECOND,
            Self::Day => 300 * SECOND,
            Self::Week => 600 * SECOND,
        }
    }

    /// So many bursts make a series at least.
    pub const fn least(self) -> usize {
        match self {
            Self::Hour => 3,
            Self::Day | Self::Week => 2,
        }
    }

    /// After so many periods another one repeats: what comes in each hour may do so in some hours of the day only, and what comes on
    /// each day only on some days of the week.
    const fn pattern(self) -> Option<i64> {
        match self {
            Self::Hour => Some(24),
            Self::Day => Some(7),
            Self::Week => None,
        }
    }

    /// As a word of a record, and of a message.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }
}

/// A period is so many lead times at least.
const LEADS: f64 = 4.0;
/// So many of the last bursts say when the next one comes, and how large it is.
const LAST: usize = 5;
/// It is expected so many milliseconds earlier and later than those came, at least.
const MARGIN: i64 = 30 * SECOND;
/// And it may be late by so many more.
const LATE: i64 = 60 * SECOND;
/// Machines are asked for so many lead times before: some take longer than the mean.
const AHEAD: f64 = 1.25;
/// A series is over when none has come for so many milliseconds, or for as long as its bursts are of use: a long weekend is shorter.
const LONGEST_PAUSE: i64 = 8 * 24 * HOUR;
/// A burst of less than this share of the others is none of the series.
const LEAST_SHARE: u32 = 4;

/// When machines are kept for a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// When it begins in the mean, in milliseconds since 1970.
    pub at: i64,
    /// From when on they are asked for.
    pub from: i64,
    /// When it has not come.
    pub until: i64,
    /// For so many claims.
    pub claims: u32,
    /// How long they take to come, in milliseconds.
    pub lasts: i64,
    /// How long it takes until all machines are ready, in milliseconds.
    pub takes: i64,
}

/// Bursts with the same time between them, or a multiple of it. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    pub period: Period,
    last: Burst,
    /// Those before the last one, the oldest first.
    before: VecDeque<Burst>,
}

impl Series {
    /// With these bursts, the oldest first. `None`: there are none.
    pub fn new(period: Period, bursts: impl IntoIterator<Item = Burst>) -> Option<Self> {
        let mut before: VecDeque<Burst> = bursts.into_iter().collect();
        let last = before.pop_back()?;
        let mut series = Self { period, last, before };
        series.forget();
        Some(series)
    }

    /// Without what came after this millisecond. `None`: nothing is left.
    pub fn until(self, ends: i64) -> Option<Self> {
        Self::new(self.period, self.bursts().copied().filter(|burst| burst.begin <= ends))
    }

    /// Its bursts, the oldest first.
    pub fn bursts(&self) -> impl DoubleEndedIterator<Item = &Burst> {
        self.before.iter().chain([&self.last])
    }

    /// Whether this burst is one of the series already, if that is known to so many milliseconds.
    pub fn knows(&self, burst: &Burst, around: i64) -> bool {
        self.bursts().any(|known| known.begin - around <= burst.end && burst.begin <= known.end + around)
    }

    /// By how many milliseconds this burst came earlier or later than the next one was to come. `None`: it is none of the series.
    pub fn off_next(&self, burst: &Burst) -> Option<i64> {
        let (number, offset) = self.place(burst.begin);
        // One that comes a little later each time is close to the last one only.
        let off = (offset - self.mean_offset()).abs().min(offset.abs());
        let is_next = number > 0 && off <= self.period.tolerance() && burst.claims >= self.middle() / LEAST_SHARE;
        is_next.then_some(off)
    }

    /// This burst was the next one.
    pub fn add(&mut self, burst: Burst) {
        self.before.push_back(std::mem::replace(&mut self.last, burst));
        self.forget();
    }

    /// The burst of this series that came at this millisecond, or up to so many before or after.
    pub fn at(&self, at: i64, around: i64) -> Option<&Burst> {
        self.bursts().rev().find(|burst| (burst.begin - around..=burst.end + around).contains(&at))
    }

    /// Whether a burst at this millisecond may have been one of the series that is no longer remembered.
    pub fn may_have_come(&self, at: i64) -> bool {
        let (number, offset) = self.place(at);
        let late = offset - self.mean_offset();
        let lasts = self.lately().map(|burst| burst.end - burst.begin).max().unwrap_or(0);
        let first = self.before.front().map_or(0, |burst| self.place(burst.begin).0);
        number < first && (-self.period.tolerance()..=self.period.tolerance() + lasts).contains(&late)
    }

    /// Whether none has come for so long that it is over.
    pub fn is_over(&self, now: i64) -> bool {
        now - self.last.begin > self.remembered().max(LONGEST_PAUSE)
    }

    /// What it expects now, if machines are to be kept for it: of a series in `doubt` only the one after a burst that came. They are
    /// bought at this rate at most.
    pub fn expects(&self, now: i64, lead: f64, creates: Option<CreateRate>, doubt: bool) -> Option<Expected> {
        let last = self.lately().map(|burst| self.place(burst.begin).1);
        let (first, latest) = last.fold((0, 0), |(low, high), offset| (low.min(offset), high.max(offset)));
        let margin = MARGIN.max((latest - first) / 2);
        let lasts = self.lately().map(|burst| burst.end - burst.begin).min().unwrap_or(0);
        let later = latest + margin + LATE + lasts;
        let period = self.period.length();
        let number = ((now - self.last.begin - later).div_euclid(period) + 1).max(1);
        let begin = self.last.begin + number * period;
        let most = self.most();
        let claims = most.saturating_add(f64::from(most).sqrt() as u32);
        let creating = creates.map_or(0.0, |creates| f64::from(claims) / creates.per_second * SECOND as f64);
        let from = begin + first - margin - AHEAD.mul_add(lead, creating) as i64;
        let takes = (lead + creating) as i64;
        let expected = Expected { at: begin + self.mean_offset(), from, until: begin + later, claims, lasts, takes };
        (from <= now && self.period.suits(lead) && self.is_expected(number, doubt)).then_some(expected)
    }

    /// Whether one comes after so many periods: if it came one period before, or one pattern before. Where that is not known yet, one
    /// that did not come is forgiven.
    fn is_expected(&self, number: i64, doubt: bool) -> bool {
        let came = |number: i64| self.bursts().any(|burst| self.place(burst.begin).0 == number);
        let first = self.before.front().map_or(0, |burst| self.place(burst.begin).0);
        let is_known = |number: i64| number >= first;
        let by_pattern = self.period.pattern().is_some_and(|pattern| came(number - pattern));
        let forgiven = !self.period.pattern().is_some_and(|pattern| is_known(number - pattern)) && came(number - 2);
        came(number - 1) || (!doubt && (by_pattern || forgiven))
    }

    /// How many periods after the last one this is, and how many milliseconds after that.
    fn place(&self, at: i64) -> (i64, i64) {
        let (since, period) = (at - self.last.begin, self.period.length());
        let number = (since + period / 2).div_euclid(period);
        (number, since - number * period)
    }

    fn lately(&self) -> impl Iterator<Item = &Burst> {
        self.bursts().rev().take(LAST)
    }

    fn mean_offset(&self) -> i64 {
        let (sum, count) =
            self.lately().fold((0, 0), |(sum, count), burst| (sum + self.place(burst.begin).1, count + 1));
        sum / count.max(1)
    }

    /// Claims of the largest of the last bursts.
    pub fn most(&self) -> u32 {
        self.lately().map(|burst| burst.claims).max().unwrap_or(0)
    }

    /// Claims of the middle one of the last bursts: one that was much larger than the others says nothing of the next.
    fn middle(&self) -> u32 {
        let mut claims: Vec<u32> = self.lately().map(|burst| burst.claims).collect();
        claims.sort_unstable();
        claims.get((claims.len() - 1) / 2).copied().unwrap_or(0)
    }

    /// For how long a burst is of use: two patterns, so that a day on which it never comes is known as such.
    const fn remembered(&self) -> i64 {
        let periods = match self.period.pattern() {
            Some(pattern) => 2 * pattern,
            None => 2,
        };
        periods * self.period.length() + self.period.tolerance()
    }

    fn forget(&mut self) {
        let oldest = self.last.begin - self.remembered();
        self.before.retain(|burst| burst.begin >= oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * HOUR;
    const LEAD: f64 = 90_000.0;

    fn burst(begin: i64, claims: u32) -> Burst {
        Burst { begin, end: begin + 20 * SECOND, claims, held: false }
    }

    fn series(period: Period, begins: &[i64]) -> Series {
        Series::new(period, begins.iter().map(|begin| burst(*begin, 100))).unwrap()
    }

    #[test]
    fn machines_are_asked_for_a_boot_before_the_next_burst_and_until_it_is_late() {
        let nights = series(Period::Day, &[2 * HOUR, 26 * HOUR + 10 * SECOND]);
        let expects = |at: i64, creates| {
            nights.expects(50 * HOUR + at * SECOND, LEAD, creates, false).map(|expected| expected.claims)
        };
        // It comes 10 s earlier than the last one at the earliest, and 30 s before that; a boot takes 112 s.
        assert_eq!(
            [-145, -140, 0, 118, 122].map(|at| expects(at, None)),
            [None, Some(110), Some(110), Some(110), None]
        );
        let slow = Some(CreateRate { per_second: 1.0, at_once: 5 });
        assert_eq!([-255, -250].map(|at| expects(at, slow)), [None, Some(110)], "110 creates take 110 s");
    }

    #[test]
    fn a_weekend_without_a_burst_is_known_after_one_week() {
        let mut nights = series(Period::Day, &[0, DAY, 2 * DAY, 3 * DAY, 4 * DAY]);
        let expected = |nights: &Series, day: i64| nights.expects(day * DAY, LEAD, None, false).is_some();
        assert_eq!(
            [5, 6, 7].map(|day| expected(&nights, day)),
            [true, true, true],
            "one that did not come is forgiven, and Monday is one that came"
        );
        for day in 7..12 {
            nights.add(burst(day * DAY, 100));
        }
        assert_eq!([12, 13, 14].map(|day| expected(&nights, day)), [true, false, true]);
        assert!(!nights.is_over(20 * DAY) && nights.is_over(26 * DAY));
    }

    #[test]
    fn hours_of_the_night_without_a_burst_are_known_after_one_day() {
        let hours: Vec<i64> = (8..18).chain(32..42).map(|hour| hour * HOUR).collect();
        let series = series(Period::Hour, &hours);
        let expected = |hour: i64| series.expects(hour * HOUR, LEAD, None, false).is_some();
        assert_eq!([42, 43, 44, 50, 55, 56, 57].map(expected), [true, false, false, false, false, true, true]);
        let doubted = |hour: i64| series.expects(hour * HOUR, LEAD, None, true).is_some();
        assert_eq!([42, 56].map(doubted), [true, false]);
    }

    #[test]
    fn a_burst_that_is_much_smaller_or_at_another_time_is_none_of_the_series() {
        let mut nights = series(Period::Day, &[2 * HOUR, 26 * HOUR]);
        assert_eq!([burst(50 * HOUR, 20), burst(51 * HOUR, 100)].map(|burst| nights.off_next(&burst)), [None, None]);
        let known = burst(26 * HOUR + SECOND, 100);
        assert!(nights.knows(&known, 0) && nights.off_next(&known).is_none());
        let larger = burst(50 * HOUR + 200 * SECOND, 900);
        assert!(!nights.knows(&larger, 0) && nights.off_next(&larger) == Some(200 * SECOND));
        nights.add(larger);
        assert_eq!(nights.expects(74 * HOUR, LEAD, None, false).map(|expected| expected.claims), Some(930));
    }

    #[test]
    fn bursts_are_forgotten_after_two_patterns() {
        let mut nights = series(Period::Day, &[0]);
        (1..40).for_each(|day| nights.add(burst(day * DAY, 100)));
        assert_eq!(nights.bursts().count(), 15);
        assert_eq!(nights.until(30 * DAY).map(|series| series.bursts().count()), Some(6));
    }
}
