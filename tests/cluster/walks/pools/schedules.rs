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

    is_at(&walk, (1, TargetSource::Spec, None), 1).await;
    let pool = walk.get::<InstancePool>(POOL).await;
    assert_eq!(pool.spec.target_size, 1, "the spec is its owner's");
    let next = pool.status.and_then(|status| status.next_target).expect("it comes again tomorrow");
    assert_eq!(next.time.0.duration_since(end.time.0).as_hours(), 23);
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
