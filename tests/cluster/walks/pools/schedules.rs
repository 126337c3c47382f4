//! Targets by the clock.

use std::time::Duration;

use bullpen_api::{InstancePool, InstancePoolStatus, TargetSource};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use crate::harness::objects::{POOL, condition};
use crate::harness::{Operator, Walk, eventually_within};

/// A schedule of a minute that begins with the minute of this moment.
fn minute(name: &str, begin: Timestamp, size: i32) -> Value {
    let begin = begin.to_zoned(TimeZone::UTC);
    let cron = format!("{} {} * * *", begin.minute(), begin.hour());
    json!({ "name": name, "cron": cron, "durationSeconds": 60, "targetSize": size })
}

fn target(status: &InstancePoolStatus) -> Option<(i32, TargetSource, Option<&str>)> {
    status.effective_target.as_ref().map(|target| (target.size, target.source, target.schedule.as_deref()))
}

#[tokio::test]
async fn a_schedule_raises_the_target_for_its_time_and_its_machines_go_after_it() {
    let walk = Walk::begin("schedule").await;
    let _operator = Operator::start(&walk).await;
    // At least half a minute ahead, so that the pool is seen before it begins.
    let begin = Timestamp::now() + SignedDuration::from_secs(90);
    walk.ready_pool(1, json!({ "schedules": [minute("peak", begin, 3)] })).await;
    let status = walk.get::<InstancePool>(POOL).await.status.expect("a status");
    assert_eq!(target(&status), Some((1, TargetSource::Spec, None)));
    let next = status.next_target.expect("the next change is told");
    assert_eq!((next.size, next.time.0.as_second()), (3, begin.as_second() / 60 * 60));

    is_at(&walk, (3, TargetSource::Schedule, Some("peak")), 3).await;
    let status = walk.get::<InstancePool>(POOL).await.status.expect("a status");
    let end = status.next_target.expect("the end is told");
    assert_eq!((end.size, end.time.0.as_second()), (1, begin.as_second() / 60 * 60 + 60));
    let table = walk.plugin_says(&["why", "pool/ci"]).await;
    assert!(table.contains("schedule peak"), "{table}");
    let table = walk.kubectl(&["get", "ipool", "-o", "wide"]).await;
    let (header, row) = (words(&table, 0), words(&table, 1));
    let cell = |name: &str| header.iter().position(|column| *column == name).and_then(|place| row.get(place)).copied();
    assert_eq!((cell("TARGET"), cell("TARGETSIZE")), (Some("3"), Some("1")), "{table}");

    is_at(&walk, (1, TargetSource::Spec, None), 1).await;
    let pool = walk.get::<InstancePool>(POOL).await;
    assert_eq!(pool.spec.target_size, 1, "the spec is its owner's");
    let next = pool.status.and_then(|status| status.next_target).expect("it comes again tomorrow");
    assert_eq!(next.time.0.duration_since(end.time.0).as_hours(), 23);
}

/// The words of a line of a table without empty cells.
fn words(table: &str, line: usize) -> Vec<&str> {
    table.lines().nth(line).unwrap_or_default().split_whitespace().collect()
}

/// Waits until the pool has this target and so many ready members.
async fn is_at(walk: &Walk, wanted: (i32, TargetSource, Option<&str>), ready: i32) {
    eventually_within(Duration::from_secs(150), "the target and its machines", async || {
        let status = walk.get::<InstancePool>(POOL).await.status.unwrap_or_default();
        let members = status.members.unwrap_or_default();
        if target(&status) == Some(wanted) && (members.ready, members.total) == (ready, ready) {
            Ok(())
        } else {
            Err(format!("{:?}, {members:?}", status.effective_target))
        }
    })
    .await;
}

