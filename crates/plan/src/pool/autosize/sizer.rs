//! What a pool learns: its claims, its lead time, and from both the size that it should have.

use std::collections::VecDeque;

use super::forecaster::rates::Season;
use super::forecaster::recurring::{Expected, Period, Recurring};
use super::forecaster::{Forecaster, Goal, SLOTS};
use super::history::{Happened, History};

/// Longest record, in bytes: `status.learnt` takes no longer one.
pub const MOST_TEXT: usize = 16_384;
/// So many times until machines were ready are kept.
const MOST_READY: usize = 64;
/// So many of them are needed to say what the lead time is.
pub const LEAST_READY: usize = 3;
/// The lead time until then, in milliseconds.
const USUAL_LEAD: f64 = 90_000.0;
/// Shortest and longest lead time, in milliseconds.
const LEADS: (f64, f64) = (200.0, 3_600_000.0);
/// A machine counts as one that took so many times the median at most: a few that hung are no reason for a larger pool.
const LONGEST_MEDIANS: f64 = 3.0;
/// The lead time is longer than the time from the launch of a machine until it is ready by this factor: creates take a while.
const REACTION: f64 = 1.02;
/// Everything is learnt again from the history when the lead time has grown or fallen by these factors. Too short a lead time
/// misses claims, too long a one costs some idle time.
const OTHER_LEAD: (f64, f64) = (1.1, 1.25);
/// Least claims before anything is recommended.
pub const LEAST_CLAIMS: u64 = 20;
/// Least lead times with somebody watching before anything is recommended.
pub const LEAST_LEADS: f64 = 38.0;
/// Until so many lead times were watched, the target of the spec is a floor. It is half a day of machines that boot in a minute and
/// a half.
const LEARNING_LEADS: f64 = 480.0;
/// Time that nobody watched is a gap if it is longer than so many lead times.
const GAP_LEADS: f64 = 2.0;
/// Between two looks of one process, it is longer than so many lead times, and than so many milliseconds: a pass comes far more
/// often, so the clock was set, or the machine slept.
const GAP_OF_WATCHING: (f64, f64) = (431.0, 600_000.0);
/// So many slots are learnt again at most, which takes some seconds: 14 days of machines that boot in a minute and a half.
const MOST_SLOTS: f64 = 262_144.0;
/// A lead time that falls must have fallen for so many of them. Of machines that were bought at once the fastest are ready first, so
/// while they come up, machines seem to have become faster.
const FALL_LEADS: f64 = 2.0;
/// Everything is learnt again only when so many milliseconds have passed for each slot of the last time. A slot takes some 20 µs of
/// one core, so that is a hundredth of the time at most, also where the times of machines go up and down.
const PAUSE_FOR_SLOT: f64 = 2.0;

/// What is known of the demand, and the size for it.
#[derive(Clone, Debug, PartialEq)]
pub enum Advice {
    /// It is not known well enough what a pool of this load needs.
    TooLittle {
        /// Claims that were seen.
        claims: u64,
        /// For how long, in seconds.
        seconds: f64,
    },
    /// The size for the goal.
    Size {
        /// The size.
        size: i32,
        /// Whether the target of the spec is a floor yet, because few times were seen.
        learning: bool,
        /// Claims an hour lately.
        hourly: f64,
        /// The lead time: seconds from the launch of a machine until it is ready.
        lead: f64,
        /// Machines of the size that are for a burst which comes again by the clock, how often it does, and when it comes.
        burst: Option<(i32, Period, Expected)>,
    },
}

/// What a record has of a pool, read but not learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// How many milliseconds the last machines took to be ready.
    pub ready: Vec<i64>,
    season: Season,
    recurring: Recurring,
    /// When claims came.
    pub history: History,
    /// Until when, in milliseconds since 1970.
    pub until: i64,
}

