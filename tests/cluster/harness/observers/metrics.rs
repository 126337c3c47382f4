//! Assertions on an operator's metrics. The operator counts after its writes, so a single read right after a watch
//! event may be too early: every helper here either waits, or asserts that something has not happened.

use crate::harness::{Operator, eventually};

impl Operator {
    /// Waits until a series, labels included, has this value. Fails at once if a counter has exceeded it.
    pub(crate) async fn metric_is(&self, series: &str, value: f64) {
        eventually(&format!("{series} is {value}"), async || match self.metric_at_this_moment(series).await {
            Some(seen) if equal(seen, value) => Ok(()),
            Some(seen) if seen > value && counts(series) => panic!("{series} is {seen}, beyond {value}"),
            other => Err(format!("{other:?}")),
        })
        .await;
    }

    /// Waits until a series is at least this. Returns its value.
    pub(crate) async fn metric_reaches(&self, series: &str, least: f64) -> f64 {
        eventually(&format!("{series} reaches {least}"), async || match self.metric_at_this_moment(series).await {
            Some(seen) if seen >= least => Ok(seen),
            other => Err(format!("{other:?}")),
        })
        .await
    }

    /// Asserts that a counter is at most this now. Meaningful only after the test has waited for something that happens
    /// after the last event that could have counted.
    pub(crate) async fn metric_has_not_passed(&self, series: &str, most: f64) {
        let seen = self.metric_at_this_moment(series).await;
        assert!(seen.is_some_and(|seen| seen <= most), "{series} is {seen:?}, and may be {most} at most");
    }

    /// Waits until no line of the metrics begins with this.
    pub(crate) async fn metrics_lack(&self, beginning: &str) {
        eventually(&format!("no metric begins with {beginning}"), async || {
            let text = self.endpoint("/metrics").await;
            text.lines().find(|line| line.starts_with(beginning)).map_or(Ok(()), |line| Err(line.to_owned()))
        })
        .await;
    }

    /// The value of a series. Private, because no assertion may depend on a single early read.
    async fn metric_at_this_moment(&self, series: &str) -> Option<f64> {
        let text = self.endpoint("/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(value.parse().expect("a number"))
    }
}

/// Whether a series is a counter.
fn counts(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    ["_total", "_count", "_bucket", "_sum"].iter().any(|suffix| name.ends_with(suffix))
}

/// Metrics are compared with small whole numbers, which a float holds exactly.
fn equal(one: f64, other: f64) -> bool {
    (one - other).abs() < f64::EPSILON
}
