//! Reads a CSV file of claims.

use jiff::Timestamp;

use super::{Arrival, Trace, TraceError, in_order};
use crate::time::{MILLISECOND, Micros};

/// The columns that a trace must have.
const COLUMNS: [&str; 2] = ["arrival_ms", "duration_ms"];
/// The latest moment and the longest hold, in milliseconds: 100 years.
pub(super) const MOST: i64 = 3_155_760_000_000;
/// A first claim at or after this moment is told in Unix time: 1980, in milliseconds since 1970. No trace begins with ten quiet years.
const UNIX_TIME: Micros = 315_532_800_000 * MILLISECOND;
/// Nor does one begin with ten quiet days, which is what Unix time in seconds looks like.
const LATEST_BEGIN: Micros = 864_000_000 * MILLISECOND;
/// Claims are of five years at most: those of more are in different times.
const LONGEST: Micros = 157_680_000_000 * MILLISECOND;

/// Reads claims of at most five years from CSV: a header that names the columns `arrival_ms` and `duration_ms`, and a line for each claim, in any
/// order. Further columns are not looked at. `arrival_ms` counts from the beginning of the trace, or from 1970 (Unix time): then the
/// trace begins with its first claim, at that time.
///
/// # Errors
/// The line and column that cannot be read, and what is expected there.
pub fn from_csv(text: &str) -> Result<Trace, TraceError> {
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let header = lines.next().map_or("", |(_, line)| line);
    let names: Vec<&str> = header.split(',').map(str::trim).collect();
    let place = |column: &str| {
        names
            .iter()
            .position(|name| *name == column)
            .ok_or_else(|| TraceError::new(format!("line 1: has no column {column}: begin with {}", COLUMNS.join(","))))
    };
    let places = [place(COLUMNS[0])?, place(COLUMNS[1])?];
    let filled = lines.filter(|(_, line)| !line.trim().is_empty());
    let arrivals = filled.map(|(index, line)| {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        if fields.len() > names.len() {
            return Err(TraceError::new(format!(
                "line {}: has {} columns, and the header {}: no value may have a comma, quoted or not",
                index + 1,
                fields.len(),
                names.len()
            )));
        }
        let value = |column: usize| time(fields.get(places[column]).copied(), COLUMNS[column], index + 1);
        Ok(Arrival { at: value(0)?, holds: value(1)? })
    });
    let mut arrivals = in_order(arrivals.collect::<Result<_, TraceError>>()?)?;
    let [first, last] = [arrivals.first(), arrivals.last()].map(|arrival| arrival.map_or(0, |arrival| arrival.at));
    if last - first > LONGEST {
        let (first, last) = (first / MILLISECOND, last / MILLISECOND);
        let what = format!("arrival_ms: is from {first} to {last}, more than five years: give all in the same time");
        return Err(TraceError::new(what));
    }
    if (LATEST_BEGIN..UNIX_TIME).contains(&first) {
        return Err(TraceError::new(format!(
            "arrival_ms: begins with {}, more than ten days after the beginning: give milliseconds since the beginning, or since 1970 \
             (seconds times 1000)",
            first / MILLISECOND
        )));
    }
    if first < UNIX_TIME {
        return Ok(Trace { arrivals, starts_at: None });
    }
    for arrival in &mut arrivals {
        arrival.at -= first;
    }
    Ok(Trace { arrivals, starts_at: Timestamp::from_microsecond(first).ok() })
}

fn time(field: Option<&str>, column: &str, line: usize) -> Result<Micros, TraceError> {
    let wrong = |what: String| TraceError::new(format!("line {line}: {column}: {what}"));
    let field = field.ok_or_else(|| wrong("is missing".to_owned()))?;
    let value: i64 = field.parse().map_err(|_| wrong(format!("is {field:?}: give whole milliseconds")))?;
    if !(0..=MOST).contains(&value) {
        return Err(wrong(format!("is {value}: it must be between 0 and {MOST}")));
    }
    Ok(value * MILLISECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_in_their_order_wherever_the_columns_stand() {
        let read = from_csv("name,duration_ms,arrival_ms\r\nb, 20 ,7\r\n\r\na,10,3\n").unwrap();
        assert_eq!(read.starts_at, None);
        let times: Vec<_> = read.arrivals.iter().map(|arrival| (arrival.at, arrival.holds)).collect();
        assert_eq!(times, [(3_000, 10_000), (7_000, 20_000)]);
    }

    #[test]
    fn a_trace_in_unix_time_begins_with_its_first_claim() {
        let read = |text: &str| {
            let trace = from_csv(text).unwrap();
            let at: Vec<_> = trace.arrivals.iter().map(|arrival| arrival.at).collect();
            (at, trace.starts_at.map(|at| at.to_string()))
        };
        let of_2026 = read("arrival_ms,duration_ms\n1767225600500,1\n1767225600000,1\n");
        assert_eq!(of_2026, (vec![0, 500_000], Some("2026-01-01T00:00:00Z".to_owned())));
        // Of a trace that counts from its beginning, the time before the first claim is a part.
        assert_eq!(read("arrival_ms,duration_ms\n86400000,1\n"), (vec![86_400_000_000], None));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line_and_column() {
        for (text, expected) in [
            ("", "line 1: has no column arrival_ms: begin with arrival_ms,duration_ms"),
            ("arrival_ms\n1\n", "line 1: has no column duration_ms"),
            ("arrival_ms,duration_ms\n", "it has no claims"),
            ("name,arrival_ms,duration_ms\n\"a,7\",1,2\n", "line 2: has 4 columns, and the header 3: no value may"),
            ("arrival_ms,duration_ms\n1,2\n3\n", "line 3: duration_ms: is missing"),
            ("arrival_ms,duration_ms\n1.5,2\n", "line 2: arrival_ms: is \"1.5\": give whole milliseconds"),
            ("arrival_ms,duration_ms\n1795392157,390\n", "arrival_ms: begins with 1795392157, more than ten days"),
            (
                "arrival_ms,duration_ms\n0,1\n1795392000000,1\n",
                "arrival_ms: is from 0 to 1795392000000, more than five years: give all in the same time",
            ),
            ("arrival_ms,duration_ms\n1,-2\n", "line 2: duration_ms: is -2: it must be between 0"),
        ] {
            let error = from_csv(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