impl Record {
    /// Reads what [`Sizer::record`] wrote. `None`: this is no such text.
    pub fn read(text: &str) -> Option<Self> {
        let (ready, rest) = text.split_once('\n')?;
        let (season, rest) = rest.split_once('\n')?;
        // There is no such line if no burst is known.
        let (history, bursts) = rest.split_once('\n').unwrap_or((rest, ""));
        let season = Season::read(season)?;
        let recurring = Recurring::read(bursts)?;
        let (history, until) = History::read(history)?;
        let times = ready.split(' ').filter(|word| !word.is_empty()).take(MOST_READY);
        let ready = times.map(|time| time.parse::<u32>().ok().map(i64::from)).collect::<Option<_>>()?;
        Some(Self { ready, season, recurring, history, until })
    }
}

/// What one pool learns. It is bounded, and all of it comes again from [`record`](Self::record).
#[derive(Clone, Debug)]
pub struct Sizer {
    goal: Goal,
    lead: f64,
    ready: VecDeque<f64>,
    history: History,
    claims: u64,
    watched: f64,
    at: Option<i64>,
    /// Before this millisecond nothing is learnt again for another lead time.
    rests_until: i64,
    /// Since when machines take so much shorter than the lead time that it should fall.
    shorter_since: Option<i64>,
    forecaster: Forecaster,
}

impl Sizer {
    /// Knows nothing yet.
    pub fn new(goal: Goal) -> Self {
        Self {
            forecaster: Forecaster::new(USUAL_LEAD, goal.clone()),
            goal,
            lead: USUAL_LEAD,
            ready: VecDeque::new(),
            history: History::new(tick(USUAL_LEAD)),
            claims: 0,
            watched: 0.0,
            at: None,
            rests_until: i64::MIN,
            shorter_since: None,
        }
    }

    /// What is to be kept.
    pub const fn goal(&self) -> &Goal {
        &self.goal
    }

    /// Claims that were seen.
    pub const fn claims(&self) -> u64 {
        self.claims
    }

    /// The lead time in milliseconds.
    pub const fn lead_milliseconds(&self) -> i64 {
        self.lead as i64
    }

    /// So many claims came until this millisecond since 1970, since the last call. It is also called when none came.
    pub fn observe(&mut self, at: i64, claims: u32) {
        self.follow_clock(at, (self.lead * GAP_OF_WATCHING.0).max(GAP_OF_WATCHING.1));
        let at = at.max(self.at.unwrap_or(at));
        if let Some(before) = self.at {
            self.watched += (at - before) as f64;
        }
        self.at = Some(at);
        self.claims = self.claims.saturating_add(u64::from(claims));
        self.history.add(at, claims);
        self.forecaster.observe(at, claims);
    }

    /// The pool follows the advice, and has so many machines that are ready or come up.
    pub fn has(&mut self, supply: i32) {
        self.forecaster.has(supply);
    }

    /// A machine was ready so many milliseconds after it was launched. Everything is learnt again if that makes another lead time.
    pub fn ready_after(&mut self, milliseconds: i64) {
        self.took(milliseconds);
        if self.has_other_lead() {
            self.learn_with_measured_lead();
        }
    }

    /// The same, without learning anything again: that takes seconds.
    pub fn took(&mut self, milliseconds: i64) {
        self.ready.push_back((milliseconds.max(0) as f64).clamp(LEADS.0, LEADS.1));
        if self.ready.len() > MOST_READY {
            self.ready.pop_front();
        }
        let shorter = self.measured_lead() < self.lead / OTHER_LEAD.1;
        self.shorter_since = if shorter { self.shorter_since.or(self.at) } else { None };
    }

    /// Whether machines take so much longer or shorter than before that everything is to be learnt again, and that was not just done.
    pub fn has_other_lead(&self) -> bool {
        let lead = self.measured_lead();
        if self.rests_until == i64::MIN {
            // The lead time was never measured.
            return lead > self.lead * OTHER_LEAD.0 || lead < self.lead / OTHER_LEAD.1;
        }
        let at = self.at.unwrap_or(self.rests_until);
        let fell = self.shorter_since.is_some_and(|since| (at - since) as f64 >= FALL_LEADS * self.lead);
        at >= self.rests_until && (lead > self.lead * OTHER_LEAD.0 || fell)
    }

