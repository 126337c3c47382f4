//! `bullpen simulate`: plays recorded or drawn claims against a pool in simulated time.
//!
//! In: manifests, a trace and flags. Out: a table or JSON on standard output, and a drawing. Nothing is called or bought.

mod args;
mod assumed;
mod cases;
mod files;
mod progress;

use std::io::Write as _;
use std::path::Path;

use bullpen_access::shown;
use bullpen_simulate::{Case, STARTS_AT, Trace, json, svg, table};
use jiff::Timestamp;

use self::args::Format;
pub(super) use self::args::SimulateArgs;
use self::assumed::{Assumed, assumed};
use super::{CommandResult, ExitWith, say, say_error};

/// Fewer claims tell little of hit rates.
const FEW: usize = 100;

/// The exit code if a file or flag cannot be used.
const UNUSABLE: u8 = 2;

/// What came of all that the flags ask for.
#[derive(Debug)]
struct Played {
    cases: Vec<Case>,
    /// When the trace begins.
    starts_at: Timestamp,
    assumed: Vec<Assumed>,
}

pub(super) fn execute(args: &SimulateArgs) -> CommandResult {
    let played = played(args).map_err(|why| {
        say_error(&why);
        ExitWith(UNUSABLE)
    })?;
    let text = text(args, &played)?;
    // First, because a drawing that cannot be written should not cost what took minutes.
    writeln!(std::io::stdout(), "{}", text.trim_end())?;
    if let Some(path) = &args.svg {
        std::fs::write(path, svg(&played.cases, args.goal_percent))
            .map_err(|error| format!("cannot write {} (--svg): {error}", path.display()))?;
    }
    Ok(())
}

fn text(args: &SimulateArgs, played: &Played) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let Played { cases, starts_at, assumed } = played;
    if args.output == Format::Table {
        let table = format!("{}\n{}", table(cases, args.goal_percent), assumed::lines(assumed));
        return Ok(shown::block(&table).to_string());
    }
    let mut document = json(cases, args.goal_percent);
    document["startsAt"] = serde_json::to_value(starts_at)?;
    document["assumed"] = serde_json::to_value(assumed)?;
    if args.output == Format::Yaml {
        let yaml = serde_saphyr::to_string(&document)?;
        // Plain scalars have no escapes. JSON has, and is YAML too.
        if !yaml.chars().any(|sign| sign != '\n' && shown::is_hidden(sign)) {
            return Ok(yaml);
        }
    }
    Ok(shown::json(&serde_json::to_string_pretty(&document)?).to_string())
}

fn played(args: &SimulateArgs) -> Result<Played, String> {
    let folder = args.svg.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(format!("--svg: there is no folder {}: make it first", folder.display()));
    }
    let Trace { arrivals: trace, starts_at: recorded } = files::trace(args)?;
    let says_start = args.starts_at.or(recorded);
    let starts_at = says_start.unwrap_or(STARTS_AT);
    let pools = args.pool.iter().map(|path| files::pool(path)).collect::<Result<Vec<_>, _>>()?;
    for pool in &pools {
        for note in pool.left_out(args.stopped_hourly_price.is_some()) {
            say(&format!("note: {}", shown::block(&note)));
        }
    }
    if trace.len() < FEW {
        let one = 100 / trace.len().max(1);
        say(&format!("note: {} claims are few: one of them is {one} % of the hits", trace.len()));
    }
    for note in cases::notes(args, &pools) {
        say(&format!("note: {}", shown::block(&note)));
    }
    let planned = cases::planned(args, &pools, &trace, starts_at)?;
    let cases = cases::play(planned, &trace, args.threads)?;
    let mut assumed = assumed(args, &pools);
    if says_start.is_none() && pools.iter().any(|pool| !pool.spec.schedules.is_empty()) {
        assumed.insert(0, assumed::start());
    }
    if cases.iter().all(|case| case.cost.is_none()) {
        assumed.insert(0, assumed::unpriced());
    }
    Ok(Played { cases, starts_at, assumed })
}

#[cfg(test)]
mod tests;
