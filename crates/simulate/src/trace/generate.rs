//! Draws claims: at a steady rate, or at one that changes between quiet times and bursts.

use super::Arrival;
use crate::draw::{Draw, Stream, seconds};
use crate::time::{HOUR, Micros};

/// Claims that come independently of each other at this rate an hour (a Poisson process), and hold their machines for an
/// exponentially distributed time with this mean in seconds. At a rate of 0 none come.
pub fn poisson(per_hour: f64, mean_hold: f64, claims: usize, seed: u64) -> Vec<Arrival> {
    let steady =
        Bursts { quiet: per_hour, burst: per_hour, quiet_seconds: f64::INFINITY, burst_seconds: f64::INFINITY };
    bursts(steady, mean_hold, claims, seed)
}

/// A rate that changes between two values. How long it stays at each is exponentially distributed: a Markov-modulated
/// Poisson process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// Claims an hour in quiet times.
    pub quiet: f64,
    /// Claims an hour in bursts.
    pub burst: f64,
    /// How long a quiet time lasts in the mean, in seconds.
    pub quiet_seconds: f64,
    /// How long a burst lasts in the mean, in seconds.
    pub burst_seconds: f64,
}

impl Bursts {
    /// Claims an hour over both, in the mean.
    pub fn per_hour(self) -> f64 {
        let lasts = self.quiet_seconds + self.burst_seconds;
        self.quiet.mul_add(self.quiet_seconds, self.burst * self.burst_seconds) / lasts
    }
}

/// Claims whose rate changes. They begin with a quiet time. How long they hold their machines is exponentially distributed with this
/// mean in seconds. If both rates are 0 none come.
pub fn bursts(load: Bursts, mean_hold: f64, claims: usize, seed: u64) -> Vec<Arrival> {
    let comes = [load.quiet, load.burst].iter().any(|rate| *rate > 0.0);
    let claims = if comes { claims } else { 0 };
    let draw = Draw::new(seed);
    let (mut at, mut in_burst, mut stays) = (0.0_f64, false, 0_u64);
    let mut stay = |in_burst: bool| {
        stays += 1;
        let mean = if in_burst { load.burst_seconds } else { load.quiet_seconds };
        if mean.is_finite() { draw.exponential(Stream::Loads, stays, mean) } else { f64::INFINITY }
    };
    let mut changes = stay(in_burst);
    (0..claims as u64)
        .map(|number| {
            // What is left of the time to the next claim is used up at the rate of each stay.
            let mut left = draw.exponential(Stream::Arrivals, number, 1.0);
            loop {
                let rate = if in_burst { load.burst } else { load.quiet } / (HOUR / crate::time::SECOND) as f64;
                if rate > 0.0 && at + left / rate <= changes {
                    at += left / rate;
                    break;
                }
                left -= (changes - at) * rate;
                at = changes;
                in_burst = !in_burst;
                changes += stay(in_burst);
            }
            Arrival { at: seconds(at), holds: hold(draw, number, mean_hold) }
        })
        .collect()
}

/// How long the claim of this number keeps its machine.
pub(super) fn hold(draw: Draw, number: u64, mean: f64) -> Micros {
    seconds(draw.exponential(Stream::Holds, number, mean))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    #[test]
    fn a_steady_load_has_its_rate_and_mean_and_is_that_of_its_seed() {
        let claims = poisson(3_600.0, 60.0, 50_000, 3);
        let last = claims.last().unwrap().at as f64 / SECOND as f64;
        assert!((last / 50_000.0 - 1.0).abs() < 0.02, "{last}");
        let mean = claims.iter().map(|claim| claim.holds as f64).sum::<f64>() / 50_000.0 / SECOND as f64;
        assert!((mean / 60.0 - 1.0).abs() < 0.02, "{mean}");
        assert_eq!(claims, poisson(3_600.0, 60.0, 50_000, 3));
        assert_ne!(claims, poisson(3_600.0, 60.0, 50_000, 4));
    }

    #[test]
    fn no_claims_come_at_a_rate_of_nothing() {
        assert!(poisson(0.0, 60.0, 5, 1).is_empty());
        let quiet = Bursts { quiet: 0.0, burst: 60.0, quiet_seconds: 900.0, burst_seconds: 300.0 };
        assert_eq!(bursts(quiet, 60.0, 5, 1).len(), 5);
        assert!((quiet.per_hour() - 15.0).abs() < 1e-9);
    }

    #[test]
    fn bursts_are_burstier_than_a_steady_load_of_the_same_mean() {
        let load = Bursts { quiet: 360.0, burst: 6_840.0, quiet_seconds: 120.0, burst_seconds: 120.0 };
        let claims = bursts(load, 60.0, 50_000, 3);
        let hours = claims.last().unwrap().at as f64 / HOUR as f64;
        assert!((50_000.0 / hours / 3_600.0 - 1.0).abs() < 0.15, "{hours}");
        // Of counts in a minute, a Poisson process has the mean as variance.
        let mut counts = vec![0.0; (hours * 60.0) as usize + 1];
        for claim in &claims {
            counts[(claim.at / (60 * SECOND)) as usize] += 1.0;
        }
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let variance = counts.iter().map(|count| (count - mean) * (count - mean)).sum::<f64>() / counts.len() as f64;
        assert!(variance > 10.0 * mean, "{variance} {mean}");
    }
}
