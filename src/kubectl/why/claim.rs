//! Why a claim is where it is.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::super::claims::expires;
use super::super::pools::{said, trouble};
use super::super::printing::span;
use super::super::wanted;
use super::story::{Story, ago, many, since};
use crate::api::{ClaimPhase, InstancePool, PoolClaim, PoolMember, PoolState, WhenEmpty};

/// The story of a claim, by its pool and member as far as they can be read, and the claims of its namespace.
pub(super) fn story(
    claim: &PoolClaim,
    pool: Option<&InstancePool>,
    member: Option<&PoolMember>,
    others: &[PoolClaim],
    now: Timestamp,
) -> Story {
    let status = claim.status.clone().unwrap_or_default();
    let name = claim.name_any();
    let of = wanted::in_words(claim);
    let created = claim.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let headline = match status.phase {
        ClaimPhase::Pending => format!("it waits for a machine of {of}"),
        ClaimPhase::Bound => format!("it holds a machine of {of}"),
        ClaimPhase::Expired => "its time to live ran out, and its machine was taken back".into(),
        ClaimPhase::Lost => "its machine is gone".into(),
        ClaimPhase::Failed => "it never got a machine, and gets none".into(),
    };
    let mut story = Story::of("claim", &name, headline);
    let by = claim.spec.acquired_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let purpose = claim.spec.acquired_for.as_ref().map(|text| format!(", for: {text}")).unwrap_or_default();
    story.fact(format!("made {}{by}{purpose}", ago(created, now)));
    if claim.metadata.deletion_timestamp.is_some() {
        story.fact("it is being deleted");
    }
    match status.phase {
        ClaimPhase::Pending => waits(&mut story, claim, pool, others, now),
        ClaimPhase::Bound => holds(&mut story, claim, member, now),
        ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Failed => ended(&mut story, claim, member, now),
    }
    for type_ in ["Stale", "Interrupted"] {
        if let Some(condition) = said(&status.conditions, type_, "True") {
            story.fact(format!("{type_}: {}", since(condition, now)));
        }
    }
    story
}

fn waits(story: &mut Story, claim: &PoolClaim, pool: Option<&InstancePool>, others: &[PoolClaim], now: Timestamp) {
    let status = claim.status.clone().unwrap_or_default();
    match said(&status.conditions, "Bound", "False") {
        Some(condition) => story.fact(format!("the operator says: {}", since(condition, now))),
        None if status.observed_generation < 0 => story.fact("no operator has said anything of it yet"),
        None => {}
    }
    let waiting = pool.and_then(|pool| pool.status.as_ref()).map(|status| status.waiting_claims);
    match (status.queue.as_ref().and_then(|queue| queue.position), waiting) {
        (Some(position), Some(waiting)) => story.fact(format!("position {position} of {}", waiting.max(position))),
        (Some(position), None) => story.fact(format!("position {position}")),
        (None, _) => {
            let ahead = others.iter().filter(|other| is_ahead(other, claim)).count();
            let ahead = i64::try_from(ahead).unwrap_or(i64::MAX);
            if ahead > 0 {
                let words = many(ahead, "other claim of this namespace waits", "other claims of this namespace wait");
                story.fact(format!("{words} for the same pool, and go first by priority and age"));
            }
        }
    }
    let Some(pool) = pool else {
        match claim.pool_or_queue() {
            Some((_, name)) => story.fact(format!("there is no pool {name}, or it may not be read")),
            None => story.fact("no pool is known to be the one that buys a machine for it"),
        }
        story.next("it goes on by itself when there is such a pool that serves this namespace");
        return deadline(story, claim, now);
    };
    if claim.spec.pool_selector.is_some() {
        let name = pool.name_any();
        story.fact(format!("pool {name} buys a machine for it if need be; it gets the first of any pool that matches"));
    }
    super::pool::numbers(story, pool);
    if let Some(trouble) = trouble(pool) {
        story.fact(format!("the pool is in trouble: {trouble}"));
    }
    let next = match pool.spec.state {
        PoolState::Paused => "it is served when the pool is resumed: kubectl bullpen resume",
        PoolState::Draining => "the pool is draining, and serves nobody before it is resumed",
        PoolState::Active => "it gets the next machine that is ready when it is its turn",
    };
    story.next(next);
    deadline(story, claim, now);
}

/// Whether another claim that waits for the same pool is served first, as far as priority and age tell.
fn is_ahead(other: &PoolClaim, claim: &PoolClaim) -> bool {
    let pending = other.status.as_ref().is_none_or(|status| status.phase == ClaimPhase::Pending);
    let place = |claim: &PoolClaim| {
        let created = claim.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (-claim.spec.priority.unwrap_or(0), created)
    };
    pending
        && other.pool_or_queue() == claim.pool_or_queue()
        && claim.pool_or_queue().is_some()
        && other.uid() != claim.uid()
        && place(other) < place(claim)
}

