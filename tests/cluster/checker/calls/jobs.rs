//! Machines are told of their own claim only, and a claim ends when its machine has said that the job is done.

use std::collections::HashMap;

use bullpen_api::PoolClaim;
use bullpen_simcloud::ledger::{Report, Told, What};
use jiff::{SignedDuration, Timestamp};

use super::notices::leaderless;
use crate::checker::index::{Index, Track, is_terminal, report};
use crate::checker::{LAG, Promise, Violation};

/// How long a claim may last after its machine was answered that the job is done, while nothing disturbs.
const ENDED: SignedDuration = SignedDuration::from_secs(10);
/// A machine is told of a claim that the observer has not seen yet, or not any more.
const UNSEEN: &str = "a claim that nobody saw";

/// All calls of machines about their claims.
pub(super) fn are_of_their_claims(index: &Index<'_>, found: &mut Vec<Violation>) {
    // The claim that each machine was last told of.
    let mut working: HashMap<&str, &str> = HashMap::new();
    for entry in &index.record.ledger {
        let What::Report(call) = &entry.what else { continue };
        if let Some(told) = &call.claim {
            working.insert(&call.id, &told.uid);
            if let Some(what) = wrongly_told(index, call, told, entry.time) {
                report(found, entry.time, Promise::AssignmentIsItsOwn, what);
            }
        }
        if call.report == "done" && call.status == 200 {
            let claim = working.get(call.id.as_str()).and_then(|uid| index.claims.get(*uid));
            let Some((claim, until)) = claim.and_then(|claim| outlived(index, claim, entry.time)) else { continue };
            let what = format!(
                "claim {} lasts until {until:.3}, and its machine {} had said that its job is done",
                claim.name(),
                call.id
            );
            report(found, entry.time, Promise::DoneEndsClaim, what);
        }
    }
}

fn wrongly_told(index: &Index<'_>, call: &Report, told: &Told, at: Timestamp) -> Option<String> {
    let Some(claim) = index.claims.get(&told.uid) else {
        let blind = index.is_blind(at, index.settled(at));
        return (!blind).then(|| format!("machine {} was told of {UNSEEN}: {} ({})", call.id, told.name, told.uid));
    };
    let instance = |claim: &PoolClaim| claim.status.as_ref()?.instance.as_ref().map(|machine| machine.id.clone());
    let of = claim.versions.iter().find_map(|version| instance(version.object));
    if of.as_ref().is_some_and(|of| *of != call.id) {
        let of = of.unwrap_or_default();
        return Some(format!("machine {} was told of claim {}, which has machine {of}", call.id, claim.name()));
    }
    let wanted = claim.versions.first().is_some_and(|version| version.object.spec.input_secret_ref.is_some());
    let got = !told.input.is_empty();
    (got != wanted).then(|| {
        format!(
            "machine {} got input {:?} of claim {}, which asks for some: {wanted}",
            call.id,
            told.input,
            claim.name()
        )
    })
}

/// Until when the claim lasted, if that was too long after this moment.
fn outlived<'i, 'a>(
    index: &Index<'a>,
    claim: &'i Track<'a, PoolClaim>,
    done: Timestamp,
) -> Option<(&'i Track<'a, PoolClaim>, Timestamp)> {
    let ended = claim.versions.iter().find(|version| is_terminal(version.object)).map(|version| version.at);
    let ends = [ended, index.released(claim), claim.gone];
    let until = ends.into_iter().flatten().min().unwrap_or_else(|| index.end());
    let always = index
        .last_pool_of(claim)
        .is_some_and(|pool| pool.within(done - LAG, until).all(|pool| pool.spec.claims.release_on_done));
    let late = done < until && index.longest_quiet(done, until) > ENDED && !leaderless(index, done, until);
    (always && late).then_some((claim, until))
}
