//! Checks create calls: how many machines, and for which pools.

use std::collections::BTreeMap;

use bullpen_api::{InstancePool, PoolState, TargetSource};
use jiff::Timestamp;

use super::index::{Index, Machine, Track, report};
use super::{LAG, Promise, Violation};

/// Invariant 2, judged by the machines: the member of each exists at least as long.
pub(super) fn max_size(index: &Index<'_>, found: &mut Vec<Violation>) {
    let mut of_pools: BTreeMap<String, Vec<&Machine<'_>>> = BTreeMap::new();
    for machine in index.machines.values() {
        if let Some(pool) = index.pool_of(machine.token, machine.member_name) {
            let uid = pool.versions.first().and_then(|version| version.object.metadata.uid.clone());
            of_pools.entry(uid.unwrap_or_default()).or_default().push(machine);
        }
    }
    for (uid, machines) in of_pools {
        let Some(pool) = index.pools.get(&uid) else { continue };
        for machine in &machines {
            let began = machine.began;
            let counts = |other: &Machine<'_>| other.bills_at(began) && !index.is_orphan(other, began);
            let others = machines.iter().filter(|other| other.id != machine.id && counts(other)).count();
            // A lowered limit applies after a while; the operator may have seen a raised one before this observer.
            let from = began - index.grace(began, began);
            let limit = pool.within(from, began + LAG).map(|pool| pool.spec.max_size).max().unwrap_or(i32::MAX);
            if i32::try_from(others).unwrap_or(i32::MAX) >= limit {
                let name = pool.name();
                let what = format!(
                    "machine {} was bought for pool {name} while {others} others of it billed, and maxSize was {limit}",
                    machine.id
                );
                report(found, began, Promise::MaxSize, what);
            }
        }
    }
}

/// Invariant 5.
pub(super) fn inactive_pools(index: &Index<'_>, found: &mut Vec<Violation>) {
    for create in &index.creates {
        let Some(pool) = index.pool_of(create.token, "") else { continue };
        let Some((since, why)) = inactive_since(pool, create.began) else { continue };
        let grace = index.grace(since, create.began);
        if create.began > since + grace {
            let member = index.members.get(create.token).map_or_else(|| create.token.to_owned(), Track::name);
            let what = format!(
                "a create for member {member} began though pool {} had been {why} since {since:.3}, longer than {grace:#}",
                pool.name()
            );
            report(found, create.began, Promise::InactivePoolBuysNothing, what);
        }
    }
}

/// Since when, without interruption, the pool was seen in a state in which it buys nothing, and why.
fn inactive_since(pool: &Track<'_, InstancePool>, moment: Timestamp) -> Option<(Timestamp, &'static str)> {
    let why = |pool: &InstancePool| match pool.spec.state {
        _ if pool.metadata.deletion_timestamp.is_some() => Some("being deleted"),
        PoolState::Paused => Some("paused"),
        PoolState::Draining => Some("draining"),
        PoolState::Active => None,
    };
    // It may have been active again before this observer saw that.
    let until = moment + LAG;
    let mut since = None;
    for version in pool.versions.iter().take_while(|version| version.at <= until) {
        since = why(version.object).map(|why| since.map_or((version.at, why), |(at, _)| (at, why)));
    }
    since
        .filter(|(at, _)| *at <= moment)
        .or_else(|| pool.gone.filter(|gone| *gone <= moment).map(|gone| (gone, "gone")))
}

/// Sizes that were found or are followed are within the limits of the spec that the status speaks of.
pub(super) fn sizes(index: &Index<'_>, found: &mut Vec<Violation>) {
    for pool in index.pools.values() {
        for version in &pool.versions {
            let (spec, Some(status)) = (&version.object.spec, &version.object.status) else { continue };
            if version.object.metadata.generation != Some(status.observed_generation) {
                continue;
            }
            let effective = status.effective_target.as_ref();
            let followed = effective.filter(|target| target.source == TargetSource::Autosize).map(|target| target.size);
            let least = spec.min_size.min(spec.max_size);
            let outside = [status.recommended_target, followed].into_iter().flatten();
            let outside = outside.filter(|size| !(least..=spec.max_size).contains(size));
            let above = effective.map(|target| target.size).filter(|size| *size > spec.max_size);
            if let Some(size) = outside.chain(above).next() {
                let what = format!("pool {} has the size {size}, outside of {least} to {}", pool.name(), spec.max_size);
                report(found, version.at, Promise::SizeIsInLimits, what);
                break;
            }
        }
    }
}

/// One token never buys two machines.
pub(super) fn tokens(index: &Index<'_>, found: &mut Vec<Violation>) {
    let mut bought: BTreeMap<&str, Vec<&Machine<'_>>> = BTreeMap::new();
    for machine in index.machines.values() {
        bought.entry(machine.token).or_default().push(machine);
    }
    for (token, mut machines) in bought.into_iter().filter(|(_, machines)| machines.len() > 1) {
        machines.sort_by_key(|machine| machine.created);
        let ids: Vec<_> = machines.iter().map(|machine| machine.id).collect();
        let member = index.members.get(token).map_or_else(|| token.to_owned(), Track::name);
        let what = format!("member {member} has bought more than one machine: {}", ids.join(", "));
        report(found, machines[1].created, Promise::OneMachineForOneToken, what);
    }
}
