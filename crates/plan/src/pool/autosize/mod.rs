//! The cheapest size of a pool for a hit rate, learnt from the claims that came (`docs/develop/sizing.md`).
//!
//! Input: when claims came, how long machines took to be ready, and the goal. Output: a size, and why. The size that is right now
//! is one that covers what comes within a lead time, the time until a machine that is bought now is ready.

#![expect(clippy::cast_precision_loss, reason = "counts of claims, and milliseconds since 1970, are far below 2^52")]

#[cfg(test)]
mod create_tests;
pub mod follow;
pub mod forecaster;
pub mod history;
pub mod learning;
#[cfg(test)]
mod recurring_hostile_tests;
#[cfg(test)]
mod recurring_irregular_tests;
#[cfg(test)]
mod recurring_tests;
#[cfg(test)]
mod schedule_tests;
pub mod sizer;
#[cfg(test)]
mod tests;
