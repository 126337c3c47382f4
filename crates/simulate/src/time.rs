//! Simulated time: microseconds since the trace began.

use jiff::Timestamp;

/// Microseconds: a length of time, or a moment since the trace began. Negative while the pool warms up before that.
pub type Micros = i64;

/// One millisecond.
pub const MILLISECOND: Micros = 1_000;
/// One second.
pub const SECOND: Micros = 1_000 * MILLISECOND;
/// One hour.
pub const HOUR: Micros = 3_600 * SECOND;

/// The timestamp at which every trace begins for the plans: 2026-01-01, far from both ends of what a timestamp can be.
const BEGINNING: i64 = 1_767_225_600;

/// A moment as the plans know it.
pub fn timestamp(moment: Micros) -> Timestamp {
    let since = BEGINNING.saturating_mul(SECOND).saturating_add(moment);
    Timestamp::from_microsecond(since).unwrap_or(Timestamp::MAX)
}

/// A moment of the plans as simulated time.
pub fn micros(timestamp: Timestamp) -> Micros {
    timestamp.as_microsecond().saturating_sub(BEGINNING * SECOND)
}
