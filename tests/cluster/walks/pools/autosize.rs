//! Sizes by what is claimed.

use std::time::Duration;

use bullpen_api::{InstancePool, InstancePoolStatus, PoolClaim, PoolMember, TargetSource};
use bullpen_simulate::{Arrival, MILLISECOND, SECOND};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use super::simulated::play;
use crate::harness::objects::{LAUNCH_CONFIG, POOL, condition};
use crate::harness::{History, Operator, Walk, eventually_within};

/// Claims of the crowd: half of them come evenly over so many seconds, the others in bursts of so many.
const CROWD: i64 = 2_000;
const LASTS: i64 = 120;
const BURST: i64 = 40;
/// Its pool never has more machines, those of claims included.
const MOST: i32 = 200;
/// What its schedule wants for a minute of that time.
const FLOOR: i32 = 60;

/// Waits until the status of the pool is so.
async fn until(walk: &Walk, what: &str, holds: impl Fn(&InstancePoolStatus) -> bool) {
    eventually_within(Duration::from_secs(90), what, async || {
        let status = walk.get::<InstancePool>(POOL).await.status.unwrap_or_default();
        let found = status.conditions.iter().find(|condition| condition.type_ == "Autosized");
        if holds(&status) {
            Ok(())
        } else {
            Err(format!("{:?}, {:?}, {:?}", status.recommended_target, status.effective_target, found))
        }
    })
    .await;
}

fn source(status: &InstancePoolStatus) -> Option<(i32, TargetSource)> {
    status.effective_target.as_ref().map(|target| (target.size, target.source))
}

#[tokio::test]
async fn a_size_is_recommended_outlives_a_restart_and_is_followed_by_auto() {
    let walk = Walk::begin("autosize").await;
    let operator = Operator::start(&walk).await;
    let autosize = |mode: &str| json!({ "mode": mode, "windowSeconds": 5 });
    walk.ready_pool(3, json!({ "maxSize": 60, "autosize": autosize("Recommend") })).await;
    let pool = walk.get::<InstancePool>(POOL).await;
    let (holds, reason, message) = condition(&pool, "Autosized");
    assert_eq!((holds.as_str(), reason.as_str()), ("False", "TooLittleKnown"));
    assert!(message.ends_with("targetSize 3 applies"), "{message}");

    for number in 0..24 {
        walk.claim(&format!("c{number}"), json!({})).await;
        walk.bound(&format!("c{number}")).await;
    }
    until(&walk, "a size is recommended", |status| status.recommended_target.is_some()).await;
    let pool = walk.get::<InstancePool>(POOL).await;
    let (_, reason, message) = condition(&pool, "Autosized");
    assert_eq!(reason, "SizeRecommended");
    assert!(message.contains(" claims an hour, boot ") && message.contains(" keeps 99 %"), "{message}");
    let status = pool.status.expect("a status");
    assert_eq!(source(&status), Some((3, TargetSource::Spec)), "a recommendation changes nothing");
    until(&walk, "what was learnt is kept", |status| status.learnt.is_some()).await;

    drop(operator);
    let _operator = Operator::start(&walk).await;
    walk.set::<InstancePool>(POOL, json!({ "autosize": autosize("Auto") })).await;
    until(&walk, "what was learnt before the restart is followed", |status| {
        status.recommended_target.is_some()
            && status.effective_target.as_ref().is_some_and(|target| target.source == TargetSource::Autosize)
    })
    .await;
    let before = walk.get::<InstancePool>(POOL).await.status.and_then(|status| status.recommended_target).unwrap_or(0);
    assert!(before >= 3, "targetSize is a floor while it learns");
    for number in 24..48 {
        walk.claim(&format!("c{number}"), json!({})).await;
    }
    until(&walk, "a step is answered", |status| status.recommended_target.is_some_and(|size| size > before)).await;
    assert_eq!(walk.get::<InstancePool>(POOL).await.spec.target_size, 3, "the spec is its owner's");

    walk.set::<InstancePool>(POOL, json!({ "autosize": { "mode": "Off" } })).await;
    until(&walk, "nothing is learnt any more", |status| {
        status.recommended_target.is_none()
            && status.learnt.is_none()
            && source(status) == Some((3, TargetSource::Spec))
            && !status.conditions.iter().any(|condition| condition.type_ == "Autosized")
    })
    .await;
}

