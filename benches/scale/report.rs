//! The figures, beside the bars of `docs/develop/benchmarks.md`.

use std::time::Duration;

use bullpen_bench_common::machine::{Cost, Usage};
use serde_json::{Value, json};

use crate::elsewhere::Times;

const RESIDENT_BAR: f64 = 100.0;
const CPU_BAR: f64 = 1.0;
const RESTART_BAR: f64 = 5.0;
const CROWD_RESIDENT_BAR: f64 = 150.0;
const SLOWER_BAR: f64 = 2.0;

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
    pub fn json(&self) -> Value {
        let seconds: Vec<f64> = self.restarts.iter().map(Duration::as_secs_f64).collect();
        json!({
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
        })
    }
}

/// How many there are of each thing.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Members of the large pool.
    pub members: u32,
    /// Launch configs that nothing uses.
    pub launch_configs: u32,
    /// Waiting claims.
    pub waiting: u32,
    /// Namespaces of the waiting claims.
    pub namespaces: u32,
    /// Ended claims.
    pub ended: u32,
    /// How long claims come, and how long the idle operator is watched.
    pub seconds: u32,
}

/// One addition to the crowd.
#[derive(Debug)]
pub struct Shape {
    /// What was added.
    pub name: &'static str,
    /// What the idle operator costs with it.
    pub idle: Usage,
    /// What the idle operator writes with it.
    pub writes: u64,
    /// How long claims on the small pool take with it.
    pub times: Times,
}

/// What was measured of the crowd.
#[derive(Debug)]
pub struct CrowdReport {
    sizes: Sizes,
    shapes: Vec<Shape>,
}

impl CrowdReport {
    /// An empty report.
    pub const fn new(sizes: Sizes) -> Self {
        Self { sizes, shapes: Vec::new() }
    }

    /// How many additions were measured.
    pub const fn count(&self) -> usize {
        self.shapes.len()
    }

    /// Records an addition.
    pub fn add(&mut self, shape: Shape) {
        let Shape { idle, writes, times, .. } = &shape;
        println!(
            "  idle: {:.2} % of a core, {writes} writes, {:.0} MB; claims: median {:.1}, p99 {:.1} ms",
            idle.cpu_percent, idle.resident, times.median, times.p99
        );
        self.shapes.push(shape);
    }

    /// The p99 of an addition divided by that of the small pool alone.
    fn slower(&self, shape: &Shape) -> f64 {
        self.shapes.first().map_or(f64::NAN, |alone| shape.times.p99 / alone.times.p99)
    }

    /// Prints the table. What was added stays, so the last lines are of all of it.
    pub fn print(&self) {
        let Sizes { members, launch_configs, waiting, namespaces, ended, .. } = self.sizes;
        println!(
            "\n{members} members in one pool, {launch_configs} idle launch configs, {waiting} waiting claims of {namespaces} \
             namespaces, {ended} ended claims, one after the other"
        );
        for shape in &self.shapes {
            println!(" {}", shape.name);
            row("idle: processor", shape.idle.cpu_percent, "% of a core", CPU_BAR);
            row("idle: writes of objects", f64::from(u32::try_from(shape.writes).unwrap_or(u32::MAX)), "", 0.0);
            row("idle: resident memory", shape.idle.resident, "MB", CROWD_RESIDENT_BAR);
            println!("  {:<38} {:>9.2} ms", "claim to Bound, median", shape.times.median);
            println!("  {:<38} {:>9.2} ms", "claim to Bound, p99", shape.times.p99);
            row("p99, times that of the pool alone", self.slower(shape), "", SLOWER_BAR);
        }
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let shapes = self.shapes.iter().map(|shape| {
            json!({
                "name": shape.name,
                "residentMegabytes": shape.idle.resident,
                "peakMegabytes": shape.idle.peak,
                "processorPercent": shape.idle.cpu_percent,
                "writes": shape.writes,
                "medianMilliseconds": shape.times.median,
                "p99Milliseconds": shape.times.p99,
                "timesThatOfThePoolAlone": self.slower(shape),
            })
        });
        let shapes: Vec<_> = shapes.collect();
        json!({
            "members": self.sizes.members,
            "launchConfigs": self.sizes.launch_configs,
            "waiting": self.sizes.waiting,
            "namespaces": self.sizes.namespaces,
            "ended": self.sizes.ended,
            "shapes": shapes,
        })
    }
}

fn row(what: &str, value: f64, unit: &str, bar: f64) {
    let verdict = if value <= bar { "met" } else { "MISSED" };
    println!("  {what:<38} {value:>9.2} {unit:<12} bar {bar:>5} {verdict}");
}
