//! `kubectl bullpen advise`: what a pool would have cost and missed at other sizes, played with the operator's own plans.
//!
//! This file reads the cluster and files. `known` makes of that what is played, `sizes` plays it, and `report` says what came of
//! it, all three without I/O.

#![expect(clippy::cast_precision_loss, reason = "times and counts of a trace are far below 2^52")]

mod known;
mod report;
mod sizes;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use bullpen_api::{InstancePool, LABEL_POOL, PoolClaim, PoolMember};
use bullpen_simulate::{MOST_OF_TRACE, number_within, read_bounded, read_start};
use jiff::Timestamp;
use kube::api::ListParams;

use self::known::{Given, Recorded};
use super::shared::failure::Failure;
use super::shared::printing;
use super::shared::session::{Output, Session};

/// From so many claims on it takes long enough to say so.
const MANY: usize = 10_000;

/// Arguments of `advise`.
#[derive(Debug, clap::Args)]
pub(super) struct AdviseArgs {
    /// The pool, also as pool/NAME
    pool: String,
    /// Claims from a CSV file with the columns `arrival_ms` and `duration_ms` [default: what autosize has learnt of the last week]
    #[arg(long, value_name = "FILE", conflicts_with = "prometheus")]
    trace: Option<PathBuf>,
    /// Claims from the saved answer of a Prometheus range query for `bullpen_claim_bind_duration_seconds_count`
    #[arg(long, value_name = "FILE")]
    prometheus: Option<PathBuf>,
    /// When the claims of --trace begin, such as 2026-03-28T00:00:00Z: spec.schedules go by that [default: as a trace in Unix time says,
    /// else 2026-01-01T00:00:00Z, a Thursday]
    #[arg(long, value_name = "RFC3339", value_parser = read_start, allow_negative_numbers = true, requires = "trace")]
    starts_at: Option<Timestamp>,
    /// How long claims hold their machines in the mean; not with --trace, which says it [default: as the claims show that are there]
    #[arg(long, value_name = "SECONDS", value_parser = positive, allow_negative_numbers = true, conflicts_with = "trace")]
    hold_seconds: Option<f64>,
    /// How long machines take to be ready, in the mean [default: as those of the pool took]
    #[arg(long, value_name = "SECONDS", value_parser = positive, allow_negative_numbers = true)]
    boot_seconds: Option<f64>,
    /// How many percent of the claims should find a ready machine [default: that of spec.autosize, else 99]
    #[arg(long, value_name = "PERCENT", value_parser = percent, allow_negative_numbers = true)]
    hit_rate_percent: Option<f64>,
    /// Price of a machine for an hour, whatever its launch config [default: hourlyPrice of the launch configs]
    #[arg(long, value_name = "PRICE", value_parser = price, allow_negative_numbers = true)]
    hourly_price: Option<f64>,
    /// Output format [default: a table, and what to do next]
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

/// How it is shown to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One document
    Json,
    /// The same as YAML
    Yaml,
}

pub(super) async fn execute(args: &AdviseArgs, session: &Session) -> Result<(), Failure> {
    let name = args.pool.strip_prefix("pool/").unwrap_or(&args.pool);
    let pool = session.api::<InstancePool>().get(name).await?;
    let recorded = match (&args.trace, &args.prometheus) {
        (Some(path), _) => Recorded::Trace { file: path.display().to_string(), text: text(path, "--trace")? },
        (_, Some(path)) => Recorded::Prometheus { file: path.display().to_string(), text: text(path, "--prometheus")? },
        _ => Recorded::Learnt,
    };
    let mut launch_configs = Vec::new();
    for entry in &pool.spec.launch_configs {
        launch_configs.extend(session.api().get_opt(&entry.name).await?);
    }
    // Without the permission to read them, less is known, and said.
    let of_pool = ListParams::default().labels(&format!("{LABEL_POOL}={name}"));
    let nothing = ListParams::default();
    let (members, claims) =
        tokio::join!(session.list::<PoolMember>(false, &of_pool), session.list::<PoolClaim>(false, &nothing));
    let given = Given {
        pool,
        launch_configs,
        members: members.unwrap_or_default(),
        claims: claims.unwrap_or_default(),
        recorded,
        starts_at: args.starts_at,
        hold_seconds: args.hold_seconds,
        boot_seconds: args.boot_seconds,
        goal_percent: args.hit_rate_percent,
        hourly_price: args.hourly_price,
        now: Timestamp::now(),
    };
    let known = known::known(given).map_err(|why| Failure::other(format!("pool {name}: {why}")))?;
    if known.claims.len() >= MANY {
        print_err!("playing {} claims at some twenty sizes, which takes a while", known.claims.len());
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let played = tokio::task::spawn_blocking(move || sizes::play(&known, threads).map(|played| (known, played)));
    let played = played.await.map_err(|error| Failure::other(error.to_string()))?;
    let (known, played) = played.map_err(|why| Failure::other(format!("pool {name}: {why}")))?;
    let text = match args.output {
        None => report::text(&known, &played),
        Some(Format::Json) => printing::structured(&report::document(&known, &played), Output::Json)?,
        Some(Format::Yaml) => printing::structured(&report::document(&known, &played), Output::Yaml)?,
    };
    printing::block(&text);
    Ok(())
}

fn text(path: &Path, flag: &str) -> Result<String, Failure> {
    let read = std::fs::File::open(path).and_then(|file| read_bounded(file, MOST_OF_TRACE));
    read.map_err(|error| Failure::other(format!("cannot read {} ({flag}): {error}", path.display())))
}

fn positive(text: &str) -> Result<f64, String> {
    number_within(text, 0.1, 1e7)
}

fn percent(text: &str) -> Result<f64, String> {
    number_within(text, 1.0, 99.0)
}

fn price(text: &str) -> Result<f64, String> {
    number_within(text, 0.0, 1e6)
}
