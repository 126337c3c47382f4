//! Bursts that come again by the clock: a batch of each night, jobs of each hour. They are known as such when they came two or three
//! times. From then on machines are asked for shortly before the next one, and its claims are no reason for machines at other times.

use std::collections::VecDeque;

mod bursts;
mod followed;
pub mod record;
mod search;
mod series;

pub use bursts::Lengths;
use bursts::{Burst, Watch};
use followed::{Followed, Hold, give};
use series::Series;
pub use series::{Expected, Period};

use crate::call_rate::CreateRate;

/// Most series of one pool.
const MOST_SERIES: usize = 16;
/// Most bursts that are remembered and belong to no series, the largest.
const MOST_SINGLE: usize = 256;
/// For how long these are remembered, in milliseconds: a week and what one may be late.
const REMEMBERED: i64 = 8 * 86_400_000;
/// A history tells times apart by a slot, so a burst is played again up to so many slots earlier or later.
const AROUND_SLOTS: f64 = 2.0;
/// What is above the usual claims of a slot by so many times their square root is no chance.
const CHANCE: f64 = 3.0;
/// Bursts of two series that are to come within so many milliseconds may be one.
const SAME: i64 = 60_000;

/// Claims of a slot that come by the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByClock {
    /// So many.
    pub claims: u32,
    /// And so many of them found machines that were asked for in time.
    pub hits: u32,
}

/// What is known of bursts that come again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recurring {
    watch: Watch,
    /// Bursts that belong to no series, the oldest first.
    single: VecDeque<Burst>,
    followed: Vec<Followed>,
    /// When the first slot ended that was seen.
    since: Option<i64>,
    /// And the first one since somebody watches without a gap.
    watched: Option<i64>,
    /// A series was found, of whose bursts something was learnt that is wrong now.
    is_new: bool,
}

impl Recurring {
    /// So many claims came in a slot that ends at this millisecond; lately `usual` came within a lead time, without those by the clock.
    /// Returns those by the clock. The pool may have `most` machines.
    pub fn pass(
        &mut self,
        now: i64,
        claims: u32,
        usual: f64,
        lengths: Lengths,
        creates: Option<CreateRate>,
        most: u16,
    ) -> ByClock {
        let watched = *self.watched.get_or_insert(now);
        self.since = Some(self.since.map_or(now, |since| since.min(now)));
        let is_long = self.watch.is_long(now, lengths.lead);
        let over = self.watch.pass(now, claims, usual, lengths);
        let is_burst = over.is_some() || self.watch.is_open();
        let mut by_clock =
            if claims > 0 { self.take(now, claims, is_burst, usual, lengths) } else { ByClock::default() };
        if is_long {
            // What goes on when the burst is over has to be known by then.
            by_clock = ByClock::default();
        }
        if let Some(burst) = over {
            self.came(burst, lengths);
        }
        let (is_burst, mut most) = (self.watch.is_open(), u32::from(most));
        for followed in &mut self.followed {
            most -= followed.keep(now, watched, lengths.lead, creates, is_burst, most);
        }
        by_clock
    }

    /// Nobody watches for a while, so whether a burst comes is not known.
    pub fn interrupt(&mut self) {
        self.watch.interrupt();
        self.watched = None;
        self.followed.iter_mut().for_each(|followed| followed.hold = None);
    }

    /// Machines that are to be there now for claims which are expected by the clock.
    pub fn wanted(&self) -> u32 {
        self.holds().fold(0, |sum, hold| sum.saturating_add(hold.wanted))
    }

    /// The burst for which most machines are kept now, and how often it comes.
    pub fn expected(&self) -> Option<(Period, Expected)> {
        let held = |followed: &Followed| Some((followed.series.period, followed.hold.filter(|hold| hold.wanted > 0)?));
        let most = self.followed.iter().filter_map(held).max_by_key(|(_, hold)| hold.wanted);
        most.map(|(period, hold)| (period, hold.expected))
    }

