//! Calls that change a machine between its purchase and its end, beside those of [`actions`](super::actions).

pub mod power;
mod reset;
