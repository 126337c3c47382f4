//! Pure decisions: no async, client, clock or randomness in here.
//!
//! The claim protocol (`DESIGN.md` §4) is in [`claimable`], [`conflict`] and [`fate`]. The binder and the model in
//! `tests/claim_model` call the same functions, generic over the type of a uid.

pub mod attention;
pub mod binding;
pub mod breaker;
pub mod claimable;
pub mod conflict;
pub mod evidence;
pub mod fate;
pub mod first_boot;
pub mod holds;
pub mod identity;
pub mod ladder;
pub mod launch_status;
pub mod lease;
pub mod lifecycle;
pub mod liveness;
pub mod permissions;
pub mod placement;
pub mod provisioning;
pub mod proxy;
pub mod queue;
pub mod ramp;
pub mod record;
pub mod recycle;
pub mod replenish;
pub mod restore;
pub mod rollout;
pub mod skew;
pub mod ssh;
pub mod status;
pub mod sweep;
pub mod template;
pub mod term;
pub mod user_data;
pub mod watched;
pub mod weights;

pub use claimable::{ClaimView, MemberView, claimable, queues};
pub use conflict::{Answer, BindStep, DeleteStep, SwapStep, after_bind, after_delete, after_swap, after_swap_look};
pub use evidence::{Evidence, Found, HasUid};
pub use fate::{Ending, Fate, HeldMember, Hold, ending, fate, hold};

#[cfg(test)]
mod upkeep_tests;
