//! Explains the state of a member.

use bullpen_api::{
    ConditionType, InstancePool, LaunchConfig, MemberState, PoolClaim, PoolMember, PoolMemberStatus, Reason,
};
use bullpen_plan::member::readiness::Probe;
use bullpen_plan::pool::recycle::expires_at;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::story::{Story, ago, since};
use crate::members::{ANNOTATION_CORDON_REASON, ANNOTATION_HOLD_REASON, reason_of, state};
use crate::shared::conditions::{is_bad, text};
use crate::shared::printing::span;

/// The story of a member, from related objects as far as they could be read.
pub(super) fn story(
    member: &PoolMember,
    pool: Option<&InstancePool>,
    config: Option<&LaunchConfig>,
    claim: Option<&PoolClaim>,
    now: Timestamp,
) -> Story {
    let status = member.status.clone().unwrap_or_default();
    let pool_name = &member.spec.pool_ref.name;
    let mut story = Story::of("member", &member.name_any(), format!("{}, of pool {pool_name}", state(member)));
    let placement = &member.spec.placement;
    let created = member.metadata.creation_timestamp.as_ref().map(|time| time.0);
    story.fact(format!(
        "written {} for launch config {} (image {}, zone {})",
        ago(created, now),
        placement.launch_config,
        placement.image,
        placement.zone
    ));
    match &status.instance {
        Some(instance) => {
            let address = instance.addresses.first().map(|first| format!(" at {}", first.address)).unwrap_or_default();
            story.fact(format!("its machine is {}{address}", instance.id));
        }
        None => story.fact("it has no machine that is known yet"),
    }
    oddities(&mut story, member, now);
    if pool.is_some_and(|pool| pool.uid().is_some_and(|uid| uid != member.spec.pool_ref.uid)) {
        story.fact(format!("the pool {pool_name} of now is another one: nobody needs this member"));
    }
    if let Some(error) = config.and_then(|config| config.status.as_ref()).and_then(|status| status.last_error.as_ref())
    {
        let when = ago(Some(error.time.0), now);
        story.fact(format!("the last error of its launch config, {when}: {}: {}", error.class, error.message));
    }
    if member.metadata.deletion_timestamp.is_some() {
        ending(&mut story, member, now);
    } else {
        next(&mut story, member, pool, claim, now);
    }
    story
}

/// Adds to the story what is unusual about the member.
pub(super) fn oddities(story: &mut Story, member: &PoolMember, now: Timestamp) {
    let status = member.status.clone().unwrap_or_default();
    let reason = |aside| reason_of(member, aside).map(|reason| format!(": {reason}")).unwrap_or_default();
    if member.spec.cordoned {
        story.fact(format!("it is cordoned: no other claim gets it{}", reason(ANNOTATION_CORDON_REASON)));
    }
    if member.spec.hold {
        let reason = reason(ANNOTATION_HOLD_REASON);
        story.fact(format!("it is held: no other claim gets it, and its machine stays whoever wants its end{reason}"));
    }
    // Ready has the member's state, which the story tells anyway.
    let ready = |condition: &&Condition| condition.type_ == ConditionType::Ready.as_str();
    for condition in status.conditions.iter().filter(|condition| !ready(condition) && is_bad(condition)) {
        if !story.tells(&text(condition)) {
            story.fact(format!("{}: {}", condition.type_, since(condition, now)));
        }
    }
    if status.uses > 0 {
        let claims = if status.uses == 1 { "claim" } else { "claims" };
        story.fact(format!("{} {claims} had its machine before, each followed by a reset", status.uses));
    }
    if let Some(error) = &status.last_error {
        story.fact(format!("it failed {}: {}: {}", ago(Some(error.time.0), now), error.class, error.message));
    }
}

fn ending(story: &mut Story, member: &PoolMember, now: Timestamp) {
    let since = member.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let claimed = member.status.as_ref().is_some_and(|status| status.state == MemberState::Claimed);
    story.fact(format!("its end was asked for {}", ago(since, now)));
    if member.spec.hold {
        story.next(format!("it is terminated when it is let go: kubectl bullpen unhold {}", member.name_any()));
    } else if claimed {
        story.next("it is terminated when its claim ends");
    } else {
        story.next("it goes when the cloud says that its machine is gone");
    }
}

