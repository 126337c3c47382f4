//! Explains the state of a claim.

use bullpen_api::{
    ClaimPhase, ConditionType, InstancePool, PoolClaim, PoolClaimStatus, PoolMember, PoolState, Reason, WhenEmpty,
    find_condition,
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::story::{Story, ago, since};
use crate::claims::expires;
use crate::shared::presence::{Presence, unobserved};
use crate::shared::printing::{many, span};
use crate::shared::trouble;
use crate::shared::trouble::Surroundings;
use crate::shared::wanted;

/// The story of a claim, from its pool and member (if they could be read) and the claims of its namespace.
pub(super) fn story(
    claim: &PoolClaim,
    pool: Option<&InstancePool>,
    member: Option<&PoolMember>,
    others: &[PoolClaim],
    around: &Surroundings<'_>,
) -> Story {
    let now = around.now;
    let status = claim.status.clone().unwrap_or_default();
    let name = claim.name_any();
    let of = wanted::describe(claim);
    let created = claim.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let headline = match status.phase {
        ClaimPhase::Pending if waits_for_secret(&status) => "it has a machine, and waits for its Secret".into(),
        ClaimPhase::Pending => format!("it waits for a machine of {of}"),
        ClaimPhase::Bound => format!("it holds a machine of {of}"),
        ClaimPhase::Expired => "its time is over, and its machine was taken back".into(),
        ClaimPhase::Lost => "its machine is gone".into(),
        ClaimPhase::Failed => "it never got a machine, and gets none".into(),
        ClaimPhase::Released => "its job is done, and its machine was taken back".into(),
    };
    let mut story = Story::of("claim", &name, headline);
    let by = claim.spec.acquired_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let purpose = claim.spec.acquired_for.as_ref().map(|text| format!(", for: {text}")).unwrap_or_default();
    story.fact(format!("made {}{by}{purpose}", ago(created, now)));
    if claim.metadata.deletion_timestamp.is_some() {
        story.fact("it is being deleted");
    }
    match status.phase {
        ClaimPhase::Pending => waits(&mut story, claim, pool, others, around),
        ClaimPhase::Bound => bound(&mut story, claim, pool, member, now),
        ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Failed | ClaimPhase::Released => {
            ended(&mut story, claim, pool, member, now);
        }
    }
    for (type_, holds) in
        [(ConditionType::Stale, true), (ConditionType::Interrupted, true), (ConditionType::Healthy, false)]
    {
        if let Some(condition) = find_condition(&status.conditions, type_, holds) {
            story.fact(format!("{type_}: {}", since(condition, now)));
        }
    }
    story
}

/// Whether the claim has a machine and is Bound as soon as its Secret can be created.
fn waits_for_secret(status: &PoolClaimStatus) -> bool {
    let bound = find_condition(&status.conditions, ConditionType::Bound, false);
    let reason = bound.and_then(|condition| Reason::parse(&condition.reason));
    matches!(
        reason,
        Some(
            Reason::BindingSecretExists
                | Reason::BindingSecretForbidden
                | Reason::BindingSecretRefused
                | Reason::InstallationSecretNotRead
                | Reason::InstallationSecretForbidden
                | Reason::InstallationSecretInvalid
        )
    )
}

fn waits(
    story: &mut Story,
    claim: &PoolClaim,
    pool: Option<&InstancePool>,
    others: &[PoolClaim],
    around: &Surroundings<'_>,
) {
    let now = around.now;
    let status = claim.status.clone().unwrap_or_default();
    let operator = find_condition(&status.conditions, ConditionType::Bound, false);
    if let Some(condition) = operator {
        // This includes the claim's place, if it has one.
        story.fact(format!("the operator says: {}", since(condition, now)));
    } else {
        if let Some(unobserved) = unobserved(&claim.metadata, status.observed_generation, now) {
            story.fact(unobserved);
        } else if status.observed_generation < 0 {
            story.fact("no operator has said anything of it yet");
        }
        let ahead = others.iter().filter(|other| is_ahead(other, claim)).count();
        let ahead = i64::try_from(ahead).unwrap_or(i64::MAX);
        if ahead > 0 {
            let others_wait = many(ahead, "other claim of this namespace waits", "other claims of this namespace wait");
            story.fact(format!("{others_wait} for the same pool, and go first by priority and age"));
        }
    }
    if let Some(priority) = claim.spec.priority.filter(|priority| *priority != 0) {
        story.fact(format!("it asks for priority {priority}"));
    }
    if waits_for_secret(&status) {
        return story.next("it goes on by itself when the reason is gone; deleting it ends its machine");
    }
    let reason = operator.and_then(|condition| Reason::parse(&condition.reason));
    let Some(pool) = pool.filter(|_| reason != Some(Reason::PoolNotFound)) else {
        if reason != Some(Reason::PoolNotFound) {
            match claim.pool_or_queue() {
                Some((_, name)) => story.fact(format!("there is no pool {name}, or it may not be read")),
                None => story.fact("no pool is known to be the one that buys a machine for it"),
            }
        }
        story.next("it goes on by itself when there is such a pool that serves this namespace");
        return deadline(story, claim, now);
    };
    if claim.spec.pool_selector.is_some() {
        let name = pool.name_any();
        story.fact(format!("pool {name} buys a machine for it if need be; it gets the first of any pool that matches"));
    }
    crate::why::pool::numbers(story, pool);
    // That no operator works is told before all of this.
    let calm = Surroundings { presence: &Presence::default(), ..*around };
    if let Some(trouble) = trouble::of_pool(pool, &calm).filter(|trouble| !story.tells(trouble)) {
        story.fact(format!("the pool is in trouble: {trouble}"));
    }
    let next = match pool.spec.state {
        PoolState::Paused => format!("it is served when the pool is resumed: {}", resume(claim, pool)),
        PoolState::Draining => {
            format!("the pool is draining, and serves nobody before it is resumed: {}", resume(claim, pool))
        }
        PoolState::Active if reason == Some(Reason::NamespaceQuotaReached) => {
            "it is served when another claim of its namespace ends, or the pool's claims.perNamespace is raised".into()
        }
        PoolState::Active if reason == Some(Reason::BindingNotAccepted) => {
            "it is tried again every few seconds, and is served when the API server accepts it".into()
        }
        PoolState::Active => "it gets the next machine that is ready when it is its turn".into(),
    };
    story.next(next);
    deadline(story, claim, now);
}

/// The command that resumes the claim's pool.
fn resume(claim: &PoolClaim, pool: &InstancePool) -> String {
    let elsewhere = pool.namespace().filter(|place| Some(place) != claim.namespace().as_ref());
    let place = elsewhere.map(|place| format!("-n {place} ")).unwrap_or_default();
    format!("kubectl bullpen resume {place}{}", pool.name_any())
}

/// Whether another claim that waits for the same pool is served first, judging by priority and age.
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
    match claim.spec.wait_timeout_seconds.and_then(|seconds| after(created, seconds)) {
        Some(until) => story
            .next(format!("it fails in {} if it has no machine by then", span(until.duration_since(now).as_secs()))),
        None if claim.spec.when_empty == Some(WhenEmpty::Fail) => story.next("it fails at once if no machine is ready"),
        None => story.next(format!("it waits until it is deleted: kubectl bullpen release {}", claim.name_any())),
    }
}

