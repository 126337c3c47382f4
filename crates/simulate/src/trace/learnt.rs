//! Reads what `autosize` has learnt of a pool: its `status.learnt`.

use bullpen_plan::pool::autosize::history::Happened;
use bullpen_plan::pool::autosize::sizer::Record;
use jiff::Timestamp;

use super::generate::hold;
use super::{Arrival, MOST_CLAIMS, TraceError};
use crate::draw::Draw;
use crate::time::{MILLISECOND, Micros};

/// What a pool has learnt of the claims that came.
#[derive(Clone, Debug, PartialEq)]
pub struct Learnt {
    /// The claims. May be empty.
    pub arrivals: Vec<Arrival>,
    /// When the first of them could have come.
    pub starts_at: Timestamp,
    /// For how long they are played.
    pub length: Micros,
    /// For how long of that nobody counted. It is played without claims, so that each claim comes at its time on the clock.
    pub blank: Micros,
    /// Until when they were counted.
    pub until: Timestamp,
    /// How long the last machines took from their launch until they were ready, in seconds, the shortest first.
    pub ready_seconds: Vec<f64>,
}

/// Reads the claims of the last `longest` microseconds from `status.learnt` of a pool. How long each holds its machine is not in it,
/// and is drawn from the exponential distribution with this mean in seconds.
///
/// # Errors
/// If this is no such text, or has more claims than a pool can have had.
pub fn from_learnt(text: &str, longest: Micros, mean_hold: f64, seed: u64) -> Result<Learnt, TraceError> {
    let wrong = || TraceError::new("status.learnt: was written by another version");
    let record = Record::read(text).ok_or_else(wrong)?;
    let until = Timestamp::from_millisecond(record.until).map_err(|_| wrong())?;
    let begin = record.history.begins().unwrap_or(record.until).max(record.until - longest / MILLISECOND);
    let starts_at = Timestamp::from_millisecond(begin).map_err(|_| wrong())?;
    let (draw, mut arrivals, mut blank) = (Draw::new(seed), Vec::new(), 0);
    for happened in record.history.all() {
        match happened {
            Happened::Came(at, _) if at < begin => {}
            Happened::Came(at, count) => {
                if arrivals.len() + count as usize > MOST_CLAIMS {
                    return Err(TraceError::new(format!("status.learnt: has more than {MOST_CLAIMS} claims")));
                }
                for _ in 0..count {
                    let holds = hold(draw, arrivals.len() as u64, mean_hold);
                    arrivals.push(Arrival { at: (at - begin).max(0) * MILLISECOND, holds });
                }
            }
            Happened::Blank(from, to) => {
                blank += (to.min(record.until) - from.max(begin)).max(0);
            }
        }
    }
    arrivals.sort_by_key(|arrival| arrival.at);
    let mut ready_seconds: Vec<f64> = record.ready.iter().map(|time| *time as f64 / 1_000.0).collect();
    ready_seconds.sort_by(f64::total_cmp);
    let length = (record.until - begin).max(0) * MILLISECOND;
    Ok(Learnt { arrivals, starts_at, length, blank: blank * MILLISECOND, until, ready_seconds })
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
        let mut sizer = Sizer::new(Goal {
            hits: 0.99,
            window: 120.0,
            creates: None,
            most: 10_000,
            schedules: std::sync::Arc::default(),
        });
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
    fn what_a_pool_has_learnt_is_played_with_each_claim_at_its_time_on_the_clock() {
        let learnt = from_learnt(&record(3), 168 * HOUR, 60.0, 1).unwrap();
        assert_eq!((learnt.arrivals.len(), &learnt.ready_seconds[..]), (180, &[90.0, 96.0, 120.0][..]));
        // Milliseconds of a record are rounded to 4 s.
        assert!((learnt.until.as_millisecond() - BEGIN - 4 * 3_600_000).abs() < 10_000);
        assert!((learnt.starts_at.as_millisecond() - BEGIN).abs() < 10_000, "{}", learnt.starts_at);
        assert!((learnt.length - 4 * HOUR).abs() < 10 * SECOND, "{}", learnt.length);
        assert!((learnt.blank - HOUR).abs() < 70 * SECOND, "{}", learnt.blank);
        // The last claim came after three hours of claims and one of nobody.
        let last = learnt.arrivals.last().unwrap().at;
        assert!((last - 4 * HOUR).abs() < 10 * SECOND, "{last}");
    }

    #[test]
    fn only_the_last_while_is_read_if_that_is_asked_for() {
        let learnt = from_learnt(&record(3), HOUR, 60.0, 1).unwrap();
        assert!((learnt.length - HOUR).abs() < 10 * SECOND, "{}", learnt.length);
        assert!((58..=61).contains(&learnt.arrivals.len()), "{}", learnt.arrivals.len());
    }

    /// A record with this history, of milliseconds.
    fn with_history(history: &str) -> String {
        format!("\n{}\nbullpen-arrivals-1 1 {history}", vec!["-"; 168].join(" "))
    }

    #[test]
    fn a_record_with_more_claims_than_memory_is_refused() {
        let error = from_learnt(&with_history(&format!("0 ff{}", " 0*f4240".repeat(11))), HOUR, 60.0, 1).unwrap_err();
        assert_eq!(error.to_string(), "status.learnt: has more than 10000000 claims");
    }

    #[test]
    fn claims_within_times_in_which_nobody_counted_come_in_order_and_not_before_the_beginning() {
        let learnt = from_learnt(&with_history("0 64 -1+32 -2+32 5 1 50"), HOUR, 60.0, 1).unwrap();
        let at: Vec<_> = learnt.arrivals.iter().map(|arrival| arrival.at).collect();
        assert!(at.len() == 3 && at[0] >= 0 && at.is_sorted(), "{at:?}");
    }

    #[test]
    fn what_is_no_record_is_refused() {
        assert!(from_learnt("something else", HOUR, 60.0, 1).unwrap_err().to_string().starts_with("status.learnt: "));
    }
}
