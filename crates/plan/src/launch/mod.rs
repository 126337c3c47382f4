//! Launch configs: which of them buys the next machine, and when one is left alone.

pub mod breaker;
pub mod identity;
pub mod placement;
pub mod ramp;
pub mod refusals;
pub mod status;
pub mod trial;
pub mod weights;
