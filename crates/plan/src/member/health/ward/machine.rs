//! What is known of one machine.

use jiff::Timestamp;

use crate::member::health::{Rules, Sign, Vitals};

/// A machine that is watched.
#[derive(Debug)]
pub(super) struct Machine<K> {
    pub(super) member: K,
    pub(super) pool: K,
    pub(super) sign: Sign,
    pub(super) claimed: bool,
    pub(super) uses: i32,
    pub(super) vitals: Vitals,
    /// Since when the member is ready, which the machine has had its part in.
    pub(super) ready_since: Option<Timestamp>,
    /// Since when its heartbeats are waited for.
    pub(super) awaited_since: Timestamp,
    /// When the next probe is due, or the next look whether a heartbeat came; `None` while a probe is under way.
    pub(super) due: Option<Timestamp>,
    /// How many probes were begun.
    pub(super) probes: u32,
}

impl<K> Machine<K> {
    /// What is wrong with it, since its first strike.
    pub(super) fn trouble(&self, since: Timestamp, rules: &Rules) -> String {
        let (strikes, vitals) = (self.vitals.strikes, &self.vitals);
        match &self.sign {
            Sign::Answer(target) => format!(
                "no health probe has succeeded since {since:.0}, {strikes} in a row: whether {target}; last: {}",
                vitals.error.as_deref().unwrap_or("unknown")
            ),
            Sign::Heartbeat => {
                let last =
                    vitals.answered_at.map_or_else(|| "none since the operator leads".into(), |at| format!("{at:.0}"));
                format!(
                    "no heartbeat came for {strikes} periods of {} s in a row; last: {last}",
                    rules.period.as_secs()
                )
            }
        }
    }
}
