//! Claims: who gets which machine and when, who waits and is told what, how long it is held, and the Secret to reach it.

mod binding;
mod hand_out;
mod latency;
mod limits;
mod namespaces;
pub(crate) mod queue;
mod refusals;
mod selector;
mod sharing;
mod terms;
