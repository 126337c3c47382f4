//! What the cloud's ledger tells of machines: when it showed that one is leaving, and what befell it.

use std::collections::HashMap;

use bullpen_simcloud::ledger::{Method, State, What};
use jiff::{SignedDuration, Timestamp};

use crate::checker::index::Index;

/// A list that shows a machine may fail with a later page. It is complete so soon.
const COMPLETE: SignedDuration = SignedDuration::from_secs(1);

/// By the ids of machines, in order of time.
#[derive(Debug, Default)]
pub(super) struct Known<'a> {
    leaving: HashMap<&'a str, Vec<Timestamp>>,
    strikes: HashMap<&'a str, Vec<(Timestamp, &'a str)>>,
    notices: HashMap<&'a str, Timestamp>,
    /// When a fault befell a call by which an operator learns of machines, or of the account.
    failed_reads: Vec<Timestamp>,
}

impl<'a> Known<'a> {
    pub(super) fn of(index: &Index<'a>) -> Self {
        let mut known = Self::default();
        for entry in &index.record.ledger {
            match &entry.what {
                What::Call(call) if matches!(call.method, Method::List | Method::Get) => {
                    for id in &call.leaving {
                        known.leaving.entry(id).or_default().push(entry.time);
                    }
                }
                What::Fault(fault) => match (fault.method, &fault.id) {
                    (Some(Method::List | Method::Get | Method::Identity), _) => known.failed_reads.push(entry.time),
                    (None, Some(id)) if fault.fault != "hidden" => {
                        known.strikes.entry(id).or_default().push((entry.time, &fault.fault));
                    }
                    _ => {}
                },
                What::Machine(event) if event.event == State::InterruptionNotice => {
                    known.notices.entry(&event.id).or_insert(entry.time);
                }
                _ => {}
            }
        }
        known
    }

    /// When the cloud showed an operator that this machine is leaving. Calls are left out that a fault befell, or that may
    /// have been part of a list that failed.
    pub(super) fn shown_leaving(&self, machine: &str) -> impl Iterator<Item = Timestamp> {
        let all = self.leaving.get(machine).into_iter().flatten().copied();
        all.filter(|at| !self.reads_fail(*at - COMPLETE, *at + COMPLETE))
    }

    /// Whether an operator may not have learnt in this span what the cloud shows.
    pub(super) fn reads_fail(&self, from: Timestamp, until: Timestamp) -> bool {
        let first = self.failed_reads.partition_point(|at| *at < from);
        self.failed_reads.get(first).is_some_and(|at| *at <= until)
    }

    /// Since when one of these faults has had the machine, until this moment at least. Each one ends the one before.
    pub(super) fn struck_since(&self, machine: &str, faults: &[&str], moment: Timestamp) -> Option<Timestamp> {
        let strikes = self.strikes.get(machine)?.iter().take_while(|(at, _)| *at <= moment);
        strikes.last().filter(|(_, fault)| faults.contains(fault)).map(|(at, _)| *at)
    }

    /// When the cloud announced to take the machine away.
    pub(super) fn announced(&self, machine: &str) -> Option<Timestamp> {
        self.notices.get(machine).copied()
    }
}
