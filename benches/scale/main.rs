//! `make bench-scale`: what a large fleet costs on a real API server (its bars: `docs/develop/benchmarks.md`). Two parts,
//! each on an API server of its own: `fleet` has 10,000 members in 100 pools, `crowd` what may pile up beside a small
//! pool.
//!
//! The operator buys every machine itself from a simulated cloud; only ended claims are written for it. Figures go to
//! standard output as tables and, with `--json FILE`, as JSON. Smaller numbers make a first look.

mod cluster;
mod crowd;
mod elsewhere;
mod report;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;

use bullpen_bench_common::machine::{Cost, cost_of};
use cluster::Cluster;
use report::{CrowdReport, Report, Sizes};

/// How large everything is.
#[derive(Debug, Parser)]
struct Args {
    /// Only this part
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Members in all: in fleet over all pools, in crowd in one pool
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    members: u32,
    /// Pools that they are spread over in fleet
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=200))]
    pools: u32,
    /// Seconds that the idle operator is watched for
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(10..=3_600))]
    idle_seconds: u32,
    /// Idle launch configs in crowd
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    launch_configs: u32,
    /// Waiting claims in crowd
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    waiting: u32,
    /// Namespaces of the waiting claims
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    namespaces: u32,
    /// Ended claims in crowd
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=500_000))]
    ended: u32,
    /// Seconds that claims come for after each addition to crowd, and that the idle operator is watched for there
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=240))]
    crowd_seconds: u32,
    /// How often the operator is killed and started again in fleet
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

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// 10,000 members in 100 pools
    Fleet,
    /// What may pile up beside a small pool
    Crowd,
}

/// How long the operator may take to buy everything before this gives up.
const FILL_PATIENCE: Duration = Duration::from_mins(30);
/// Time after the last member is ready in which delayed work (a surplus, a status) is done.
const SETTLE: Duration = Duration::from_secs(75);

fn main() {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let wanted = |part| args.only.is_none_or(|only| only == part);
    let fleet = wanted(Part::Fleet).then(|| runtime.block_on(fleet(&args)));
    let crowd = wanted(Part::Crowd).then(|| runtime.block_on(crowd::run(args.bullpen.clone(), sizes(&args))));
    if let Some(fleet) = &fleet {
        fleet.print();
    }
    if let Some(crowd) = &crowd {
        crowd.print();
    }
    if let Some(path) = &args.json {
        let figures = serde_json::json!({
            "fleet": fleet.as_ref().map(Report::json),
            "crowd": crowd.as_ref().map(CrowdReport::json),
        });
        std::fs::write(path, format!("{figures:#}\n")).expect("the file for the figures can be written");
    }
}

const fn sizes(args: &Args) -> Sizes {
    Sizes {
        members: args.members,
        launch_configs: args.launch_configs,
        waiting: args.waiting,
        namespaces: args.namespaces,
        ended: args.ended,
        seconds: args.crowd_seconds,
    }
}

async fn fleet(args: &Args) -> Report {
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
    report
}