/// The claims of the crowd, each of which keeps its machine for one to two seconds.
fn crowd() -> Vec<Arrival> {
    let half = CROWD / 2;
    let evenly = (0..half).map(|number| number * LASTS * SECOND / half);
    let bursts = half / BURST;
    let in_bursts = (0..half).map(|number| (number / BURST * LASTS * SECOND + LASTS * SECOND / 2) / bursts);
    let mut at: Vec<_> = evenly.chain(in_bursts).collect();
    at.sort_unstable();
    let arrival = |at: i64| Arrival { at, holds: SECOND + at / MILLISECOND % 11 * 100 * MILLISECOND };
    at.into_iter().map(arrival).collect()
}

/// A schedule of a minute that begins with the next full minute that is at least so far away, and when it ends.
fn next_minute(away: SignedDuration) -> (Value, Timestamp) {
    let begin = (Timestamp::now() + away).as_second() / 60 * 60 + 60;
    let begin = Timestamp::from_second(begin).expect("a moment of today");
    let zoned = begin.to_zoned(TimeZone::UTC);
    let cron = format!("{} {} * * *", zoned.minute(), zoned.hour());
    let schedule = json!({ "name": "peak", "cron": cron, "durationSeconds": 60, "targetSize": FLOOR });
    (schedule, begin + SignedDuration::from_secs(60))
}

#[tokio::test]
#[ignore = "takes two and a half minutes: make play-crowd"]
async fn a_crowd_of_claims_is_served_by_a_pool_that_sizes_itself_between_its_schedule_and_its_max_size() {
    let walk = Walk::begin("crowd").await;
    let mut operator = Operator::start(&walk).await;
    walk.launch_config(LAUNCH_CONFIG, json!({ "simulated": { "bootMilliseconds": 500, "bootJitterPercent": 20 } }))
        .await;
    let (schedule, ends) = next_minute(SignedDuration::from_secs(15));
    let spec = json!({ "targetSize": 20, "maxSize": MOST, "scaleDownDelaySeconds": 5, "schedules": [schedule],
        "autosize": { "mode": "Auto", "windowSeconds": 1 },
        "provisioning": { "maxConcurrentCreates": 1_000, "failureThreshold": 100 } });
    walk.pool(POOL, spec).await;
    walk.pool_has_ready(20).await;
    let mut pools: History<InstancePool> = History::begin(&walk).await;
    let (trace, before) = (crowd(), operator.processor_time());
    // Fails if a claim is not served.
    let played = play(&walk, &operator, &trace).await;
    let used = operator.processor_time().saturating_sub(before);
    walk.none_left::<PoolClaim>().await;
    let (mut on, mut whole, mut largest, mut followed) = (0, 0, 0, false);
    for pool in pools.versions().await {
        let status = pool.status.unwrap_or_default();
        let (Some(target), Some(members)) = (status.effective_target, status.members) else { continue };
        largest = largest.max(target.size);
        followed |= target.source == TargetSource::Autosize;
        assert!(members.total <= MOST && target.size <= MOST, "{members:?}, {target:?}");
        assert!(
            status.recommended_target.is_none_or(|size| (0..=MOST).contains(&size)),
            "{:?}",
            status.recommended_target
        );
        if status.next_target.is_some_and(|next| next.time.0 == ends) {
            on += 1;
            // Machines of claims may leave less room for it.
            let room = MOST - members.claimed;
            assert!(target.size >= FLOOR.min(room), "the schedule is on: {target:?}, {members:?}");
            whole += i32::from(room >= FLOOR);
        }
    }
    eprintln!(
        "{} claims, {} of them hits; {} machines bought, a target of up to {largest}, {on} versions of its status while the schedule was on, \
         {whole} of them with room for all of it; \
         {:.2} ms of processor time for each claim",
        trace.len(),
        played.hits,
        played.bought,
        used.as_secs_f64() * 1_000.0 / u32::try_from(trace.len()).map_or(f64::NAN, f64::from)
    );
    assert!(followed && whole > 0, "nothing was tried");
    walk.delete::<InstancePool>(POOL).await;
    walk.no_machine_left().await;
    walk.none_left::<PoolMember>().await;
}