    /// Whether everything is to be learnt again for this goal. Launch configs come and go, and `maxSize` and schedules are edited, as often as
    /// somebody likes: what they change waits for its rest, what is asked of hits does not.
    pub fn is_to_learn(&self, goal: &Goal) -> bool {
        let asked = |goal: &Goal| (goal.hits, goal.window);
        let rested = self.at.is_none_or(|at| at >= self.rests_until);
        let differs = *goal != self.goal || self.forecaster.recurring().is_new();
        asked(goal) != asked(&self.goal) || (differs && rested) || self.has_other_lead()
    }

    /// Learns everything again for this goal, with the time that machines take now.
    pub fn learn_for(&mut self, goal: Goal) {
        self.goal = goal;
        self.learn_with_measured_lead();
    }

    /// Learns everything again with the time that machines take now.
    pub fn learn_with_measured_lead(&mut self) {
        self.lead = self.measured_lead();
        self.shorter_since = None;
        self.learn_again();
    }

    /// The size to have now.
    pub fn advice(&self) -> Advice {
        let leads = self.watched / self.lead;
        if self.claims < LEAST_CLAIMS || leads < LEAST_LEADS || self.ready.len() < LEAST_READY {
            return Advice::TooLittle { claims: self.claims, seconds: self.watched / 1_000.0 };
        }
        Advice::Size {
            size: i32::from(self.forecaster.size()),
            learning: leads < LEARNING_LEADS,
            hourly: self.forecaster.hourly(),
            lead: self.lead / 1_000.0,
            burst: self
                .forecaster
                .expected()
                .map(|(period, expected)| (i32::from(self.forecaster.expects()), period, expected))
                .filter(|(machines, ..)| *machines > 0),
        }
    }

    /// When to look again although no claim came, in milliseconds: what is recommended may fall.
    pub fn look_again_after(&self) -> i64 {
        (self.lead / SLOTS as f64 * 2.0).ceil() as i64
    }

    /// What was learnt, as lines of text of at most 16 kB: times until machines were ready, claims by hour of the week, when
    /// claims came, and bursts that come again. Of a busy pool the oldest claims are left out.
    pub fn record(&self) -> String {
        let ready: Vec<String> = self.ready.iter().map(|time| format!("{time:.0}")).collect();
        let head = format!("{}\n{}\n", ready.join(" "), self.forecaster.season().write());
        let bursts = self.forecaster.recurring().write();
        let bursts = if bursts.is_empty() { bursts } else { format!("\n{bursts}") };
        let room = MOST_TEXT.saturating_sub(head.len() + bursts.len());
        format!("{head}{}{bursts}", self.history.write(self.at.unwrap_or(0), room))
    }

    /// Reads what [`record`](Self::record) wrote. `None`: this is no such text.
    pub fn restore(text: &str, goal: Goal) -> Option<Self> {
        let Record { ready, season, recurring, history, until } = Record::read(text)?;
        let ready = ready.into_iter().map(|time| (time as f64).clamp(LEADS.0, LEADS.1)).collect();
        let mut sizer = Self { ready, history, at: Some(until), ..Self::new(goal) };
        sizer.forecaster.begin_with(recurring);
        sizer.learn_with_measured_lead();
        sizer.forecaster.remember(&season);
        Some(sizer)
    }

    /// Begins to watch at this millisecond. What happened since the last one was not seen.
    pub fn resume(&mut self, at: i64) {
        self.follow_clock(at, self.lead * GAP_LEADS);
    }

    /// Nobody watched since the last millisecond if that was more than so many before this one. If it is as
    /// long after, the clock was ahead, and what came then is forgotten, because no time would pass until then.
    fn follow_clock(&mut self, at: i64, longest: f64) {
        let Some(before) = self.at else { return };
        let gap = (at - before) as f64;
        if gap > longest {
            self.history.skip(before, at);
            self.forecaster.skip(at);
            (self.at, self.shorter_since) = (Some(at), None);
        } else if -gap > GAP_OF_WATCHING.1.max(self.lead * GAP_LEADS) {
            self.history.forget_after(at);
            (self.at, self.shorter_since) = (Some(at), None);
            self.learn_again();
        }
    }

