//! What is left of an installation, and how to remove it: one answer for `bullpen uninstall --check` and
//! `kubectl bullpen uninstall --check`.
//!
//! [`mod@ask`] lists the four kinds and needs no other permission. What follows from the lists is pure: [`left`] sums them up,
//! [`steps`] says what to do in which order, [`words`] puts both into text.
#![forbid(unsafe_code)]

pub mod ask;
pub mod left;
pub mod steps;
pub mod words;

pub use self::ask::{AskError, Scope, ask};
pub use self::left::Leftovers;
pub use self::steps::Commands;

/// Exit code when something is left.
pub const SOMETHING_LEFT: u8 = 1;
/// Exit code when the question could not be asked.
pub const NOT_ASKED: u8 = 2;

/// What `uninstall` without `--check` answers.
pub fn only_checks(command: &str) -> String {
    format!(
        "uninstall removes nothing, it only checks: run `{command} uninstall --check`, which lists what is left and the \
         commands that remove it, in their order"
    )
}