    /// Whether a series was found since all was last learnt again.
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// What stays when all is learnt again from a history of these milliseconds: its bursts are found again, and what came later
    /// came by a clock that was ahead.
    #[must_use]
    pub fn to_learn_again(self, begins: i64, ends: i64) -> Self {
        Self {
            watch: Watch::default(),
            single: self.single.into_iter().filter(|burst| burst.begin < begins.min(ends)).collect(),
            followed: self.followed.into_iter().filter_map(|followed| followed.until(ends)).collect(),
            since: self.since.filter(|since| *since < ends),
            watched: None,
            is_new: false,
        }
    }

    /// All was learnt again. What was found in doing so was left out as far as it was known.
    pub const fn learnt_again(&mut self) {
        self.is_new = false;
    }

    fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.followed.iter().filter_map(|followed| followed.hold.as_ref())
    }

    /// How many of these claims come by the clock: those of a burst that is known, when all is learnt again, or that was expected.
    fn take(&mut self, now: i64, claims: u32, is_burst: bool, usual: f64, lengths: Lengths) -> ByClock {
        let around = around(lengths);
        // What comes as usual is not its own: until a burst begins, neither is what chance adds to that.
        let usual = usual * lengths.slot / lengths.lead;
        let claims_of_burst = claims.saturating_sub(usual as u32);
        if let Some(burst) = self.followed.iter().find_map(|followed| followed.series.at(now, around)) {
            return ByClock { claims: claims_of_burst, hits: if burst.held { claims_of_burst } else { 0 } };
        }
        if is_burst && self.followed.iter().any(|followed| followed.series.may_have_come(now)) {
            return ByClock { claims: claims_of_burst, hits: 0 };
        }
        let others = if is_burst { usual as u32 } else { CHANCE.mul_add(usual.sqrt(), usual).ceil() as u32 };
        give(&mut self.followed, now, claims.saturating_sub(others), is_burst)
    }

    /// A burst is over.
    fn came(&mut self, burst: Burst, lengths: Lengths) {
        self.followed.retain(|followed| !followed.is_over(burst.begin));
        if self.followed.iter().any(|followed| followed.series.knows(&burst, around(lengths))) {
            return;
        }
        let Some(burst) = self.beyond_forgotten(burst).and_then(|burst| self.beyond_series(burst)) else { return };
        self.single.retain(|other| other.begin > burst.begin - REMEMBERED);
        let since = self.since.unwrap_or(burst.begin).max(burst.begin - REMEMBERED);
        match search::find(&burst, &mut self.single, since, lengths.lead) {
            Some(series) => self.follow(series),
            None => self.remember(burst),
        }
    }

    /// What of a burst is more than those explain that a series no longer remembers, when all is learnt again.
    fn beyond_forgotten(&self, burst: Burst) -> Option<Burst> {
        let mut of = self.followed.iter().filter(|followed| followed.series.may_have_come(burst.begin));
        let Some(most) = of.next().map(|followed| followed.series.most()) else { return Some(burst) };
        let more = Burst { claims: burst.claims.saturating_sub(most), ..burst };
        (burst.claims / 2 > most).then_some(more)
    }

    /// Adds a burst to the series that it belongs to: to one, or to all that expect one at this time, if it is as large as all of
    /// them. Returns what of it is more than those explain: another one may have come at the same time.
    fn beyond_series(&mut self, burst: Burst) -> Option<Burst> {
        let fit = self.followed.iter_mut().filter_map(|followed| Some((followed.series.off_next(&burst)?, followed)));
        let mut of: Vec<(i64, &mut Followed)> = fit.collect();
        // Those that expect it now come before others, and then those to whose time it is close.
        of.sort_by_key(|(off, followed)| (followed.hold.is_none(), *off));
        let Some((off, is_expected)) = of.first().map(|(off, followed)| (*off, followed.hold.is_some())) else {
            return Some(burst);
        };
        of.retain(|(other, followed)| *other <= off + SAME && followed.hold.is_some() == is_expected);
        let sum =
            |of: &[(i64, &mut Followed)]| of.iter().map(|(_, followed)| u64::from(followed.series.most())).sum::<u64>();
        if !is_expected || u64::from(burst.claims) * 2 < sum(&of) {
            of.sort_by_key(|(off, followed)| (followed.series.most().abs_diff(burst.claims), *off));
            of.truncate(1);
        }
        let sum = sum(&of).max(1);
        for (_, followed) in of {
            let share = u64::from(burst.claims) * u64::from(followed.series.most()) / sum;
            let claims = u32::try_from(share).unwrap_or(u32::MAX).max(1);
            // Claims that were learnt as if they came at any time are to be learnt again.
            self.is_new |= !followed.came(Burst { claims, ..burst });
        }
        let more = burst.claims.saturating_sub(u32::try_from(sum).unwrap_or(u32::MAX));
        (u64::from(burst.claims) > 2 * sum).then_some(Burst { claims: more, ..burst })
    }

    /// Follows one more series, if need be instead of a much smaller one.
    fn follow(&mut self, series: Series) {
        if self.followed.len() >= MOST_SERIES {
            let smallest = self.followed.iter().enumerate().min_by_key(|(_, followed)| followed.series.most());
            match smallest {
                Some((index, smaller)) if smaller.series.most() < series.most() / 2 => self.followed.swap_remove(index),
                _ => return,
            };
        }
        self.followed.push(Followed::new(series));
        self.is_new = true;
    }

    fn remember(&mut self, burst: Burst) {
        self.single.push_back(burst);
        if self.single.len() > MOST_SINGLE
            && let Some((smallest, _)) = self.single.iter().enumerate().min_by_key(|(_, burst)| burst.claims)
        {
            self.single.remove(smallest);
        }
    }
}