    fn measured_lead(&self) -> f64 {
        if self.ready.len() < LEAST_READY {
            return self.lead;
        }
        let mut times: Vec<f64> = self.ready.iter().copied().collect();
        times.sort_by(f64::total_cmp);
        let longest = times[times.len() / 2] * LONGEST_MEDIANS;
        let mean = times.iter().map(|time| time.min(longest)).sum::<f64>() / times.len() as f64;
        (mean * REACTION).clamp(LEADS.0, LEADS.1)
    }

    /// Learns the history again with the present lead time and goal.
    fn learn_again(&mut self) {
        // Hours of the week are known for longer than claims are.
        let season = self.forecaster.season().clone();
        let mut slots = self.play_history();
        // Bursts of a series that was found only now were learnt as if they came at any time.
        if self.forecaster.recurring().is_new() {
            slots += self.play_history();
        }
        if let Some(at) = self.at {
            self.rests_until = at.saturating_add((slots * PAUSE_FOR_SLOT) as i64);
        }
        self.forecaster.learnt_again();
        self.forecaster.remember(&season);
    }

    /// Tells the history to a new forecaster. Returns how many slots that took.
    fn play_history(&mut self) -> f64 {
        let recurring = self.forecaster.recurring().clone();
        self.forecaster = Forecaster::new(self.lead, self.goal.clone());
        (self.claims, self.watched) = (0, 0.0);
        if let Some(at) = self.at {
            self.history.forget_before(learnt_from(at, self.lead));
        }
        let mut history = History::new(tick(self.lead));
        let mut before = self.history.begins();
        let ends = self.at.unwrap_or(i64::MAX);
        self.forecaster.begin_with(recurring.to_learn_again(before.unwrap_or(ends), ends));
        if let Some(begins) = before {
            history.add(begins, 0);
            self.forecaster.advance(begins);
        }
        for happened in self.history.all() {
            let at = match happened {
                Happened::Came(at, claims) => {
                    self.forecaster.observe(at, claims);
                    history.add(at, claims);
                    self.claims += u64::from(claims);
                    self.watched += (at - before.unwrap_or(at)).max(0) as f64;
                    at
                }
                Happened::Blank(from, until) => {
                    // No claim came before it, but somebody watched.
                    self.forecaster.advance(from);
                    self.watched += (from - before.unwrap_or(from)).max(0) as f64;
                    history.skip(from, until);
                    self.forecaster.skip(until);
                    until
                }
            };
            before = Some(at.max(before.unwrap_or(at)));
        }
        let begins = history.begins();
        self.history = history;
        let Some(at) = self.at else { return 0.0 };
        self.watched += (at - before.unwrap_or(at)).max(0) as f64;
        self.forecaster.advance(at);
        (at - begins.unwrap_or(at)).max(0) as f64 / (self.lead / SLOTS as f64)
    }
}

/// The first millisecond that is learnt again at this one.
fn learnt_from(at: i64, lead: f64) -> i64 {
    at.saturating_sub((lead / SLOTS as f64 * MOST_SLOTS) as i64)
}

/// What of time a history tells apart, in milliseconds: a slot, rounded so that it stays when the lead time changes a little.
fn tick(lead: f64) -> i64 {
    let slot = lead / SLOTS as f64;
    2f64.powf(slot.log2().floor()).max(1.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_learnt_again_is_bounded_however_long_ago_it_begins_and_however_short_the_lead_time_is() {
        let at = 1_767_225_600_000;
        assert_eq!(at - learnt_from(at, LEADS.0), 2_759_410, "three quarters of an hour of machines that boot at once");
        assert_eq!(learnt_from(at, 90_000.0), at - 1_241_734_736);
    }
}
