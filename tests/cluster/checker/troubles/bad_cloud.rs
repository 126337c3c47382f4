//! Checks that claims do not wait for a cloud that fails while another cloud of their pool works.

use bullpen_api::{ClaimPhase, PoolClaim};
use jiff::{SignedDuration, Timestamp};

use crate::checker::index::{Index, Track, phase, report};
use crate::checker::{LAG, Promise, Rules, Violation};

/// Times that are not counted: an outage and so long after it, until operators have listed everything again.
const AFTER_OUTAGE: SignedDuration = SignedDuration::from_secs(20);
/// A missing permission, and the longest pause after a refused write.
const AFTER_REFUSAL: SignedDuration = SignedDuration::from_secs(6);
/// A leader that stays away, and what the next one needs to begin.
const AFTER_LEADER: SignedDuration = SignedDuration::from_secs(6);

/// The time that a claim waited, less that of disturbances of the operator itself. Kills are not among them: whoever is
/// killed leads again within seconds.
pub(super) fn delays_nobody(index: &Index<'_>, rules: &Rules, found: &mut Vec<Violation>) {
    let Some((pool, longest)) = rules.beside_a_bad_cloud else { return };
    let excused = excused(index);
    for claim in index.claims.values() {
        let Some((from, until)) = waited(index, claim, pool) else { continue };
        let waited = until.duration_since(from) - overlap(&excused, from, until);
        if waited > longest {
            let what = format!(
                "claim {} waited for {:.1} s until {until:.3}, beside a cloud that works",
                claim.name(),
                waited.as_secs_f64()
            );
            report(found, from, Promise::GoodCloudServes, what);
        }
    }
}

/// From when a claim on this pool was first seen until it did not wait any more.
fn waited(index: &Index<'_>, claim: &Track<'_, PoolClaim>, pool: &str) -> Option<(Timestamp, Timestamp)> {
    let first = claim.versions.first()?;
    first.object.spec.pool_ref.as_ref().filter(|wanted| wanted.name == pool)?;
    let served = claim.versions.iter().find(|version| phase(version.object) != ClaimPhase::Pending);
    let ends = [served.map(|version| version.at), index.released(claim), claim.gone, Some(index.end())];
    Some((first.at, ends.into_iter().flatten().min().unwrap_or(first.at).max(first.at)))
}

/// The spans that are not counted, in order and apart.
fn excused(index: &Index<'_>) -> Vec<(Timestamp, Timestamp)> {
    let longer = |spans: &[(Timestamp, Timestamp)], by: SignedDuration| -> Vec<_> {
        spans.iter().map(|(begin, end)| (*begin, end.saturating_add(by).unwrap_or(Timestamp::MAX))).collect()
    };
    let mut all = longer(index.outages(), AFTER_OUTAGE);
    all.extend(longer(index.refusals(), AFTER_REFUSAL));
    all.extend(longer(index.leaderless(), AFTER_LEADER));
    all.extend(longer(&index.record.blind, LAG));
    all.sort_unstable();
    let mut apart: Vec<(Timestamp, Timestamp)> = Vec::new();
    for (begin, end) in all {
        match apart.last_mut() {
            Some((_, last)) if *last >= begin => *last = (*last).max(end),
            _ => apart.push((begin, end)),
        }
    }
    apart
}

/// How much of this span is in spans that are apart.
fn overlap(spans: &[(Timestamp, Timestamp)], from: Timestamp, until: Timestamp) -> SignedDuration {
    let parts = spans.iter().map(|(begin, end)| (*begin.max(&from), *end.min(&until)));
    parts.filter(|(begin, end)| begin < end).map(|(begin, end)| end.duration_since(begin)).sum()
}
