//! What the cloud has shown of machines that it takes away, or that have ended by themselves, and that claims are told.

use bullpen_api::{ClaimPhase, OnInterrupt, PoolClaim};
use bullpen_simcloud::ledger::{State, What};
use jiff::{SignedDuration, Timestamp};

use super::known::Known;
use crate::checker::index::{Index, Track, is_terminal, phase, report};
use crate::checker::{LAG, Promise, Violation};

/// How long a claim may be Bound after an operator was shown that its machine is taken away, before it says so, while
/// nothing disturbs: two writes, on busy cores.
const TOLD: SignedDuration = SignedDuration::from_secs(5);

/// Whether this claim may end although its machine lives: the cloud had announced to take it away, and the pool ends such
/// claims.
pub(in crate::checker) fn may_end(index: &Index<'_>, claim: &PoolClaim, machine: &str, at: Timestamp) -> bool {
    let announced = index.record.ledger.iter().any(|entry| {
        let notice = |event: &State| *event == State::InterruptionNotice;
        entry.time <= at && matches!(&entry.what, What::Machine(it) if it.id == machine && notice(&it.event))
    });
    let pool = index.pool_of_claim(claim).map(|(_, pool)| pool);
    let ends = pool.is_some_and(|pool| {
        pool.versions.iter().any(|version| version.object.spec.claims.on_interrupt == OnInterrupt::Release)
    });
    announced && ends
}

/// A claim says soon that its machine is taken away, or ends because of it.
pub(super) fn are_told(index: &Index<'_>, known: &Known<'_>, found: &mut Vec<Violation>) {
    for claim in index.claims.values() {
        let bound = claim.versions.iter().find(|version| phase(version.object) == ClaimPhase::Bound);
        let Some(bound) = bound else { continue };
        let machine = bound.object.status.as_ref().and_then(|status| status.instance.as_ref());
        let Some(machine) = machine.and_then(|machine| index.machines.get(machine.id.as_str())) else { continue };
        let Some(announced) = known.announced(machine.id) else { continue };
        let Some(first) = known.shown_leaving(machine.id).find(|at| *at >= announced) else { continue };
        let since = first.max(bound.at);
        let ended = claim.versions.iter().find(|version| is_terminal(version.object)).map(|version| version.at);
        let ends = [ended, index.released(claim), claim.gone, machine.ending, machine.ended];
        let until = ends.into_iter().flatten().min().unwrap_or_else(|| index.end());
        let calm = since < until && index.longest_quiet(since, until) > TOLD;
        let hidden = known.reads_fail(since, since + TOLD) || leaderless(index, since, until);
        if calm && !hidden && !says(claim, until + LAG) {
            let what = format!(
                "claim {} had machine {} until {until:.3}, and did not say that it is taken away, which the cloud showed at \
                 {first:.3}",
                claim.name(),
                machine.id
            );
            report(found, since + TOLD, Promise::InterruptionIsTold, what);
        }
    }
}

/// Whether nobody may have led in this span.
pub(super) fn leaderless(index: &Index<'_>, from: Timestamp, until: Timestamp) -> bool {
    index.leaderless().iter().any(|(begin, end)| *begin <= until && *end + LAG >= from)
}

fn says(claim: &Track<'_, PoolClaim>, until: Timestamp) -> bool {
    claim.versions.iter().take_while(|version| version.at <= until).any(|version| {
        let conditions = version.object.status.as_ref().map_or(&[][..], |status| &status.conditions);
        conditions.iter().any(|it| it.type_ == "Interrupted" && it.status == "True")
    })
}
