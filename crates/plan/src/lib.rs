//! Every decision of Bullpen, as pure functions: no async, client, clock or randomness. `Cargo.toml` has no dependency
//! that would allow one.
//!
//! Input: objects, timestamps and the results of calls. Output: what to do next; the operator carries it out. The claim
//! protocol is in [`claim`]; the model checker in `tests/claim_model` calls the same functions.
#![forbid(unsafe_code)]

mod call_rate;
pub mod claim;
pub mod launch;
pub mod member;
pub mod operator;
pub mod pool;
mod provider_error;
pub mod text;
pub mod time;

pub use call_rate::{CallRate, CreateRate};
pub use provider_error::{CapacityScope, ProviderError};
