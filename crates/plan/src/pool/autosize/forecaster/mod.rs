//! Follows the claims of a pool slot by slot, and says which size it should have.

use std::collections::VecDeque;
use std::sync::Arc;

use bullpen_api::PoolSchedule;

mod evidence;
mod floors;
mod levels;
mod quiet;
pub mod rates;
pub mod recurring;
mod scale;
mod stabilization;
mod turns;

use evidence::{Demand, Evidence, assumed};
use floors::Floors;
use levels::{LEVELS, Levels, Sizes, price};
use quiet::Quiet;
use rates::{Rates, Season, octave};
use recurring::{Expected, Lengths, Period, Recurring};
use scale::Scale;
use stabilization::{REST, Stabilization};
use turns::Backlog;

use super::history::MOST_AT_ONCE;
use crate::call_rate::CreateRate;

/// Slots of a lead time.
pub const SLOTS: usize = 19;
const LEAD: f64 = SLOTS as f64;
/// Half of what was seen is forgotten after this many seconds: five days.
const HALF_LIFE: f64 = 432_000.0;
/// Of a longer time without a claim only so many slots are played, the last ones, and what was seen before gets as old as it is: a
/// pool that was idle for a year, or a clock that jumped, costs no more than that. At a lead time of 90 s they are 22 days.
const MOST_QUIET: i64 = 400_000;
/// Demand over a lead time is never assumed to be less than this in the mean.
const LEAST_MEAN: f64 = 0.02;

/// By what else a kind of time is told apart.
#[derive(Clone, Copy, Debug)]
enum By {
    /// The mean over a longer span of `SPANS`.
    Span(usize),
    /// What comes at this hour of the week.
    Season,
}

/// In which ways times are told apart: by what came lately, as one of `SPANS`, and then by something else. Their forecasts count
/// in equal parts, because none is the best for all loads.
const VIEWS: [(usize, By); 5] =
    [(1, By::Span(5)), (3, By::Span(7)), (3, By::Season), (0, By::Span(4)), (2, By::Span(6))];
/// The kind of time that all times are of in which no schedule is on.
const ANY: u32 = 0;
/// This bit is set in all kinds of times in which a schedule is on: it is there for what comes then, which says nothing of others.
const SCHEDULED: u32 = 1 << 24;
/// The kinds of a time: two for each view, the second being a part of the first.
type Kinds = [u32; 2 * VIEWS.len()];

/// What is to be kept, and how fast machines can be bought for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// Share of the claims that find a ready machine.
    pub hits: f64,
    /// How long a recommendation stays at least after a higher one, in seconds.
    pub window: f64,
    /// How often machines can be bought; `None`: no create waits for its turn.
    pub creates: Option<CreateRate>,
    /// So many machines are bought at most.
    pub most: u16,
    /// The schedules of the pool, whose machines it has beside what is found.
    pub schedules: Arc<[PoolSchedule]>,
}

/// A slot whose demand is not known yet.
#[derive(Clone, Debug)]
struct Slot {
    count: u32,
    /// The kind that all such times are of, which is `ANY` or `SCHEDULED`.
    any: u32,
    kinds: Kinds,
    /// Creates that wait at its end, at any size that stays the same.
    waiting: u32,
    /// What each level would have, without the machines that wait for their create.
    sizes: Sizes,
    /// The same of the pool.
    had: u16,
    /// No claim was expected, because none had come for longer than ever before.
    unexpected: bool,
}

/// A size, and the creates that wait if the pool follows it.
#[derive(Clone, Copy, Debug, Default)]
struct Followed {
    size: u16,
    backlog: Backlog,
}

impl Followed {
    /// It is this from the end of this slot on. Returns what of it is not waiting for its create.
    fn follow(&mut self, size: u16, goal: &Goal, seconds: f64, claims: u32) -> u16 {
        let change = i32::from(size) - i32::from(std::mem::replace(&mut self.size, size));
        if let Some(creates) = goal.creates {
            self.backlog.pass(creates, goal.most, seconds, claims, change);
        }
        size.saturating_sub(u16::try_from(self.backlog.waiting()).unwrap_or(u16::MAX))
    }
}

