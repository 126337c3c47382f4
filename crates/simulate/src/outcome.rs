//! What came of a trace.

use serde::Serialize;

/// What came of a trace with one policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// What became of the claims.
    pub claims: Claims,
    /// How long claims waited, of those that got a machine.
    pub waits: Waits,
    /// What became of the machines.
    pub machines: Machines,
    /// Hours of machines, by what they did, from the beginning of the trace to its last claim.
    pub hours: Hours,
    /// Hours of machines of each launch config that are paid, begun units of billing included, in the order of the pool.
    pub paid_hours_by_launch_config: Vec<f64>,
    /// Length of the trace in hours.
    pub length_hours: f64,
    /// The mean over each part of the trace; all parts are of the same length.
    #[serde(skip)]
    pub samples: Vec<Sample>,
}

impl Outcome {
    /// What its machines cost at these prices for an hour, one for each launch config of the pool.
    pub fn cost(&self, prices: &[f64]) -> f64 {
        prices.iter().zip(&self.paid_hours_by_launch_config).map(|(price, hours)| price * hours).sum()
    }
}

/// What became of the claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// All of them.
    pub arrived: usize,
    /// Those that found a ready machine.
    pub hits: usize,
    /// Those that waited for one and got it.
    pub waited: usize,
    /// Those that failed: `whenEmpty: Fail`, or the wait was too long.
    pub failed: usize,
    /// Those that wait still when the last one has come.
    pub waiting: usize,
}

impl Claims {
    /// Percent of the claims that found a ready machine.
    pub fn hit_percent(&self) -> f64 {
        100.0 * self.hits as f64 / self.arrived.max(1) as f64
    }
}

/// How long claims waited until they were Bound, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Waits {
    /// The mean.
    pub mean: f64,
    /// Half of them waited no longer.
    pub p50: f64,
    /// 95 of 100 waited no longer.
    pub p95: f64,
    /// 99 of 100 waited no longer.
    pub p99: f64,
    /// The longest wait.
    pub longest: f64,
}

/// What became of the machines, from the beginning of the trace to its last claim. Those of the time before, in which the
/// pool warms up, are in `at_start`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machines {
    /// Those that were there at the beginning, on standby or not.
    pub at_start: usize,
    /// Creates that were accepted.
    pub bought: usize,
    /// Those that came to their end.
    pub ended: usize,
    /// Those that are there when the last claim has come, on standby or not.
    pub at_end: usize,
    /// Those that never came up.
    pub failed: usize,
    /// Creates and starts that the cloud refused.
    pub refused: usize,
    /// Machines that were stopped for the standby tier, as often as that happened.
    pub stopped: usize,
    /// Starts of stopped machines that were accepted.
    pub started: usize,
}

/// Hours of machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Hours {
    /// Booting, or being reset.
    pub booting: f64,
    /// Ready, and nobody's.
    pub idle: f64,
    /// A claim's.
    pub held: f64,
    /// Being terminated or stopped, or failed.
    pub ending: f64,
    /// All of those, which bill.
    pub total: f64,
    /// On standby: only their disks bill, which are in no other number.
    pub stopped: f64,
}

/// The mean over a part of the trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Machines that boot.
    pub booting: f64,
    /// Ready machines.
    pub ready: f64,
    /// Machines of claims.
    pub claimed: f64,
    /// Claims that wait.
    pub waiting: f64,
}
