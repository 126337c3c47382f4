//! Machines that were ready: those that their cloud takes away, that do not answer any more, or that have moved.

mod addresses;
mod heartbeats;
mod interruption;
mod probes;