/// Follows the claims of one pool. All of it follows from a history of claims, a lead time and a goal.
#[derive(Clone, Debug)]
pub struct Forecaster {
    /// Length of a slot in milliseconds.
    slot: f64,
    most_quiet: i64,
    goal: Goal,
    /// The slot that is not over yet, in slots since 1970, and the claims in it.
    open: Option<(i64, u32)>,
    recent: VecDeque<Slot>,
    /// What the pool has.
    supply: u16,
    /// Claims in `recent`.
    sum: u32,
    scale: Scale,
    rates: Rates,
    season: Season,
    quiet: Quiet,
    evidence: Evidence,
    levels: Levels,
    /// What a hit is worth at each level, in idle machines during a slot.
    prices: [f64; LEVELS],
    /// What each level would keep, as the pool would: they are rehearsed with that.
    rehearsed: [Stabilization; LEVELS],
    recommended: Stabilization,
    /// The creates of each level, and of the pool.
    followed: [Followed; LEVELS],
    own: Followed,
    /// Creates that wait at any size that stays the same.
    backlog: Backlog,
    floors: Floors,
    /// The same a lead time ahead.
    floors_ahead: Floors,
    recurring: Recurring,
}

impl Forecaster {
    /// Knows nothing yet. A machine that is bought is ready after `lead` milliseconds.
    pub fn new(lead: f64, goal: Goal) -> Self {
        let floors = Floors::new(&goal.schedules);
        Self {
            slot: (lead / LEAD).max(1.0),
            most_quiet: MOST_QUIET,
            floors_ahead: floors.clone(),
            floors,
            goal,
            open: None,
            recent: VecDeque::with_capacity(SLOTS),
            supply: 0,
            sum: 0,
            scale: Scale::default(),
            rates: Rates::new(LEAD),
            season: Season::default(),
            quiet: Quiet::default(),
            evidence: Evidence::default(),
            levels: Levels::default(),
            prices: std::array::from_fn(|level| price(level) * LEAD),
            rehearsed: std::array::from_fn(|_| Stabilization::default()),
            recommended: Stabilization::default(),
            followed: [Followed::default(); LEVELS],
            own: Followed::default(),
            backlog: Backlog::default(),
            recurring: Recurring::default(),
        }
    }

    /// So many claims came at this millisecond since 1970. What is earlier than what was told before counts as now.
    pub fn observe(&mut self, at: i64, claims: u32) {
        self.advance(at);
        if let Some((_, open)) = &mut self.open {
            *open = open.saturating_add(claims).min(MOST_AT_ONCE);
        }
    }

    /// The pool has so many machines that are ready or come up, which may be more than the size: a surplus stays for a while.
    pub fn has(&mut self, supply: i32) {
        self.supply = u16::try_from(supply.max(0)).unwrap_or(u16::MAX);
    }

    /// Time has come to this millisecond.
    pub fn advance(&mut self, at: i64) {
        let now = (at as f64 / self.slot).floor() as i64;
        let (mut slot, mut count) = self.open.unwrap_or((now, 0));
        while slot < now {
            self.close(slot, std::mem::take(&mut count));
            slot += 1;
            if now - slot > self.most_quiet {
                self.pass(now - self.most_quiet - slot);
                slot = now - self.most_quiet;
            }
        }
        self.open = Some((slot, count));
    }

    /// So many slots pass without a claim, and nothing is learnt from them.
    fn pass(&mut self, slots: i64) {
        let seconds = slots as f64 * self.slot / 1_000.0;
        self.evidence.age(2f64.powf(seconds / HALF_LIFE));
        self.levels.pass(seconds);
        self.rates.pass(slots as f64);
        self.quiet.pass(slots, 0);
        self.catch_up(seconds);
        self.recent.clear();
        self.sum = 0;
        self.season.interrupt();
        self.recurring.interrupt();
    }

    /// Nobody counted until this millisecond.
    pub fn skip(&mut self, until: i64) {
        self.quiet.interrupt();
        let until = (until as f64 / self.slot).floor() as i64;
        let slots = self.open.map_or(0, |(slot, _)| (until - slot).max(0));
        self.catch_up(slots as f64 * self.slot / 1_000.0);
        self.recent.clear();
        self.sum = 0;
        self.season.interrupt();
        self.recurring.interrupt();
        self.open = Some((until, 0));
    }

    /// Creates have their turn for so many seconds, in which no claim is known of.
    fn catch_up(&mut self, seconds: f64) {
        let (Some(creates), most) = (self.goal.creates, self.goal.most) else { return };
        let followed = self.followed.iter_mut().chain([&mut self.own]).map(|followed| &mut followed.backlog);
        followed.chain([&mut self.backlog]).for_each(|backlog| backlog.pass(creates, most, seconds, 0, 0));
    }

    /// Claims by hour of the week.
    pub const fn season(&self) -> &Season {
        &self.season
    }

    /// What was known of hours of the week before counts where nothing newer is known.
    pub fn remember(&mut self, season: &Season) {
        self.season.add_known(season);
    }

    /// Bursts that come again by the clock.
    pub const fn recurring(&self) -> &Recurring {
        &self.recurring
    }

