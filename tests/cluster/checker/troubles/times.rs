//! Checks that the times which the operator writes are the API server's, whatever its own clock says.

use std::collections::BTreeSet;

use bullpen_api::{PoolClaim, PoolMember};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::Resource;

use crate::checker::index::{Index, Track, report};
use crate::checker::{Promise, Violation};

/// Tolerance for a time after that of the observer, whose clock is the API server's.
const AHEAD: SignedDuration = SignedDuration::from_millis(200);
/// A time may be so old when it is first written: longer than an outage between two writes about one claim, and shorter
/// than the smallest skew of tests.
const BEHIND: SignedDuration = SignedDuration::from_secs(100);

/// Every time is judged when it is first seen.
pub(super) fn are_the_servers(index: &Index<'_>, found: &mut Vec<Violation>) {
    for claim in index.claims.values() {
        judge(claim, "claim", of_claim, found);
    }
    for member in index.members.values() {
        judge(member, "member", of_member, found);
    }
}

fn judge<'a, K: Resource<DynamicType = ()>>(
    track: &Track<'a, K>,
    kind: &str,
    times: fn(&K) -> Vec<(String, Timestamp)>,
    found: &mut Vec<Violation>,
) {
    let mut known = BTreeSet::new();
    for version in &track.versions {
        for (what, time) in times(version.object) {
            if !known.insert((what.clone(), time)) {
                continue;
            }
            let off = time.duration_since(version.at);
            if off > AHEAD || (off < -BEHIND && !version.relisted) {
                let what = format!("{what} of {kind} {} is {time:.3}, which is {off:#} off", track.name());
                report(found, version.at, Promise::TimesAreTrue, what);
                return;
            }
        }
    }
}

fn of_claim(claim: &PoolClaim) -> Vec<(String, Timestamp)> {
    let Some(status) = &claim.status else { return Vec::new() };
    let mut times = of_conditions(&status.conditions);
    named(&mut times, "boundAt", status.bound_at.as_ref());
    named(&mut times, "renewedAt", status.renewed_at.as_ref());
    named(&mut times, "finishedAt", status.finished_at.as_ref());
    times
}

fn of_member(member: &PoolMember) -> Vec<(String, Timestamp)> {
    let Some(status) = &member.status else { return Vec::new() };
    let mut times = of_conditions(&status.conditions);
    named(&mut times, "claimedAt", status.claimed_at.as_ref());
    named(&mut times, "readySince", status.ready_since.as_ref());
    named(&mut times, "warmingStartedAt", status.warming_started_at.as_ref());
    times
}

fn named(times: &mut Vec<(String, Timestamp)>, what: &str, time: Option<&MicroTime>) {
    times.extend(time.map(|time| (what.to_owned(), time.0)));
}

fn of_conditions(conditions: &[Condition]) -> Vec<(String, Timestamp)> {
    let times = conditions.iter().map(|condition| (condition.type_.clone(), condition.last_transition_time.0));
    times.collect()
}