fn bound(
    story: &mut Story,
    claim: &PoolClaim,
    pool: Option<&InstancePool>,
    member: Option<&PoolMember>,
    now: Timestamp,
) {
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
        crate::why::member::oddities(story, member, now);
    } else {
        story.fact("its member is not there, or may not be read: if its machine is gone, the claim becomes Lost");
    }
    let longest = pool.and_then(|pool| after(bound, pool.spec.claims.max_hold_seconds?));
    let until = status.expires_at.as_ref().map(|time| time.0);
    if let Some(over) = until.filter(|until| *until <= now) {
        story.fact(format!("its time was over {}", ago(Some(over), now)));
        story.next(
            "it expires when the operator's expiry grace is over: nothing expires for a while (--expiry-grace-seconds) \
             after an operator began to lead, or after the API server was away",
        );
    } else if let Some(left) = expires(claim, now) {
        if until.is_some() && until == longest {
            story.next(format!("it expires in {left}, however it is renewed: the pool lets no claim hold longer"));
            return ends(story);
        }
        let how = format!("kubectl bullpen renew {}", claim.name_any());
        story.next(format!("it expires in {left} unless it is renewed: {how}"));
    } else {
        let release = format!("kubectl bullpen release {}", claim.name_any());
        story.next(format!("it holds its machine until it is deleted: {release}"));
    }
    ends(story);
}