/// A burst that is played again may be so many milliseconds earlier or later.
fn around(lengths: Lengths) -> i64 {
    (AROUND_SLOTS * lengths.slot) as i64 + 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000;
    const LENGTHS: Lengths = Lengths { slot: 5_000.0, lead: 95_000.0 };
    const DAY_SLOTS: i64 = 17_280;
    const MOST: u16 = 10_000;

    /// Plays slots of 5 s up to this one, in which so many claims come, and returns all that came by the clock.
    fn play(recurring: &mut Recurring, slots: std::ops::Range<i64>, claims: impl Fn(i64) -> u32) -> ByClock {
        slots.fold(ByClock::default(), |sum, slot| {
            let by_clock = recurring.pass((slot + 1) * 5 * SECOND, claims(slot), 1.0, LENGTHS, None, MOST);
            ByClock { claims: sum.claims + by_clock.claims, hits: sum.hits + by_clock.hits }
        })
    }

    /// A hundred claims in ten seconds, at 02:00 of each day.
    const fn night(slot: i64) -> u32 {
        if matches!(slot % DAY_SLOTS, 1_440 | 1_441) { 50 } else { 0 }
    }

    #[test]
    fn from_the_third_night_on_machines_are_there_before_the_burst_and_not_after_it() {
        let mut recurring = Recurring::default();
        assert_eq!(play(&mut recurring, 0..2 * DAY_SLOTS, night), ByClock::default());
        assert!(recurring.is_new() && recurring.wanted() == 0);
        let third = 2 * DAY_SLOTS;
        play(&mut recurring, third..third + 1_400, night);
        assert_eq!(recurring.wanted(), 0, "three minutes before");
        play(&mut recurring, third + 1_400..third + 1_440, night);
        assert_eq!(recurring.wanted(), 110);
        assert_eq!(recurring.expected().map(|(period, expected)| (period, expected.claims)), Some((Period::Day, 110)));
        assert_eq!(play(&mut recurring, third + 1_440..third + 1_442, night), ByClock { claims: 100, hits: 100 });
        play(&mut recurring, third + 1_442..third + 1_470, night);
        assert_eq!(recurring.wanted(), 0, "it came");
    }

    #[test]
    fn what_does_not_come_is_given_up_and_what_is_larger_counts_as_one_burst() {
        let mut recurring = Recurring::default();
        play(&mut recurring, 0..2 * DAY_SLOTS, night);
        let third = 2 * DAY_SLOTS;
        let mut idle = recurring.clone();
        play(&mut idle, third..third + 1_500, |_| 0);
        assert_eq!(idle.wanted(), 0);
        let larger = play(&mut recurring, third..third + 1_500, |slot| 3 * night(slot));
        assert_eq!(larger, ByClock { claims: 300, hits: 110 });
    }

    #[test]
    fn when_all_is_learnt_again_the_bursts_of_a_series_are_left_out_from_the_first_on() {
        let mut recurring = Recurring::default();
        play(&mut recurring, 0..3 * DAY_SLOTS, night);
        let mut again = recurring.clone().to_learn_again(0, 3 * DAY_SLOTS * 5 * SECOND);
        assert_eq!(
            play(&mut again, 0..3 * DAY_SLOTS, night),
            ByClock { claims: 300, hits: 100 },
            "those of the third night were hits"
        );
        again.learnt_again();
        assert!(!again.is_new());
        assert_eq!(again.write(), recurring.write());
        let read = Recurring::read(&recurring.write()).unwrap();
        assert_eq!(read.followed, recurring.followed);
        let back = recurring.to_learn_again(0, DAY_SLOTS * 5 * SECOND);
        assert_eq!(back.followed.len(), 1, "the clock was two days ahead, so one burst is left");
    }

    #[test]
    fn a_burst_that_may_have_come_while_nobody_watched_has_not_failed() {
        let mut recurring = Recurring::default();
        play(&mut recurring, 0..2 * DAY_SLOTS + 1_430, night);
        assert!(recurring.wanted() > 0);
        recurring.interrupt();
        play(&mut recurring, 2 * DAY_SLOTS + 1_600..2 * DAY_SLOTS + 1_700, night);
        assert_eq!((recurring.wanted(), recurring.followed[0].failed), (0, 0));
    }

    #[test]
    fn a_burst_that_takes_longer_than_two_boots_is_not_bought_for_at_once() {
        let slow = |slot: i64| if (1_440..1_440 + 120).contains(&(slot % DAY_SLOTS)) { 4 } else { 0 };
        let mut recurring = Recurring::default();
        play(&mut recurring, 0..2 * DAY_SLOTS, slow);
        let third = 2 * DAY_SLOTS;
        play(&mut recurring, third..third + 1_440, slow);
        let before = recurring.wanted();
        let came = play(&mut recurring, third + 1_440..third + 1_440 + 60, slow);
        let during = recurring.wanted();
        assert!((130..200).contains(&before) && (100..250).contains(&during), "{before} {during} of 480");
        assert!(came.hits > 200, "{came:?}");
    }

    #[test]
    fn a_job_of_each_hour_is_one_series_however_often_all_is_learnt_again() {
        // 60 claims at the full hour of twelve days, of which a series remembers the last two.
        let hourly = |slot: i64| if slot % 720 == 0 { 60 } else { 0 };
        let slots = 12 * DAY_SLOTS;
        let mut recurring = Recurring::default();
        play(&mut recurring, 0..slots, hourly);
        for round in 0..3 {
            recurring = Recurring::read(&recurring.write()).unwrap().to_learn_again(0, slots * 5 * SECOND);
            let came = play(&mut recurring, 0..slots, hourly);
            assert_eq!((recurring.followed.len(), came.claims), (1, 288 * 60), "round {round}");
        }
    }

    #[test]
    fn machines_are_kept_for_a_burst_alone_where_as_many_claims_come_all_the_time() {
        // 3,600 claims an hour, and 504 more in a minute from each full hour on.
        let busy = |slot: i64| 5 + if slot % 720 < 12 { 42 } else { 0 };
        let (mut recurring, mut by_clock) = (Recurring::default(), 0);
        for slot in 0..12 * 720 {
            by_clock += recurring.pass((slot + 1) * 5 * SECOND, busy(slot), 95.0, LENGTHS, None, MOST).claims;
            if slot > 4 * 720 && slot % 720 == 719 {
                assert!((500..560).contains(&recurring.wanted()), "{}", recurring.wanted());
            }
        }
        // Three of twelve show that it comes each hour.
        assert!((4_000..4_600).contains(&by_clock), "{by_clock}");
    }

    #[test]
    fn a_burst_within_a_gap_is_not_waited_for_after_it() {
        let mut recurring = Recurring::default();
        play(&mut recurring, 0..2 * DAY_SLOTS + 1_425, night);
        assert!(recurring.wanted() > 0);
        recurring.interrupt();
        // Nobody counts from a minute before the burst until a minute after it.
        play(&mut recurring, 2 * DAY_SLOTS + 1_452..2 * DAY_SLOTS + 1_456, night);
        assert_eq!(recurring.wanted(), 0);
        play(&mut recurring, 2 * DAY_SLOTS + 1_456..2 * DAY_SLOTS + 1_700, night);
        assert_eq!(recurring.followed[0].failed, 0);
        play(&mut recurring, 2 * DAY_SLOTS + 1_700..3 * DAY_SLOTS + 1_439, night);
        assert_eq!(recurring.wanted(), 110, "the next night");
    }

    #[test]
    fn no_more_are_asked_for_or_found_than_the_pool_may_have() {
        let mut recurring = Recurring::default();
        let pass = |recurring: &mut Recurring, slots: std::ops::Range<i64>| {
            slots.fold(0, |hits, slot| {
                hits + recurring.pass((slot + 1) * 5 * SECOND, night(slot), 1.0, LENGTHS, None, 30).hits
            })
        };
        pass(&mut recurring, 0..2 * DAY_SLOTS + 1_439);
        assert_eq!(recurring.wanted(), 30);
        assert_eq!(pass(&mut recurring, 2 * DAY_SLOTS + 1_439..2 * DAY_SLOTS + 1_500), 30);
        let mut again = recurring.to_learn_again(0, (2 * DAY_SLOTS + 1_500) * 5 * SECOND);
        assert_eq!(pass(&mut again, 0..2 * DAY_SLOTS + 1_500), 0, "most of them found none");
    }

    #[test]
    fn a_load_that_goes_on_is_known_as_such_before_it_is_no_burst_any_more() {
        // Four claims in each slot of an hour from 08:00 on, which are 38 lead times.
        let hour = |slot: i64| if (5_760..5_760 + 720).contains(&(slot % DAY_SLOTS)) { 4 } else { 0 };
        let mut recurring = Recurring::default();
        play(&mut recurring, 0..3 * DAY_SLOTS + 5_760, hour);
        assert!(recurring.wanted() > 0);
        let begin = 3 * DAY_SLOTS + 5_760;
        let by_clock = |recurring: &mut Recurring, leads: std::ops::Range<i64>| {
            play(recurring, begin + leads.start * 19..begin + leads.end * 19, hour).claims
        };
        let came = [0..5, 5..7, 7..9].map(|leads| by_clock(&mut recurring, leads));
        assert!(matches!(came, [376..=380, 70..=80, 0..=8]), "{came:?}");
        // What was wrong of it is none of its own when all is learnt again either.
        let mut again = recurring.to_learn_again(0, (begin + 8 * 19) * 5 * SECOND);
        play(&mut again, 0..begin, hour);
        let came = [0..5, 5..7, 7..9].map(|leads| by_clock(&mut again, leads));
        assert!(matches!(came, [376..=380, 70..=80, 0..=8]), "{came:?}");
    }

    #[test]
    fn bursts_without_number_are_bounded() {
        let mut recurring = Recurring::default();
        for number in 0..3_000_i64 {
            let begin = number * 977 * SECOND;
            recurring
                .came(Burst { begin, end: begin + SECOND, claims: 10 + (number % 91) as u32, held: false }, LENGTHS);
        }
        assert!(recurring.single.len() <= MOST_SINGLE && recurring.followed.len() <= MOST_SERIES);
        assert!(recurring.write().len() <= record::MOST_TEXT);
    }
}
