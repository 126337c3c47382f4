//! The rules of a pool's recycling, disruption budget and rollout.

use bullpen_plan::pool::schedule::scheduled;
use jiff::Timestamp;
use serde_json::json;

use super::pool::pool;
use super::sandbox::{Case, Sandbox, assert_each_refused, with};

#[tokio::test]
async fn a_bad_age_budget_or_rollout_is_refused_with_a_message_that_names_the_field() {
    let sandbox = Sandbox::new().await;
    let mut good = pool();
    for part in ["recycle", "disruption", "rollout"] {
        good = with(&good, &format!("/spec/{part}"), json!({}));
    }
    sandbox.created(&good).await;
    let cases: &[Case] = &[
        ("no age", "/spec/recycle/readyTtlSeconds", json!(0), &["spec.recycle.readyTtlSeconds", "equal to 1"]),
        (
            "an age of years",
            "/spec/recycle/readyTtlSeconds",
            json!(31_536_001),
            &["readyTtlSeconds", "equal to 31536000"],
        ),
        ("negative jitter", "/spec/recycle/jitterPercent", json!(-1), &["spec.recycle.jitterPercent", "equal to 0"]),
        ("jitter over half", "/spec/recycle/jitterPercent", json!(51), &["spec.recycle.jitterPercent", "equal to 50"]),
        ("maxSurge negative", "/spec/disruption/maxSurge", json!(-1), &["spec.disruption.maxSurge", "equal to 0"]),
        (
            "maxUnavailable huge",
            "/spec/disruption/maxUnavailable",
            json!(10_001),
            &["maxUnavailable", "equal to 10000"],
        ),
        (
            "no budget at all",
            "/spec/disruption",
            json!({"maxSurge": 0, "maxUnavailable": 0}),
            &["spec.disruption.maxSurge", "must not both be 0"],
        ),
        // maxUnavailable is 0 unless something else is said.
        ("no surge alone", "/spec/disruption", json!({"maxSurge": 0}), &["must not both be 0"]),
        (
            "another type",
            "/spec/rollout/type",
            json!("Recreate"),
            &["spec.rollout.type", "\"RollingReplace\", \"OnReplenish\""],
        ),
        (
            "another failure",
            "/spec/rollout/onFailure",
            json!("Undo"),
            &["spec.rollout.onFailure", "\"Pause\", \"Continue\""],
        ),
        ("no deadline", "/spec/rollout/progressDeadlineSeconds", json!(0), &["progressDeadlineSeconds", "equal to 1"]),
        ("a mistyped field", "/spec/rollout/deadline", json!(5), &["unknown field", "spec.rollout.deadline"]),
    ];
    assert_each_refused(&sandbox, &good, cases).await;
    for budget in [json!({"maxSurge": 0, "maxUnavailable": 1}), json!({"maxSurge": 3}), json!({"maxUnavailable": 2})] {
        sandbox.created(&with(&good, "/spec/disruption", budget)).await;
    }
}

#[tokio::test]
async fn user_data_comes_from_one_place() {
    let sandbox = Sandbox::new().await;
    let secret = json!({"secretKeyRef": {"name": "boot", "key": "script"}});
    let map = json!({"configMapKeyRef": {"name": "boot", "key": "script"}});
    let both = json!({"secretKeyRef": secret["secretKeyRef"], "configMapKeyRef": map["configMapKeyRef"]});
    let from = |source: serde_json::Value| json!({"userDataFrom": source});
    let at = "spec.template.userDataFrom";
    let cases: &[Case] = &[
        ("no place", "/spec/template", from(json!({})), &[at, "exactly one of secretKeyRef and configMapKeyRef"]),
        ("two places", "/spec/template", from(both), &[at, "exactly one of secretKeyRef and configMapKeyRef"]),
        (
            "here and there",
            "/spec/template",
            json!({"userData": "true", "userDataFrom": secret}),
            &[at, "must not both be set"],
        ),
        (
            "no key",
            "/spec/template",
            from(json!({"secretKeyRef": {"name": "boot"}})),
            &["secretKeyRef.key", "Required"],
        ),
        (
            "no name",
            "/spec/template",
            from(json!({"configMapKeyRef": {"name": "", "key": "k"}})),
            &["configMapKeyRef.name", "at least 1 chars"],
        ),
    ];
    assert_each_refused(&sandbox, &pool(), cases).await;
    for source in [secret, map] {
        sandbox.created(&with(&pool(), "/spec/template", from(source))).await;
    }
}

