//! What is left of an installation, and how to remove it; for `bullpen uninstall --check` and
//! `kubectl bullpen uninstall --check`.
//!
//! [`mod@ask`] lists the four kinds and needs no other permission. The rest is pure: [`left`] computes what is left,
//! [`steps`] the commands that remove it, in order, and [`report`] formats both.
#![forbid(unsafe_code)]

pub mod ask;
pub mod left;
pub mod report;
pub mod steps;

pub use self::ask::{AskError, Scope, ask};
pub use self::left::Leftovers;
pub use self::steps::Commands;

/// Exit code when something is left.
pub const SOMETHING_LEFT: u8 = 1;
/// Exit code when the lists could not be read.
pub const NOT_ASKED: u8 = 2;

/// The message of `uninstall` without `--check`.
pub fn only_checks(command: &str) -> String {
    format!(
        "uninstall removes nothing, it only checks: run `{command} uninstall --check`, which lists what is left and the \
         commands that remove it, in their order"
    )
}