fn next(
    story: &mut Story,
    member: &PoolMember,
    pool: Option<&InstancePool>,
    claim: Option<&PoolClaim>,
    now: Timestamp,
) {
    let status = member.status.clone().unwrap_or_default();
    match status.state {
        MemberState::Pending => story.next("its machine is asked for, or the cloud's answer is waited for"),
        MemberState::Warming => warming(story, &status, pool, now),
        MemberState::Ready => {
            let ready = status.ready_since.as_ref().map(|time| time.0);
            story.fact(format!("it became ready {}", ago(ready, now)));
            if member.spec.cordoned || member.spec.hold {
                let (name, verb) = (member.name_any(), if member.spec.hold { "unhold" } else { "uncordon" });
                story.next(format!(
                    "it stays as it is until it is let go: kubectl bullpen {verb} {name}; another was bought in its place"
                ));
                return;
            }
            story.next("a claim gets it when it is its turn: the oldest of the current template go first");
            let uid = member.uid().unwrap_or_default();
            let due = ready.zip(pool).map(|(ready, pool)| expires_at(&uid, ready, &pool.spec.recycle));
            match due {
                Some(due) if due > now => {
                    story.next(format!("it is recycled in about {}", span(due.duration_since(now).as_secs())));
                }
                Some(_) => story.next("it is past its age, and recycled when the disruption budget lets it go"),
                None => {}
            }
        }
        MemberState::Claimed => {
            let holder = status.claim_ref.clone().unwrap_or_default();
            let since = ago(status.claimed_at.as_ref().map(|time| time.0), now);
            story.fact(format!("claim {}/{} took it {since}", holder.namespace, holder.name));
            if let Some(claim) = claim {
                let by = claim.spec.acquired_by.as_ref().map(|by| format!(" by {by}"));
                let purpose = claim.spec.acquired_for.as_ref().map(|purpose| format!(", for: {purpose}"));
                if by.is_some() || purpose.is_some() {
                    story.fact(format!("it is used{}{}", by.unwrap_or_default(), purpose.unwrap_or_default()));
                }
            }
            let reuse = pool.and_then(|pool| pool.spec.reuse.as_ref());
            story.next(match reuse.filter(|reuse| status.uses.saturating_add(1) < reuse.max_uses) {
                Some(_) => "it is reset for another claim when its claim ends; nothing else takes it away",
                None => "it is terminated when its claim ends; nothing else takes it away",
            });
        }
        MemberState::Resetting => {
            let since = status.reset_started_at.as_ref().map(|time| time.0);
            story.fact(format!("its claim ended {}, and its machine is reset to its image", ago(since, now)));
            story
                .next("it gets ready anew once the cloud shows that the reset is done; else its machine is terminated");
        }
        MemberState::Stopping => {
            let since = status.standby.as_ref().map(|standby| standby.since.0);
            story.fact(format!("its machine is being stopped for the standby tier, since {}", ago(since, now)));
            story.next("it is on standby once the cloud shows that it is stopped; else its machine is terminated");
        }
        MemberState::Standby => {
            let since = status.standby.as_ref().map(|standby| standby.since.0);
            let how = status.standby.as_ref().map(|standby| standby.mode).unwrap_or_default().participle();
            story.fact(format!("its machine is {how}: it went on standby {}", ago(since, now)));
            story.next("it is started before the pool buys a machine; no claim gets it before it is ready again");
        }
        MemberState::Errored => story.next("its machine is terminated, and another bought"),
    }
}

