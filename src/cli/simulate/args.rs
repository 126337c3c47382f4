//! The arguments of `bullpen simulate`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use bullpen_simulate::{Bursts, number_within, read_start};
use clap::{ArgGroup, ValueEnum};
use jiff::Timestamp;

/// Most policies and sizes that are compared at once.
const MOST_SIZES: usize = 1_000;

/// Arguments of `bullpen simulate`.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("claims from").required(true).args(["trace", "prometheus", "poisson", "bursts"])))]
pub(in crate::cli) struct SimulateArgs {
    /// A pool's manifest in YAML or JSON, with its launch configs in the same file if they have limits. Repeat it to compare
    /// pools
    #[arg(long, value_name = "FILE", required = true)]
    pub pool: Vec<PathBuf>,
    /// Claims from a CSV file with the columns `arrival_ms` and `duration_ms`
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Claims from the saved answer of a Prometheus range query for a counter of claims; how long they hold machines is drawn
    #[arg(long, value_name = "FILE", requires = "hold_seconds")]
    pub prometheus: Option<PathBuf>,
    /// Claims that come independently of each other, so many an hour
    #[arg(long, value_name = "PER_HOUR", requires = "hold_seconds", value_parser = rate, allow_negative_numbers = true)]
    pub poisson: Option<f64>,
    /// Claims that come at a rate that changes: claims an hour in quiet times and in bursts, and how long both last in the mean
    #[arg(long, value_name = "QUIET,BURST,QUIET_SECONDS,BURST_SECONDS", requires = "hold_seconds", value_parser = load, allow_negative_numbers = true)]
    pub bursts: Option<Bursts>,
    /// How long claims hold their machines in the mean; the times are exponentially distributed. Not with --trace, which has them
    #[arg(long, value_name = "MEAN", value_parser = positive, allow_negative_numbers = true, conflicts_with = "trace")]
    pub hold_seconds: Option<f64>,
    /// When the trace begins, such as 2026-03-28T00:00:00Z: spec.schedules go by that [default: as --prometheus and a --trace in Unix
    /// time say, else 2026-01-01T00:00:00Z, a Thursday]
    #[arg(long, value_name = "RFC3339", value_parser = read_start, allow_negative_numbers = true)]
    pub starts_at: Option<Timestamp>,
    /// How many claims are drawn with --poisson and --bursts
    #[arg(long, value_name = "NUMBER", default_value_t = 100_000, conflicts_with_all = ["trace", "prometheus"], value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub claims: u32,
    /// Tries these sizes instead of the one of the file, such as targetSize=5..60, or targetSize=5..60:5 for every fifth. A pool with
    /// autosize of mode Auto is played without it at each size, and once as it is
    #[arg(long, value_name = "targetSize=FROM..TO[:STEP]", value_parser = sweep)]
    pub sweep: Option<Sweep>,
    /// Compares with a loop of so many seconds that knows no waiting claims, with the size that its usual rule gives: claims a
    /// minute times the minutes of a boot and an interval; and with those of --sweep
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub compare_loop: Option<u32>,
    /// Names the cheapest size with so many hits
    #[arg(long, value_name = "PERCENT", default_value_t = 99.0, value_parser = percent, allow_negative_numbers = true)]
    pub goal_percent: f64,
    /// Price of a machine for an hour: of all launch configs, or NAME=PRICE for each of them [default: hourlyPrice of the launch configs
    /// in the file]
    #[arg(long, value_name = "[NAME=]PRICE", value_parser = price, allow_negative_numbers = true)]
    pub hourly_price: Vec<Price>,
    /// Price of a stopped machine of the standby tier for an hour, that of its disks; with prices of the machines [default: not counted]
    #[arg(long, value_name = "PRICE", value_parser = amount, allow_negative_numbers = true)]
    pub stopped_hourly_price: Option<f64>,
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// How long a claim without a machine waits before it fails [default: for ever]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub wait_timeout_seconds: Option<u32>,
    /// How long the pool is there before the first claim
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(0..=604_800))]
    pub warm_up_seconds: u32,
    /// What everything drawn depends on: the same seed gives the same result
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// How many simulations run at the same time [default: as many as there are processors]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub threads: Option<u16>,
    /// How to show it
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT", default_value = "table")]
    pub output: Format,
    /// Draws it as well: cost against hits, and machines and waiting claims over time
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// The model of the cloud.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct CloudArgs {
    /// How long a machine takes to boot: the mean, or with --boot-p99-seconds the median [default: that of the launch configs'
    /// block simulated, else 90]
    #[arg(long, value_name = "SECONDS", value_parser = positive, allow_negative_numbers = true)]
    pub boot_seconds: Option<f64>,
    /// By how many percent a boot may be shorter or longer [default: that of the block simulated, else 20]
    #[arg(long, value_name = "PERCENT", value_parser = percent, allow_negative_numbers = true, conflicts_with = "boot_p99_seconds")]
    pub boot_jitter_percent: Option<f64>,
    /// 99 of 100 boots are shorter than this, and few very long (log-normal)
    #[arg(long, value_name = "SECONDS", value_parser = positive, allow_negative_numbers = true, requires = "boot_seconds")]
    pub boot_p99_seconds: Option<f64>,
    /// How long a call of the cloud takes: a create, terminate, reset, stop or start
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(0..=600_000))]
    pub call_milliseconds: u32,
    /// How long a machine bills after an accepted terminate
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(0..=3_600_000))]
    pub shutdown_milliseconds: u32,
    /// How long a machine takes from an accepted stop until it is stopped, for the standby tier
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=3_600))]
    pub stop_seconds: u32,
    /// How long a stopped machine takes to be ready again, in percent of a boot
    #[arg(long, value_name = "PERCENT", default_value_t = 82.0, value_parser = percent, allow_negative_numbers = true)]
    pub start_percent: f64,
    /// How long a hibernated machine takes to be ready again, in percent of a boot: a guess, so measure yours
    #[arg(long, value_name = "PERCENT", default_value_t = 50.0, value_parser = percent, allow_negative_numbers = true)]
    pub resume_percent: f64,
    /// Time between two lists of the machines, by which the operator learns that one is ready: 5000 for EC2, 200 for a simulated
    /// cloud
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    pub list_milliseconds: u32,
    /// One write to the API server
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub write_milliseconds: u32,
    /// Percent of the machines that never come up
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent, allow_negative_numbers = true)]
    pub failing_percent: f64,
    /// Percent of the creates, and of the starts, that find no capacity
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent, allow_negative_numbers = true)]
    pub lacking_percent: f64,
    /// How many machines are bought a second in the long run [default: as the operator does by the file's launch configs: 2 on EC2, 4
    /// on OpenStack, 200 at a simulated cloud; without launch configs no limit]
    #[arg(long, value_name = "NUMBER", value_parser = positive, allow_negative_numbers = true)]
    pub creates_per_second: Option<f64>,
    /// How many of them at once after a pause [default: likewise, 5, 8 and 200]
    #[arg(long, value_name = "NUMBER", requires = "creates_per_second", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub creates_at_once: Option<u32>,
    /// Most machines of the account [default: no limit]
    #[arg(long, value_name = "MACHINES")]
    pub quota: Option<u32>,
}