    /// What was known of such bursts counts from the begin on, which is before any claim.
    pub fn begin_with(&mut self, recurring: Recurring) {
        self.recurring = recurring;
    }

    /// All claims that were to be learnt again were told.
    pub const fn learnt_again(&mut self) {
        self.recurring.learnt_again();
    }

    /// The size to have now.
    pub fn size(&self) -> u16 {
        self.recommended.size().saturating_add(self.expects()).min(self.goal.most.max(self.recommended.size()))
    }

    /// Machines of the size that are for claims which are expected by the clock.
    pub fn expects(&self) -> u16 {
        let came = self.open.map_or(0, |(_, claims)| claims);
        u16::try_from(self.recurring.wanted().saturating_sub(came)).unwrap_or(u16::MAX)
    }

    /// The burst for which most of them are, and how often it comes.
    pub fn expected(&self) -> Option<(Period, Expected)> {
        self.recurring.expected()
    }

    /// Claims an hour lately: a mean over 40 lead times.
    pub fn hourly(&self) -> f64 {
        self.rates.mean(7) * 3_600_000.0 / self.slot
    }

    /// Creates that wait at any size that stays the same.
    #[cfg(test)]
    pub fn backlog(&self) -> u32 {
        self.backlog.waiting()
    }

    /// The size that each level of caution would keep, the least first.
    #[cfg(test)]
    pub fn sizes(&self) -> Option<&Sizes> {
        self.recent.back().map(|slot| &slot.sizes)
    }

    fn close(&mut self, slot: i64, count: u32) {
        let seconds = self.slot / 1_000.0;
        self.evidence.age(2f64.powf(seconds / HALF_LIFE));
        self.levels.pass(seconds);
        let end = ((slot + 1) as f64 * seconds) as i64;
        let count = self.without_recurring(slot, count);
        if self.recent.len() >= SLOTS
            && let Some(then) = self.recent.pop_front()
        {
            self.sum -= then.count;
            let before = self.sum;
            // Where that many creates wait, no size would have served these claims, so they say little about sizes.
            let lost = then.waiting > 0 && then.waiting + before >= u32::from(self.goal.most);
            let kinds = if lost { then.kinds.to_vec() } else { [&[then.any], then.kinds.as_slice()].concat() };
            self.evidence.learn(&kinds, &self.scale, then.waiting + before, count);
            if !lost {
                self.levels.learn(&then.sizes, then.had, (before, count), then.unexpected);
            }
        }
        self.rates.add(f64::from(count));
        self.season.add(end - 1, f64::from(count));
        self.sum += count;
        let floor = self.floors.at(end).min(self.goal.most);
        // What comes within a lead time is for the schedule if that begins until then.
        let ahead = self.floors_ahead.at(end + (self.slot * LEAD / 1_000.0) as i64);
        let any = if floor.max(ahead) > 0 { SCHEDULED } else { ANY };
        let kinds = self.kinds(end).map(|kind| kind | any);
        self.quiet.pass(1, count);
        let unexpected = self.quiet.is_new(REST);
        let mut forecast = [0; LEVELS];
        if !unexpected {
            forecast = self.forecast(any, &kinds).smoothed().worth(&self.scale, self.prices);
        }
        let window = (self.goal.window / seconds).round() as i64;
        let mut sizes = self.rehearse(slot, &forecast, window);
        let size = sizes[self.levels.keeping(self.goal.hits)];
        let recommended = self.recommended.follow(slot, size, self.sum, window);
        if let Some(creates) = self.goal.creates {
            self.backlog.pass(creates, self.goal.most, seconds, count, 0);
        }
        for (followed, size) in self.followed.iter_mut().zip(&mut sizes) {
            *size = followed.follow(*size, &self.goal, seconds, count).max(floor);
        }
        let had = self.own.follow(recommended.max(self.supply), &self.goal, seconds, count).max(floor);
        self.recent.push_back(Slot { count, any, kinds, waiting: self.backlog.waiting(), sizes, had, unexpected });
    }

    /// Takes the claims out of this slot that come by the clock. They are hits at each price if machines were there in time.
    fn without_recurring(&mut self, slot: i64, count: u32) -> u32 {
        let lengths = Lengths { slot: self.slot, lead: self.slot * LEAD };
        let end = ((slot + 1) as f64 * self.slot) as i64;
        let usual = self.rates.mean(7) * LEAD;
        let by_clock = self.recurring.pass(end, count, usual, lengths, self.goal.creates, self.goal.most);
        self.levels.hits(by_clock.hits);
        count - by_clock.claims
    }

