//! How soon a machine that waits for its claim is told of it, by the operator's own metric, while claims come at a steady
//! rate. The machines are simulated ones that really call.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_api::InstancePool;
use bullpen_bench_common::ground::Ground;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::ceiling;
use crate::report::{Bar, Report};
use crate::seen::Seen;
use crate::stage::{Clock, POOL, Stage};
use crate::steady::{self, Load, MEMBERS};

/// Of what a bare client does, measured right before. Machines that call add a write and some reads to a cycle, and
/// with 0.6 as in `pairing` the API server has no processor time left.
const SHARE: f64 = 0.4;
const METRIC: &str = "bullpen_machine_assignment_duration_seconds";
const REQUESTS: &str = "bullpen_machine_requests_total";
const P99_BAR: f64 = 50.0;

/// Measures the ceiling for `each`, and then assignments for so many seconds.
pub async fn run(ground: &Ground, client: &Client, each: Duration, seconds: u32, report: &mut Report) {
    report.head(&format!("Assignment: from Bound until the machine is told, at {:.0} % of the ceiling", SHARE * 100.0));
    let (ceiling, rate) = ceiling::share(ground, client, "assignment-bare", (SHARE, each), report).await;
    let target = rate * MEMBERS;
    let stage = Stage::set(ground, client, "assignment", target, target * 4).await;
    let pools: Api<InstancePool> = Api::namespaced(client.clone(), &stage.namespace);
    let readiness = Patch::Merge(json!({ "spec": { "readiness": { "phoneHome": {} } } }));
    pools.patch(POOL, &PatchParams::default(), &readiness).await.expect("the pool changes");
    let address =
        TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr()).expect("a free port").to_string();
    let url = format!("http://{address}");
    let operator = stage.operator_with("leader", &["--machine-address", &address, "--advertise-url", &url]);
    stage.ready(target).await;
    let seen = Arc::new(Seen::begin(&ground.client(), &stage.namespace).await);
    let (before, clock, began) = (operator.scrape().await, Clock::read(ground, Some(&operator)), Instant::now());
    let told = steady::begin(&stage, &seen, Load { rate, seconds }, Instant::now()).join_all().await;
    let took = began.elapsed().as_secs_f64();
    let (after, used) = (operator.scrape().await, Clock::read(ground, Some(&operator)).since(&clock));
    let counted = after.grown(&before, &format!("{METRIC}_count"), &[]);
    let [p50, p99] = [0.5, 0.99].map(|share| after.quantile(&before, METRIC, share) * 1_000.0);
    let requests = after.grown(&before, REQUESTS, &[]) / took;
    report.figure("machines that were told while they waited", counted, "", Bar::None);
    report.figure("Bound to the answer, p50", p50, "ms", Bar::None);
    report.figure("Bound to the answer, p99", p99, "ms", Bar::AtMost(P99_BAR));
    report.figure("requests of machines meanwhile", requests, "/s", Bar::None);
    let bound = steady::tell(&told, "due to Bound, seen by a watch", report);
    report.line("processor seconds", &used.to_string());
    report.keep(
        "assignment",
        json!({
            "ceilingCyclesPerSecond": ceiling, "rate": rate, "counted": counted, "p50Milliseconds": p50,
            "p99Milliseconds": p99, "requestsPerSecond": requests, "dueToBound": bound.json(), "processorSeconds": used,
        }),
    );
}
