//! Faults on demand: what a cloud gets wrong, when, and to whom.
//!
//! [`FaultSet`] is the document that users write; [`Faults`] decides by it, from the seed and the order of the calls
//! alone. Nothing here changes a machine or answers a call: the cloud and its server do, where a decision says so.

mod check;
mod decide;
mod dice;
mod kinds;
mod model;
#[cfg(test)]
mod tests;

pub use decide::{Faults, Hit, Subject};
pub use dice::Roll;
pub use kinds::{After, CallFault, MachineFault, Since};
pub use model::{FaultSet, Limit, Rate, Rule, When, Where};
