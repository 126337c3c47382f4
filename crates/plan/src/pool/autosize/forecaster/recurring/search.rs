//! Tells whether a burst comes again by the clock, or came where others did by chance.

use std::collections::VecDeque;

use super::bursts::Burst;
use super::series::{Period, Series};

/// Bursts that come at any time look like a series less often than so many times a week.
const BY_CHANCE: f64 = 0.05;
const WEEK: f64 = 604_800_000.0;
/// Those that are not further apart than this, in milliseconds, are as close as can be told.
const CLOSE: i64 = 30_000;
/// The bursts of a series are at most so many times as large as others of it.
const ALIKE: u32 = 2;

/// The series that ends with this burst, among others since this millisecond, the oldest first. Those of it are taken out of
/// the others.
pub fn find(burst: &Burst, others: &mut VecDeque<Burst>, since: i64, lead: f64) -> Option<Series> {
    let possible = Period::ALL.into_iter().filter(|period| period.suits(lead));
    let mut chains = possible.map(|period| (period, chain(period, burst, others)));
    let (period, chain) = chains.find(|(period, chain)| is_series(*period, chain, burst, others, since))?;
    others.retain(|other| !chain.contains(other));
    Series::new(period, chain.into_iter().rev().chain([*burst]))
}

/// The bursts before this one that are as large and came one period after the other, the latest first.
fn chain(period: Period, burst: &Burst, others: &VecDeque<Burst>) -> Vec<Burst> {
    let alike = |other: &&Burst| {
        other.claims <= burst.claims.saturating_mul(ALIKE) && burst.claims <= other.claims.saturating_mul(ALIKE)
    };
    let (mut chain, mut last) = (Vec::new(), *burst);
    loop {
        let nearest = others.iter().filter(alike).min_by_key(|other| off(period, other, &last));
        let Some(next) = nearest.filter(|other| off(period, other, &last) <= period.tolerance()) else { return chain };
        chain.push(*next);
        last = *next;
    }
}

/// By how much one burst comes earlier or later than a period before another one.
const fn off(period: Period, before: &Burst, burst: &Burst) -> i64 {
    (burst.begin - period.length() - before.begin).abs()
}

/// Whether chance hardly finds such bursts before this one among all that are at least half as large, as close to their time.
fn is_series(period: Period, before: &[Burst], burst: &Burst, others: &VecDeque<Burst>, since: i64) -> bool {
    if before.len() + 1 < period.least() {
        return false;
    }
    let large = others.iter().filter(|other| other.claims.saturating_mul(ALIKE) >= burst.claims).count();
    // Those of the series itself are one: whether they are more is the question.
    let number = (large - before.len().min(large) + 1) as f64;
    let span = (burst.begin - since).max(period.length()) as f64;
    let pairs = [*burst].into_iter().chain(before.iter().copied()).zip(before);
    let furthest = pairs.map(|(burst, before)| off(period, before, &burst)).max().unwrap_or(0).max(CLOSE);
    let one_is_near = 1.0 - (-number * 2.0 * furthest as f64 / span).exp();
    number * WEEK / span * one_is_near.powi(i32::try_from(before.len()).unwrap_or(i32::MAX)) <= BY_CHANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000;
    const HOUR: i64 = 3_600 * SECOND;
    const DAY: i64 = 24 * HOUR;
    const LEAD: f64 = 95_000.0;

    fn burst(begin: i64, claims: u32) -> Burst {
        Burst { begin, end: begin + 20 * SECOND, claims, held: false }
    }

    /// Which of these bursts shows a series first, and of which period. They are seen from 0 on.
    fn shows(bursts: &[(i64, u32)]) -> Option<(usize, Period)> {
        let mut others = VecDeque::new();
        bursts.iter().enumerate().find_map(|(index, (begin, claims))| {
            let burst = burst(*begin, *claims);
            let series = find(&burst, &mut others, 0, LEAD);
            others.push_back(burst);
            series.map(|series| (index + 1, series.period))
        })
    }

    #[test]
    fn the_second_night_shows_a_series_and_the_third_hour_does() {
        assert_eq!(shows(&[(2 * HOUR, 400), (26 * HOUR + 20 * SECOND, 380)]), Some((2, Period::Day)));
        assert_eq!(shows(&[(HOUR, 60), (2 * HOUR, 54), (3 * HOUR, 60)]), Some((3, Period::Hour)));
        assert_eq!(shows(&[(50 * HOUR, 600), (218 * HOUR, 570)]), Some((2, Period::Week)));
    }

    #[test]
    fn bursts_of_other_sizes_or_at_other_times_are_no_series() {
        assert_eq!(shows(&[(2 * HOUR, 400), (26 * HOUR, 40)]), None, "a tenth of the claims");
        assert_eq!(shows(&[(2 * HOUR, 400), (26 * HOUR + 400 * SECOND, 400)]), None, "seven minutes late");
        assert_eq!(shows(&[(HOUR, 60), (2 * HOUR, 60)]), None, "two hours may be chance");
    }

    #[test]
    fn among_many_bursts_it_takes_more_nights() {
        let night = |day: i64| (day * DAY + 2 * HOUR, 100);
        // Others come at other times of each day, and are as large.
        let other = |day: i64| [5, 9, 13, 17].map(|hour| (day * DAY + hour * HOUR + day * 11 * HOUR / 7, 90));
        let bursts: Vec<_> = (0..7).flat_map(|day| [night(day)].into_iter().chain(other(day))).collect();
        let (index, period) = shows(&bursts).unwrap();
        assert!(period == Period::Day && (11..=16).contains(&index), "the third or fourth night: burst {index}");
    }

    #[test]
    fn large_boots_leave_no_hours() {
        let mut others: VecDeque<Burst> = [burst(HOUR, 60), burst(2 * HOUR, 60), burst(3 * HOUR, 60)].into();
        assert!(find(&burst(4 * HOUR, 60), &mut others, 0, 1_000_000.0).is_none());
    }

    #[test]
    fn bursts_at_any_time_hardly_look_like_a_series() {
        let (mut state, mut found) = (1_u64, 0);
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        for weeks in [1.0, 7.0, 24.0, 100.0, 600.0] {
            for _ in 0..40 {
                let (mut at, mut bursts) = (0.0, Vec::new());
                while at < WEEK {
                    at += -(1.0 - draw()).ln() * WEEK / weeks;
                    bursts.push((at as i64, 20 + (draw() * 40.0) as u32));
                }
                found += usize::from(shows(&bursts).is_some());
            }
        }
        // In 200 weeks 5 % are 10, for each of three periods.
        assert!(found <= 30, "{found} of 200 weeks");
    }
}
