//! `bullpen simcloud`: the simulated cloud, until it is told to end.

use tokio::runtime::Runtime;

use super::CommandResult;
use super::signals::Signals;
use crate::simcloud::{self, SimcloudArgs};

pub(super) fn execute(args: &SimcloudArgs) -> CommandResult {
    let options = args.options()?;
    Runtime::new()?.block_on(async {
        // Before the address is told: whoever read it may send a signal.
        let mut signals = Signals::listen()?;
        let shutdown = async move { signals.next().await };
        let served = simcloud::run(args.listen, options, shutdown).await;
        served.map_err(|error| format!("cannot serve on {}: {error}", args.listen).into())
    })
}
