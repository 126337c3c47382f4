//! Follows the claims of a pool slot by slot, and says which size it should have.

use std::collections::VecDeque;

use super::evidence::{Demand, Evidence, assumed};
use super::holding::Holding;
use super::levels::{LEVELS, Levels, Sizes, price};
use super::rates::{Rates, Season, octave};
use super::scale::Scale;

/// Slots of a lead time.
pub const SLOTS: usize = 19;
const LEAD: f64 = SLOTS as f64;
/// Half of what was seen is forgotten after this many seconds: five days.
const HALF_LIFE: f64 = 432_000.0;
/// More claims in a slot than these count as so many, so that those of a lead time can be added up.
const MOST_IN_SLOT: u32 = 1 << 24;
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
/// The kind of time that all times are of.
const ANY: u32 = 0;
/// The kinds of a time: `ANY`, and two for each view, the second being a part of the first.
type Kinds = [u32; 2 * VIEWS.len()];

/// What is to be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Share of the claims that find a ready machine.
    pub hits: f64,
    /// How long a recommendation stays at least after a higher one, in seconds.
    pub window: f64,
}

/// A slot whose demand is not known yet.
#[derive(Clone, Debug)]
struct Slot {
    count: u32,
    kinds: Kinds,
    sizes: Sizes,
    had: u16,
}

/// Follows the claims of one pool. All of it follows from a history of claims, a lead time and a goal.
#[derive(Clone, Debug)]
pub struct Forecaster {
    /// Length of a slot in milliseconds.
    slot: f64,
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
    evidence: Evidence,
    levels: Levels,
    /// What a hit is worth at each level, in idle machines during a slot.
    prices: [f64; LEVELS],
    /// What each level would keep, as the pool would: they are rehearsed with that.
    rehearsed: [Holding; LEVELS],
    holding: Holding,
}

impl Forecaster {
    /// Knows nothing yet. A machine that is bought is ready after `lead` milliseconds.
    pub fn new(lead: f64, goal: Goal) -> Self {
        Self {
            slot: (lead / LEAD).max(1.0),
            goal,
            open: None,
            recent: VecDeque::with_capacity(SLOTS),
            supply: 0,
            sum: 0,
            scale: Scale::default(),
            rates: Rates::new(LEAD),
            season: Season::default(),
            evidence: Evidence::default(),
            levels: Levels::default(),
            prices: std::array::from_fn(|level| price(level) * LEAD),
            rehearsed: std::array::from_fn(|_| Holding::default()),
            holding: Holding::default(),
        }
    }

    /// So many claims came at this millisecond since 1970. What is earlier than what was told before counts as now.
    pub fn observe(&mut self, at: i64, claims: u32) {
        self.advance(at);
        if let Some((_, open)) = &mut self.open {
            *open = open.saturating_add(claims).min(MOST_IN_SLOT);
        }
    }

    /// The pool has so many machines that are ready or come up, which may be more than the size: a surplus stays for a while.
    pub fn has(&mut self, supply: i32) {
        self.supply = u16::try_from(supply.max(0)).unwrap_or(u16::MAX);
    }

    /// Time has come to this millisecond.
    pub fn advance(&mut self, at: i64) {
        let now = (at as f64 / self.slot).floor() as i64;
        let (mut slot, count) = self.open.unwrap_or((now, 0));
        let mut count = count;
        while slot < now {
            self.close(slot, std::mem::take(&mut count));
            slot += 1;
        }
        self.open = Some((slot, count));
    }

    /// Nobody counted until this millisecond.
    pub fn skip(&mut self, until: i64) {
        self.recent.clear();
        self.sum = 0;
        self.season.interrupt();
        self.open = Some(((until as f64 / self.slot).floor() as i64, 0));
    }

    /// Claims by hour of the week.
    pub const fn season(&self) -> &Season {
        &self.season
    }

    /// What was known of hours of the week before counts where nothing newer is known.
    pub fn remember(&mut self, season: &Season) {
        self.season.add_known(season);
    }

    /// The size to have now.
    pub const fn size(&self) -> u16 {
        self.holding.held()
    }

    /// Claims an hour lately: a mean over 40 lead times.
    pub fn hourly(&self) -> f64 {
        self.rates.mean(7) * 3_600_000.0 / self.slot
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
        if self.recent.len() >= SLOTS
            && let Some(then) = self.recent.pop_front()
        {
            self.sum -= then.count;
            let before = self.sum;
            self.evidence.learn(&[&[ANY], then.kinds.as_slice()].concat(), &self.scale, before, count);
            self.levels.learn(&then.sizes, then.had, before, count);
        }
        self.rates.add(f64::from(count));
        let end = ((slot + 1) as f64 * seconds) as i64;
        self.season.add(end - 1, f64::from(count));
        self.sum += count;
        let kinds = self.kinds(end);
        let forecast = self.forecast(&kinds).smoothed().worth(&self.scale, self.prices);
        let window = (self.goal.window / seconds).round() as i64;
        let sizes = self.rehearse(slot, &forecast, window);
        let size = sizes[self.levels.keeping(self.goal.hits)];
        let recommended = self.holding.hold(slot, size, window);
        self.recent.push_back(Slot { count, kinds, sizes, had: recommended.max(self.supply) });
    }

    /// What each level would keep if the pool followed it. A more cautious one keeps no fewer.
    fn rehearse(&mut self, slot: i64, forecast: &Sizes, window: i64) -> Sizes {
        let (mut sizes, mut least) = (*forecast, 0);
        for (holding, size) in self.rehearsed.iter_mut().zip(&mut sizes) {
            least = holding.hold(slot, *size, window).max(least);
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

    /// What is to come within a lead time after a time of these kinds. A kind that was hardly seen is judged by the wider one, by
    /// all times, and by what came lately: so a demand that never was before is answered as soon as it comes.
    fn forecast(&self, kinds: &Kinds) -> Demand {
        let mean = self.rates.mean(1).max(self.rates.mean(5)) * LEAD;
        let assumed = assumed(&self.scale, mean.max(LEAST_MEAN), LEAD);
        let mut any = assumed.clone();
        self.evidence.blend(ANY, LEAD, &mut any);
        let begin = any.with(&assumed);
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
