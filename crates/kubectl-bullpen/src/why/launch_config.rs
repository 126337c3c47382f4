//! Explains the state of a launch config.

use bullpen_api::{ConditionType, InstancePool, LaunchConfig, condition_is_true};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::story::{Story, ago};
use crate::launch_configs::{breakers, instances, place, weights};
use crate::shared::conditions::is_bad;
use crate::shared::presence::unobserved;
use crate::shared::printing::{many, span};
use crate::shared::trouble::of_launch_config;

/// Most recent errors that are told.
const ERRORS: usize = 5;

/// The story of a launch config, from the pools of its namespace.
pub(super) fn story(config: &LaunchConfig, pools: &[InstancePool], now: Timestamp) -> Story {
    let status = config.status.clone().unwrap_or_default();
    let name = config.name_any();
    let breaker = breakers(config, pools, now).next();
    let headline = unobserved(&config.metadata, status.observed_generation, now)
        .or_else(|| of_launch_config(config))
        .or(breaker)
        .unwrap_or_else(|| without_trouble(config).into());
    let mut story = Story::of("launchconfig", &name, headline);
    let spec = &config.spec;
    let place = place(config);
    story.fact(format!(
        "it buys {} machines ({:?}) with image {} in {place}",
        spec.instance_type, spec.market, spec.image
    ));
    if let Some(identity) = &status.identity {
        story.fact(format!("its machines are in account {}, region {}", identity.account, identity.region));
    }
    let used: Vec<_> = weights(config, pools).map(|(pool, weight)| format!("{pool} (weight {weight})")).collect();
    if used.is_empty() {
        story.fact("no pool buys by it");
    } else {
        let share =
            status.weight.map(|percent| format!("; it gets {percent} % of its share, by how its members fared"));
        story.fact(format!("pools that buy by it: {}{}", used.join(", "), share.unwrap_or_default()));
    }
    story.fact(format!("it has {} instances", instances(config)));
    for condition in status.conditions.iter().filter(|condition| is_bad(condition)) {
        story.condition(condition, now);
    }
    for breaker in breakers(config, pools, now) {
        if !story.tells(&breaker) {
            story.fact(breaker);
        }
    }
    for error in status.recent_errors.iter().take(ERRORS) {
        let times = many(error.count.into(), "time", "times");
        let message = if story.tells(&error.message) { "as above" } else { &error.message };
        story.fact(format!("{} {times}, last {}: {message}", error.class, ago(Some(error.last_time.0), now)));
    }
    next(&mut story, config, now);
    story
}

fn without_trouble(config: &LaunchConfig) -> &'static str {
    if config.metadata.deletion_timestamp.is_some() {
        "it is being deleted"
    } else if config.spec.paused {
        "it is paused"
    } else {
        "all is well"
    }
}

fn next(story: &mut Story, config: &LaunchConfig, now: Timestamp) {
    let (name, status) = (config.name_any(), config.status.clone().unwrap_or_default());
    if config.metadata.deletion_timestamp.is_some() {
        story.next("it goes with the last member that was bought by it");
    }
    if condition_is_true(&status.conditions, ConditionType::SweepBlocked) {
        story.next("the machines end when a person has confirmed it: kubectl bullpen orphans");
    }
    let left = status.unavailable_until.map(|until| until.0.duration_since(now).as_secs());
    if config.spec.paused {
        story.next(format!(
            "nothing is bought by it until spec.paused is false: kubectl patch lc {name} --type=merge -p '{{\"spec\":{{\"paused\":false}}}}'"
        ));
    } else if let Some(left) = left.filter(|left| *left > 0) {
        story.next(format!("one machine is tried in {}", span(left)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(change: impl FnOnce(&mut Value)) -> String {
        let mut config = json!({
            "metadata": { "name": "sim", "namespace": "team", "generation": 1 },
            "spec": { "region": "r1", "zone": "r1-a", "instanceType": "small", "image": "img-1" },
            "status": { "observedGeneration": 1, "weight": 80, "instances": 3, "identity": { "account": "acct", "region": "r1" } },
        });
        change(&mut config);
        let pool: InstancePool = serde_json::from_value(json!({
            "metadata": { "name": "ci", "namespace": "team" },
            "spec": { "targetSize": 2, "maxSize": 4, "launchConfigs": [{ "name": "sim" }] },
        }))
        .unwrap();
        let config = serde_json::from_value(config).unwrap();
        story(&config, &[pool], "2026-01-01T00:05:00Z".parse().unwrap()).whole()
    }

    #[test]
    fn the_story_of_a_launch_config_has_its_place_its_pools_and_what_is_in_the_way() {
        let fine = told(|_| {});
        for text in [
            "launchconfig/sim: all is well",
            "it buys small machines (OnDemand) with image img-1 in r1/r1-a",
            "pools that buy by it: ci (weight 100); it gets 80 % of its share",
            "it has 3 instances",
        ] {
            assert!(fine.contains(text), "no {text:?} in\n{fine}");
        }
        let refused = told(|config| {
            config["status"]["conditions"] = json!([{ "type": "Available", "status": "False", "reason": "Unauthorized",
                "message": "the token has expired", "lastTransitionTime": "2026-01-01T00:04:00Z" }]);
            config["status"]["unavailableUntil"] = json!("2026-01-01T00:06:00.000000Z");
            config["status"]["recentErrors"] = json!([{ "class": "Auth", "message": "the token has expired", "count": 2,
                "lastTime": "2026-01-01T00:04:00.000000Z" }]);
        });
        assert!(refused.starts_with("launchconfig/sim: the token has expired\n"), "{refused}");
        assert_eq!(refused.matches("the token has expired").count(), 1, "once is enough:\n{refused}");
        assert!(refused.contains("Auth 2 times, last 60s ago: as above"), "{refused}");
        assert!(refused.contains("next: one machine is tried in 60s"), "{refused}");
        let paused = told(|config| config["spec"]["paused"] = json!(true));
        assert!(paused.contains("sim: it is paused") && paused.contains("kubectl patch lc sim"), "{paused}");
    }
}
