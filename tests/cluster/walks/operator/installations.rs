//! Two installations that watch one namespace: only one works on a pool.

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use serde_json::json;

use crate::harness::objects::{POOL, machine_of, member_of};
use crate::harness::{Operator, Walk};

fn worked_on_by(pool: &InstancePool, id: &str) -> bool {
    pool.status.as_ref().and_then(|status| status.installation.as_deref()) == Some(id)
}

#[tokio::test]
async fn a_second_installation_stands_off_says_whose_the_pool_is_and_takes_over_only_by_a_persons_word() {
    let walk = Walk::begin("second").await;
    let mut first = Operator::start_with(&walk, &[("--installation-id", "one")]).await;
    walk.ready_pool(3, json!({ "maxSize": 6 })).await;
    let mut second = Operator::start_with(&walk, &[("--installation-id", "two")]).await;
    let said = second.says("installation one works on it").await;
    assert!(said.contains("bullpen.dev/take-over=two"), "{said}");
    walk.has_event("OtherInstallation").await;

    walk.set::<InstancePool>(POOL, json!({ "targetSize": 6 })).await;
    assert!(worked_on_by(&walk.pool_has_ready(6).await, "one"));
    walk.claim("held", json!({})).await;
    let claim = walk.bound("held").await;
    walk.audit().is_settled().await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 6);

    // The first one is gone, and a person says so.
    assert_eq!(first.stop().await, Some(0), "{}", first.output());
    walk.kubectl(&["annotate", "ipool/ci", "lc/sim", "bullpen.dev/take-over=two"]).await;
    walk.until(POOL, "is worked on by the second", |pool: &InstancePool| worked_on_by(pool, "two")).await;
    walk.until("sim", "is, too", |config: &LaunchConfig| {
        config.status.as_ref().and_then(|status| status.installation.as_deref()) == Some("two")
    })
    .await;
    walk.delete::<PoolClaim>("held").await;
    walk.gone::<PoolMember>(member_of(&claim)).await;
    let ledger = walk.simcloud.ledger().await;
    assert!(ledger.ended(machine_of(&claim)));
    walk.pool_has_ready(6).await;
    assert_eq!(walk.simcloud.ledger().await.living().len(), 6, "no other machine ended");

    first.start_again().await;
    first.says("installation two works on it").await;
}

#[tokio::test]
async fn an_operator_of_the_same_installation_that_runs_elsewhere_goes_on_and_writes_nothing() {
    let walk = Walk::begin("moved").await;
    let mut first = Operator::start(&walk).await;
    let pool = walk.ready_pool(2, json!({})).await;
    assert!(worked_on_by(&pool, &walk.namespace));
    assert_eq!(first.stop().await, Some(0), "{}", first.output());
    let mut audit = walk.audit();
    // The same id, but not the same lease, nor the same name.
    let _moved = Operator::start_without_lease(&walk).await;
    walk.claim("held", json!({})).await;
    walk.bound("held").await;
    walk.pool_has_ready(2).await;
    let marks = audit.writes().iter().filter(|write| write.resource() == "launchconfigs").count();
    assert!(marks <= 1, "no more than the new number of instances: {marks}");
    assert_eq!(walk.simcloud.ledger().await.bought(), 3);
}
