//! Machines that were ready and do not answer any more: over real TCP.

use bullpen_api::{ClaimPhase, LaunchConfig, MemberState, PoolClaim, PoolMember};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::harness::objects::{LAUNCH_CONFIG, POOL, condition, machine, machine_of, phase};
use crate::harness::{Operator, Walk, eventually};

/// Where the machines listen.
const PORT: u16 = 18_080;

/// A walk whose machines listen.
async fn begin(name: &str) -> Walk {
    Walk::begin_in(name, &["--agent-port", &PORT.to_string()]).await
}

/// A ready pool of this size with probes of this period, which are begun by now.
async fn pool(walk: &Walk, size: i32, period: i32, more: Value) {
    let probe = json!({ "tcpSocket": { "port": PORT } });
    let health = json!({ "probe": probe, "periodSeconds": period, "failureThreshold": 2 });
    walk.launch_config(LAUNCH_CONFIG, json!({})).await;
    let mut spec = json!({ "targetSize": size, "readiness": probe, "health": health });
    spec.as_object_mut().expect("fields").extend(more.as_object().cloned().unwrap_or_default());
    walk.pool(POOL, spec).await;
    walk.pool_has_ready(size).await;
}

/// The machines of ready members, by the name of the member, in the order in which they are handed out.
async fn ready_machines(walk: &Walk) -> Vec<(String, String)> {
    let mut members = walk.list::<PoolMember>().await;
    members.retain(|member| member.status.as_ref().is_some_and(|status| status.state == MemberState::Ready));
    let since = |member: &PoolMember| member.status.as_ref().and_then(|status| status.warming_started_at.clone());
    members.sort_by_key(|member| (since(member), member.metadata.uid.clone()));
    let named = |member: &PoolMember| Some((member.metadata.name.clone()?, machine(member)?.to_owned()));
    members.iter().filter_map(named).collect()
}

fn series(walk: &Walk, name: &str) -> String {
    format!("{name}{{namespace=\"{}\",pool=\"ci\"}}", walk.namespace)
}

#[tokio::test]
async fn a_ready_machine_that_answers_no_more_is_replaced_and_one_may_read_why_and_a_settled_pool_writes_nothing() {
    let walk = begin("unhealthy").await;
    let operator = Operator::start(&walk).await;
    let mut audit = walk.audit();
    pool(&walk, 4, 1, json!({})).await;
    let (name, id) = ready_machines(&walk).await.remove(1);
    walk.simcloud.strike(&id, json!({ "agentDown": {} })).await;
    walk.ledger_until("it is terminated", |ledger| ledger.ended(&id)).await;
    walk.gone::<PoolMember>(&name).await;
    walk.pool_has_ready(4).await;
    let unhealthy = |config: &LaunchConfig| {
        let status = config.status.as_ref();
        status.is_some_and(|status| status.recent_errors.iter().any(|error| error.class == "Unhealthy"))
    };
    let config: LaunchConfig = walk.until(LAUNCH_CONFIG, "says why", unhealthy).await;
    let message = config.status.map(|status| status.recent_errors[0].message.clone()).unwrap_or_default();
    assert!(message.starts_with("no health probe has succeeded since "), "{message}");
    assert!(message.ends_with("last: connection refused; the cloud shows that the machine runs"), "{message}");
    assert_eq!(walk.simcloud.ledger().await.bought(), 5, "only that one was replaced");
    operator.metric_is(&series(&walk, "bullpen_pool_failing_members"), 0.0).await;
    let probes =
        format!("bullpen_health_probes_total{{namespace=\"{}\",pool=\"ci\",outcome=\"answered\"}}", walk.namespace);
    operator.metric_reaches(&probes, 8.0).await;
    audit.is_settled().await;
}

#[tokio::test]
async fn when_many_machines_fail_at_once_nobody_is_replaced_until_that_is_over() {
    let walk = begin("mass").await;
    let operator = Operator::start(&walk).await;
    pool(&walk, 5, 2, json!({})).await;
    let machines = ready_machines(&walk).await;
    // Not before all have answered: what a machine that never did shows is another question.
    let probes =
        format!("bullpen_health_probes_total{{namespace=\"{}\",pool=\"ci\",outcome=\"answered\"}}", walk.namespace);
    operator.metric_reaches(&probes, 8.0).await;
    for (_, id) in &machines {
        walk.simcloud.strike(id, json!({ "agentDown": {} })).await;
    }
    let suspended = |status: &bullpen_api::InstancePoolStatus, holds: &str| {
        status.conditions.iter().any(|condition| condition.type_ == "HealthSuspended" && condition.status == holds)
    };
    let said = walk.pool_until(POOL, "believes no probe", |status| suspended(status, "True")).await;
    // It is the only pool with machines.
    assert_eq!(condition(&said, "HealthSuspended").1, "AllPoolsFail");
    walk.has_event("AllPoolsFail").await;
    operator.metric_is(&series(&walk, "bullpen_pool_health_suspended"), 1.0).await;
    operator.metric_is(&series(&walk, "bullpen_pool_failing_members"), 5.0).await;
    // Long after each was struck twice.
    let failed =
        format!("bullpen_health_probes_total{{namespace=\"{}\",pool=\"ci\",outcome=\"failed\"}}", walk.namespace);
    operator.metric_reaches(&failed, 25.0).await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 5, "nobody was replaced");
    walk.claim("meanwhile", json!({})).await;
    walk.bound("meanwhile").await;

    for (_, id) in &machines[1..] {
        walk.simcloud.strike(id, json!({ "agentAnswers": { "status": 200 } })).await;
    }
    walk.pool_until(POOL, "believes its probes again", |status| suspended(status, "False")).await;
    walk.has_event("ProbesBelieved").await;
}

