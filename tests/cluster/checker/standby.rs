//! Checks that the operator stops no machine of a claim, and gives no claim a machine that it has stopped.

use std::collections::BTreeMap;

use bullpen_simcloud::ledger::{State, What};
use jiff::Timestamp;

use super::index::{Index, Track, holder, report};
use super::{Promise, Violation, machines};

/// For each machine, from when a stop was accepted until it ran again, or was being ended.
type Stops<'a> = BTreeMap<&'a str, Vec<(Timestamp, Timestamp)>>;

/// Claims have machines that run.
pub(super) fn stops_no_machine_of_a_claim(index: &Index<'_>, found: &mut Vec<Violation>) {
    for (id, spans) in stops(index) {
        let Some(machine) = index.machines.get(id) else { continue };
        for (from, until) in spans {
            if let Some(claim) = machines::keeper(index, machine, from) {
                let what = format!("machine {id} was stopped while claim {} held it", claim.name());
                report(found, from, Promise::ClaimedMachineStays, what);
            }
            if let Some((at, claim)) = taken(index, machine.token, (from, until)) {
                let claim = index.claims.get(claim).map_or_else(|| claim.to_owned(), Track::name);
                let what =
                    format!("claim {claim} got machine {id}, which was asked to stop at {from:.3} and did not run yet");
                report(found, at, Promise::NoStoppedMachine, what);
            }
        }
    }
}

/// The first claim that took the member in this span, and when.
fn taken<'a>(index: &Index<'a>, member: &str, span: (Timestamp, Timestamp)) -> Option<(Timestamp, &'a str)> {
    let versions = &index.members.get(member)?.versions;
    versions.iter().find_map(|version| {
        let claimed_at = version.object.status.as_ref()?.claimed_at.as_ref()?.0;
        let by = holder(version.object)?;
        (span.0 <= claimed_at && claimed_at < span.1).then_some((claimed_at, by))
    })
}

/// A machine that a fault switches off is stopped without having been asked.
fn stops<'a>(index: &Index<'a>) -> Stops<'a> {
    let mut stops = Stops::new();
    for entry in &index.record.ledger {
        let What::Machine(event) = &entry.what else { continue };
        let spans = stops.entry(event.id.as_str()).or_default();
        match event.event {
            State::Stopping => spans.push((entry.time, Timestamp::MAX)),
            State::Running | State::ShuttingDown | State::Terminated | State::Forgotten => {
                if let Some((_, until)) = spans.last_mut() {
                    *until = (*until).min(entry.time);
                }
            }
            _ => {}
        }
    }
    stops
}