#[tokio::test]
async fn a_bad_schedule_is_refused_with_a_message_that_names_the_field() {
    let sandbox = Sandbox::new().await;
    let day = json!({ "name": "day", "cron": "0 8 * * 1-5", "durationSeconds": 36_000, "targetSize": 3 });
    let good = with(&with(&pool(), "/spec/maxSize", json!(5)), "/spec/schedules", json!([day]));
    let created = sandbox.created(&good).await;
    assert_eq!(created["spec"]["schedules"][0]["timeZone"], "Etc/UTC");
    let schedule = "/spec/schedules/0";
    let cases: &[Case] = &[
        ("four fields", &format!("{schedule}/cron"), json!("0 8 * *"), &["spec.schedules[0].cron", "five fields"]),
        (
            "a nickname",
            &format!("{schedule}/cron"),
            json!("@daily"),
            &["spec.schedules[0].cron", "five fields", "@daily"],
        ),
        ("a zone with a space", &format!("{schedule}/timeZone"), json!("Europe Berlin"), &["timeZone"]),
        ("half a minute", &format!("{schedule}/durationSeconds"), json!(30), &["durationSeconds", "equal to 60"]),
        (
            "above maxSize",
            &format!("{schedule}/targetSize"),
            json!(6),
            &["spec.schedules", "must not be above maxSize"],
        ),
        ("a name in capitals", &format!("{schedule}/name"), json!("Day"), &["spec.schedules[0].name"]),
        ("two of one name", "/spec/schedules", json!([day, day]), &["spec.schedules[1]", "Duplicate value"]),
        ("a mistyped field", &format!("{schedule}/zone"), json!("Etc/UTC"), &["unknown field", "schedules[0].zone"]),
    ];
    assert_each_refused(&sandbox, &good, cases).await;
}

#[tokio::test]
async fn a_cron_expression_is_refused_with_the_field_its_value_and_its_bounds() {
    let sandbox = Sandbox::new().await;
    let day = json!({ "name": "day", "cron": "0 8 * * 1-5", "durationSeconds": 36_000, "targetSize": 3 });
    let good = with(&with(&pool(), "/spec/maxSize", json!(5)), "/spec/schedules", json!([day]));
    let cron = "/spec/schedules/0/cron";
    let where_ = "spec.schedules[0].cron";
    for (wrong, told) in [
        ("0 25 * * *", "hour 25: 0 to 23"),
        ("60 8 * * *", "minute 60: 0 to 59"),
        ("0  8 0 *   *", "day of the month 0: 1 to 31"),
        ("0 8 * 13 *", "month 13: 1 to 12 or JAN to DEC"),
        ("0 8 * * 8", "day of the week 8: 0 to 7 (0 and 7 are Sunday) or SUN to SAT"),
        ("*/0 * * * *", "minute */0: 0 to 59, as in 5, 0-30, */15 or 0,30"),
        ("5/15 * * * *", "minute 5/15: 0 to 59"),
        ("0 MON * * *", "hour MON: 0 to 23"),
        ("0 8 * * 1,,3", "day of the week 1,,3: 0 to 7"),
    ] {
        let cases: &[Case] = &[(wrong, cron, json!(wrong), &[where_, told])];
        assert_each_refused(&sandbox, &good, cases).await;
    }
    // What only the operator refuses, and what it takes.
    for taken in ["0 22-6 * * *", "05 08 01 JAN-mar,12 Mon-FRI", "*/15 */2 L,15W */3 5L,MON#2", "0,30 8-18/2 LW 1-12 7"]
    {
        sandbox.created(&with(&good, cron, json!(taken))).await;
    }
}

/// What of a cron expression the API server may take although the operator cannot read it.
fn is_left_to_the_operator(problems: &[String]) -> bool {
    problems.iter().all(|problem| {
        ["a range goes upwards", "never comes", "before # there is a day"].iter().any(|known| problem.contains(known))
    })
}

#[tokio::test]
async fn the_api_server_takes_those_cron_expressions_that_the_operator_can_read() {
    let sandbox = Sandbox::new().await;
    let day = json!({ "name": "day", "cron": "* * * * *", "durationSeconds": 36_000, "targetSize": 3 });
    let good = with(&with(&pool(), "/spec/maxSize", json!(5)), "/spec/schedules", json!([day]));
    let values = [
        "0",
        "1",
        "007",
        "12",
        "13",
        "23",
        "24",
        "31",
        "32",
        "59",
        "60",
        "7",
        "8",
        "JAN",
        "dec",
        "MON",
        "sun",
        "MONDAY",
        "L",
        "LW",
        "15W",
        "32W",
        "W",
        "5L",
        "8L",
        "FRIL",
        "1#2",
        "1#6",
        "*#1",
        "1-5#2",
        "#",
        "*",
        "*/5",
        "*/0",
        "*/9999",
        "*/70000",
        "*/x",
        "/5",
        "1-5/2",
        "5-1",
        "1-",
        "-1",
        "1--2",
        "1-2-3",
        "1/2",
        "1,3",
        "1,,3",
        ",1",
        "1,",
        "FRI-SUN",
        "SUN-FRI",
        "JAN-MAR/2",
        "1-99",
        "JANFEB",
        "1MON",
    ];
    for place in 0..5 {
        for value in values {
            let mut fields = ["*"; 5];
            fields[place] = value;
            let cron = fields.join(" ");
            let manifest = with(&good, "/spec/schedules/0/cron", json!(cron));
            let schedule = serde_json::from_value(manifest["spec"]["schedules"][0].clone()).expect("a schedule");
            let problems = scheduled(&[schedule], 1, Timestamp::UNIX_EPOCH).problems;
            match sandbox.create(&manifest).await {
                Ok(_) => assert!(is_left_to_the_operator(&problems), "{cron} is taken: {problems:?}"),
                Err(error) => assert!(!problems.is_empty(), "{cron} is refused, and the operator reads it: {error}"),
            }
        }
    }
}
