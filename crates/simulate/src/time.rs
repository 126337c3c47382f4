//! Simulated time: microseconds since the trace began, and the clock that tells when that was.

use jiff::Timestamp;

/// Microseconds: a length of time, or a moment since the trace began. Negative while the pool warms up before that.
pub type Micros = i64;

/// One millisecond.
pub const MILLISECOND: Micros = 1_000;
/// One second.
pub const SECOND: Micros = 1_000 * MILLISECOND;
/// One hour.
pub const HOUR: Micros = 3_600 * SECOND;

/// When a trace begins that does not say it: 2026-01-01T00:00:00Z, a Thursday.
pub const STARTS_AT: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// The moments at which a trace may begin: from 1970 to 2900. Both are far from the ends of what a timestamp can be, and from the
/// year after which cron expressions have no moments.
const FIRST_START: Timestamp = Timestamp::UNIX_EPOCH;
const LAST_START: Timestamp = Timestamp::constant(29_348_006_400, 0);

/// A moment at which a trace may begin.
///
/// # Errors
/// If it is none, and between which moments it must be.
pub fn start(at: Timestamp) -> Result<Timestamp, String> {
    if (FIRST_START..=LAST_START).contains(&at) {
        return Ok(at);
    }
    Err(format!("is {at}: a trace begins between {FIRST_START} and {LAST_START}"))
}

/// The moment at which a trace begins, as a person gives it (RFC 3339).
///
/// # Errors
/// If it cannot be read, or no trace may begin then; both with what to give.
pub fn read_start(text: &str) -> Result<Timestamp, String> {
    let at = text.parse().map_err(|_| "give a date, a time and its offset, such as 2026-03-28T00:00:00Z".to_owned())?;
    start(at)
}

/// The clock of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When the trace begins, in microseconds since 1970.
    start: i64,
}

impl Clock {
    /// The clock of a trace that begins then.
    ///
    /// # Errors
    /// If no trace may begin then.
    pub fn new(starts_at: Timestamp) -> Result<Self, String> {
        start(starts_at).map(|at| Self { start: at.as_microsecond() })
    }

    /// A moment as the plans know it.
    pub fn timestamp(self, moment: Micros) -> Timestamp {
        Timestamp::from_microsecond(self.start.saturating_add(moment)).unwrap_or(Timestamp::MAX)
    }

    /// A moment of the plans as simulated time.
    pub fn micros(self, timestamp: Timestamp) -> Micros {
        timestamp.as_microsecond().saturating_sub(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_same_on_the_clock_and_since_the_beginning() {
        let clock = Clock::new(STARTS_AT).unwrap();
        assert_eq!(clock.timestamp(90 * SECOND).to_string(), "2026-01-01T00:01:30Z");
        assert_eq!(clock.micros(clock.timestamp(-HOUR)), -HOUR);
        assert_eq!(clock.timestamp(i64::MAX), Timestamp::MAX);
        assert!(clock.micros(Timestamp::MIN) < 0);
    }

    #[test]
    fn a_start_that_cannot_be_read_or_is_too_far_away_is_refused_with_what_to_give() {
        assert_eq!(read_start("2026-01-01T01:00:00+01:00"), Ok(STARTS_AT));
        for text in ["", "now", "2026-01-01", "2026-01-01T00:00:00", "1767225600", "2026-02-30T00:00:00Z"] {
            let error = read_start(text).unwrap_err();
            assert_eq!(error, "give a date, a time and its offset, such as 2026-03-28T00:00:00Z", "{text}");
        }
        for text in ["1969-12-31T23:59:59Z", "2900-01-01T00:00:01Z", "9999-12-30T00:00:00Z"] {
            let error = read_start(text).unwrap_err();
            assert!(
                error.ends_with(": a trace begins between 1970-01-01T00:00:00Z and 2900-01-01T00:00:00Z"),
                "{error}"
            );
        }
    }
}
