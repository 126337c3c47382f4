//! Stops work and starts never do: the tier costs one machine for each pause, and the pauses outlive the operator.

use bullpen_api::{FailuresInARow, InstancePool, PoolClaim};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{pool, rests_with};
use crate::harness::objects::{POOL, condition};
use crate::harness::{Operator, Walk, eventually};

/// Claims that come one after the other.
const CLAIMS: usize = 8;

/// What the pool's status records of the starts of its launch config.
fn starts(pool: &InstancePool) -> Option<FailuresInARow> {
    pool.status.as_ref()?.launch_configs.first()?.standby.as_ref()?.starts.clone()
}

/// Claims come and go, each of which takes the only ready machine.
async fn claims_come_and_go(walk: &Walk) {
    for number in 0..CLAIMS {
        let name = format!("c{number}");
        walk.claim(&name, json!({})).await;
        walk.bound(&name).await;
        walk.delete::<PoolClaim>(&name).await;
        walk.pool_has_ready(1).await;
    }
}

/// Claims come and go while the machines on standby do not come back. Returns what is recorded of that at the end.
async fn claims_wear_it_out(walk: &Walk, fault: Value, class: &str) -> FailuresInARow {
    walk.simcloud.break_with(json!({ "calls": [{ "on": ["start"], "fault": fault }] })).await;
    let before = walk.simcloud.ledger().await.bought();
    claims_come_and_go(walk).await;
    let failing = |pool: &InstancePool| condition(pool, "StandbyFilled").1 == "StandbyFailing";
    let pool = walk.until(POOL, "says that its tier fails", failing).await;
    let message = condition(&pool, "StandbyFilled").2;
    assert!(message.contains("launch config sim: the last machine did not come back from standby"), "{message}");
    assert!(message.contains(class), "{message}");
    let bought = walk.simcloud.ledger().await.bought() - before;
    assert!(bought <= CLAIMS, "{bought} machines for {CLAIMS} claims: none for the tier");
    starts(&pool).expect("it is in the status")
}

/// A restart goes on with the pause, and a start that works ends it.
async fn the_pause_outlives_the_operator(walk: &Walk, operator: &mut Operator, recorded: &FailuresInARow) {
    operator.kill_9();
    operator.start_again().await;
    operator.comes_to_lead().await;
    walk.request_a_pass(POOL, "after the restart").await;
    let handled = |pool: &InstancePool| {
        let status = pool.status.as_ref();
        status.is_some_and(|status| status.last_handled_reconcile_at.as_deref() == Some("after the restart"))
    };
    let pool = walk.until(POOL, "had a pass", handled).await;
    assert_eq!(starts(&pool).as_ref(), Some(recorded));
    assert_eq!(condition(&pool, "StandbyFilled").1, "StandbyFailing");
    let ledger = walk.simcloud.ledger().await;
    rests_with(walk, 1, 0).await;
    assert_eq!(walk.simcloud.ledger().await.bought(), ledger.bought(), "nothing is bought for the tier in the pause");
}

#[tokio::test]
async fn starts_that_are_refused_cost_no_machine_for_each_claim_and_the_pause_outlives_a_restart() {
    let walk = Walk::begin("standby-no-start").await;
    let mut operator = Operator::start(&walk).await;
    pool(&walk, 2, json!({ "provisioning": { "cooldownSeconds": 600 } })).await;
    rests_with(&walk, 1, 2).await;
    // A lack of capacity would close the zone for purchases, too.
    let refused = json!({ "error": { "class": "Invalid" } });
    let recorded = claims_wear_it_out(&walk, refused, "StartFailed").await;
    assert_eq!(recorded.last_failure.class, "StartFailed");
    the_pause_outlives_the_operator(&walk, &mut operator, &recorded).await;
}

#[tokio::test]
async fn a_tier_whose_machines_never_come_up_after_a_start_is_tried_with_one_machine_until_one_comes_back() {
    let walk = Walk::begin("standby-no-return").await;
    let _operator = Operator::start(&walk).await;
    let short = json!({ "readiness": { "launchTimeoutSeconds": 10 }, "provisioning": { "cooldownSeconds": 5 } });
    pool(&walk, 2, short).await;
    rests_with(&walk, 1, 2).await;
    walk.simcloud.break_with(json!({ "calls": [{ "on": ["start"], "fault": { "lingers": {} } }] })).await;
    let before = walk.simcloud.ledger().await.bought();
    claims_come_and_go(&walk).await;
    let recorded = |pool: &InstancePool| starts(pool).is_some();
    let pool = walk.until(POOL, "records that starts fail", recorded).await;
    let failed = starts(&pool).expect("it does");
    let tried = usize::try_from(failed.consecutive_failures).expect("a count");
    let ledger = walk.simcloud.ledger().await;
    let bought = ledger.bought() - before;
    assert!(bought <= CLAIMS + tried + 1, "{bought} machines for {CLAIMS} claims and {tried} tries");
    let pause = failed.open_until.0.duration_since(failed.last_failure.time.0);
    assert!(pause >= SignedDuration::from_secs(4) * i32::try_from(tried).expect("a few"), "{failed:?}");

    walk.simcloud.mend().await;
    let mut number = CLAIMS;
    eventually("one has come back, and the tier is filled", async || {
        let pool = walk.get::<InstancePool>(POOL).await;
        let standby = pool.status.as_ref().and_then(|status| status.members).map_or(0, |members| members.standby);
        if starts(&pool).is_none() && standby == 2 {
            return Ok(());
        }
        if standby == 1 {
            // It takes the one that is tried.
            number += 1;
            let name = format!("c{number}");
            walk.claim(&name, json!({})).await;
            walk.bound(&name).await;
            walk.delete::<PoolClaim>(&name).await;
        }
        Err(format!("{standby} on standby, {:?}", starts(&pool)))
    })
    .await;
}
