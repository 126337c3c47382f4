//! Machines that send heartbeats: over real HTTP, to whichever replica they reach.

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, MemberState, PoolClaim, PoolMember};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use crate::harness::objects::{LAUNCH_CONFIG, POOL, condition, machine, machine_of, phase};
use crate::harness::{Operator, Walk};

/// Milliseconds between two heartbeats of a machine; the pools' period is a second.
const EVERY: &str = "400";

/// A walk whose machines send heartbeats.
async fn begin(name: &str) -> Walk {
    Walk::begin_in(name, &["--heartbeat-milliseconds", EVERY]).await
}

/// An address that nobody else listens on.
fn free_address() -> String {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    taken.local_addr().expect("an address").to_string()
}

/// An operator under this identity that listens for machines there, and has them call `called`.
async fn operator(walk: &Walk, identity: &str, address: &str, called: &str) -> Operator {
    let options = [
        ("--identity", identity),
        ("--machine-address", address),
        ("--advertise-url", &format!("http://{called}")),
        ("--peer-address", "127.0.0.1:0"),
    ];
    Operator::start_with(walk, &options).await
}

/// A ready pool of this size whose machines have to send a heartbeat each second, and all of them have sent some.
async fn pool(walk: &Walk, size: i32) {
    walk.launch_config(LAUNCH_CONFIG, json!({})).await;
    let health = json!({ "probe": { "heartbeat": {} }, "periodSeconds": 1, "failureThreshold": 2 });
    walk.pool(POOL, json!({ "targetSize": size, "health": health })).await;
    walk.pool_has_ready(size).await;
    walk.ledger_until("all send heartbeats", |ledger| {
        let heard: std::collections::BTreeSet<_> =
            ledger.reports("heartbeat").into_iter().filter(|(_, status)| *status == 200).map(|(id, _)| id).collect();
        heard.len() >= usize::try_from(size).unwrap_or(0)
    })
    .await;
}

async fn machines(walk: &Walk) -> Vec<String> {
    let ready = |member: &PoolMember| member.status.as_ref().is_some_and(|status| status.state == MemberState::Ready);
    let members = walk.list::<PoolMember>().await;
    members.iter().filter(|member| ready(member)).filter_map(machine).map(str::to_owned).collect()
}

fn of_pool(walk: &Walk, name: &str) -> String {
    format!("{name}{{namespace=\"{}\",pool=\"ci\"}}", walk.namespace)
}

fn suspended(status: &bullpen_api::InstancePoolStatus, holds: &str) -> bool {
    status.conditions.iter().any(|condition| condition.type_ == "HealthSuspended" && condition.status == holds)
}

const STOP: fn() -> Value = || json!({ "heartbeatsStop": {} });
const GO_ON: fn() -> Value = || json!({ "agentAnswers": { "status": 200 } });

#[tokio::test]
async fn a_machine_that_sends_no_more_heartbeats_is_replaced_and_those_that_do_cost_no_write() {
    let walk = begin("silent").await;
    let address = free_address();
    let operator = operator(&walk, "one", &address, &address).await;
    let mut audit = walk.audit();
    pool(&walk, 4).await;
    let id = machines(&walk).await.remove(1);
    let user_data = walk.simcloud.user_data(&id).await.expect("text");
    assert!(user_data.contains("BULLPEN_HEARTBEAT_URL='http://"), "{user_data}");
    audit.is_settled().await;
    let before = audit.writes().len();
    let heard = "bullpen_machine_requests_total{route=\"heartbeat\",result=\"heard\"}";
    // Of four machines in fifteen periods.
    let counted = operator.metric_reaches(heard, 0.0).await;
    operator.metric_reaches(heard, counted + 120.0).await;
    let after: Vec<String> = audit.writes()[before..].iter().map(ToString::to_string).collect();
    assert!(after.is_empty(), "{}", after.join("\n"));

    walk.simcloud.strike(&id, STOP()).await;
    walk.ledger_until("it is terminated", |ledger| ledger.ended(&id)).await;
    walk.pool_has_ready(4).await;
    let unhealthy = |config: &LaunchConfig| {
        let status = config.status.as_ref();
        status.is_some_and(|status| status.recent_errors.iter().any(|error| error.class == "Unhealthy"))
    };
    let config: LaunchConfig = walk.until(LAUNCH_CONFIG, "says why", unhealthy).await;
    let message = config.status.map(|status| status.recent_errors[0].message.clone()).unwrap_or_default();
    assert!(message.starts_with("no heartbeat came for 3 periods of 1 s in a row; last: 20"), "{message}");
    assert!(message.ends_with("; the cloud shows that the machine runs"), "{message}");
    assert_eq!(walk.simcloud.ledger().await.bought(), 5, "only that one was replaced");
    operator.metric_is(&of_pool(&walk, "bullpen_pool_failing_members"), 0.0).await;
    audit.is_settled().await;
    audit.assert_none_refused();
}

