//! The figures, beside the bars of `docs/develop/benchmarks.md`.

use std::time::Duration;

use bullpen_bench_common::machine::{Cost, Usage};
use serde_json::json;

const RESIDENT_BAR: f64 = 100.0;
const CPU_BAR: f64 = 1.0;
const RESTART_BAR: f64 = 5.0;

/// What was measured.
#[derive(Debug)]
pub struct Report {
    members: u32,
    pools: u32,
    fill: Option<(Duration, Cost)>,
    idle: Option<(Usage, u64)>,
    restarts: Vec<Duration>,
    restarted: Option<Cost>,
}

impl Report {
    /// An empty report.
    pub const fn new(members: u32, pools: u32) -> Self {
        Self { members, pools, fill: None, idle: None, restarts: Vec::new(), restarted: None }
    }

    /// Records that every machine was bought and is ready.
    pub fn filled(&mut self, took: Duration, cost: Cost) {
        println!("  all ready after {:.0} s", took.as_secs_f64());
        self.fill = Some((took, cost));
    }

    /// Records the idle operator.
    pub fn idle(&mut self, usage: Usage, writes: u64) {
        self.idle = Some((usage, writes));
    }

    /// Records a restart, with the time until a waiting claim was bound.
    pub fn restarted(&mut self, took: Duration) {
        println!("  restart to first bind: {:.2} s", took.as_secs_f64());
        self.restarts.push(took);
    }

    /// Records what the last restarted operator uses.
    pub const fn after_restarts(&mut self, cost: &Cost) {
        self.restarted = Some(*cost);
    }

    fn slowest(&self) -> f64 {
        self.restarts.iter().max().map_or(f64::NAN, Duration::as_secs_f64)
    }

    /// Prints the table.
    pub fn print(&self) {
        println!("\n{} members in {} pools", self.members, self.pools);
        if let Some((took, cost)) = &self.fill {
            let rate = f64::from(self.members) / took.as_secs_f64();
            println!(
                "  filled in {:.0} s: {rate:.0} members/s, {:.1} s of processor time",
                took.as_secs_f64(),
                cost.cpu_seconds
            );
        }
        if let Some((usage, writes)) = &self.idle {
            row("idle: resident memory", usage.resident, "MB", RESIDENT_BAR);
            println!("  {:<38} {:>9.1} MB", "idle: peak until then (while buying)", usage.peak);
            row("idle: processor", usage.cpu_percent, "% of a core", CPU_BAR);
            let writes = u32::try_from(*writes).unwrap_or(u32::MAX);
            row("idle: writes of objects", f64::from(writes), "", 0.0);
        }
        row("restart to first bind, slowest", self.slowest(), "s", RESTART_BAR);
        if let Some(cost) = &self.restarted {
            row("after a restart: resident memory", cost.resident, "MB", RESIDENT_BAR);
            println!("  {:<38} {:>9.1} MB", "after a restart: peak", cost.peak);
        }
    }

    /// The same as JSON.
    pub fn json(&self) -> String {
        let seconds: Vec<f64> = self.restarts.iter().map(Duration::as_secs_f64).collect();
        let report = json!({
            "members": self.members,
            "pools": self.pools,
            "fillSeconds": self.fill.as_ref().map(|(took, _)| took.as_secs_f64()),
            "fillProcessorSeconds": self.fill.as_ref().map(|(_, cost)| cost.cpu_seconds),
            "idle": self.idle.as_ref().map(|(usage, writes)| json!({
                "residentMegabytes": usage.resident,
                "peakMegabytes": usage.peak,
                "processorPercent": usage.cpu_percent,
                "writes": writes,
            })),
            "restartToFirstBindSeconds": seconds,
            "afterRestart": self.restarted.map(|cost| json!({
                "residentMegabytes": cost.resident,
                "peakMegabytes": cost.peak,
            })),
        });
        format!("{report:#}\n")
    }
}

fn row(what: &str, value: f64, unit: &str, bar: f64) {
    let verdict = if value <= bar { "met" } else { "MISSED" };
    println!("  {what:<38} {value:>9.2} {unit:<12} bar {bar:>5} {verdict}");
}
