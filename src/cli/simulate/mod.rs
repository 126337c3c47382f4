//! `bullpen simulate`: plays recorded or drawn claims against a pool in simulated time.
//!
//! In: manifests, a trace and flags. Out: a table or JSON on standard output, and a drawing. Nothing is called or bought.

mod args;
mod assumed;
mod cases;
mod files;
mod progress;

use std::io::Write as _;

use bullpen_access::shown;
use bullpen_simulate::{Case, json, svg, table};

use self::args::Format;
pub(super) use self::args::SimulateArgs;
use self::assumed::{Assumed, assumed};
use super::{CommandResult, ExitWith};

/// Fewer claims tell little of hit rates.
const FEW: usize = 100;

/// The exit code if a file or flag cannot be used.
const UNUSABLE: u8 = 2;

pub(super) fn execute(args: &SimulateArgs) -> CommandResult {
    let (cases, assumed) = played(args).map_err(|why| {
        eprintln!("error: {}", shown::block(&why));
        ExitWith(UNUSABLE)
    })?;
    let text = text(args, &cases, &assumed)?;
    // First, because a file that cannot be written should not cost what took minutes.
    writeln!(std::io::stdout(), "{}", text.trim_end())?;
    if let Some(path) = &args.svg {
        std::fs::write(path, svg(&cases, args.goal_percent))
            .map_err(|error| format!("cannot write {} (--svg): {error}", path.display()))?;
    }
    Ok(())
}

fn text(
    args: &SimulateArgs,
    cases: &[Case],
    assumed: &[Assumed],
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    if args.output == Format::Table {
        let table = format!("{}\n{}", table(cases, args.goal_percent), assumed::lines(assumed));
        return Ok(shown::block(&table).to_string());
    }
    let mut document = json(cases, args.goal_percent);
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

/// What came of all that the flags ask for, and what was assumed.
fn played(args: &SimulateArgs) -> Result<(Vec<Case>, Vec<Assumed>), String> {
    let trace = files::trace(args)?;
    let pools = args.pool.iter().map(|path| files::pool(path)).collect::<Result<Vec<_>, _>>()?;
    for pool in &pools {
        for note in pool.left_out(args.stopped_hourly_price.is_some()) {
            eprintln!("note: {}", shown::block(&note));
        }
    }
    if trace.len() < FEW {
        let one = 100 / trace.len().max(1);
        eprintln!("note: {} claims are few: one of them is {one} % of the hits", trace.len());
    }
    for note in cases::notes(args, &pools) {
        eprintln!("note: {}", shown::block(&note));
    }
    let planned = cases::planned(args, &pools, &trace)?;
    let cases = cases::play(planned, &trace, args.threads)?;
    let mut assumed = assumed(args, &pools);
    if cases.iter().all(|case| case.cost.is_none()) {
        assumed.insert(0, assumed::unpriced());
    }
    Ok((cases, assumed))
}

#[cfg(test)]
mod tests;
