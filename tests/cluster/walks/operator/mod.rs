//! The operator as a process: start, restarts, outages, several at once, its permissions, and upgrades.

mod clocks;
mod installations;
mod lease;
mod outage;
mod restart;
mod restore;
mod scope;
mod skew;
mod start;
pub(crate) mod upgrade;
mod writes;
