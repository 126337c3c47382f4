//! How the cloud behaves.

use std::path::PathBuf;
use std::time::Duration;

use super::faults;

/// How the cloud behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The name of its account.
    pub account: String,
    /// The same seed and the same calls give the same ids and boot times.
    pub seed: u64,
    /// Time from an accepted terminate to terminated.
    pub shutdown: Duration,
    /// Time from an accepted reset until the machine runs from its image anew.
    pub reset: Duration,
    /// Time from an accepted stop until the machine is stopped.
    pub stop: Duration,
    /// Time from an accepted start until the machine runs.
    pub start: Duration,
    /// The same for one that was hibernated.
    pub resume: Duration,
    /// Time from running to passed status checks.
    pub status_check: Duration,
    /// How long a terminated machine is still returned by calls.
    pub terminated_visible: Duration,
    /// The faults that are active from the start.
    pub faults: faults::FaultSet,
    /// Time from running until a machine calls what its user data says.
    pub phone_home: Duration,
    /// Time between two heartbeats of a machine whose user data has a URL for them; `None`: it sends none.
    pub heartbeat: Option<Duration>,
    /// What runs on its machines; `None`: nothing.
    pub agent: Option<AgentOptions>,
    /// What is run as the machines; `None`: they are simulated.
    pub program: Option<ProgramOptions>,
}

/// What runs on a machine: an HTTP server at the machine's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentOptions {
    /// The port that it listens on.
    pub port: u16,
    /// Time from running until it listens.
    pub start: Duration,
}

/// A program that is a machine's system, from each boot to the next stop, reset or end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramOptions {
    /// Started without arguments, in the folder of the machine's disk. It has to end when its standard input ends.
    pub program: PathBuf,
    /// Where the folders of the disks are.
    pub folder: PathBuf,
}

impl Default for Options {
    /// The defaults of the command line. The seed is random: with a fixed one, a restarted cloud would give its
    /// machines the ids of old ones, and a client that remembers an old id would terminate the wrong machine.
    fn default() -> Self {
        Self {
            account: "sim-1".to_owned(),
            seed: rand::random::<u32>().into(),
            shutdown: Duration::from_millis(500),
            reset: Duration::from_millis(300),
            stop: Duration::from_millis(500),
            start: Duration::from_secs(1),
            resume: Duration::from_millis(500),
            status_check: Duration::ZERO,
            terminated_visible: Duration::from_mins(1),
            faults: faults::FaultSet::default(),
            phone_home: Duration::ZERO,
            heartbeat: None,
            agent: None,
            program: None,
        }
    }
}