/// Tells what a machine has reported that is not ready yet.
fn said_by_machine(story: &mut Story, status: &PoolMemberStatus, now: Timestamp) {
    let Some(reported) = &status.reported else { return };
    if let Some(reason) = &reported.broken {
        story.fact(format!("it reported that it is broken: {reason}"));
    } else if let Some(at) = &reported.ready_at {
        story.fact(format!("it reported {} that it is ready", ago(Some(at.0), now)));
    } else if let Some(progress) = &reported.progress {
        story.fact(format!("its last progress: {progress}"));
    }
}

/// Tells how far a machine is that is not ready yet, and how long it is waited for.
fn warming(story: &mut Story, status: &PoolMemberStatus, pool: Option<&InstancePool>, now: Timestamp) {
    let started = status.warming_started_at.as_ref().map(|time| time.0);
    let booted = status.instance.as_ref().and_then(|instance| instance.boot_time.as_ref()).map(|time| time.0);
    let readiness = pool.map(|pool| &pool.spec.readiness);
    let calls = readiness.is_some_and(|readiness| readiness.phone_home.is_some());
    let passed = |from: Timestamp, until: Timestamp| span(until.duration_since(from).as_secs().max(0));
    let (from, timeout, lacks) = if let Some(booted) = booted {
        let launched = status.instance.as_ref().and_then(|instance| instance.launch_time.as_ref()).map(|time| time.0);
        let after = launched.or(started).map(|launch| format!(", {} after its launch", passed(launch, booted)));
        story.fact(format!("its machine booted {}{}", ago(Some(booted), now), after.unwrap_or_default()));
        let ready = status.conditions.iter().find(|condition| condition.type_ == ConditionType::Ready);
        if let Some(ready) = ready.filter(|ready| ready.reason == Reason::ReadinessAwaited) {
            story.fact(format!("it {}", ready.message));
        }
        said_by_machine(story, status, now);
        (Some(booted), readiness.map(|readiness| readiness.warming_timeout_seconds), "it is not ready")
    } else {
        story.fact(format!("the cloud accepted it {}, and it boots", ago(started, now)));
        (started, readiness.map(|readiness| readiness.launch_timeout_seconds), "it has not booted")
    };
    story.next(match readiness.and_then(Probe::of) {
        Some(Probe::Tcp { port }) => format!("it is ready when it runs and accepts a TCP connection on port {port}"),
        Some(Probe::Http { port, path, .. }) => {
            format!("it is ready when it runs and answers GET {path} on port {port} as the pool expects")
        }
        None if calls => "it is ready when it runs and has called to report that it is".to_owned(),
        None => "it is ready when the provider says that it runs".to_owned(),
    });
    let until = from
        .zip(timeout)
        .and_then(|(from, timeout)| from.checked_add(SignedDuration::from_secs(i64::from(timeout))).ok());
    match until.zip(timeout) {
        Some((until, timeout)) if until > now => {
            story.next(format!("it is given up in {} of {timeout} s if {lacks} by then", passed(now, until)));
        }
        Some((_, timeout)) => story.next(format!("its {timeout} s are over: it is given up if {lacks}")),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn member(spec: &Value, status: &Value) -> PoolMember {
        let mut whole = json!({
            "poolRef": { "name": "ci", "uid": "p" },
            "placement": { "launchConfig": "sim", "generation": 1, "image": "img-1", "zone": "r1-a" },
            "templateHash": "h",
        });
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let metadata = json!({ "name": "ci-1", "uid": "m", "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": { "bullpen.dev/reason": "kernel bug (cordoned by ann)" } });
        serde_json::from_value(json!({ "metadata": metadata, "spec": whole, "status": status })).unwrap()
    }

    fn told(member: &PoolMember) -> String {
        story(member, None, None, None, "2026-01-01T00:05:00Z".parse().unwrap()).whole()
    }

    #[test]
    fn the_story_of_a_cordoned_member_has_who_cordoned_it_and_why() {
        let story = told(&member(&json!({ "cordoned": true }), &json!({ "state": "Ready" })));
        assert!(story.contains("member/ci-1: Ready,Cordoned, of pool ci"), "{story}");
        assert!(story.contains("no other claim gets it: kernel bug (cordoned by ann)"), "{story}");
        assert!(story.contains("until it is let go"), "{story}");
    }

    #[test]
    fn the_story_of_a_failed_member_has_its_error_and_what_comes_next() {
        let error =
            json!({ "class": "LaunchTimeout", "message": "no boot in 600 s", "time": "2026-01-01T00:04:00.000000Z" });
        let story = told(&member(&json!({}), &json!({ "state": "Errored", "lastError": error })));
        assert!(story.contains("it failed 60s ago: LaunchTimeout: no boot in 600 s"), "{story}");
        assert!(story.contains("next: its machine is terminated"), "{story}");
    }

    #[test]
    fn the_story_of_a_machine_that_is_not_ready_has_its_boot_what_is_waited_for_and_for_how_long() {
        let pool: InstancePool = serde_json::from_value(json!({
            "metadata": { "name": "ci", "uid": "p" },
            "spec": {
                "targetSize": 1, "maxSize": 1, "launchConfigs": [{ "name": "sim" }],
                "readiness": { "httpGet": { "port": 8080, "path": "/up" } },
            },
        }))
        .unwrap();
        let told = |status| {
            let member = member(&json!({}), &status);
            story(&member, Some(&pool), None, None, "2026-01-01T00:05:00Z".parse().unwrap()).whole()
        };
        let boots = json!({ "state": "Warming", "warmingStartedAt": "2026-01-01T00:03:19.000000Z" });
        let text = told(boots.clone());
        assert!(text.contains("the cloud accepted it 101s ago, and it boots"), "{text}");
        assert!(
            text.contains("next: it is ready when it runs and answers GET /up on port 8080 as the pool expects"),
            "{text}"
        );
        assert!(text.contains("it is given up in 8m19s of 600 s if it has not booted by then"), "{text}");

        let mut booted = boots;
        booted["instance"] = json!({ "id": "i-1", "bootTime": "2026-01-01T00:04:00.000000Z" });
        booted["conditions"] = json!([{ "type": "Ready", "status": "False", "reason": "ReadinessAwaited",
            "message": "waits until GET http://10.0.0.1:8080/up is answered as ready; last: connection refused",
            "lastTransitionTime": "2026-01-01T00:03:19Z" }]);
        let text = told(booted);
        assert!(text.contains("its machine booted 60s ago, 41s after its launch"), "{text}");
        assert!(text.contains("is answered as ready; last: connection refused"), "{text}");
        assert!(text.contains("it is given up in 29m of 1800 s if it is not ready by then"), "{text}");
    }
    #[test]
    fn the_story_of_a_machine_that_is_to_call_has_what_it_said_last() {
        let pool: InstancePool = serde_json::from_value(json!({
            "metadata": { "name": "ci", "uid": "p" },
            "spec": { "targetSize": 1, "maxSize": 1, "launchConfigs": [{ "name": "sim" }], "readiness": { "phoneHome": {} } },
        }))
        .unwrap();
        let told = |reported: Value| {
            let status = json!({
                "state": "Warming", "warmingStartedAt": "2026-01-01T00:02:44.000000Z", "reported": reported,
                "instance": { "id": "i-1", "bootTime": "2026-01-01T00:03:25.000000Z" },
                "conditions": [{ "type": "Ready", "status": "False", "reason": "ReadinessAwaited",
                    "message": "waits until the machine calls to report that it is ready",
                    "lastTransitionTime": "2026-01-01T00:03:19Z" }],
            });
            let member = member(&json!({}), &status);
            story(&member, Some(&pool), None, None, "2026-01-01T00:05:00Z".parse().unwrap()).whole()
        };
        let text = told(json!({ "progress": "installing docker" }));
        for part in [
            "its machine booted 95s ago, 41s after its launch",
            "it waits until the machine calls to report that it is ready",
            "its last progress: installing docker",
            "next: it is ready when it runs and has called to report that it is",
            "it is given up in 28m of 1800 s if it is not ready by then",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = told(json!({ "broken": "no disk" }));
        assert!(text.contains("it reported that it is broken: no disk"), "{text}");
    }
}