#[tokio::test]
async fn when_all_machines_fall_silent_nobody_is_replaced_and_the_pool_says_why() {
    let walk = begin("all-silent").await;
    let address = free_address();
    let operator = operator(&walk, "one", &address, &address).await;
    pool(&walk, 5).await;
    let ids = machines(&walk).await;
    for id in &ids {
        walk.simcloud.strike(id, STOP()).await;
    }
    let said = walk.pool_until(POOL, "believes no heartbeat", |status| suspended(status, "True")).await;
    let reason = condition(&said, "HealthSuspended").1;
    assert!(["HeartbeatsMissing", "AllPoolsFail"].contains(&reason.as_str()), "{reason}");
    walk.until(POOL, "says that nobody is heard", |pool: &InstancePool| {
        condition(pool, "HealthSuspended").1 == "HeartbeatsMissing"
    })
    .await;
    walk.has_event("HeartbeatsMissing").await;
    operator.metric_is(&of_pool(&walk, "bullpen_pool_failing_members"), 5.0).await;
    // Long after each has missed what it may miss.
    sleep(Duration::from_secs(8)).await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 5, "nobody was replaced");
    walk.claim("meanwhile", json!({})).await;
    walk.bound("meanwhile").await;
    for id in &ids {
        walk.simcloud.strike(id, GO_ON()).await;
    }
    walk.pool_until(POOL, "believes again", |status| suspended(status, "False")).await;
    operator.metric_is(&of_pool(&walk, "bullpen_pool_failing_members"), 0.0).await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 6, "one more, for the claim");
}

#[tokio::test]
async fn a_claimed_machine_that_falls_silent_is_only_flagged_and_no_claim_gets_a_silent_one_while_another_is_there() {
    let walk = begin("silent-claim").await;
    let address = free_address();
    let operator = operator(&walk, "one", &address, &address).await;
    pool(&walk, 4).await;
    walk.claim("mine", json!({})).await;
    let id = machine_of(&walk.bound("mine").await).to_owned();
    walk.pool_has_ready(4).await;
    walk.simcloud.strike(&id, STOP()).await;
    let told = walk
        .until("mine", "says that its machine is silent", |claim: &PoolClaim| condition(claim, "Healthy").0 == "False")
        .await;
    let (_, reason, message) = condition(&told, "Healthy");
    assert_eq!((phase(&told), reason.as_str()), (ClaimPhase::Bound, "ProbesFail"));
    assert!(message.contains("no heartbeat came for"), "{message}");
    assert!(!walk.simcloud.ledger().await.ended(&id), "nobody ended it");
    walk.simcloud.strike(&id, GO_ON()).await;
    walk.until("mine", "says that it is well", |claim: &PoolClaim| condition(claim, "Healthy").0 == "True").await;

    // Nobody is judged any more; what is silent is only offered last.
    let patient = json!({ "health": { "failureThreshold": 100 } });
    walk.set::<InstancePool>(POOL, patient).await;
    let free = machines(&walk).await;
    let (silent, well) = free.split_at(1);
    walk.simcloud.strike(&silent[0], STOP()).await;
    operator.metric_is(&of_pool(&walk, "bullpen_pool_failing_members"), 1.0).await;
    for number in 0..well.len() {
        walk.claim(&format!("well-{number}"), json!({})).await;
        let got = machine_of(&walk.bound(&format!("well-{number}")).await).to_owned();
        assert_ne!(got, silent[0], "others were there");
    }
}

