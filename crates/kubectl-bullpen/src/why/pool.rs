//! Explains the state of a pool.

use std::collections::BTreeMap;

use bullpen_api::{ConditionType, InstancePool, LaunchConfig, MemberState, PoolMember, PoolState, TargetSource};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::story::{Story, ago, since};
use crate::members::state_and_marks;
use crate::shared::conditions;
use crate::shared::printing::{age, many, span};
use crate::shared::trouble;
use crate::shared::trouble::Surroundings;

/// Most members that are named.
const NAMED: usize = 5;

/// The story of a pool, from its members and what is known beside it.
pub(super) fn story(pool: &InstancePool, members: &[PoolMember], around: &Surroundings<'_>) -> Story {
    let now = around.now;
    let status = pool.status.clone().unwrap_or_default();
    let headline = trouble::of_pool(pool, around).unwrap_or_else(|| without_trouble(pool));
    let mut story = Story::of("pool", &pool.name_any(), headline);
    numbers(&mut story, pool);
    for condition in told(pool, &status.conditions) {
        story.condition(condition, now);
    }
    if status.waiting_claims > 0 {
        story.fact(format!("{} for a machine", many(status.waiting_claims.into(), "claim waits", "claims wait")));
    }
    of_launch_configs(&mut story, pool, around.configs, now);
    of_members(&mut story, members);
    next(&mut story, pool, now);
    story
}

/// The headline of a pool in which nothing is wrong.
fn without_trouble(pool: &InstancePool) -> String {
    let shortage = || trouble::shortage(pool, pool.status.as_ref()?);
    match pool.spec.state {
        _ if pool.metadata.deletion_timestamp.is_some() => "it is being deleted".into(),
        PoolState::Active => shortage().unwrap_or_else(|| "all is well".into()),
        state => format!("it is {}", state.as_str()),
    }
}

/// The conditions that a person should know of: all that report a problem, and how far a drain or a rollout is.
fn told<'a>(pool: &InstancePool, conditions: &'a [Condition]) -> impl Iterator<Item = &'a Condition> {
    let empties = pool.spec.state == PoolState::Draining || pool.metadata.deletion_timestamp.is_some();
    conditions.iter().filter(move |condition| {
        let fails = condition.status == "False";
        match ConditionType::parse(&condition.type_) {
            Some(ConditionType::Drained) => fails && empties,
            Some(ConditionType::TemplateCurrent) => fails,
            _ => conditions::is_bad(condition),
        }
    })
}

