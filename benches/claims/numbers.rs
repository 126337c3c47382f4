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

/// The same figure from several blocks.
#[derive(Clone, Debug)]
pub struct Spread(Vec<f64>);

impl Spread {
    /// From the figure of each block.
    pub fn new(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    /// The middle one.
    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        let upper = self.0.get(middle).copied().unwrap_or(f64::NAN);
        if self.0.len().is_multiple_of(2) {
            let lower = middle.checked_sub(1).and_then(|lower| self.0.get(lower)).copied();
            return f64::midpoint(lower.unwrap_or(f64::NAN), upper);
        }
        upper
    }

    /// As text: the median, and the least and the most.
    pub fn words(&self, unit: &str) -> String {
        let [least, most] = self.ends();
        format!("{:.2} {unit} ({least:.2} to {most:.2})", self.median()).replace("  ", " ")
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let [least, most] = self.ends();
        json!({ "median": self.median(), "least": least, "most": most })
    }

    fn ends(&self) -> [f64; 2] {
        [self.0.first(), self.0.last()].map(|end| end.copied().unwrap_or(f64::NAN))
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

    /// The value that this share of what a histogram counted since an earlier reading does not exceed, between the bounds
    /// of its bucket by how far it is in it.
    pub fn quantile(&self, before: &Self, name: &str, share: f64) -> f64 {
        let bucket = format!("{name}_bucket");
        let mut bounds: BTreeMap<u64, f64> = BTreeMap::new();
        for (series, value) in self.0.iter().filter(|(series, _)| series.starts_with(&bucket)) {
            let bound = series.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
            let bound: f64 = bound.and_then(|bound| bound.parse().ok()).unwrap_or(f64::INFINITY);
            // The bits of numbers that are not negative have their order.
            *bounds.entry(bound.to_bits()).or_default() += value - before.0.get(series).copied().unwrap_or(0.0);
        }
        let wanted = bounds.values().next_back().copied().unwrap_or(f64::NAN) * share;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, counted) in bounds.into_iter().map(|(bits, counted)| (f64::from_bits(bits), counted)) {
            if counted >= wanted {
                let within = if counted > below { (wanted - below) / (counted - below) } else { 1.0 };
                return if bound.is_finite() { lower + (bound - lower) * within } else { f64::INFINITY };
            }
            (lower, below) = (bound, counted);
        }
        f64::NAN
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
