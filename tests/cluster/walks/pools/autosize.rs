//! Sizes by what is claimed.

use std::time::Duration;

use bullpen_api::{InstancePool, InstancePoolStatus, TargetSource};
use serde_json::json;

use crate::harness::objects::{POOL, condition};
use crate::harness::{Operator, Walk, eventually_within};

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