#[tokio::test]
async fn a_claimed_machine_that_does_not_answer_is_only_flagged() {
    let walk = begin("flagged").await;
    let _operator = Operator::start(&walk).await;
    pool(&walk, 1, 1, json!({})).await;
    walk.claim("mine", json!({})).await;
    let claim = walk.bound("mine").await;
    let id = machine_of(&claim).to_owned();
    walk.simcloud.strike(&id, json!({ "agentDown": {} })).await;
    let told = walk
        .until("mine", "says that its machine does not answer", |claim: &PoolClaim| {
            condition(claim, "Healthy").0 == "False"
        })
        .await;
    let (_, reason, message) = condition(&told, "Healthy");
    assert_eq!((phase(&told), reason.as_str()), (ClaimPhase::Bound, "ProbesFail"));
    assert!(message.contains("connection refused"), "{message}");
    walk.has_event("ProbesFail").await;
    walk.simcloud.strike(&id, json!({ "agentAnswers": { "status": 200 } })).await;
    walk.until("mine", "says that it answers again", |claim: &PoolClaim| condition(claim, "Healthy").0 == "True").await;
    assert!(!walk.simcloud.ledger().await.ended(&id), "nobody ended it");
}

#[tokio::test]
async fn a_claim_gets_no_machine_whose_agent_has_just_died_and_does_not_wait_for_its_probes() {
    let walk = begin("last-look").await;
    let mut operator = Operator::start(&walk).await;
    pool(&walk, 3, 30, json!({})).await;
    let machines = ready_machines(&walk).await;
    for (_, id) in &machines[..2] {
        walk.simcloud.strike(id, json!({ "agentDown": {} })).await;
    }
    // The cloud has its machines cease to listen every 20 ms.
    eventually("the agents are down", async || {
        let mut left = Vec::new();
        for (_, id) in &machines[..2] {
            let address = walk.simcloud.machine(id).await.addresses[0].address.clone();
            let answers = tokio::net::TcpStream::connect((address.as_str(), PORT)).await.is_ok();
            left.extend(answers.then_some(address));
        }
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    // Each of them was asked right before it became ready, and who answered within the last second is not looked at.
    walk.all_are_ready_for(SignedDuration::from_millis(1_200)).await;
    walk.claim("mine", json!({})).await;
    let claim = walk.bound("mine").await;
    assert_eq!(machine_of(&claim), machines[2].1, "it got the one that answers");
    let created = claim.metadata.creation_timestamp.as_ref().expect("a time").0;
    let bound = claim.status.as_ref().and_then(|status| status.bound_at.as_ref()).expect("a time").0;
    // The time of its creation is cut to whole seconds.
    let took = bound.duration_since(created);
    assert!(took < SignedDuration::from_secs(2), "{took:?}");
    operator.metric_reaches(&series(&walk, "bullpen_pool_failing_members"), 2.0).await;

    // Nor does the next leader, which has seen no machine answer yet.
    walk.pool_has_ready(3).await;
    operator.kill_9();
    walk.claim("after", json!({})).await;
    operator.start_again().await;
    let claim = walk.bound("after").await;
    assert!(machines[..2].iter().all(|(_, id)| id != machine_of(&claim)), "it got one that answers");
}

#[tokio::test]
async fn an_operator_that_was_suspended_for_longer_than_its_probes_may_fail_replaces_nobody() {
    let walk = begin("suspended-probes").await;
    let mut operator = Operator::start(&walk).await;
    pool(&walk, 3, 1, json!({})).await;
    let answered =
        format!("bullpen_health_probes_total{{namespace=\"{}\",pool=\"ci\",outcome=\"answered\"}}", walk.namespace);
    operator.metric_reaches(&answered, 6.0).await;
    // Less than its lease takes to expire, and so long that its term ends.
    for seconds in [9, 20] {
        operator.freeze();
        tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
        operator.thaw();
        operator.comes_to_lead().await;
        let before = operator.metric_reaches(&answered, 0.0).await;
        operator.metric_reaches(&answered, before + 15.0).await;
        walk.pool_has_ready(3).await;
        assert_eq!(walk.simcloud.ledger().await.bought(), 3, "nobody was replaced after {seconds} s");
    }
}
