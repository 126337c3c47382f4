//! What the operator itself takes from a claim's event until it begins the compare-and-swap, while the API server has as
//! much to do as it can do without falling behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_bench_common::ground::Ground;
use kube::Client;
use serde_json::json;

use crate::ceiling;
use crate::report::{Bar, Report};
use crate::seen::Seen;
use crate::stage::{Clock, Stage};
use crate::steady::{self, Load, MEMBERS};

/// Of what a bare client does, measured right before.
const SHARE: f64 = 0.6;
const METRIC: &str = "bullpen_claim_pairing_duration_seconds";
const P99_BAR: f64 = 5.0;

/// Measures the ceiling for `each`, and then the operator for so many seconds.
pub async fn run(ground: &Ground, client: &Client, each: Duration, seconds: u32, report: &mut Report) {
    report.head(&format!(
        "Pairing: what the operator takes before its first write, at {:.0} % of the ceiling",
        SHARE * 100.0
    ));
    let (ceiling, rate) = ceiling::share(ground, client, "pairing-bare", (SHARE, each), report).await;
    let target = rate * MEMBERS;
    let stage = Stage::set(ground, client, "pairing", target, target * 4).await;
    let operator = stage.operator("leader");
    stage.ready(target).await;
    let seen = Arc::new(Seen::begin(&ground.client(), &stage.namespace).await);
    let (before, clock) = (operator.scrape().await, Clock::read(ground, Some(&operator)));
    let told = steady::begin(&stage, &seen, Load { rate, seconds }, Instant::now()).join_all().await;
    let (after, used) = (operator.scrape().await, Clock::read(ground, Some(&operator)).since(&clock));
    let counted = after.grown(&before, &format!("{METRIC}_count"), &[]);
    let [p50, p99] = [0.5, 0.99].map(|share| after.quantile(&before, METRIC, share) * 1_000.0);
    report.figure("claims that found a ready member", counted, "", Bar::None);
    report.figure("event to compare-and-swap, p50", p50, "ms", Bar::None);
    report.figure("event to compare-and-swap, p99", p99, "ms", Bar::AtMost(P99_BAR));
    let bound = steady::tell(&told, "due to Bound, seen by a watch", report);
    report.line("processor seconds", &used.to_string());
    report.keep(
        "pairing",
        json!({
            "ceilingCyclesPerSecond": ceiling, "rate": rate, "counted": counted, "p50Milliseconds": p50,
            "p99Milliseconds": p99, "dueToBound": bound.json(), "processorSeconds": used,
        }),
    );
}
