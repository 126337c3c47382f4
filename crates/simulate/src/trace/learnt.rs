//! Reads what `autosize` has learnt of a pool: its `status.learnt`.

use bullpen_plan::pool::autosize::history::Happened;
use bullpen_plan::pool::autosize::sizer::Record;
use jiff::Timestamp;

use super::generate::hold;
use super::{Arrival, TraceError};
use crate::draw::Draw;
use crate::time::{MILLISECOND, Micros};

/// What a pool has learnt of the claims that came.
#[derive(Clone, Debug, PartialEq)]
pub struct Learnt {
    /// The claims, without the time in which nobody counted. May be empty.
    pub arrivals: Vec<Arrival>,
    /// For how long they were counted.
    pub length: Micros,
    /// Until when.
    pub until: Timestamp,
    /// How long the last machines took from their creation until they were ready, in seconds, the shortest first.
    pub ready_seconds: Vec<f64>,
}

/// Reads the claims of the last `longest` microseconds from `status.learnt` of a pool. How long each holds its machine is not in it,
/// and is drawn from the exponential distribution with this mean in seconds.
///
/// # Errors
/// If this is no such text.
pub fn from_learnt(text: &str, longest: Micros, mean_hold: f64, seed: u64) -> Result<Learnt, TraceError> {
    let wrong = || TraceError::new("status.learnt: was written by another version");
    let record = Record::read(text).ok_or_else(wrong)?;
    let until = Timestamp::from_millisecond(record.until).map_err(|_| wrong())?;
    let begin = record.history.begins().unwrap_or(record.until).max(record.until - longest / MILLISECOND);
    let (draw, mut arrivals, mut blank) = (Draw::new(seed), Vec::new(), 0);
    for happened in record.history.all() {
        match happened {
            Happened::Came(at, count) => {
                for _ in 0..if at < begin { 0 } else { count } {
                    let holds = hold(draw, arrivals.len() as u64, mean_hold);
                    arrivals.push(Arrival { at: (at - begin - blank) * MILLISECOND, holds });
                }
            }
            Happened::Blank(from, to) => blank += (to.min(record.until) - from.max(begin)).max(0),
        }
    }
    let mut ready_seconds: Vec<f64> = record.ready.iter().map(|time| *time as f64 / 1_000.0).collect();
    ready_seconds.sort_by(f64::total_cmp);
    let length = (record.until - begin - blank).max(0) * MILLISECOND;
    Ok(Learnt { arrivals, length, until, ready_seconds })
}

#[cfg(test)]
mod tests {
    use bullpen_plan::pool::autosize::forecaster::Goal;
    use bullpen_plan::pool::autosize::sizer::Sizer;

    use super::*;
    use crate::time::{HOUR, SECOND};

    /// Milliseconds since 1970 at which a pool begins to learn.
    const BEGIN: i64 = 1_767_225_600_000;

    /// A claim each minute of this many hours, with an hour after the first one in which nobody counted.
    fn record(hours: i64) -> String {
        let mut sizer = Sizer::new(Goal { hits: 0.99, window: 120.0 });
        for seconds in [96, 90, 120] {
            sizer.ready_after(seconds * 1_000);
        }
        sizer.observe(BEGIN, 0);
        for minute in 1..=60 * hours {
            let hour_off = if minute > 60 { 3_600_000 } else { 0 };
            if minute == 61 {
                sizer.resume(BEGIN + 61 * 60_000 + hour_off - 60_000);
            }
            sizer.observe(BEGIN + minute * 60_000 + hour_off, 1);
        }
        sizer.record()
    }

    #[test]
    fn what_a_pool_has_learnt_is_played_without_the_time_in_which_nobody_counted() {
        let learnt = from_learnt(&record(3), 168 * HOUR, 60.0, 1).unwrap();
        // Milliseconds of a record are rounded to 4 s.
        assert!(learnt.arrivals.len() == 180 && (learnt.length - 3 * HOUR).abs() < 10 * SECOND, "{}", learnt.length);
        assert!((learnt.until.as_millisecond() - BEGIN - 4 * 3_600_000).abs() < 10_000);
        assert_eq!(learnt.ready_seconds, [90.0, 96.0, 120.0]);
        let gaps: Vec<_> = learnt.arrivals.windows(2).map(|pair| (pair[1].at - pair[0].at) / SECOND).collect();
        assert!(gaps.iter().all(|gap| (55..=65).contains(gap)), "{gaps:?}");
    }

    #[test]
    fn only_the_last_while_is_read_if_that_is_asked_for() {
        let learnt = from_learnt(&record(3), HOUR, 60.0, 1).unwrap();
        assert!((learnt.length - HOUR).abs() < 10 * SECOND, "{}", learnt.length);
        assert!((58..=61).contains(&learnt.arrivals.len()), "{}", learnt.arrivals.len());
    }

    #[test]
    fn what_is_no_record_is_refused() {
        assert!(from_learnt("something else", HOUR, 60.0, 1).unwrap_err().to_string().starts_with("status.learnt: "));
    }
}
