//! Claims: which claim gets which member, what each write of the claim protocol proves, and what happens to both
//! afterwards (`docs/adr/0001-claim-protocol.md`).
//!
//! Pure functions. Input: views of claims and members, with [`Evidence`] of where they come from. Output: the next
//! write, or the object with its new status.

pub mod assignment;
pub mod binding;
pub mod claim_tag;
mod claimable;
mod evidence;
mod fate;
pub mod lifetime;
pub mod machine_news;
pub mod machine_use;
pub mod queue;
pub mod status;
pub mod vanished;
mod write_outcome;

pub use claimable::{ClaimView, MemberView, claimable, queues, returns};
pub use evidence::{Evidence, Found, HasUid};
pub use fate::{ClaimFate, Ending, Fate, HeldMember, ended_well, ending, fate, hold};
pub use write_outcome::{Answer, BindStep, SwapStep, after_bind, after_return_look, after_swap, after_swap_look};
