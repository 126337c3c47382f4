//! `make bench-scale`: 10,000 members in 100 pools on a real API server, and what they cost while nothing happens
//! (its bars: `docs/develop/benchmarks.md`).
//!
//! The operator buys every machine itself from a simulated cloud; nothing is written for it. Figures go to standard
//! output as a table and, with `--json FILE`, as JSON. `--members` and `--pools` make it smaller for a first look.

mod cluster;
mod report;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;

use bullpen_bench_common::machine::{Cost, cost_of};
use cluster::Cluster;
use report::Report;

/// Members of the walk in all, spread evenly over the pools.
#[derive(Debug, Parser)]
struct Args {
    /// Members in all
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    members: u32,
    /// Pools that they are spread over
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=200))]
    pools: u32,
    /// Seconds that the idle operator is watched for
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(10..=3_600))]
    idle_seconds: u32,
    /// How often the operator is killed and started again
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    restarts: u32,
    /// Another build of bullpen to measure, to compare two
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_bullpen"))]
    bullpen: PathBuf,
    /// Where to write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Given by `cargo bench`; means nothing here
    #[arg(long, hide = true)]
    bench: bool,
}

/// How long the operator may take to buy everything before this gives up.
const FILL_PATIENCE: Duration = Duration::from_mins(30);
/// Time after the last member is ready in which delayed work (a surplus, a status) is done.
const SETTLE: Duration = Duration::from_secs(75);

fn main() {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(&args));
}

async fn run(args: &Args) {
    let mut report = Report::new(args.members, args.pools);
    println!("starting a control plane");
    let cluster = Cluster::start(args.bullpen.clone(), args.members, args.pools).await;
    let mut operator = cluster.operator("bench-1");

    println!("buying {} machines for {} pools", args.members, args.pools);
    let began = Instant::now();
    cluster.make_pools().await;
    cluster.all_ready(FILL_PATIENCE, began).await;
    report.filled(began.elapsed(), cost_of(operator.id()));

    println!("settling for {} s, then watching for {} s", SETTLE.as_secs(), args.idle_seconds);
    tokio::time::sleep(SETTLE).await;
    let (before, writes) = (cost_of(operator.id()), cluster.writes().await);
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(u64::from(args.idle_seconds))).await;
    let idle = cost_of(operator.id()).since(&before, began.elapsed());
    report.idle(idle, cluster.writes().await - writes);

    for turn in 1..=args.restarts {
        operator.kill_9();
        report.restarted(cluster.first_bind(turn, || operator = cluster.operator("bench-1")).await);
        // Wait until the claimed member was replaced.
        cluster.all_ready(FILL_PATIENCE, Instant::now()).await;
    }
    let after: Cost = cost_of(operator.id());
    report.after_restarts(&after);
    report.print();
    if let Some(path) = &args.json {
        std::fs::write(path, report.json()).expect("the file for the figures can be written");
    }
}
