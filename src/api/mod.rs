//! The four resources (`bullpen.dev/v1alpha1`), their conditions and transitions; no logic beyond them.

mod states;

pub use states::{ClaimPhase, MemberState};