#[tokio::test]
async fn heartbeats_that_reach_only_a_replica_that_stands_by_keep_machines_and_the_next_leader_replaces_nobody() {
    let walk = begin("standby-heard").await;
    let (of_one, of_two) = (free_address(), free_address());
    // Machines call the second one only.
    let mut one = operator(&walk, "one", &of_one, &of_two).await;
    one.comes_to_lead().await;
    let two = operator(&walk, "two", &of_two, &of_two).await;
    two.is_ready().await;
    pool(&walk, 3).await;
    let lease = walk.try_lease().await.and_then(|lease| lease.metadata.annotations).expect("annotations");
    assert!(lease["bullpen.dev/peer-address"].starts_with("127.0.0.1:"), "{lease:?}");
    two.metric_reaches("bullpen_machine_requests_total{route=\"heartbeat\",result=\"heard\"}", 100.0).await;
    assert!(one.leads_now().await && !two.leads_now().await);
    one.metric_is("bullpen_machine_requests_total{route=\"heartbeat\",result=\"heard\"}", 0.0).await;
    one.metric_is(&of_pool(&walk, "bullpen_pool_failing_members"), 0.0).await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 3, "all count as well");
    let id = machines(&walk).await.remove(0);
    walk.simcloud.strike(&id, STOP()).await;
    walk.ledger_until("it is terminated", |ledger| ledger.ended(&id)).await;
    walk.pool_has_ready(3).await;

    one.kill_9();
    two.comes_to_lead().await;
    walk.pool_has_ready(3).await;
    // As long as a silent machine would be borne with, and longer.
    sleep(Duration::from_secs(10)).await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 4, "nobody was replaced because another leads");
    two.metric_is(&of_pool(&walk, "bullpen_pool_failing_members"), 0.0).await;
}

#[tokio::test]
async fn an_operator_that_was_suspended_for_longer_than_machines_may_be_silent_replaces_nobody() {
    let walk = begin("suspended").await;
    let address = free_address();
    let mut operator = operator(&walk, "one", &address, &address).await;
    pool(&walk, 3).await;
    operator.metric_is(&of_pool(&walk, "bullpen_pool_failing_members"), 0.0).await;
    // Less than its lease takes to expire, and again so long that the term ends.
    for seconds in [9, 20] {
        operator.freeze();
        sleep(Duration::from_secs(seconds)).await;
        operator.thaw();
        operator.comes_to_lead().await;
        let counted = "bullpen_machine_requests_total{route=\"heartbeat\",result=\"heard\"}";
        let heard = operator.metric_reaches(counted, 0.0).await;
        operator.metric_reaches(counted, heard + 60.0).await;
        walk.pool_has_ready(3).await;
        assert_eq!(walk.simcloud.ledger().await.bought(), 3, "nobody was replaced after {seconds} s");
    }
}

#[tokio::test]
async fn after_a_restart_claims_get_machines_that_are_heard_and_not_one_that_fell_silent_before() {
    let walk = begin("silent-restart").await;
    let address = free_address();
    let mut operator = operator(&walk, "one", &address, &address).await;
    pool(&walk, 4).await;
    // A heartbeat is overdue after 8 s, and nobody is replaced for it.
    walk.set::<InstancePool>(POOL, json!({ "health": { "periodSeconds": 5, "failureThreshold": 100 } })).await;
    let mut members = walk.list::<PoolMember>().await;
    members.sort_by_key(|member| member.status.as_ref().and_then(|status| status.warming_started_at.clone()));
    // The oldest one, which would be handed out first.
    let silent = members.first().and_then(machine).expect("a machine").to_owned();
    walk.simcloud.strike(&silent, STOP()).await;
    // That they became ready shows no more that they are well.
    walk.all_are_ready_for(SignedDuration::from_secs(9)).await;
    operator.kill_9();
    operator.start_again().await;
    operator.comes_to_lead().await;
    // Several of each machine that sends some.
    operator.metric_reaches("bullpen_machine_requests_total{route=\"heartbeat\",result=\"heard\"}", 15.0).await;
    for name in ["well-1", "well-2", "well-3"] {
        walk.claim(name, json!({})).await;
        assert_ne!(machine_of(&walk.bound(name).await), silent, "others were heard");
    }
}

#[tokio::test]
async fn a_pool_of_heartbeats_is_stalled_while_machines_cannot_call() {
    let walk = begin("no-way").await;
    let _operator = Operator::start(&walk).await;
    walk.launch_config(LAUNCH_CONFIG, json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 1, "health": { "probe": { "heartbeat": {} } } })).await;
    let stalled = |pool: &InstancePool| condition(pool, "Stalled").1 == "MachineAddressMissing";
    let pool: InstancePool = walk.until(POOL, "says that it has no address", stalled).await;
    let message = condition(&pool, "Stalled").2;
    assert!(message.contains("health.probe.heartbeat has machines call the operator"), "{message}");
    assert_eq!(walk.simcloud.ledger().await.bought(), 0);
}