    /// What each level would keep if the pool followed it. A more cautious one keeps no fewer.
    fn rehearse(&mut self, slot: i64, forecast: &Sizes, window: i64) -> Sizes {
        let (mut sizes, mut least) = (*forecast, 0);
        for (stabilized, size) in self.rehearsed.iter_mut().zip(&mut sizes) {
            least = stabilized.follow(slot, *size, self.sum, window).max(least);
            *size = least;
        }
        sizes
    }

    /// The kinds of this time, which ends at this second.
    fn kinds(&self, end: i64) -> Kinds {
        let mut kinds = [0; 2 * VIEWS.len()];
        let lead = self.slot * LEAD / 1_000.0;
        for (view, (recent, by)) in VIEWS.iter().enumerate() {
            let first = ((view as u32 + 1) << 16) | ((u32::from(octave(self.rates.mean(*recent) * LEAD)) + 1) << 8);
            let other = match by {
                By::Span(span) => Some(self.rates.mean(*span) * LEAD),
                By::Season => self.season.expected(end + lead as i64).map(|hourly| hourly * lead / 3_600.0),
            };
            kinds[2 * view] = first;
            kinds[2 * view + 1] = other.map_or(first, |claims| first | (u32::from(octave(claims)) + 1));
        }
        kinds
    }

    /// What is to come within a lead time after a time of these kinds, of which `any` is the widest. A kind that was hardly seen is
    /// judged by the wider one, and by what came lately: so a demand that never was before is answered as soon as it comes.
    fn forecast(&self, any: u32, kinds: &Kinds) -> Demand {
        let mean = self.rates.mean(1).max(self.rates.mean(5)) * LEAD;
        let assumed = assumed(&self.scale, mean.max(LEAST_MEAN), LEAD);
        let mut widest = assumed.clone();
        self.evidence.blend(any, LEAD, &mut widest);
        let begin = widest.with(&assumed);
        let views: Vec<Demand> = kinds
            .chunks(2)
            .map(|of_view| {
                let mut demand = begin.clone();
                let narrower = (of_view.first() != of_view.last()).then(|| of_view.last()).flatten();
                for kind in of_view.first().into_iter().chain(narrower) {
                    self.evidence.blend(*kind, LEAD, &mut demand);
                }
                demand
            })
            .collect();
        Demand::mean(&views.iter().collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: i64 = 1_767_225_600_000;
    const MINUTE: i64 = 60_000;

    /// The sizes after two hours of claims, this quiet time, and two hours of claims again, before and after the latter.
    fn sizes(most_quiet: i64, quiet: i64) -> [u16; 2] {
        let mut forecaster = Forecaster::new(
            90_000.0,
            Goal { hits: 0.99, window: 60.0, creates: None, most: 10_000, schedules: Arc::default() },
        );
        forecaster.most_quiet = most_quiet;
        let claims = |forecaster: &mut Forecaster, from: i64| {
            (1..=120).for_each(|minute| forecaster.observe(from + minute * MINUTE, 3));
        };
        claims(&mut forecaster, BEGIN);
        let again = BEGIN + 120 * MINUTE + quiet;
        forecaster.advance(again);
        let before = forecaster.size();
        claims(&mut forecaster, again);
        [before, forecaster.size()]
    }

    #[test]
    fn a_quiet_time_that_is_not_played_whole_comes_to_the_same() {
        let [quiet, busy] = sizes(MOST_QUIET, 24 * 60 * MINUTE);
        let [not_whole, after] = sizes(2_000, 24 * 60 * MINUTE);
        assert!(
            quiet == 0 && not_whole == 0 && busy > 3 && busy.abs_diff(after) <= 2,
            "{quiet} {not_whole} {busy} {after}"
        );
        // In slots of 4.7 s a century is 670 million.
        assert!(sizes(2_000, 100 * 365 * 24 * 60 * MINUTE)[1] > 3);
    }

    #[test]
    fn a_size_that_is_followed_is_without_the_machines_that_wait_for_their_create() {
        let rate = CreateRate { per_second: 2.0, at_once: 5 };
        let mut followed = Followed::default();
        let goal = |creates: Option<CreateRate>| Goal {
            hits: 0.99,
            window: 60.0,
            creates,
            most: 200,
            schedules: Arc::default(),
        };
        let mut has = |size: u16, claims: u32| followed.follow(size, &goal(Some(rate)), 5.0, claims);
        assert_eq!(
            [has(20, 0), has(20, 0), has(20, 40)],
            [10, 20, 0],
            "a growth waits, too, and so does what replaces a burst"
        );
        assert_eq!([has(20, 0), has(20, 0), has(20, 0)], [0, 10, 20]);
        assert_eq!(Followed::default().follow(20, &goal(None), 5.0, 40), 20);
    }
}
