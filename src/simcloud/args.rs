//! The command line of `bullpen simcloud`.

use std::net::SocketAddr;
use std::time::Duration;

use super::Options;

/// A simulated cloud: machines that boot, run and end, and a ledger of all that happened. Nothing outlives the process.
#[derive(Clone, Debug, clap::Args)]
pub struct SimcloudArgs {
    /// Where to listen; with port 0 a free one is taken. The address is printed
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
    /// The name of the cloud's only account
    #[arg(long, default_value = "sim-1", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub account: String,
    /// With the same seed and the same calls, ids and boot times come out the same [default: drawn; the ledger's first
    /// line tells it]
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long a machine takes from an accepted terminate to terminated
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub shutdown_milliseconds: u32,
    /// How long the status checks take once a machine runs
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub status_check_milliseconds: u32,
    /// How long a terminated machine is still shown
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub terminated_visible_seconds: u32,
}

impl From<&SimcloudArgs> for Options {
    fn from(args: &SimcloudArgs) -> Self {
        let drawn = Self::default();
        Self {
            account: args.account.clone(),
            seed: args.seed.unwrap_or(drawn.seed),
            shutdown: Duration::from_millis(args.shutdown_milliseconds.into()),
            status_check: Duration::from_millis(args.status_check_milliseconds.into()),
            terminated_visible: Duration::from_secs(args.terminated_visible_seconds.into()),
        }
    }
}