/// How the outcome is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    /// A row for each policy and size
    Table,
    /// One document, for a program
    Json,
    /// The same as YAML
    Yaml,
}

/// The sizes to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Sweep {
    range: RangeInclusive<i32>,
    step: usize,
}

impl Sweep {
    /// Each of them, the least first.
    pub fn sizes(&self) -> Vec<i32> {
        self.range.clone().step_by(self.step).collect()
    }
}

/// A price, of one launch config or of all.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Price {
    /// The launch config; `None`: all that have none of their own.
    pub launch_config: Option<String>,
    /// For an hour.
    pub amount: f64,
}

fn sweep(text: &str) -> Result<Sweep, String> {
    let wrong = || "give it as targetSize=FROM..TO, such as targetSize=5..60".to_owned();
    let (range, step) = match text.strip_prefix("targetSize=").ok_or_else(wrong)?.split_once(':') {
        Some((range, step)) => {
            (range, step.parse().ok().filter(|step| *step > 0).ok_or("the step is a number above 0")?)
        }
        None => (text.strip_prefix("targetSize=").ok_or_else(wrong)?, 1),
    };
    let (from, to) = range.split_once("..").ok_or_else(wrong)?;
    let (from, to): (i32, i32) = (from.parse().map_err(|_| wrong())?, to.parse().map_err(|_| wrong())?);
    if !(0..=10_000).contains(&from) || !(from..=10_000).contains(&to) {
        return Err("sizes are between 0 and 10000, the least first".to_owned());
    }
    let sweep = Sweep { range: from..=to, step };
    let count = sweep.sizes().len();
    if count > MOST_SIZES {
        Err(format!("has {count} sizes, and may have {MOST_SIZES}: add a step"))
    } else {
        Ok(sweep)
    }
}

