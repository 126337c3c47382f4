//! How the cloud behaves.

use std::time::Duration;

use super::faults;

/// How the cloud behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The name of its account.
    pub account: String,
    /// With the same seed and the same calls, ids and boot times come out the same.
    pub seed: u64,
    /// From an accepted terminate to terminated.
    pub shutdown: Duration,
    /// From running to status checks passed.
    pub status_check: Duration,
    /// How long a terminated machine is still shown.
    pub terminated_visible: Duration,
    /// What goes wrong from the start.
    pub faults: faults::FaultSet,
}

impl Default for Options {
    /// The defaults of the command line. The seed is drawn: with a fixed one, a cloud that was started again would give
    /// its machines the ids of old ones, and whoever remembers an old id would terminate a stranger's machine.
    fn default() -> Self {
        Self {
            account: "sim-1".to_owned(),
            seed: rand::random::<u32>().into(),
            shutdown: Duration::from_millis(500),
            status_check: Duration::ZERO,
            terminated_visible: Duration::from_mins(1),
            faults: faults::FaultSet::default(),
        }
    }
}
