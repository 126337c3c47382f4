//! How many claims come now, by means over several times, and how many come at this hour of the week.

/// The means, in lead times: what comes in a mean over so many of them.
pub const SPANS: [f64; 8] = [0.33, 1.0, 2.0, 3.0, 6.0, 10.0, 20.0, 40.0];
/// Hours of a week.
const HOURS: usize = 168;
/// What a week counts against the weeks before it.
const NEW_WEEK: f64 = 0.5;
/// Octaves that are told apart: from a sixteenth of a claim in a lead time to 4096.
const OCTAVES: (f64, f64) = (-4.0, 12.0);

/// Means over several times, of claims in a slot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    means: [f64; SPANS.len()],
    keep: [f64; SPANS.len()],
}

impl Rates {
    /// Nothing came yet. A lead time is so many slots.
    pub fn new(lead: f64) -> Self {
        Self { means: [0.0; SPANS.len()], keep: SPANS.map(|span| (-1.0 / (span * lead)).exp()) }
    }

    /// So many claims came in a slot.
    pub fn add(&mut self, count: f64) {
        for (mean, keep) in self.means.iter_mut().zip(self.keep) {
            *mean = *mean * keep + count * (1.0 - keep);
        }
    }

    /// Nothing came in so many slots.
    pub fn pass(&mut self, slots: f64) {
        for (mean, keep) in self.means.iter_mut().zip(self.keep) {
            *mean *= keep.powf(slots);
        }
    }

    /// The mean over one of the spans, of claims in a slot.
    pub fn mean(&self, span: usize) -> f64 {
        self.means[span]
    }
}

/// The octave of a number of claims in a lead time, from 0 on.
pub fn octave(claims: f64) -> u16 {
    ((claims + 0.1).log2().floor().clamp(OCTAVES.0, OCTAVES.1) - OCTAVES.0) as u16
}

/// Claims by hour of the week, over the weeks.
#[derive(Clone, Debug, PartialEq)]
pub struct Season {
    hours: Vec<Option<f64>>,
    now: usize,
    sum: f64,
    full: bool,
}

impl Default for Season {
    fn default() -> Self {
        Self { hours: vec![None; HOURS], now: usize::MAX, sum: 0.0, full: false }
    }
}

impl Season {
    /// So many claims came in a slot that ends at this second since 1970.
    pub fn add(&mut self, second: i64, count: f64) {
        let hour = Self::hour(second);
        if hour != self.now {
            // An hour that was seen in part says nothing.
            if self.full
                && let Some(mean) = self.hours.get_mut(self.now)
            {
                *mean = Some(mean.map_or(self.sum, |before| before.mul_add(1.0 - NEW_WEEK, self.sum * NEW_WEEK)));
            }
            self.full = self.now != usize::MAX;
            (self.now, self.sum) = (hour, 0.0);
        }
        self.sum += count;
    }

    /// What another one knows counts, where it knows something.
    pub fn add_known(&mut self, other: &Self) {
        for (hour, known) in self.hours.iter_mut().zip(&other.hours) {
            *hour = known.or(*hour);
        }
    }

    /// As text: a number for each hour of the week, from Thursday 0:00 UTC on, `-` for an hour that was not seen.
    pub fn write(&self) -> String {
        let hour = |hour: &Option<f64>| hour.map_or_else(|| "-".to_owned(), |claims| format!("{claims:.0}"));
        self.hours.iter().map(hour).collect::<Vec<_>>().join(" ")
    }

    /// Reads what [`write`](Self::write) wrote. `None`: this is no such text.
    pub fn read(text: &str) -> Option<Self> {
        let hour = |word: &str| match word {
            "-" => Some(None),
            word => word.parse::<u32>().ok().map(|claims| Some(f64::from(claims))),
        };
        let hours: Vec<Option<f64>> = text.split(' ').map(hour).collect::<Option<_>>()?;
        (hours.len() == HOURS).then(|| Self { hours, ..Self::default() })
    }

    /// Nobody watched for a while.
    pub const fn interrupt(&mut self) {
        self.full = false;
        self.now = usize::MAX;
    }

    /// Claims in the hour of this second: of this hour of the week, else of this hour of other days. `None`: not known.
    pub fn expected(&self, second: i64) -> Option<f64> {
        let hour = Self::hour(second);
        self.hours[hour].or_else(|| {
            let same = self.hours.iter().skip(hour % 24).step_by(24).flatten();
            let (sum, count) = same.fold((0.0, 0.0), |(sum, count), mean| (sum + mean, count + 1.0));
            (count > 0.0).then(|| sum / count)
        })
    }

    const fn hour(second: i64) -> usize {
        second.div_euclid(3_600).rem_euclid(HOURS as i64) as usize
    }
}
