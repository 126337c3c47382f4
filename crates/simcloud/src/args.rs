//! The command line of `bullpen-simcloud`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::faults::FaultSet;
use super::{AgentOptions, Options, ProgramOptions};

/// A simulated cloud: machines that boot, run and end, and a ledger of all that happened. Nothing outlives the process.
#[derive(Clone, Debug, clap::Args)]
pub struct SimcloudArgs {
    /// Where to listen; with port 0 a free one is taken. The address is printed
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
    /// The name of the cloud's account
    #[arg(long, default_value = "sim-1", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub account: String,
    /// What goes wrong from the start, as YAML or JSON; see docs/use/simcloud.md
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// With the same seed and the same calls, ids, boot times and faults come out the same [default: drawn; the
    /// ledger's first line tells it]
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long a machine takes from an accepted terminate to terminated
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub shutdown_milliseconds: u32,
    /// How long a machine takes from an accepted reset until it runs from its image anew
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub reset_milliseconds: u32,
    /// How long a machine takes from an accepted stop until it is stopped
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub stop_milliseconds: u32,
    /// How long a stopped machine takes from an accepted start until it runs
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub start_milliseconds: u32,
    /// How long a hibernated machine takes from an accepted start until it runs
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub resume_milliseconds: u32,
    /// How long the status checks take once a machine runs
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub status_check_milliseconds: u32,
    /// How long a terminated machine is still shown
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub terminated_visible_seconds: u32,
    /// How long a machine that runs takes until it calls the URLs that Bullpen has put into its user data
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub phone_home_milliseconds: u32,
    /// Time between two heartbeats of a machine that runs, if its user data has a URL for them; 0: it sends none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub heartbeat_milliseconds: u32,
    /// Each machine listens on this port of its address and answers HTTP requests; without it, nothing runs on the
    /// machines
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub agent_port: Option<u16>,
    /// How long a machine that runs takes until it listens
    #[arg(long, value_name = "N", default_value_t = 0, requires = "agent_port")]
    pub agent_start_milliseconds: u32,
    /// Run this program as each machine, from each of its boots on; see docs/use/simcloud.md. Whoever reaches the cloud runs it
    #[arg(long, value_name = "PROGRAM", requires = "machine_folder", conflicts_with = "agent_port")]
    pub machine_program: Option<PathBuf>,
    /// Where machines that are programs have their disks, each in a folder that is removed with it
    #[arg(long, value_name = "FOLDER", requires = "machine_program")]
    pub machine_folder: Option<PathBuf>,
}

impl SimcloudArgs {
    /// The options of the cloud.
    ///
    /// # Errors
    /// When the file of faults cannot be read or is invalid; the message names it.
    pub fn options(&self) -> Result<Options, String> {
        let drawn = Options::default();
        let faults = self.faults.as_deref().map_or(Ok(FaultSet::default()), read)?;
        Ok(Options {
            account: self.account.clone(),
            seed: self.seed.unwrap_or(drawn.seed),
            shutdown: Duration::from_millis(self.shutdown_milliseconds.into()),
            reset: Duration::from_millis(self.reset_milliseconds.into()),
            stop: Duration::from_millis(self.stop_milliseconds.into()),
            start: Duration::from_millis(self.start_milliseconds.into()),
            resume: Duration::from_millis(self.resume_milliseconds.into()),
            status_check: Duration::from_millis(self.status_check_milliseconds.into()),
            terminated_visible: Duration::from_secs(self.terminated_visible_seconds.into()),
            faults,
            phone_home: Duration::from_millis(self.phone_home_milliseconds.into()),
            heartbeat: (self.heartbeat_milliseconds > 0)
                .then(|| Duration::from_millis(self.heartbeat_milliseconds.into())),
            agent: self
                .agent_port
                .map(|port| AgentOptions { port, start: Duration::from_millis(self.agent_start_milliseconds.into()) }),
            program: self.machine_program.clone().zip(self.machine_folder.clone()).map(absolute).transpose()?,
        })
    }
}

/// The programs are started in other folders than this one.
fn absolute((program, folder): (PathBuf, PathBuf)) -> Result<ProgramOptions, String> {
    let found = |option: &str, path: &Path| {
        path.canonicalize().map_err(|error| format!("{option}: cannot find {}: {error}", path.display()))
    };
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("--machine-folder: cannot make {}: {error}", folder.display()))?;
    Ok(ProgramOptions { program: found("--machine-program", &program)?, folder: found("--machine-folder", &folder)? })
}

fn read(path: &Path) -> Result<FaultSet, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    FaultSet::from_yaml(&text).map_err(|refusal| format!("{}: {}", path.display(), refusal.message))
}
