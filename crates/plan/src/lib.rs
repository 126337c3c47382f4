//! Every decision of Bullpen, as pure functions: no async, client, clock or randomness, which `Cargo.toml` makes sure of.
//!
//! Facts go in (objects, moments, answers), and what is to be done comes out; the operator does it. The claim protocol
//! is in [`claim`], and the model in `tests/claim_model` calls the same functions.
#![forbid(unsafe_code)]

pub mod claim;
pub mod launch;
pub mod member;
pub mod operator;
pub mod pool;
mod provider_error;
pub mod time;

pub use provider_error::{CapacityScope, ProviderError};
