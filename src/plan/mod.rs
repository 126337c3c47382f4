//! Pure decisions: no async, client, clock or randomness in here.

pub mod placement;
pub mod replenish;
