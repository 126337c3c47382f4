//! A series with the machines that are kept for its next burst, and with what came of those that it expected.

use super::ByClock;
use super::bursts::Burst;
use super::series::{Expected, Series};
use crate::call_rate::CreateRate;

/// Of so many bursts that are expected half may not come.
const JUDGED: u32 = 24;
/// A series is in doubt while the last three that were expected did not come: a weekend, or somebody has changed the time.
const IN_DOUBT: u32 = 0b111;
/// A burst has begun when one of so many of its claims has come.
const FEW: u32 = 8;
/// Claims are those of another series first while a burst is not due in so many milliseconds.
const DUE: i64 = 30_000;

/// Machines that are kept for the next burst of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    pub expected: Expected,
    /// So many of its claims came.
    came: u32,
    /// When the first of them did that are more than a few.
    begun: Option<i64>,
    /// So many are to be there now, of those that are to come.
    pub wanted: u32,
    /// From when on machines are ready.
    ready: i64,
    /// So many of its claims found one.
    hits: u32,
}

impl Hold {
    /// Asks for machines for what comes within two lead times from now on: of a burst that takes longer, others can be bought while
    /// it goes on. The pool may have `most`.
    fn want(&mut self, now: i64, lead: f64, most: u32) {
        let (expected, claims) = (self.expected, f64::from(self.expected.claims));
        if self.begun.is_none() && self.begins_with(0) {
            self.begun = Some(now);
        }
        let since = self.begun.map_or(0, |begun| now - begun + expected.lasts / i64::from(FEW));
        let share = (2.0f64.mul_add(lead, since as f64) / (expected.lasts as f64).max(1.0)).min(1.0);
        // Those that are claimed are replaced after a lead time.
        let replaced = self.begun.map_or(0.0, |begun| (now - begun) as f64 / lead.max(1.0));
        let served = (claims * share).ceil().min(f64::from(most) * (1.0 + replaced));
        self.wanted = (served as u32).saturating_sub(self.came).min(most);
    }

    /// Whether it has begun, with so many more claims.
    fn begins_with(&self, more: u32) -> bool {
        self.came.saturating_add(more) >= (self.expected.claims / FEW).max(1)
    }

    const fn is_due(&self, now: i64) -> bool {
        self.expected.at - DUE <= now
    }

    /// So many of these claims are its own.
    fn take(&mut self, now: i64, claims: u32, taken: &mut ByClock) {
        let served = self.wanted.min(claims);
        self.came = self.came.saturating_add(claims);
        self.wanted -= served;
        taken.claims += claims;
        let hits = if now > self.ready { served } else { 0 };
        self.hits = self.hits.saturating_add(hits);
        taken.hits += hits;
    }

    /// How many it still expects, of so many.
    const fn still_expects(&self, claims: u32) -> u32 {
        let left = self.expected.claims.saturating_sub(self.came);
        if left < claims { left } else { claims }
    }
}

/// Gives claims of this moment to these series, to those first whose burst is to come first. Of a burst that is larger than expected
/// no other machines are to be kept for the rest.
pub fn give(followed: &mut [Followed], now: i64, claims: u32, is_burst: bool) -> ByClock {
    let mut holds: Vec<&mut Hold> = followed.iter_mut().filter_map(|followed| followed.hold.as_mut()).collect();
    holds.sort_by_key(|hold| hold.expected.at);
    let mut taken = ByClock::default();
    for hold in holds.iter_mut().filter(|hold| hold.is_due(now)) {
        hold.take(now, hold.still_expects(claims - taken.claims), &mut taken);
    }
    let left = claims - taken.claims;
    let first = holds.iter_mut().find(|hold| hold.is_due(now) && hold.begins_with(left));
    if let Some(first) = first.filter(|_| is_burst) {
        first.take(now, left, &mut taken);
        return taken;
    }
    for hold in holds.iter_mut().filter(|hold| !hold.is_due(now)) {
        hold.take(now, hold.still_expects(claims - taken.claims), &mut taken);
    }
    let left = claims - taken.claims;
    // A burst that came too early may be larger as well.
    let early = holds.iter_mut().find(|hold| hold.came > 0 && hold.begins_with(left));
    if let Some(early) = early.filter(|_| is_burst) {
        early.take(now, left, &mut taken);
    }
    taken
}

/// A series, and what is kept for its next burst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    pub series: Series,
    pub hold: Option<Hold>,
    /// Of the last bursts that were expected, the bits of those that did not come; the last one is the lowest bit.
    pub failed: u32,
    /// When the last of those was expected. When all is learnt again, it does not fail once more.
    judged: Option<i64>,
}

impl Followed {
    pub const fn new(series: Series) -> Self {
        Self { series, hold: None, failed: 0, judged: None }
    }

    /// Whether most bursts that it expected did not come, or none has come for long: it was chance, or somebody has changed the time.
    pub fn is_over(&self, now: i64) -> bool {
        let judged = self.failed & ((1 << JUDGED) - 1);
        judged.count_ones() > JUDGED / 2 || self.series.is_over(now)
    }

    /// Without what came after this millisecond, to learn it again. `None`: nothing is left.
    pub fn until(self, ends: i64) -> Option<Self> {
        let judged = self.judged.filter(|at| *at <= ends);
        self.series.until(ends).map(|series| Self { series, hold: None, judged, ..self })
    }

    /// This burst was its next one. Returns whether most of its claims were taken for such: those of one that nobody expected, or
    /// expected later, were not.
    pub fn came(&mut self, burst: Burst) -> bool {
        let hold = self.hold.take();
        let was_given_up = self.judged.is_some_and(|at| (at - burst.begin).abs() <= 2 * self.series.period.tolerance());
        if hold.is_some() {
            self.failed <<= 1;
        } else if was_given_up {
            self.failed &= !1;
        }
        self.series.add(Burst { held: hold.is_some_and(|hold| hold.hits >= burst.claims.div_ceil(2)), ..burst });
        hold.is_some_and(|hold| hold.came >= burst.claims / 2)
    }

    /// Keeps machines for what is expected, and no longer for what did not come. A burst that goes on has come, and one that was
    /// expected before somebody `watched` may have. Returns how many it keeps, of `most`.
    pub fn keep(
        &mut self,
        now: i64,
        watched: i64,
        lead: f64,
        creates: Option<CreateRate>,
        is_burst: bool,
        most: u32,
    ) -> u32 {
        let comes = |hold: &Hold| is_burst && hold.begun.is_some();
        if let Some(hold) = self.hold.filter(|hold| now >= hold.expected.until && !comes(hold)) {
            self.hold = None;
            let tolerance = self.series.period.tolerance();
            if self.judged.is_none_or(|judged| judged < hold.expected.at - tolerance) {
                self.failed = self.failed << 1 | 1;
                self.judged = Some(hold.expected.at);
            }
        }
        if self.hold.is_none() {
            let doubt = self.failed & IN_DOUBT == IN_DOUBT;
            let expected = self.series.expects(now, lead, creates, doubt).filter(|expected| expected.at >= watched);
            self.hold = expected.map(|expected| Hold {
                expected,
                came: 0,
                begun: None,
                wanted: 0,
                ready: now + expected.takes,
                hits: 0,
            });
        }
        let Some(hold) = &mut self.hold else { return 0 };
        hold.want(now, lead, most);
        hold.wanted
    }
}
