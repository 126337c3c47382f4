//! Launch configs: which of them buys the next machine, and when one buys nothing for a while.
//!
//! Pure functions and state without I/O. Input: results of creates, members, and weights. Output: the launch configs of
//! new members, and the status of launch configs.

pub mod breaker;
pub mod ending;
pub mod identity;
pub mod placement;
pub mod ramp;
pub mod refusals;
pub mod status;
pub mod trial;
pub mod weights;

#[cfg(test)]
mod outage_tests;
