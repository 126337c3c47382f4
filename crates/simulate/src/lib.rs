//! Plays recorded or drawn claims against Bullpen's own decisions, in simulated time and with a modelled cloud: which pool
//! size keeps which hit rate at which cost (`docs/use/simulate.md`).
//!
//! Input: a pool, a trace of claims, a model of the cloud and a seed. Output: an [`Outcome`]. The decisions are those of
//! [`bullpen_plan`], called with the views that the controllers build; nothing of them is written again here. No clock, no
//! files, no randomness but that of the seed; the time of day is what the trace and its start say.
#![forbid(unsafe_code)]
#![expect(clippy::cast_precision_loss, reason = "times and counts of a trace are far below 2^52")]

mod bounded;
mod cloud;
mod draw;
mod engine;
mod left_out;
mod many;
mod number;
mod outcome;
mod price;
mod report;
mod time;
mod trace;

pub use bounded::{MOST_OF_TRACE, read_bounded};
pub use bullpen_plan::CreateRate;
pub use cloud::{BOOT_JITTER_PERCENT, BOOT_SECONDS, Boot, CloudModel};
pub use engine::{Policy, Setup, run};
pub use left_out::left_out;
pub use many::run_all;
pub use number::number_within;
pub use outcome::{Claims, Hours, Machines, Outcome, Sample, Waits};
pub use price::hourly_price;
pub use report::{Case, cheapest, frontier, json, svg, table};
pub use time::{HOUR, MILLISECOND, Micros, SECOND, STARTS_AT, read_start};
pub use trace::{
    Arrival, Bursts, Learnt, Trace, TraceError, bursts, from_csv, from_learnt, from_prometheus, loop_size, poisson,
};
