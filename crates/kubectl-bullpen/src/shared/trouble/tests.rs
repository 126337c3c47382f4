//! Which problem of a pool is shown.

use serde_json::{Value, json};

use super::*;

fn conditions(all: &[(&str, &str, &str)]) -> Vec<Value> {
    let value = |(type_, status, reason): &(&str, &str, &str)| {
        json!({ "type": type_, "status": status, "reason": reason, "message": format!("{type_} says {reason}"),
            "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    all.iter().map(value).collect()
}

fn pool(waiting: i32, all: &[(&str, &str, &str)]) -> InstancePool {
    serde_json::from_value(json!({
        "metadata": { "name": "ci", "namespace": "team", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "targetSize": 2, "maxSize": 4, "launchConfigs": [{ "name": "sim" }] },
        "status": {
            "observedGeneration": 1, "conditions": conditions(all), "waitingClaims": waiting,
            "members": { "ready": 2, "total": 2 },
        },
    }))
    .unwrap()
}

fn config(all: &[(&str, &str, &str)]) -> LaunchConfig {
    serde_json::from_value(json!({
        "metadata": { "name": "sim", "namespace": "team" },
        "spec": { "region": "r", "zone": "z", "instanceType": "t", "image": "i" },
        "status": { "conditions": conditions(all) },
    }))
    .unwrap()
}

fn with(pool: &InstancePool, configs: &[LaunchConfig]) -> Option<String> {
    let now = "2026-01-01T01:00:00Z".parse().unwrap();
    of_pool(pool, &Surroundings { presence: &Presence::default(), configs, now })
}

fn trouble(pool: &InstancePool) -> Option<String> {
    with(pool, &[])
}

#[test]
fn the_problem_of_a_pool_is_its_cause_and_not_its_consequence() {
    let below = ("Ready", "False", "BelowMinSize");
    assert_eq!(trouble(&pool(0, &[("Ready", "True", "MinSizeReached")])), None);
    assert_eq!(trouble(&pool(0, &[below])).unwrap(), "Ready says BelowMinSize");
    let open = ("ProvisioningHealthy", "False", "BreakerOpen");
    assert_eq!(trouble(&pool(0, &[below, open])).unwrap(), "ProvisioningHealthy says BreakerOpen");
    let stalled = ("Stalled", "True", "LaunchConfigNotFound");
    assert_eq!(trouble(&pool(0, &[below, open, stalled])).unwrap(), "Stalled says LaunchConfigNotFound");
    let none = ("Ready", "False", "NoMachines");
    assert_eq!(trouble(&pool(0, &[none, open])).unwrap(), "ProvisioningHealthy says BreakerOpen");
}

#[test]
fn a_full_pool_is_a_problem_only_if_claims_wait() {
    let full = [("AtMaxSize", "True", "MaxSizeReached")];
    assert_eq!(trouble(&pool(0, &full)), None);
    assert!(trouble(&pool(1, &full)).is_some());
    assert_eq!(trouble(&pool(0, &[("Ready", "False", "Draining")])), None, "a person asked for that");
}

#[test]
fn a_condition_that_is_not_known_by_name_is_a_problem_too() {
    assert_eq!(trouble(&pool(0, &[("Spelling", "False", "Wrong")])).unwrap(), "Spelling says Wrong");
    assert_eq!(trouble(&pool(0, &[("TakeoverBlocked", "True", "Two")])).unwrap(), "TakeoverBlocked says Two");
    let unwatched = ("ClaimsWatched", "False", "NamespaceNotWatched");
    assert_eq!(trouble(&pool(0, &[unwatched])).unwrap(), "ClaimsWatched says NamespaceNotWatched");
}

#[test]
fn the_trouble_of_a_pools_launch_config_is_that_of_the_pool() {
    let fine = pool(0, &[("Ready", "True", "MinSizeReached")]);
    let down = config(&[("Available", "False", "CloudDoesNotAnswer")]);
    assert_eq!(with(&fine, &[down]).unwrap(), "launch config sim: Available says CloudDoesNotAnswer");
    let blocked = config(&[("Available", "True", "CloudAnswers"), ("SweepBlocked", "True", "TooManyOrphans")]);
    let words = "launch config sim: SweepBlocked says TooManyOrphans; see kubectl bullpen orphans";
    assert_eq!(with(&fine, std::slice::from_ref(&blocked)).unwrap(), words);
    let mut elsewhere = blocked;
    elsewhere.metadata.namespace = Some("other".into());
    assert_eq!(with(&fine, &[elsewhere]), None);
    assert_eq!(with(&fine, &[config(&[("Paused", "True", "PausedBySpec")])]), None, "a person asked for that");
}

#[test]
fn a_pool_without_any_ready_machine_has_a_problem_unless_it_wants_none() {
    let mut empty = pool(0, &[("Ready", "True", "MinSizeReached")]);
    let status = empty.status.as_mut().unwrap();
    status.members = Some(bullpen_api::MemberCounts { warming: 1, total: 1, ..Default::default() });
    status.deficit = 1;
    assert_eq!(trouble(&empty).unwrap(), "0 of 2 ready, 1 booting, 1 still to be bought");
    empty.spec.target_size = 0;
    assert_eq!(trouble(&empty), None);
}

#[test]
fn a_pool_that_nobody_works_on_says_so_before_anything_else() {
    let mut unseen = pool(0, &[("Stalled", "True", "LaunchConfigNotFound")]);
    unseen.status = None;
    let words = "no operator has seen it for 60m; does one run, and watch namespace team?";
    assert_eq!(trouble(&unseen).unwrap(), words);
    unseen.metadata.creation_timestamp = None;
    assert_eq!(trouble(&unseen).unwrap(), "no operator has seen it yet");
}
