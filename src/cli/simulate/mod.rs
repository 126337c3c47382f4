//! `bullpen simulate`: plays recorded or drawn claims against a pool in simulated time.
//!
//! In: manifests, a trace and flags. Out: a table or JSON on standard output, and a drawing. Nothing is called or bought.

mod args;
mod cases;
mod files;
mod progress;

use std::io::Write as _;

use bullpen_access::shown;
use bullpen_simulate::{json, svg, table};

use self::args::Format;
pub(super) use self::args::SimulateArgs;
use super::{CommandResult, ExitWith};

/// Fewer claims tell little of hit rates.
const FEW: usize = 100;

/// The exit code if a file or flag cannot be used.
const UNUSABLE: u8 = 2;

pub(super) fn execute(args: &SimulateArgs) -> CommandResult {
    let cases = played(args).map_err(|why| {
        eprintln!("error: {}", shown::block(&why));
        ExitWith(UNUSABLE)
    })?;
    let text = match args.output {
        Format::Table => shown::block(&table(&cases, args.goal_percent)).to_string(),
        Format::Json => shown::json(&serde_json::to_string_pretty(&json(&cases, args.goal_percent))?).to_string(),
    };
    // First, because a file that cannot be written should not cost what took minutes.
    writeln!(std::io::stdout(), "{}", text.trim_end())?;
    if let Some(path) = &args.svg {
        std::fs::write(path, svg(&cases, args.goal_percent))
            .map_err(|error| format!("cannot write {} (--svg): {error}", path.display()))?;
    }
    Ok(())
}

fn played(args: &SimulateArgs) -> Result<Vec<bullpen_simulate::Case>, String> {
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
    let planned = cases::planned(args, &pools, &trace)?;
    cases::play(planned, &trace, args.threads)
}

#[cfg(test)]
mod tests;
