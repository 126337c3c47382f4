//! Measures what machines do and claims wait, from the beginning of the trace to its last claim.

use super::members::{ACTIVITIES, Gauges};
use crate::outcome::{Hours, Sample};
use crate::time::{HOUR, Micros};

/// How many parts of the trace are shown.
const SAMPLES: i64 = 360;

/// Adds up what is there over time.
#[derive(Debug)]
pub struct Meter {
    at: Micros,
    end: Micros,
    /// Microseconds by what machines do.
    sums: [i128; ACTIVITIES],
    /// Microseconds that are paid, by launch config.
    by_config: Vec<i128>,
    samples: Vec<[f64; 4]>,
}

impl Meter {
    /// Measures from 0 to `end`, for so many launch configs.
    pub fn new(begin: Micros, end: Micros, configs: usize) -> Self {
        let samples = vec![[0.0; 4]; SAMPLES as usize];
        Self { at: begin, end, sums: [0; ACTIVITIES], by_config: vec![0; configs], samples }
    }

    /// Nothing changes until `to`.
    pub fn advance(&mut self, to: Micros, gauges: &Gauges, waiting: usize) {
        let (from, until) = (self.at.max(0), to.min(self.end));
        self.at = to;
        if until <= from {
            return;
        }
        let lasts = i128::from(until - from);
        for (sum, count) in self.sums.iter_mut().zip(gauges.by_activity()) {
            *sum += lasts * i128::from(count);
        }
        for (sum, count) in self.by_config.iter_mut().zip(&gauges.by_config) {
            *sum += lasts * i128::from(*count);
        }
        self.sample(from, until, gauges, waiting);
    }

    fn sample(&mut self, mut from: Micros, until: Micros, gauges: &Gauges, waiting: usize) {
        let [booting, idle, held, ..] = gauges.by_activity();
        let values = [booting as f64, idle as f64, held as f64, waiting as f64];
        let begins = |part: i64| (i128::from(self.end) * i128::from(part) / i128::from(SAMPLES)) as Micros;
        while from < until {
            let mut part = (i128::from(from) * i128::from(SAMPLES) / i128::from(self.end.max(1))) as i64;
            if begins(part + 1) <= from {
                part += 1;
            }
            let to = until.min(begins(part + 1));
            let Some(sample) = self.samples.get_mut(part as usize) else { break };
            for (sum, value) in sample.iter_mut().zip(values) {
                *sum += value * (to - from) as f64;
            }
            from = to;
        }
    }

    /// Hours by what machines did.
    pub fn hours(&self) -> Hours {
        let [booting, idle, held, ending, stopped] = self.sums.map(hours);
        Hours { booting, idle, held, ending, total: booting + idle + held + ending, stopped }
    }

    /// A machine of this launch config ends now, with so much of its unit left.
    pub fn pay(&mut self, config: usize, now: Micros, rest: Micros) {
        if let Some(sum) = self.by_config.get_mut(config).filter(|_| (0..self.end).contains(&now)) {
            *sum += i128::from(rest);
        }
    }

    /// Hours that are paid, by launch config.
    pub fn paid_hours_by_config(&self) -> Vec<f64> {
        self.by_config.iter().copied().map(hours).collect()
    }

    /// The mean over each part.
    pub fn samples(&self) -> Vec<Sample> {
        let length = (self.end as f64 / SAMPLES as f64).max(1.0);
        let sample = |sums: &[f64; 4]| {
            let [booting, ready, claimed, waiting] = sums.map(|sum| sum / length);
            Sample { booting, ready, claimed, waiting }
        };
        self.samples.iter().map(sample).collect()
    }
}

fn hours(sum: i128) -> f64 {
    sum as f64 / HOUR as f64
}
