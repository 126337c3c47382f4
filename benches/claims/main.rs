//! `make bench`: the claim path on a real API server, beside a bare client that only writes
//! (`docs/develop/benchmarks.md` has the bars).
//!
//! Everything runs on this machine and shares its cores: etcd, kube-apiserver, the operator, the simulated cloud and
//! this program, which makes the claims. So figures of different machines, or of different load, are not to be
//! compared; the ratios are taken from parts that follow each other in one run. Figures go to standard output as a
//! table and, with `--json FILE`, as JSON.

mod assignment;
mod bare;
mod burst;
mod ceiling;
mod contention;
mod cost;
mod numbers;
mod pairing;
mod report;
mod seen;
mod stage;
mod steady;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bullpen::cluster::api_health::ApiHealth;
use bullpen::cluster::client::clients;
use bullpen::telemetry::Metrics;
use bullpen_access::Access;
use bullpen_bench_common::ground::Ground;
use clap::{Parser, ValueEnum};
use kube::Client;
use serde_json::{Value, json};

use contention::Crowd;
use cost::Size;
use report::Report;
use steady::Load;

/// Parts of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Processor time of the API server for each write, with and without the definitions' rules
    Cost,
    /// How many writes the API server takes from a bare client
    Ceiling,
    /// Many claims at once
    Burst,
    /// What the operator itself takes to pair a claim
    Pairing,
    /// How soon a machine learns which claim has it
    Assignment,
    /// Claims at a steady rate
    Steady,
    /// More claims than machines, and a failover
    Contention,
}

/// What to measure.
#[derive(Debug, Parser)]
struct Args {
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Smaller sizes and shorter times, for a first look: under two minutes
    #[arg(long)]
    quick: bool,
    /// Claims of each burst [default: 500,2000; quick: 300]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(10..=5_000))]
    burst: Vec<u32>,
    /// Rates of the steady load, claims a second [default: 45,100; quick: 45]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=500))]
    rates: Vec<u32>,
    /// Seconds of each steady load [default: 60; quick: 15]
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: Option<u32>,
    /// Claims on a tenth as many machines [default: 1000; quick: 200]
    #[arg(long, value_parser = clap::value_parser!(u32).range(20..=5_000))]
    crowd: Option<u32>,
    /// Another build of bullpen to measure, to compare two
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_bullpen"))]
    bullpen: PathBuf,
    /// End with an error if a figure misses its bar
    #[arg(long)]
    check: bool,
    /// Where to write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Given by `cargo bench`; means nothing here
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn or<T: Clone>(&self, given: &[T], full: &[T], quick: &[T]) -> Vec<T> {
        match (given.is_empty(), self.quick) {
            (false, _) => given.to_vec(),
            (true, false) => full.to_vec(),
            (true, true) => quick.to_vec(),
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let missed = runtime.block_on(run(&args));
    if args.check && !missed.is_empty() {
        eprintln!("missed: {}", missed.join("; "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Returns the figures that missed their bar.
async fn run(args: &Args) -> Vec<String> {
    let (mut report, began) = (Report::default(), Instant::now());
    println!("starting a control plane");
    // Machines terminate at once, so that terminations do not affect the figures.
    let cloud = ["--shutdown-milliseconds", "100", "--terminated-visible-seconds", "1"];
    let ground = Ground::start(args.bullpen.clone(), Path::new(env!("CARGO_BIN_EXE_bullpen-simcloud")), &cloud).await;
    let machine = machine(&ground);
    report.line("machine", &machine.to_string());
    // Users and the bare client write the way that the operator does; the ceiling also tries the other one.
    let many = ground.client();
    let access = Access::direct(ground.client_config()).expect("it needs nothing special");
    let one = clients(&access, &ApiHealth::new(Metrics::new())).expect("clients").direct;
    if args.has(Part::Cost) {
        let size = if args.quick {
            Size { rounds: 8, cycles: 50, served: 0 }
        } else {
            Size { rounds: 24, cycles: 50, served: 300 }
        };
        cost::run(&ground, &one, size, &mut report).await;
    }
    if args.has(Part::Ceiling) {
        let workers = args.or(&[], &[1, 4, 8, 16, 32], &[1, 8, 32]);
        let each = Duration::from_secs(if args.quick { 2 } else { 5 });
        let both: [(&str, Client); 2] = [("HTTP/1.1", many), ("HTTP/2", one.clone())];
        let protocols = if args.quick { &both[1..] } else { &both[..] };
        ceiling::run(&ground, protocols, &workers, each, &mut report).await;
    }
    if args.has(Part::Burst) {
        for claims in args.or(&args.burst, &[500, 2_000], &[300]) {
            let workers = args.or(&[], &[8, 16, 32], &[16]);
            burst::run(&ground, &one, claims, &workers, &mut report).await;
        }
    }
    if args.has(Part::Pairing) {
        let (each, seconds) = if args.quick { (3, 15) } else { (10, 60) };
        let seconds = args.seconds.unwrap_or(seconds);
        pairing::run(&ground, &one, Duration::from_secs(each), seconds, &mut report).await;
    }
    if args.has(Part::Assignment) {
        let (each, seconds) = if args.quick { (3, 15) } else { (10, 60) };
        let seconds = args.seconds.unwrap_or(seconds);
        assignment::run(&ground, &one, Duration::from_secs(each), seconds, &mut report).await;
    }
    if args.has(Part::Steady) {
        let seconds = args.seconds.unwrap_or(if args.quick { 15 } else { 60 });
        for rate in args.or(&args.rates, &[45, 100], &[45]) {
            steady::run(&ground, &one, Load { rate, seconds }, &mut report).await;
        }
    }
    if args.has(Part::Contention) {
        let claims = args.crowd.unwrap_or(if args.quick { 200 } else { 1_000 });
        let crowd = Crowd { claims: claims as usize, members: claims / 10 };
        contention::run(&ground, &one, crowd, &mut report).await;
    }
    report.line("\n  took", &format!("{:.0} s", began.elapsed().as_secs_f64()));
    if let Some(path) = &args.json {
        std::fs::write(path, report.json(&machine)).expect("the file for the figures can be written");
    }
    report.missed().to_vec()
}

/// What the figures are of.
fn machine(ground: &Ground) -> Value {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let first = |text: &str, name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim_matches([':', ' ', '\t']).to_owned())
    };
    json!({
        "date": jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "processor": first(&text("/proc/cpuinfo"), "model name"),
        "memory": first(&text("/proc/meminfo"), "MemTotal"),
        "load": text("/proc/loadavg").split(' ').next().map(str::to_owned),
        "fsync": ground.has_fsync(),
    })
}
