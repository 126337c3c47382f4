//! Checks that there is progress while claims can be served.
//!
//! Progress is a change of a claim or member, or a create call. A standstill is excused while the pool's status reports
//! that it cannot buy, while claims have all that `maxSize` allows, and while the API server or the operator is down.

use bullpen_api::{ClaimPhase, InstancePool, PoolState};
use jiff::{SignedDuration, Timestamp};

use super::index::{Index, Track, phase, report};
use super::{Promise, Rules, Violation};

/// How long progress may take after the start of an operator or the return of the API server.
const WARM_UP: SignedDuration = SignedDuration::from_secs(10);

/// Checks that no standstill is longer than the rules allow.
pub(super) fn is_made(index: &Index<'_>, rules: &Rules, found: &mut Vec<Violation>) {
    let Some(longest) = rules.longest_standstill else { return };
    let mut moments: Vec<Timestamp> = index.creates.iter().map(|create| create.began).collect();
    moments.extend(index.claims.values().flat_map(|claim| claim.versions.iter().map(|version| version.at)));
    moments.extend(index.claims.values().filter_map(|claim| claim.gone));
    moments.extend(index.members.values().flat_map(|member| member.versions.iter().map(|version| version.at)));
    moments.extend(index.members.values().filter_map(|member| member.gone));
    moments.extend(index.over());
    moments.sort_unstable();
    for pair in moments.windows(2) {
        let (from, until) = (pair[0], pair[1]);
        let disturbed = index.in_outage(from - WARM_UP, until) || index.restarted(from - WARM_UP, until);
        if until.duration_since(from) <= longest || disturbed {
            continue;
        }
        let Some(claim) = index.claims.values().find(|claim| could_be_served(index, claim, from, until)) else {
            continue;
        };
        let what = format!("nothing happened until {until:.3}, though claim {} waited", claim.name());
        report(found, from, Promise::Progress, what);
    }
}

fn could_be_served(
    index: &Index<'_>,
    claim: &Track<'_, bullpen_api::PoolClaim>,
    from: Timestamp,
    until: Timestamp,
) -> bool {
    let Some(now) = claim.at(from) else { return false };
    let waits = phase(now) == ClaimPhase::Pending && index.released(claim).is_none_or(|released| released > until);
    waits && index.pools_for(now).into_iter().any(|(uid, pool)| could_serve(index, uid, pool, from, until))
}

fn could_serve(
    index: &Index<'_>,
    uid: &str,
    pool: &Track<'_, InstancePool>,
    from: Timestamp,
    until: Timestamp,
) -> bool {
    if !pool.within(from, until).all(|pool| pool.spec.state == PoolState::Active) {
        return false;
    }
    if index.ready_at(uid, from) > 0 {
        return true;
    }
    let billing = index.members_of(uid).filter(|(_, member)| member.at(from).is_some()).count();
    let room = |pool: &InstancePool| i64::from(pool.spec.max_size) > i64::try_from(billing).unwrap_or(i64::MAX);
    pool.at(from).is_some_and(|pool| room(pool) && !is_held(pool))
}

/// Why the pool's status reports that it buys nothing at present, if it does.
fn is_held(pool: &InstancePool) -> bool {
    let conditions = pool.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let held = |type_: &str, status: &str| conditions.iter().any(|it| it.type_ == type_ && it.status == status);
    held("ProvisioningHealthy", "False") || held("CapacityAvailable", "False") || held("AtMaxSize", "True")
}
