//! The rows of the view's tables, and the whole view as text for when there is no terminal.

use bullpen_access::shown;
use bullpen_api::{InstancePool, PoolClaim, PoolMember};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::model::Model;
use crate::claim::why;
use crate::members::{reason, state};
use crate::pools;
use crate::shared::printing::{Table, age, many};

/// The cells as they are shown. A terminal would not be driven by them anyway, but signs would be missing.
fn safe<const N: usize>(cells: [String; N]) -> [String; N] {
    cells.map(|cell| shown::line(&cell).into_owned())
}

/// A row of the table of pools, without the namespace.
pub(super) fn pool(model: &Model, pool: &InstancePool, now: Timestamp) -> [String; 11] {
    let status = pool.status.clone().unwrap_or_default();
    let members = status.members.unwrap_or_default();
    let number = |number: i32| number.to_string();
    safe([
        pool.name_any(),
        pools::state(pool).to_owned(),
        number(pool.wanted_size()),
        number(members.ready),
        number(members.standby),
        number(members.warming + members.pending),
        number(members.claimed),
        number(members.errored + members.terminating),
        number(status.waiting_claims),
        number(pool.spec.max_size),
        model.trouble_of(pool, now).unwrap_or_default(),
    ])
}

/// A row of the table of members.
pub(super) fn member(member: &PoolMember, now: Timestamp) -> [String; 6] {
    let status = member.status.clone().unwrap_or_default();
    let instance = status.instance.clone().unwrap_or_default();
    let holder = status.claim_ref.as_ref().map(|claim| claim.name.clone());
    safe([
        member.name_any(),
        state(member),
        age(member.metadata.creation_timestamp.as_ref().map(|time| time.0), now),
        instance.addresses.first().map(|first| first.address.clone()).unwrap_or_default(),
        instance.id,
        holder.or_else(|| reason(member)).unwrap_or_default(),
    ])
}

/// A row of the queue.
pub(super) fn waiting(place: usize, claim: &PoolClaim, now: Timestamp) -> [String; 5] {
    let position = claim.status.as_ref().and_then(|status| status.queue.as_ref()).and_then(|queue| queue.position);
    safe([
        position.map_or_else(|| (place + 1).to_string(), |position| position.to_string()),
        claim.name_any(),
        age(claim.metadata.creation_timestamp.as_ref().map(|time| time.0), now),
        claim.spec.acquired_by.clone().unwrap_or_default(),
        why(claim).map(|why| without_place(&why).to_owned()).unwrap_or_default(),
    ])
}

/// A waiting claim's message without its place, which has its own column.
fn without_place(text: &str) -> &str {
    match text.split_once("; ") {
        Some((place, rest)) if place.starts_with("position ") => rest,
        _ => text,
    }
}

/// The whole view as text.
pub(super) fn snapshot(model: &Model, now: Timestamp) -> String {
    let mut table = Table::new(vec![
        "NAMESPACE",
        "POOL",
        "STATE",
        "TARGET",
        "READY",
        "STANDBY",
        "BOOTING",
        "CLAIMED",
        "ENDING",
        "WAITING",
        "MAX",
        "TROUBLE",
    ]);
    let mut queue = Table::new(vec!["NAMESPACE", "POOL", "POSITION", "CLAIM", "AGE", "BY", "WAITS FOR"]);
    let mut anybody = false;
    for (key, of) in model.pools() {
        let mut row = vec![key.0.clone()];
        row.extend(pool(model, of, now));
        table.row(row);
        for (place, claim) in model.queue_of(key).into_iter().enumerate() {
            anybody = true;
            let mut row = vec![key.0.clone(), key.1.clone()];
            row.extend(waiting(place, claim, now));
            queue.row(row);
        }
    }
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let hold = many(count(model.holding()), "claim holds a machine", "claims hold machines");
    let sums = format!("{hold}, {}", many(count(model.waiting()), "waits", "wait"));
    if anybody {
        format!("{}\n\n{}\n\n{sums}", table.text(), queue.text())
    } else {
        format!("{}\n\n{sums}", table.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_claim_is_shown_once() {
        assert_eq!(
            without_place("position 3 of 7; 2 machines warming; pool at maxSize 20"),
            "2 machines warming; pool at maxSize 20"
        );
        assert_eq!(without_place("pool ci is paused"), "pool ci is paused");
    }
}
