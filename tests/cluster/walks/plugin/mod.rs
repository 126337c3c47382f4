//! A person at a terminal, with kubectl alone and with `kubectl bullpen`.

#[cfg(feature = "kubectl")]
mod claim;
mod kubectl;
#[cfg(feature = "kubectl")]
mod terms;
#[cfg(feature = "kubectl")]
mod upkeep;
