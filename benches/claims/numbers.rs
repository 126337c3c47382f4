//! Statistics of times, and readings of metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

/// Times of the same thing, many times.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<f64>);

impl Times {
    /// From durations.
    pub fn new(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut milliseconds: Vec<f64> = times.into_iter().map(|time| time.as_secs_f64() * 1_000.0).collect();
        milliseconds.sort_by(f64::total_cmp);
        Self(milliseconds)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that this share of them, in thousandths, does not exceed; milliseconds.
    pub fn at(&self, thousandths: usize) -> f64 {
        let rank = (self.0.len() * thousandths).div_ceil(1_000).max(1) - 1;
        self.0.get(rank).copied().unwrap_or(f64::NAN)
    }

    /// As text.
    pub fn words(&self) -> String {
        let [p50, p99, p999, most] = [500, 990, 999, 1_000].map(|share| self.at(share));
        format!("p50 {p50:.1}, p99 {p99:.1}, p99.9 {p999:.1}, max {most:.1} ms")
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        json!({
            "count": self.count(),
            "p50Milliseconds": self.at(500),
            "p99Milliseconds": self.at(990),
            "p999Milliseconds": self.at(999),
            "maxMilliseconds": self.at(1_000),
        })
    }
}

/// The metrics of an operator, by name and labels.
#[derive(Clone, Debug, Default)]
pub struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    /// Reads the metrics served at this address.
    pub async fn of(address: &str) -> Self {
        let text = reqwest::get(address).await.expect("the metrics are served").text().await.expect("a text");
        let value = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(value).collect())
    }

    /// The sum of every series of this name whose labels have all of these in them.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let fits = |series: &str| {
            series.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
                && labels.iter().all(|label| series.contains(label))
        };
        self.0.iter().filter(|(series, _)| fits(series)).map(|(_, value)| value).sum()
    }

    /// How much the sum grew since an earlier reading.
    pub fn grown(&self, before: &Self, name: &str, labels: &[&str]) -> f64 {
        self.sum(name, labels) - before.sum(name, labels)
    }

    /// How much each series of this name grew since an earlier reading, by its labels, for `each` of something.
    pub fn growth(&self, before: &Self, name: &str, each: f64) -> Vec<(String, f64)> {
        let grown = self.0.iter().filter_map(|(series, value)| {
            let labels = series.strip_prefix(name)?.trim_matches(['{', '}']);
            let grown = (value - before.0.get(series).copied().unwrap_or(0.0)) / each;
            (grown > 0.0).then(|| (labels.replace('"', ""), grown))
        });
        grown.collect()
    }
}
