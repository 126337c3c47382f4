//! Faults on demand: what goes wrong at the cloud, when, and for which calls and machines.
//!
//! [`FaultSet`] is the document that users write. [`Faults`] decides from it, the seed and the order of the calls which
//! call or machine is hit. Nothing here changes a machine or answers a call: the cloud and its server do that.

mod check;
mod decide;
mod dice;
mod kinds;
mod model;
#[cfg(test)]
mod tests;

pub use decide::{Faults, Hit, Subject};
pub use dice::Roll;
pub use kinds::{After, CallFault, MachineFault, PhonesHome, Since, TokenUsed};
pub use model::{FaultSet, Limit, Rate, Rule, When, Where};
