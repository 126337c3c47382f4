//! The `bullpen-demo` command: shows everything at work on one machine.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use bullpen::cli::{CommandResult, Signals, exit_code};
use bullpen_devkit::demo::{self, Options};
use clap::Parser;
use tokio::runtime::Runtime;

/// Show a pool warming up and claims being served, on this machine
#[derive(Debug, Parser)]
#[command(name = "bullpen-demo", version)]
struct Cli {
    /// Leave after the walk; the exit code says whether everything was as it should be
    #[arg(long)]
    exit: bool,
    /// Play in the cluster of this kubeconfig, in a namespace that is removed at the end, instead of a control plane that
    /// the demo starts. Not beside an operator that watches all namespaces of that cluster
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
}

fn main() -> ExitCode {
    exit_code(&show(Cli::parse()))
}

fn show(cli: Cli) -> CommandResult {
    let options = Options { exit: cli.exit, kubeconfig: cli.kubeconfig };
    Runtime::new()?.block_on(async {
        let mut signals = Signals::listen()?;
        Ok(demo::run(&options, async || signals.next().await).await?)
    })
}
