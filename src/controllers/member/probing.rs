//! What this process knows of the readiness probes of a machine. A crash may lose it all: the machine is probed anew.

use bullpen_plan::member::readiness::Probed;
use jiff::Timestamp;

/// The state of probing a machine.
#[derive(Clone, Debug)]
pub struct Probing {
    /// A probe is under way.
    pub busy: bool,
    /// The last one that ended. Boxed, because most machines are ready and have no use for it.
    pub last: Option<Box<Probed>>,
    /// When the status was last updated with what is waited for.
    pub reported_at: Option<Timestamp>,
    /// Since when the machine was seen to run, if its cloud does not tell when it booted.
    pub running_since: Option<Timestamp>,
}

impl Probing {
    /// No probe yet.
    pub const fn new() -> Self {
        Self { busy: false, last: None, reported_at: None, running_since: None }
    }

    /// Since when the machine runs, by its status or by the first time that it was seen to.
    pub fn runs_since(&mut self, recorded: Option<Timestamp>, seen: Timestamp) -> Timestamp {
        *self.running_since.get_or_insert(recorded.unwrap_or(seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_that_the_cloud_does_not_tell_is_dated_once_by_the_status_or_by_what_was_seen_first() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut new = Probing::new();
        assert_eq!(new.runs_since(None, at(50)), at(50));
        assert_eq!(new.runs_since(None, at(60)), at(50), "it has not booted again");
        let mut after_a_restart = Probing::new();
        assert_eq!(after_a_restart.runs_since(Some(at(50)), at(90)), at(50));
    }
}