fn price(text: &str) -> Result<Price, String> {
    let (launch_config, amount) = match text.split_once('=') {
        Some((name, amount)) => (Some(name.to_owned()), amount),
        None => (None, text),
    };
    Ok(Price { launch_config, amount: self::amount(amount)? })
}

fn amount(text: &str) -> Result<f64, String> {
    number_within(text, 0.0, 1e6)
}

fn load(text: &str) -> Result<Bursts, String> {
    let numbers: Vec<&str> = text.split(',').collect();
    let [quiet, burst, quiet_seconds, burst_seconds] = <[&str; 4]>::try_from(numbers)
        .map_err(|found| format!("has {} numbers: give QUIET,BURST,QUIET_SECONDS,BURST_SECONDS", found.len()))?;
    let load = Bursts {
        quiet: number_within(quiet, 0.0, 1e7)?,
        burst: number_within(burst, 0.0, 1e7)?,
        quiet_seconds: number_within(quiet_seconds, 1.0, 1e8)?,
        burst_seconds: number_within(burst_seconds, 1.0, 1e8)?,
    };
    if load.quiet + load.burst < 0.001 { Err("one of the rates must be above 0".to_owned()) } else { Ok(load) }
}

fn rate(text: &str) -> Result<f64, String> {
    number_within(text, 0.001, 1e7)
}

fn positive(text: &str) -> Result<f64, String> {
    number_within(text, 0.001, 1e7)
}

fn percent(text: &str) -> Result<f64, String> {
    number_within(text, 0.0, 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_to_try_are_read_with_their_step() {
        assert_eq!(sweep("targetSize=5..9").unwrap().sizes(), [5, 6, 7, 8, 9]);
        assert_eq!(sweep("targetSize=5..60:25").unwrap().sizes(), [5, 30, 55]);
        for wrong in
            ["5..9", "maxSize=5..9", "targetSize=9..5", "targetSize=5", "targetSize=1..2:0", "targetSize=-1..2"]
        {
            assert!(sweep(wrong).is_err(), "{wrong}");
        }
        assert!(sweep("targetSize=0..10000").unwrap_err().ends_with("add a step"));
    }

    #[test]
    fn prices_are_of_one_launch_config_or_of_all() {
        assert_eq!(price("0.096").unwrap(), Price { launch_config: None, amount: 0.096 });
        assert_eq!(price("a=2").unwrap(), Price { launch_config: Some("a".into()), amount: 2.0 });
        assert!(price("a=free").is_err() && price("-1").is_err() && price("NaN").is_err());
    }

    #[test]
    fn a_load_with_bursts_needs_all_of_its_numbers() {
        assert!((load("60,600,1200,300").unwrap().burst - 600.0).abs() < 1e-9);
        assert_eq!(load("60,600").unwrap_err(), "has 2 numbers: give QUIET,BURST,QUIET_SECONDS,BURST_SECONDS");
        assert!(load("0,0,10,10").is_err());
    }
}
