//! A step of the walk, for the text of failures.

use std::fmt::Display;
use std::time::Duration;

use super::failure::Failure;
use super::sight::Sight;

/// A running step.
pub(super) struct Step<'a> {
    name: &'static str,
    sight: &'a Sight,
}

impl<'a> Step<'a> {
    pub(super) const fn new(name: &'static str, sight: &'a Sight) -> Self {
        Self { name, sight }
    }

    /// The failure that `seen` was found instead of `expected`.
    pub(super) fn failed(&self, expected: &str, seen: impl Display) -> Failure {
        Failure::in_step(self.name, expected, seen)
    }

    /// The failure that `expected` did not happen in time, with all that is known.
    pub(super) fn missed(&self, expected: &str, patience: Duration) -> Failure {
        let expected = format!("{expected} within {} s", patience.as_secs());
        Failure::in_step(self.name, &expected, format!("what is there:\n    {}", self.sight.view().describe()))
    }
}
