//! What this process knows of tagging a machine with its claim.

use crate::backoff::Backoff;

/// The state of tagging a machine with its claim.
#[derive(Clone, Debug)]
pub struct Tagging {
    /// The uid of the claim that the machine is known to be tagged with.
    pub done: Option<String>,
    /// A call is under way.
    pub busy: bool,
    /// Backoff of failed calls.
    pub backoff: Backoff,
}

impl Tagging {
    /// No call yet.
    pub const fn new() -> Self {
        Self { done: None, busy: false, backoff: Backoff::new() }
    }
}