/// Target and members, in one sentence.
pub(super) fn numbers(story: &mut Story, pool: &InstancePool) {
    let status = pool.status.clone().unwrap_or_default();
    let members = status.members.unwrap_or_default();
    let spec = &pool.spec;
    let decided = status.effective_target.as_ref();
    let schedule = decided.and_then(|target| target.schedule.as_deref());
    let cut = decided.filter(|target| target.source == TargetSource::MaxSize);
    let notes: Vec<String> = [
        schedule.map(|name| format!("schedule {name}; {} without it", spec.target_size)),
        decided
            .filter(|target| target.source == TargetSource::Autosize)
            .map(|_| format!("found by autosize; spec.targetSize is {}", spec.target_size)),
        status
            .recommended_target
            .filter(|size| *size != pool.wanted_size())
            .map(|size| format!("autosize recommends {size}")),
        status.next_target.as_ref().map(|next| format!("{} from {:.0} on, by the schedules", next.size, next.time.0)),
        cut.map(|target| format!("cut to {} by maxSize {}", target.size, spec.max_size)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
    let max = if cut.is_some() { String::new() } else { format!(", maxSize {}", spec.max_size) };
    let target = format!("target {}{notes}{max}", pool.wanted_size());
    let mut parts = vec![format!("{} ready", members.ready)];
    for (count, word) in [
        (members.warming, "warming"),
        (members.pending, "asked for"),
        (members.standby, "on standby"),
        (members.claimed, "claimed"),
        (members.errored, "failed"),
        (members.terminating, "terminating"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    story.fact(format!("pool {} is {}: {target}; {}", pool.name_any(), spec.state.as_str(), parts.join(", ")));
    let autosized = status.conditions.iter().find(|condition| condition.type_ == ConditionType::Autosized.as_str());
    if let Some(condition) = autosized {
        story.fact(format!("autosize: {}", conditions::text(condition)));
    }
}

fn of_launch_configs(story: &mut Story, pool: &InstancePool, configs: &[LaunchConfig], now: Timestamp) {
    let status = pool.status.clone().unwrap_or_default();
    for wanted in &pool.spec.launch_configs {
        let name = &wanted.name;
        let Some(config) = configs.iter().find(|config| config.name_any() == *name) else {
            story.fact(format!("launch config {name} is not there"));
            continue;
        };
        let mut problems = Vec::new();
        if let Some(used) = status.launch_configs.iter().find(|used| used.name == *name) {
            if used.consecutive_failures > 0 {
                let failures = many(used.consecutive_failures.into(), "failure", "failures");
                let last = used.last_failure.as_ref().map(|error| {
                    format!(", the last {}: {}: {}", ago(Some(error.time.0), now), error.class, error.message)
                });
                problems.push(format!("{failures} in a row{}", last.unwrap_or_default()));
            }
            if let Some(until) = used.open_until.as_ref().map(|time| time.0) {
                let left = until.duration_since(now).as_secs();
                problems.push(if left > 0 {
                    format!("nothing is bought for {}", span(left))
                } else {
                    "one machine at a time is tried".into()
                });
            }
        }
        let known = config.status.clone().unwrap_or_default();
        for condition in known.conditions.iter().filter(|condition| conditions::is_bad(condition)) {
            let message = conditions::text(condition);
            let repeated = story.tells(&message) || problems.iter().any(|problem| problem.contains(&message));
            let text = if repeated { age_of(condition, now) } else { since(condition, now) };
            problems.push(format!(
                "{} is {}{} {text}",
                condition.type_,
                condition.status,
                if repeated { "" } else { ":" }
            ));
        }
        if config.spec.paused {
            problems.push("it is paused".into());
        }
        if let Some(percent) = known.weight.filter(|percent| *percent < 100 && !config.spec.paused) {
            problems.push(format!("it gets {percent} % of its share, by how its members fared"));
        }
        if !problems.is_empty() {
            story.fact(format!("launch config {name}: {}", problems.join("; ")));
        }
    }
}

/// Since when a condition has its status, without its message.
fn age_of(condition: &Condition, now: Timestamp) -> String {
    format!("for {}", age(Some(condition.last_transition_time.0), now))
}

/// Adds to the story the members that a person should know of.
fn of_members(story: &mut Story, members: &[PoolMember]) {
    let mut odd: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in members {
        let parts = state_and_marks(member);
        if parts.len() > 1 || parts == [MemberState::Errored.as_str()] {
            odd.entry(parts.join(",")).or_default().push(member.name_any());
        }
    }
    for (state, names) in odd {
        let more = names.len().saturating_sub(NAMED);
        let some = names[..names.len().min(NAMED)].join(", ");
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        story.fact(format!("{state}: {some}{rest}"));
    }
}

fn next(story: &mut Story, pool: &InstancePool, now: Timestamp) {
    let status = pool.status.clone().unwrap_or_default();
    let deficit = status.deficit;
    if pool.metadata.deletion_timestamp.is_some() {
        return story.next("it goes with its last member; claimed ones finish");
    }
    match pool.spec.state {
        PoolState::Paused => {
            story.next(format!("nothing, until it is resumed: kubectl bullpen resume {}", pool.name_any()));
        }
        PoolState::Draining => story.next("unclaimed machines go; claimed ones end with their claims"),
        PoolState::Active if deficit > 0 => {
            story.next(format!(
                "{} bought as soon as what stands in the way lets it",
                many(deficit.into(), "machine is", "machines are")
            ));
        }
        PoolState::Active if pool.wanted_size() == 0 => {
            story.next("no machine is kept ready: the next claim waits until one has booted for it");
        }
        PoolState::Active => story.next("each claimed machine is replaced at once"),
    }
    if let Some(last) = status.last_replenish_time.as_ref().map(|time| time.0) {
        story.fact(format!("it last bought machines {}", ago(Some(last), now)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::shared::presence::Presence;

    #[test]
    fn all_is_well_only_where_it_is() {
        let headline = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut pool = json!({
                "metadata": { "name": "ci", "namespace": "team", "generation": 1 },
                "spec": { "targetSize": 2, "maxSize": 4, "launchConfigs": [{ "name": "sim" }] },
                "status": { "observedGeneration": 1, "members": { "ready": 2, "total": 2 }, "conditions": [] },
            });
            change(&mut pool);
            let now = "2026-01-01T00:05:00Z".parse().unwrap();
            let around = Surroundings { presence: &Presence::default(), configs: &[], now };
            let story = story(&serde_json::from_value(pool).unwrap(), &[], &around).whole();
            story.lines().next().unwrap_or_default().to_owned()
        };
        assert_eq!(headline(&|_| {}), "pool/ci: all is well");
        assert_eq!(headline(&|pool| pool["status"]["members"]["ready"] = json!(1)), "pool/ci: 1 of 2 ready");
        let deleted = headline(&|pool| pool["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:04:00Z"));
        assert_eq!(deleted, "pool/ci: it is being deleted");
        let refused = json!([{ "type": "MembersAccepted", "status": "False", "reason": "Quota",
            "message": "exceeded quota", "lastTransitionTime": "2026-01-01T00:04:00Z" }]);
        assert_eq!(headline(&|pool| pool["status"]["conditions"] = refused.clone()), "pool/ci: exceeded quota");
        assert_eq!(headline(&|pool| pool["spec"]["state"] = json!("Paused")), "pool/ci: it is Paused");
    }

    #[test]
    fn a_target_is_told_with_what_decided_it_and_what_comes_next() {
        let told = |mode: &str, status: serde_json::Value| {
            let pool = json!({
                "metadata": { "name": "ci" },
                "spec": { "targetSize": 2, "maxSize": 40, "launchConfigs": [{ "name": "sim" }],
                    "autosize": { "mode": mode } },
                "status": status,
            });
            let around = Surroundings {
                presence: &Presence::default(),
                configs: &[],
                now: "2026-01-01T00:05:00Z".parse().unwrap(),
            };
            story(&serde_json::from_value(pool).unwrap(), &[], &around).whole()
        };
        let follows = json!({ "effectiveTarget": { "size": 19, "source": "Autosize" }, "recommendedTarget": 19 });
        let text = told("Auto", follows);
        assert!(text.contains("target 19 (found by autosize; spec.targetSize is 2), maxSize 40"), "{text}");
        assert!(text.contains("each claimed machine is replaced at once"), "{text}");
        let empty = json!({ "effectiveTarget": { "size": 0, "source": "Autosize" }, "recommendedTarget": 0, "members": { "standby": 3, "total": 3 },
            "conditions": [{ "type": "Autosized", "status": "True", "reason": "SizeFollowed",
                "message": "0 claims an hour, boot 95 s: 0 keeps 99 %", "lastTransitionTime": "2026-01-01T00:04:00Z" }] });
        let text = told("Auto", empty);
        for expected in
            ["3 on standby", "autosize: 0 claims an hour", "the next claim waits until one has booted for it"]
        {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        let recommends = json!({ "effectiveTarget": { "size": 2, "source": "Spec" }, "recommendedTarget": 21,
            "nextTarget": { "time": "2026-01-01T07:00:00.000000Z", "size": 8 } });
        let text = told("Recommend", recommends);
        let expected =
            "target 2 (autosize recommends 21; 8 from 2026-01-01T07:00:00Z on, by the schedules), maxSize 40";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn the_story_of_a_pool_with_an_open_breaker_has_the_failure_and_the_next_try() {
        let pool: InstancePool = serde_json::from_value(json!({
            "metadata": { "name": "ci" },
            "spec": { "targetSize": 2, "maxSize": 4, "launchConfigs": [{ "name": "sim" }, { "name": "lost" }] },
            "status": {
                "observedGeneration": 1,
                "deficit": 2,
                "waitingClaims": 3,
                "members": { "ready": 0, "claimed": 1 },
                "launchConfigs": [{
                    "name": "sim", "templateHash": "h", "consecutiveFailures": 5,
                    "openUntil": "2026-01-01T00:06:00.000000Z",
                    "lastFailure": { "class": "Quota", "message": "too many cores", "time": "2026-01-01T00:04:00.000000Z" },
                }],
                "conditions": [{ "type": "ProvisioningHealthy", "status": "False", "reason": "BreakerOpen",
                    "message": "sim is left alone", "lastTransitionTime": "2026-01-01T00:04:00Z" }],
            },
        }))
        .unwrap();
        let config: LaunchConfig = serde_json::from_value(json!({
            "metadata": { "name": "sim" },
            "spec": { "region": "r", "zone": "z", "instanceType": "t", "image": "i" },
        }))
        .unwrap();
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        let around = Surroundings { presence: &Presence::default(), configs: &[config], now };
        let story = story(&pool, &[], &around).whole();
        for text in [
            "pool/ci: sim is left alone",
            "0 ready, 1 claimed",
            "3 claims wait for a machine",
            "launch config sim: 5 failures in a row, the last 60s ago: Quota: too many cores; nothing is bought for 60s",
            "launch config lost is not there",
            "2 machines are bought as soon as",
        ] {
            assert!(story.contains(text), "no {text:?} in\n{story}");
        }
    }
}
