//! Traces: when claims come, and how long each keeps its machine.

mod csv;
mod generate;
mod learnt;
mod prometheus;

use jiff::Timestamp;
use thiserror::Error;

pub use self::csv::from_csv;
pub use self::generate::{Bursts, bursts, poisson};
pub use self::learnt::{Learnt, from_learnt};
pub use self::prometheus::from_prometheus;
use crate::time::{Micros, SECOND};

/// Most claims that are read from counts of claims, where a few bytes may stand for any number.
const MOST_CLAIMS: usize = 10_000_000;

/// One claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it comes.
    pub at: Micros,
    /// How long it keeps its machine.
    pub holds: Micros,
}

/// Recorded or drawn claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// In the order in which they come.
    pub arrivals: Vec<Arrival>,
    /// When the trace begins, if its record says it.
    pub starts_at: Option<Timestamp>,
}

/// Why a trace cannot be read: what is wrong, where, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct TraceError(pub String);

impl TraceError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// The claims in the order in which they come.
///
/// # Errors
/// If there are none.
fn in_order(mut arrivals: Vec<Arrival>) -> Result<Vec<Arrival>, TraceError> {
    if arrivals.is_empty() {
        return Err(TraceError::new("it has no claims"));
    }
    arrivals.sort_by_key(|arrival| arrival.at);
    Ok(arrivals)
}

/// The size of a pool by the usual rule for a loop with a fixed interval: the claims that come on average in the time of a boot
/// and an interval, in seconds.
pub fn loop_size(trace: &[Arrival], boot_seconds: f64, interval_seconds: f64) -> i32 {
    let length = trace.last().map_or(0, |arrival| arrival.at).max(SECOND) as f64 / SECOND as f64;
    (trace.len() as f64 / length * (boot_seconds + interval_seconds)).ceil() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_rule_for_a_loop_is_what_comes_in_a_boot_and_an_interval() {
        let trace: Vec<_> = (1..=240).map(|n| Arrival { at: n * 15 * SECOND, holds: SECOND }).collect();
        assert_eq!(loop_size(&trace, 90.0, 60.0), 10);
        assert_eq!(loop_size(&trace, 90.0, 1.0), 7);
    }
}
