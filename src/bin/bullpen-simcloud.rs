//! The `bullpen-simcloud` command: a simulated cloud to try pools against, until it gets a signal.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use bullpen::cli::{CommandResult, Signals, exit_code};
use bullpen_simcloud::SimcloudArgs;
use clap::Parser;
use tokio::runtime::Runtime;

/// The same allocator as the operator's, for the same reason.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Run a simulated cloud to try pools against
#[derive(Debug, Parser)]
#[command(name = "bullpen-simcloud", version)]
struct Cli {
    #[command(flatten)]
    args: SimcloudArgs,
}

fn main() -> ExitCode {
    exit_code(&serve(&Cli::parse().args))
}

fn serve(args: &SimcloudArgs) -> CommandResult {
    let options = args.options()?;
    Runtime::new()?.block_on(async {
        // Listen before the address is printed, because whoever reads it may send a signal.
        let mut signals = Signals::listen()?;
        let shutdown = async move { signals.next().await };
        let served = bullpen_simcloud::run(args.listen, options, shutdown).await;
        served.map_err(|error| format!("cannot serve on {}: {error}", args.listen).into())
    })
}
