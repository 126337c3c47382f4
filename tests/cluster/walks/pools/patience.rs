//! Demand that goes away before its machine is ready, and comes again.

use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, PoolClaim};
use serde_json::json;

use crate::harness::objects::{POOL, phase};
use crate::harness::{Operator, Walk, eventually};

/// How long a machine boots: longer than a surplus has to last.
const BOOT: Duration = Duration::from_secs(40);
/// When the second claim comes, after the first machine was bought.
const AGAIN_AFTER: Duration = Duration::from_secs(37);

#[tokio::test]
async fn a_claim_gets_the_machine_that_an_earlier_and_less_patient_one_had_bought() {
    let walk = Walk::begin("patience").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config("sim", json!({ "simulated": { "bootMilliseconds": BOOT.as_millis() as u64 } })).await;
    walk.pool(POOL, json!({ "targetSize": 0, "maxSize": 9 })).await;
    walk.claim("first", json!({ "waitTimeoutSeconds": 5 })).await;
    walk.ledger_until("a machine is bought", |ledger| ledger.bought() == 1).await;
    let bought = Instant::now();
    walk.until("first", "gave up", |claim: &PoolClaim| phase(claim) == ClaimPhase::Failed).await;
    eventually("the second claim is due", async || {
        let left = AGAIN_AFTER.checked_sub(bought.elapsed()).filter(|left| !left.is_zero());
        left.map_or(Ok(()), |left| Err(format!("in {left:?}")))
    })
    .await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.bought(), ledger.living().len()), (1, 1), "right before it is ready it is worth most");

    walk.claim("second", json!({ "waitTimeoutSeconds": 20 })).await;
    walk.bound("second").await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 1, "and no other one was needed");
}
