//! `bullpen demo`: everything at work on one machine.

use std::path::PathBuf;

use tokio::runtime::Runtime;

use super::CommandResult;
use super::signals::Signals;
use crate::demo::{self, Options};

/// Arguments of `bullpen demo`.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// Leave after the walk; the exit code says whether everything was as it should be
    #[arg(long)]
    exit: bool,
    /// Play in the cluster of this kubeconfig, in a namespace that is removed at the end, instead of a control plane that
    /// the demo starts. Not beside an operator that watches all namespaces of that cluster
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
}

pub(super) fn execute(args: DemoArgs) -> CommandResult {
    let options = Options { exit: args.exit, kubeconfig: args.kubeconfig };
    Runtime::new()?.block_on(async {
        let mut signals = Signals::listen()?;
        Ok(demo::run(&options, async || signals.next().await).await?)
    })
}
