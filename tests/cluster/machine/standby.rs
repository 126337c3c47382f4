//! A real machine that is stopped and started: what it does at its second boot.

use std::time::Instant;

use bullpen_api::{MemberState, PoolClaim, PoolMember};
use bullpen_simcloud::ledger::State;
use serde_json::json;

use super::ground::{Ground, member};
use super::login::Login;
use super::whole::{bound, claim, is_done, pool, tell};
use crate::harness::objects::member_of;

#[tokio::test]
#[ignore = "make test-machine"]
async fn a_real_machine_that_was_stopped_is_started_for_a_claim_and_does_its_job_without_a_second_call() {
    let ground = Ground::begin("machine-standby").await;
    let (began, walk) = (Instant::now(), &ground.walk);
    pool(walk, json!({ "targetSize": 0, "standby": { "size": 1 }, "reuse": null })).await;
    member(walk, MemberState::Standby).await;
    tell("from the pool to a machine that was ready and is stopped", began.elapsed());
    let heard = "bullpen_machine_requests_total{route=\"heartbeat\",result=\"heard\"}";
    let before = ground.operator.metric_reaches(heard, 0.0).await;

    let asked = Instant::now();
    claim(walk, "late", "build 4713, please").await;
    let late = bound(walk, "late").await;
    tell("from the claim to Bound", asked.elapsed());
    is_done(walk, &late).await;
    tell("from the claim to the end of its job", asked.elapsed());
    let login = Login::of(&ground, "late").await;
    login.says("cat /var/tmp/heard", "build 4713, please").await;
    assert_eq!(login.does("cat /var/lib/boots").await, "1\n1", "two boots of one disk, each with the file for scripts");
    ground.operator.metric_reaches(heard, before + 1.0).await;

    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.bought(), ledger.reached(State::Starting).len()), (1, 1));
    walk.delete::<PoolClaim>("late").await;
    walk.gone::<PoolMember>(member_of(&late)).await;
    tell("all of it", began.elapsed());
}