fn deadline(story: &mut Story, claim: &PoolClaim, now: Timestamp) {
    let created = claim.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let until = created
        .zip(claim.spec.wait_timeout_seconds)
        .and_then(|(created, seconds)| created.checked_add(SignedDuration::from_secs(i64::from(seconds))).ok());
    match until {
        Some(until) => story
            .next(format!("it fails in {} if it has no machine by then", span(until.duration_since(now).as_secs()))),
        None if claim.spec.when_empty == Some(WhenEmpty::Fail) => story.next("it fails at once if no machine is ready"),
        None => story.next("it waits until it is deleted: kubectl bullpen release"),
    }
}

fn holds(story: &mut Story, claim: &PoolClaim, member: Option<&PoolMember>, now: Timestamp) {
    let status = claim.status.clone().unwrap_or_default();
    let instance = status.instance.clone().unwrap_or_default();
    let address = instance.addresses.first().map(|first| format!(" at {}", first.address)).unwrap_or_default();
    let member_name = status.member_ref.as_ref().map(|member| member.name.clone()).unwrap_or_default();
    let bound = status.bound_at.as_ref().map(|time| time.0);
    story.fact(format!("it holds member {member_name}: {}{address}, bound {}", instance.id, ago(bound, now)));
    if let Some(binding) = &status.binding {
        story.fact(format!("how to reach it is in secret/{}", binding.name));
    }
    if let Some(member) = member {
        super::member::oddities(story, member, now);
    } else {
        story.fact("its member is not there, or may not be read: if its machine is gone, the claim becomes Lost");
    }
    if let Some(left) = expires(claim, now) {
        let how = format!("kubectl bullpen renew {}", claim.name_any());
        story.next(format!("it expires in {left} unless it is renewed: {how}"));
    } else {
        story.next("it holds its machine until it is deleted: kubectl bullpen release");
    }
    story.next("then its machine is terminated; the pool has replaced it already, as far as its limits let it");
}

fn ended(story: &mut Story, claim: &PoolClaim, member: Option<&PoolMember>, now: Timestamp) {
    let status = claim.status.clone().unwrap_or_default();
    let condition = said(&status.conditions, "Stalled", "True").or_else(|| said(&status.conditions, "Bound", "False"));
    if let Some(condition) = condition {
        story.fact(since(condition, now));
    }
    if let Some(held) = &status.member_ref {
        let fate = if member.is_some() { "which is being terminated" } else { "which is gone" };
        story.fact(format!("it held member {}, {fate}", held.name));
    }
    story.next("it stays as it is, as a record; make another claim");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claim(name: &str, created: &str, status: &Value) -> PoolClaim {
        let claim = json!({
            "metadata": { "name": name, "uid": name, "creationTimestamp": created },
            "spec": { "poolRef": { "name": "ci" }, "acquiredBy": "ann", "waitTimeoutSeconds": 600 },
            "status": status,
        });
        serde_json::from_value(claim).unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-01T00:05:00Z".parse().unwrap()
    }

    #[test]
    fn a_waiting_claim_tells_what_it_waits_for_where_it_stands_and_when_it_gives_up() {
        let condition = json!({ "type": "Bound", "status": "False", "reason": "NoReadyMembers",
            "message": "0 of 2 ready", "lastTransitionTime": "2026-01-01T00:01:00Z" });
        let waiting = claim("build", "2026-01-01T00:01:00Z", &json!({ "phase": "Pending", "conditions": [condition] }));
        let older = claim("older", "2026-01-01T00:00:00Z", &json!({ "phase": "Pending" }));
        let served = claim("served", "2026-01-01T00:00:00Z", &json!({ "phase": "Bound" }));
        let story = story(&waiting, None, None, &[older, served, waiting.clone()], now()).whole();
        for words in [
            "claim/build: it waits for a machine of pool ci",
            "made 4m ago by ann",
            "the operator says: 0 of 2 ready (since 4m)",
            "1 other claim of this namespace waits for the same pool",
            "there is no pool ci",
            "it fails in 6m if it has no machine by then",
        ] {
            assert!(story.contains(words), "no {words:?} in\n{story}");
        }
    }

    #[test]
    fn a_bound_claim_tells_its_machine_and_when_it_ends() {
        let bound = json!({
            "phase": "Bound",
            "memberRef": { "namespace": "a", "name": "ci-1", "uid": "m" },
            "instance": { "id": "i-1", "addresses": [{ "type": "InternalIP", "address": "10.0.0.7" }] },
            "boundAt": "2026-01-01T00:04:00.000000Z",
            "expiresAt": "2026-01-01T00:15:00.000000Z",
        });
        let story = story(&claim("build", "2026-01-01T00:01:00Z", &bound), None, None, &[], now()).whole();
        assert!(story.contains("it holds member ci-1: i-1 at 10.0.0.7, bound 60s ago"), "{story}");
        assert!(story.contains("it expires in 10m unless it is renewed"), "{story}");
    }
}
