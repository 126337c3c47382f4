//! `bullpen simcloud`: the simulated cloud, until it is told to end.

use tokio::runtime::Runtime;

use super::CommandResult;
use super::signals::Signals;
use crate::simcloud::{self, SimcloudArgs};

pub(super) fn execute(args: &SimcloudArgs) -> CommandResult {
    Runtime::new()?.block_on(async {
        // Before the address is told: whoever read it may send a signal.
        let mut signals = Signals::listen()?;
        let shutdown = async move { signals.next().await };
        simcloud::run(args, shutdown).await.map_err(|error| format!("cannot serve on {}: {error}", args.listen).into())
    })
}
