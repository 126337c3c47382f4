//! The error type of the demo, formatted for people.

use std::error::Error;
use std::fmt::{self, Display};
use std::path::Path;

/// Why the demo failed.
#[derive(Debug)]
pub struct Failure {
    /// In one line or a few.
    text: String,
    /// Files that say more, and how they end.
    logs: Vec<String>,
}

impl Failure {
    /// A failure with this message.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), logs: Vec::new() }
    }

    /// `what`, for the reason `why`.
    pub(super) fn because(what: impl Display, why: impl Display) -> Self {
        Self::new(format!("{what}: {why}"))
    }

    /// `doing` something failed with `error`.
    pub(super) fn setup(doing: &str, error: &dyn Error) -> Self {
        Self::because(format_args!("{doing} failed"), causes(error))
    }

    /// In `step` of the walk `expected` did not come; `seen` did.
    pub(super) fn in_step(step: &str, expected: &str, seen: impl Display) -> Self {
        Self::new(format!("\"{step}\" failed: expected {expected}; {seen}"))
    }

    /// This one and `another` one, in a line each.
    pub(super) fn and(mut self, another: Self) -> Self {
        self.text = format!("{}\n  and {}", self.text, another.text);
        self.logs.extend(another.logs);
        self
    }

    /// Adds a log: where it is, and its last lines, indented.
    pub(super) fn with_log(mut self, name: &str, path: &Path, last_lines: &str) -> Self {
        self.logs.push(format!("{name} is {} and ends with:{last_lines}", path.display()));
        self
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.logs.iter().try_for_each(|log| write!(f, "\n  {log}"))
    }
}

impl Error for Failure {}

/// The error and its causes in one line, without repetition.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_first_line_says_what_and_the_rest_where_to_look() {
        let failure = Failure::in_step("Claims", "claim build-1 to be Bound within 10 s", "it is Pending").with_log(
            "the operator's log",
            Path::new("/tmp/operator.log"),
            "\n    the end",
        );
        assert_eq!(
            failure.to_string(),
            "\"Claims\" failed: expected claim build-1 to be Bound within 10 s; it is Pending\n  \
             the operator's log is /tmp/operator.log and ends with:\n    the end"
        );
    }

    #[test]
    fn causes_are_told_once_each() {
        #[derive(Debug, thiserror::Error)]
        #[error("no file: {0}")]
        struct Told(#[source] io::Error);
        let error = Told(io::Error::other("not there"));
        assert_eq!(causes(&error), "no file: not there");
    }
}