fn ends(story: &mut Story) {
    story.next("then its machine is terminated; the pool has replaced it already, as far as its limits let it");
}

fn after(moment: Option<Timestamp>, seconds: i32) -> Option<Timestamp> {
    moment?.checked_add(SignedDuration::from_secs(seconds.into())).ok()
}

fn ended(
    story: &mut Story,
    claim: &PoolClaim,
    pool: Option<&InstancePool>,
    member: Option<&PoolMember>,
    now: Timestamp,
) {
    let status = claim.status.clone().unwrap_or_default();
    let condition = find_condition(&status.conditions, ConditionType::Stalled, true)
        .or_else(|| find_condition(&status.conditions, ConditionType::Bound, false));
    if let Some(condition) = condition {
        story.fact(since(condition, now));
    }
    if let Some(held) = &status.member_ref {
        let fate = if member.is_some() { "which is being terminated" } else { "which is gone" };
        story.fact(format!("it held member {}, {fate}", held.name));
    }
    let finished = status.finished_at.as_ref().map(|time| time.0);
    let until = pool.and_then(|pool| after(finished, pool.spec.claims.ttl_seconds_after_finished?));
    match until {
        Some(until) => {
            let left = span(until.duration_since(now).as_secs().max(0));
            story.next(format!("it is deleted in {left}, when its machine is gone; make another claim"));
        }
        None => story.next("it stays as it is, as a record; make another claim"),
    }
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

    fn pool(claims: &Value) -> InstancePool {
        let spec = json!({ "targetSize": 2, "maxSize": 4, "launchConfigs": [{ "name": "sim" }], "claims": claims });
        serde_json::from_value(json!({ "metadata": { "name": "ci" }, "spec": spec })).unwrap()
    }

    /// What is known beside a claim: it is 00:05.
    fn around() -> Surroundings<'static> {
        let presence = Box::leak(Box::default());
        Surroundings { presence, configs: &[], now: "2026-01-01T00:05:00Z".parse().unwrap() }
    }

    #[test]
    fn the_story_of_a_waiting_claim_has_its_reason_its_place_and_its_deadline() {
        let condition = json!({ "type": "Bound", "status": "False", "reason": "NoReadyMembers",
            "message": "0 of 2 ready", "lastTransitionTime": "2026-01-01T00:01:00Z" });
        let waiting = claim("build", "2026-01-01T00:01:00Z", &json!({ "phase": "Pending", "conditions": [condition] }));
        let older = claim("older", "2026-01-01T00:00:00Z", &json!({ "phase": "Pending" }));
        let served = claim("served", "2026-01-01T00:00:00Z", &json!({ "phase": "Bound" }));
        let others = [older, served, waiting.clone()];
        let story_text = story(&waiting, None, None, &others, &around()).whole();
        for text in [
            "claim/build: it waits for a machine of pool ci",
            "made 4m ago by ann",
            "the operator says: 0 of 2 ready (since 4m)",
            "there is no pool ci",
            "it fails in 6m if it has no machine by then",
        ] {
            assert!(story_text.contains(text), "no {text:?} in\n{story_text}");
        }
        assert!(!story_text.contains("other claim"), "the operator knows better:\n{story_text}");
        let unseen = claim("build", "2026-01-01T00:01:00Z", &json!({ "observedGeneration": -1 }));
        let story_text = story(&unseen, None, None, &others, &around()).whole();
        for text in
            ["no operator has seen it for 4m; does one run", "1 other claim of this namespace waits for the same pool"]
        {
            assert!(story_text.contains(text), "no {text:?} in\n{story_text}");
        }
    }

    #[test]
    fn a_claim_that_waits_for_its_quota_or_its_secret_does_not_wait_for_a_machine() {
        let pool = pool(&json!({}));
        let story_text = |reason: &str| {
            let condition = json!({ "type": "Bound", "status": "False", "reason": reason, "message": "so",
                "lastTransitionTime": "2026-01-01T00:01:00Z" });
            let status = json!({ "phase": "Pending", "conditions": [condition] });
            story(&claim("build", "2026-01-01T00:01:00Z", &status), Some(&pool), None, &[], &around()).whole()
        };
        let quota = story_text("NamespaceQuotaReached");
        assert!(quota.contains("next: it is served when another claim of its namespace ends"), "{quota}");
        let refused = story_text("BindingNotAccepted");
        assert!(refused.contains("next: it is tried again every few seconds"), "{refused}");
        let secret = story_text("BindingSecretExists");
        assert!(secret.starts_with("claim/build: it has a machine, and waits for its Secret"), "{secret}");
        assert!(!secret.contains("next machine"), "{secret}");
        let refused = story_text("PoolNotFound");
        assert!(refused.contains("next: it goes on by itself") && !refused.contains("pool ci is Active"), "{refused}");
    }

    #[test]
    fn the_story_of_a_bound_claim_has_its_machine_and_its_end() {
        let bound = json!({
            "phase": "Bound",
            "memberRef": { "namespace": "a", "name": "ci-1", "uid": "m" },
            "instance": { "id": "i-1", "addresses": [{ "type": "InternalIP", "address": "10.0.0.7" }] },
            "boundAt": "2026-01-01T00:04:00.000000Z",
            "expiresAt": "2026-01-01T00:15:00.000000Z",
        });
        let bound = claim("build", "2026-01-01T00:01:00Z", &bound);
        let story_text = story(&bound, None, None, &[], &around()).whole();
        assert!(story_text.contains("it holds member ci-1: i-1 at 10.0.0.7, bound 60s ago"), "{story_text}");
        assert!(story_text.contains("it expires in 10m unless it is renewed"), "{story_text}");
        let mut over = bound.clone();
        over.status.as_mut().unwrap().expires_at =
            Some(bullpen_api::micro_time("2026-01-01T00:04:40Z".parse().unwrap()));
        let story_text = story(&over, None, None, &[], &around()).whole();
        assert!(story_text.contains("its time was over 20s ago"), "{story_text}");
        assert!(story_text.contains("next: it expires when the operator's expiry grace is over"), "{story_text}");
        let pool = pool(&json!({ "maxHoldSeconds": 660 }));
        let story_text = story(&bound, Some(&pool), None, &[], &around()).whole();
        assert!(story_text.contains("it expires in 10m, however it is renewed"), "{story_text}");
    }

    #[test]
    fn the_story_of_an_ended_claim_has_the_time_of_its_deletion() {
        let ended = json!({ "phase": "Expired", "finishedAt": "2026-01-01T00:04:00.000000Z",
            "memberRef": { "namespace": "a", "name": "ci-1", "uid": "m" } });
        let ended = claim("build", "2026-01-01T00:01:00Z", &ended);
        let story_text = story(&ended, None, None, &[], &around()).whole();
        assert!(
            story_text.starts_with("claim/build: its time is over, and its machine was taken back"),
            "{story_text}"
        );
        assert!(story_text.contains("next: it stays as it is, as a record"), "{story_text}");
        let pool = pool(&json!({ "ttlSecondsAfterFinished": 660 }));
        let story_text = story(&ended, Some(&pool), None, &[], &around()).whole();
        assert!(story_text.contains("next: it is deleted in 10m"), "{story_text}");
    }
}