#[tokio::test]
async fn a_schedule_that_cannot_be_read_is_named_and_the_others_count() {
    let walk = Walk::begin("schedule-typo").await;
    let _operator = Operator::start(&walk).await;
    let always = json!({ "name": "always", "cron": "* * * * *", "durationSeconds": 60, "targetSize": 2 });
    let mut typo = always.clone();
    typo["name"] = json!("typo");
    typo["timeZone"] = json!("Europe/Atlantis");
    walk.launch_config("sim", json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 1, "schedules": [typo, always] })).await;
    walk.pool_has_ready(2).await;
    let pool = walk.get::<InstancePool>(POOL).await;
    let (holds, reason, message) = condition(&pool, "SchedulesValid");
    assert_eq!((holds.as_str(), reason.as_str()), ("False", "ScheduleInvalid"));
    assert!(message.contains("spec.schedules[name=typo].timeZone: \"Europe/Atlantis\""), "{message}");
    assert_eq!(condition(&pool, "Ready").0, "True");
    walk.has_event("ScheduleInvalid").await;
    let trouble = walk.plugin_says(&["pools", "-o", "wide"]).await;
    assert!(trouble.contains("ScheduleInvalid") || trouble.contains("Atlantis"), "{trouble}");

    walk.set::<InstancePool>(POOL, json!({ "schedules": [always] })).await;
    walk.until(POOL, "says that all can be read", |pool: &InstancePool| condition(pool, "SchedulesValid").0 == "True")
        .await;
}

/// What `why` says of the pool's Events about schedules, as type, reason and schedule.
async fn told(walk: &Walk) -> Vec<String> {
    let story = walk.plugin_says(&["why", &format!("pool/{POOL}")]).await;
    let mut lines: Vec<_> = story.lines().filter(|line| line.contains(" ago ") && line.contains("Schedule")).collect();
    lines.sort_unstable();
    lines.iter().filter_map(|line| line.split_once(" ago ")).map(|(_, line)| line.to_owned()).collect()
}

#[tokio::test]
async fn each_schedule_with_an_error_has_an_event_and_one_that_was_mended_is_not_told_as_present() {
    let walk = Walk::begin("schedule-errors").await;
    let _operator = Operator::start(&walk).await;
    let schedule = |name: &str, cron: &str, zone: &str| json!({ "name": name, "cron": cron, "timeZone": zone, "durationSeconds": 60, "targetSize": 2 });
    let (one, two) = (schedule("one", "0 22-6 * * *", "Europe/Atlantis"), schedule("two", "0 8 30 2 *", "Etc/UTC"));
    walk.launch_config("sim", json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 1, "schedules": [one, two] })).await;
    let problems = [
        "[name=one].cron: \"0 22-6 * * *\" has hour 22-6: a range goes upwards; write 22-23,0-6",
        "[name=one].timeZone: \"Europe/Atlantis\" is no name of the IANA time zone database",
        "[name=two].cron: \"0 8 30 2 *\" never comes",
    ];
    eventually_within(Duration::from_mins(1), "an Event for each problem", async || {
        let pool = walk.get::<InstancePool>(POOL).await;
        let (message, story) = (condition(&pool, "SchedulesValid").2, told(&walk).await);
        let present = story.iter().filter(|line| *line == "Warning ScheduleInvalid: as above").count();
        let all = problems.iter().all(|problem| message.contains(problem)) && present == problems.len();
        if all { Ok(()) } else { Err(format!("{message}\n{story:#?}")) }
    })
    .await;

    walk.set::<InstancePool>(POOL, json!({ "schedules": [schedule("one", "0 8 * * *", "Etc/UTC")] })).await;
    walk.until(POOL, "says that all can be read", |pool: &InstancePool| condition(pool, "SchedulesValid").0 == "True")
        .await;
    walk.has_event("SchedulesRead").await;
    let story = told(&walk).await;
    let mended = problems.iter().all(|problem| {
        story.iter().any(|line| line.starts_with("Warning ScheduleInvalid (no longer so): ") && line.contains(problem))
    });
    assert!(mended && !story.iter().any(|line| line.contains("as above")), "{story:#?}");
}
