//! A person at a terminal, with kubectl alone and with `kubectl bullpen`.

#[cfg(feature = "kubectl")]
mod advise;
#[cfg(feature = "kubectl")]
mod claim;
#[cfg(feature = "kubectl")]
mod escaping;
mod kubectl;
#[cfg(feature = "kubectl")]
mod terms;
#[cfg(feature = "kubectl")]
mod trouble;
#[cfg(feature = "kubectl")]
mod upkeep;
