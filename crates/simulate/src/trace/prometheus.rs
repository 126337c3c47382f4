//! Reads the saved answer of a Prometheus range query for a counter of claims.

use jiff::Timestamp;
use serde::Deserialize;

use super::generate::hold;
use super::{Arrival, MOST_CLAIMS, Trace, TraceError, csv, in_order};
use crate::draw::{Draw, Stream, seconds};
use crate::time::start;

/// The longest time between samples, in seconds: 100 years, as in a CSV file.
const LONGEST: f64 = (csv::MOST / 1_000) as f64;

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Series {
    values: Vec<(f64, String)>,
}

/// Reads claims from the answer of `/api/v1/query_range` for a counter, such as
/// `bullpen_claim_bind_duration_seconds_count{pool="ci"}`. By how much it grew from one sample to the next is the number of
/// claims of that time, which are spread over it by the seed; a counter that fell began again. How long each holds its
/// machine is not in it, and is drawn from the exponential distribution with this mean in seconds. The trace begins with the first
/// sample.
///
/// # Errors
/// What in the answer is not as expected.
pub fn from_prometheus(text: &str, mean_hold: f64, seed: u64) -> Result<Trace, TraceError> {
    let answer: Answer = serde_json::from_str(text)
        .map_err(|error| TraceError::new(format!("is no answer of Prometheus' query_range: {error}")))?;
    let Some(data) = answer.data.filter(|_| answer.status == "success") else {
        return Err(TraceError::new(format!("status: is {:?}, not \"success\": {}", answer.status, answer.error)));
    };
    if data.result_type != "matrix" {
        let what = format!("data.resultType: is {:?}, not \"matrix\": ask query_range, not query", data.result_type);
        return Err(TraceError::new(what));
    }
    let all: Vec<Series> = serde_json::from_value(data.result)
        .map_err(|error| TraceError::new(format!("data.result: is no list of series: {error}")))?;
    let beginning = all.iter().filter_map(|series| Some(series.values.first()?.0)).fold(f64::INFINITY, f64::min);
    let (draw, mut arrivals) = (Draw::new(seed), Vec::new());
    for (index, series) in all.iter().enumerate() {
        let mut before: Option<(f64, f64)> = None;
        for (at, value) in &series.values {
            let value: f64 =
                value.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0).ok_or_else(|| {
                    TraceError::new(format!(
                        "data.result[{index}]: the value at {at} is {value:?}: a counter is 0 or more"
                    ))
                })?;
            if at - beginning > LONGEST {
                return Err(TraceError::new(format!(
                    "data.result[{index}]: the value at {at} is more than 100 years after the first one, at {beginning}: times are in \
                     seconds"
                )));
            }
            if let Some((from, old)) = before {
                let grew = if value < old { value } else { value - old };
                if grew + arrivals.len() as f64 > MOST_CLAIMS as f64 {
                    return Err(TraceError::new(format!("data.result[{index}]: more than {MOST_CLAIMS} claims")));
                }
                for _ in 0..grew.round() as u64 {
                    let number = arrivals.len() as u64;
                    let share = draw.share(Stream::Arrivals, number);
                    let at = seconds((at - from).mul_add(share, from - beginning));
                    arrivals.push(Arrival { at, holds: hold(draw, number, mean_hold) });
                }
            }
            before = Some((*at, value));
        }
    }
    let arrivals = in_order(arrivals)?;
    Ok(Trace { arrivals, starts_at: Some(starts_at(beginning)?) })
}

/// The moment of the first sample, which has so many seconds since 1970.
fn starts_at(beginning: f64) -> Result<Timestamp, TraceError> {
    // Numbers that are too large become the largest, which is no timestamp either.
    let at = Timestamp::from_millisecond((beginning * 1_000.0).round() as i64).ok();
    at.and_then(|at| start(at).ok()).ok_or_else(|| {
        TraceError::new(format!(
            "data.result: begins at {beginning}, which is no time from 1970 to 2900: times are in seconds since 1970"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    fn answer(values: &str) -> String {
        format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":{values}}}]}}}}"#
        )
    }

    #[test]
    fn what_a_counter_grew_by_are_the_claims_of_that_time_also_when_it_began_again() {
        let text = answer(r#"[[1000,"5"],[1060,"8"],[1120,"8"],[1180,"2"]]"#);
        let Trace { arrivals: claims, starts_at } = from_prometheus(&text, 30.0, 1).unwrap();
        assert_eq!(starts_at.unwrap().to_string(), "1970-01-01T00:16:40Z");
        let in_time = |from: i64, to: i64| {
            claims.iter().filter(|claim| (from * SECOND..=to * SECOND).contains(&claim.at)).count()
        };
        assert_eq!((claims.len(), in_time(0, 60), in_time(60, 120), in_time(120, 180)), (5, 3, 0, 2));
    }

    #[test]
    fn an_answer_that_is_none_is_refused_with_what_to_do() {
        for (text, expected) in [
            ("[]".to_owned(), "is no answer of Prometheus' query_range"),
            (r#"{"status":"error","error":"bad"}"#.to_owned(), "status: is \"error\", not \"success\": bad"),
            (answer(r#"[[1,"NaN"]]"#), "data.result[0]: the value at 1 is \"NaN\""),
            (answer(r#"[[1,"4"]]"#), "it has no claims"),
            (answer(r#"[[1,"4"],[2,"1e300"]]"#), "data.result[0]: more than 10000000 claims"),
            (
                answer(r#"[[1,"4"],[1e12,"5"]]"#),
                "data.result[0]: the value at 1000000000000 is more than 100 years after",
            ),
            (answer(r#"[[1e12,"4"],[1e12,"5"]]"#), "data.result: begins at 1000000000000, which is no time from 1970"),
            (answer(r#"[[-1,"4"],[1,"5"]]"#), "data.result: begins at -1, which is no time from 1970"),
            (answer("[]").replace("matrix", "vector"), "data.resultType: is \"vector\", not \"matrix\""),
        ] {
            let error = from_prometheus(&text, 30.0, 1).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
