//! Whether a machine that was not found counts as missing.

use jiff::{SignedDuration, Timestamp};

/// A `NotFound` counts only if the account was confirmed within this time after it. Otherwise the credentials may have
/// been those of another account for a while, and every machine would seem gone.
pub const CONFIRMED_WITHIN: SignedDuration = SignedDuration::from_secs(2);

/// Whether a `NotFound` counts as a strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// It does: it came from the right account.
    Counts,
    /// Not known yet: the account must be confirmed.
    Open,
    /// It does not: the account was confirmed too late, so it may have come from another account.
    Void,
}

/// Whether a `NotFound` answered at this time counts. `account_confirmed_at` is when the cloud last confirmed the right
/// account.
pub fn strike(answered: Timestamp, account_confirmed_at: Option<Timestamp>) -> Strike {
    match account_confirmed_at.filter(|asked| *asked > answered) {
        None => Strike::Open,
        Some(asked) if asked <= answered.checked_add(CONFIRMED_WITHIN).unwrap_or(Timestamp::MAX) => Strike::Counts,
        Some(_) => Strike::Void,
    }
}
