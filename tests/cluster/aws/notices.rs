//! EC2's interruption notices, as `EventBridge` puts them into a queue.

use bullpen_api::PoolClaim;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cloud::{Ec2, REGION, operator};
use crate::harness::objects::{condition, machine_of};
use crate::harness::{Walk, eventually};

fn warning(id: &str) -> Value {
    json!({
        "version": "0", "detail-type": "EC2 Spot Instance Interruption Warning", "source": "aws.ec2",
        "time": Timestamp::now().to_string(), "region": REGION,
        "detail": { "instance-id": id, "instance-action": "terminate" },
    })
}

#[tokio::test]
async fn a_machine_with_a_notice_is_replaced_at_once_and_its_claim_is_told() {
    let walk = Walk::begin("aws-notice").await;
    let ec2 = Ec2::start(&walk, &[]).await;
    let queue = ec2.queue("bullpen").await;
    let flag = format!("{REGION}={queue}");
    let mut operator = operator(&walk, &[("--aws-interruption-queue", &flag)]).await;
    ec2.launch_config(&walk, "m5", json!({ "market": "Spot" })).await;
    walk.pool("ci", json!({ "targetSize": 1, "lifecycleClass": "Spot", "launchConfigs": [{ "name": "m5" }] })).await;
    walk.pool_has_ready(1).await;
    walk.claim("job", json!({})).await;
    let claim = walk.bound("job").await;
    let claimed = machine_of(&claim).to_owned();
    walk.pool_has_ready(1).await;
    let living = ec2.living(&walk).await;
    let waiting = living.iter().find(|machine| machine.id != claimed).expect("a machine that waits").id.clone();

    ec2.send(&queue, &json!({ "detail-type": "EC2 Instance Rebalance Recommendation" })).await;
    ec2.send(&queue, &warning(&claimed)).await;
    ec2.send(&queue, &warning(&waiting)).await;
    walk.until("job", "is Interrupted", |claim: &PoolClaim| {
        let (status, reason, _) = condition(claim, "Interrupted");
        (status.as_str(), reason.as_str()) == ("True", "SpotInterruption")
    })
    .await;
    eventually("the machine that waited is replaced, and the claimed one stays", async || {
        let living: Vec<_> = ec2.living(&walk).await.into_iter().map(|machine| machine.id).collect();
        let done = living.len() == 2 && living.contains(&claimed) && !living.contains(&waiting);
        if done { Ok(()) } else { Err(format!("{living:?}")) }
    })
    .await;

    // The message of a machine that lives stays, so that the next leader knows, too.
    operator.kill_9();
    operator.start_again().await;
    walk.delete::<PoolClaim>("job").await;
    walk.gone::<PoolClaim>("job").await;
    eventually("all messages are deleted with their machines", async || {
        let left = ec2.messages(&queue).await;
        if left == 0 { Ok(()) } else { Err(format!("{left} messages")) }
    })
    .await;
    walk.pool_has_ready(1).await;
    ec2.is_in_step(&walk).await;
}
