//! Clouds and machines that misbehave: faults, refusals, boots that fail, and machines that no member needs.

mod faults;
mod ladder;
mod machines;
pub(crate) mod sweep;
mod unanswered;
mod whereabouts;
