//! A step of the walk, as failures name it.

use std::fmt::Display;
use std::time::Duration;

use super::failure::Failure;
use super::sight::Sight;

/// A step that was begun.
pub(super) struct Step<'a> {
    name: &'static str,
    sight: &'a Sight,
}

impl<'a> Step<'a> {
    pub(super) const fn new(name: &'static str, sight: &'a Sight) -> Self {
        Self { name, sight }
    }

    /// `expected` is not so; `seen` is what is.
    pub(super) fn failed(&self, expected: &str, seen: impl Display) -> Failure {
        Failure::in_step(self.name, expected, seen)
    }

    /// `expected` did not come in time: all that is known is told.
    pub(super) fn missed(&self, expected: &str, patience: Duration) -> Failure {
        let expected = format!("{expected} within {} s", patience.as_secs());
        Failure::in_step(self.name, &expected, format!("what is there:\n    {}", self.sight.view().describe()))
    }
}
