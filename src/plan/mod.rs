//! Pure decisions: no async, client, clock or randomness in here.
//!
//! The claim protocol (`DESIGN.md` §4) is in [`claimable`], [`conflict`] and [`fate`]. The binder and the model in
//! `tests/claim_model` call the same functions, generic over the type of a uid.

pub mod attention;
pub mod claimable;
pub mod conflict;
pub mod evidence;
pub mod fate;
pub mod identity;
pub mod lifecycle;
pub mod placement;
pub mod queue;
pub mod record;
pub mod replenish;
pub mod restore;
pub mod status;
pub mod sweep;
pub mod template;

pub use claimable::{ClaimView, MemberView, claimable, queues};
pub use conflict::{Answer, BindStep, DeleteStep, SwapStep, after_bind, after_delete, after_swap, after_swap_look};
pub use evidence::{Evidence, Found, HasUid};
pub use fate::{Ending, Fate, HeldMember, Hold, ending, fate, hold};
