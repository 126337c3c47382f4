//! Arithmetic with timestamps.

use jiff::Timestamp;

/// The earlier of two optional timestamps; the one that is set if only one is.
pub fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
