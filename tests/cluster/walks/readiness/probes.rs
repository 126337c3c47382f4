//! Machines that are ready when they answer the operator's probes: over real TCP and HTTP.

use bullpen_api::{LaunchConfig, MemberState, PoolMember};
use jiff::SignedDuration;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::harness::objects::{LAUNCH_CONFIG, POOL, condition, machine, member_of};
use crate::harness::{Operator, Walk, eventually};

/// Where the machines listen.
const PORT: u16 = 18_080;
/// How long after its boot a machine begins to listen, where that is to be seen.
const START: SignedDuration = SignedDuration::from_secs(6);

/// A walk whose machines listen after this time.
async fn begin(name: &str, start: SignedDuration) -> Walk {
    let start = start.as_millis().to_string();
    Walk::begin_in(name, &["--agent-port", &PORT.to_string(), "--agent-start-milliseconds", &start]).await
}

/// A pool of one machine with this readiness.
async fn pool(walk: &Walk, readiness: Value) {
    walk.launch_config(LAUNCH_CONFIG, json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 1, "readiness": readiness })).await;
}

/// Waits until the pool has a member whose condition Ready is as described. Returns the member.
async fn member(walk: &Walk, what: &str, holds: impl Fn(&PoolMember, &str) -> bool) -> PoolMember {
    eventually(&format!("a member {what}"), async || {
        let members = walk.list::<PoolMember>().await;
        let said = |member: &PoolMember| condition(member, "Ready");
        let seen = members.iter().map(|member| format!("{:?}", said(member))).collect::<Vec<_>>().join(", ");
        members.into_iter().find(|member| holds(member, &said(member).2)).ok_or(seen)
    })
    .await
}

fn is_ready(member: &PoolMember, _: &str) -> bool {
    member.status.as_ref().is_some_and(|status| status.state == MemberState::Ready)
}

#[tokio::test]
async fn a_machine_is_ready_when_it_accepts_a_connection_and_says_until_then_what_is_waited_for() {
    let walk = begin("tcp-socket", START).await;
    let operator = Operator::start(&walk).await;
    pool(&walk, json!({ "tcpSocket": { "port": PORT } })).await;
    walk.claim("early", json!({})).await;
    let waits = member(&walk, "says what it waits for", |_, message| message.contains("connection refused")).await;
    let (status, reason, message) = condition(&waits, "Ready");
    let instance = waits.status.clone().and_then(|status| status.instance).expect("a machine");
    let address = &instance.addresses[0].address;
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ReadinessAwaited"));
    assert_eq!(message, format!("waits until {address}:{PORT} accepts a TCP connection; last: connection refused"));
    assert!(instance.boot_time.is_some(), "its boot is known by then");
    assert_eq!(waits.status.as_ref().map(|status| status.state), Some(MemberState::Warming));

    // Perhaps by the machine that the pool bought for the claim.
    let claim = walk.bound("early").await;
    let claimed = walk.get::<PoolMember>(member_of(&claim)).await.status.expect("a status");
    let booted = claimed.instance.and_then(|instance| instance.boot_time).expect("it booted");
    let ready = claimed.ready_since.expect("it was ready");
    let took = ready.0.duration_since(booted.0);
    assert!(took >= START, "ready {took:?} after its boot, before it listened");
    let series = format!(
        "bullpen_member_warming_duration_seconds_sum{{namespace=\"{}\",launch_config=\"sim\"}} ",
        walk.namespace
    );
    let metrics = operator.endpoint("/metrics").await;
    let sum = metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<f64>().ok());
    assert!(sum.is_some_and(|sum| sum >= START.as_secs_f64()), "{series}{sum:?}");
}

#[tokio::test]
async fn an_answer_with_another_status_is_waited_out_even_by_the_next_leader() {
    let walk = begin("http-get", SignedDuration::ZERO).await;
    let mut operator = Operator::start(&walk).await;
    walk.simcloud.break_with(json!({ "machines": [{ "fault": { "agentAnswers": { "status": 302 } } }] })).await;
    pool(&walk, json!({ "httpGet": { "port": PORT, "path": "/healthz?full=1" } })).await;
    let waits = member(&walk, "has no answer that counts", |_, message| message.contains("HTTP status 302")).await;
    let message = condition(&waits, "Ready").2;
    assert!(
        message.contains("/healthz?full=1 is answered as ready; last: HTTP status 302, not 200 to 299"),
        "{message}"
    );
    operator.kill_9();
    operator.start_again().await;
    let id = machine(&waits).expect("a machine");
    walk.simcloud.strike(id, json!({ "agentAnswers": { "status": 503 } })).await;
    member(&walk, "says what was seen last", |_, message| message.contains("HTTP status 503")).await;
    walk.simcloud.strike(id, json!({ "agentAnswers": { "status": 204 } })).await;
    let ready = member(&walk, "is ready", is_ready).await;
    assert_eq!(ready.uid(), waits.uid(), "it was not replaced");
    assert_eq!(condition(&ready, "Ready").1, "Ready");

    let set = json!({ "readiness": { "httpGet": { "expectedStatus": 401 } }, "targetSize": 2 });
    walk.set::<bullpen_api::InstancePool>(POOL, set).await;
    let other = member(&walk, "is not as expected", |_, message| message.contains("HTTP status 302, not 401")).await;
    walk.simcloud.strike(machine(&other).expect("a machine"), json!({ "agentAnswers": { "status": 401 } })).await;
    walk.pool_has_ready(2).await;
}

#[tokio::test]
async fn a_machine_that_never_answers_fails_after_the_warming_timeout_with_the_last_error() {
    let walk = begin("silent-machine", SignedDuration::ZERO).await;
    let _operator = Operator::start(&walk).await;
    walk.simcloud.break_with(json!({ "machines": [{ "when": { "times": 1 }, "fault": { "agentHangs": {} } }] })).await;
    pool(&walk, json!({ "httpGet": { "port": PORT }, "warmingTimeoutSeconds": 5 })).await;
    let failed = |config: &LaunchConfig| {
        let status = config.status.as_ref();
        status.is_some_and(|status| status.recent_errors.iter().any(|error| error.class == "WarmingTimeout"))
    };
    let config: LaunchConfig = walk.until(LAUNCH_CONFIG, "has a member that failed", failed).await;
    let error = &config.status.expect("a status").recent_errors[0];
    assert!(error.message.starts_with("the machine was not ready 5 s after it had booted: "), "{}", error.message);
    assert!(error.message.ends_with("/ is answered as ready: no answer within 3 s"), "{}", error.message);
    walk.pool_has_ready(1).await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.bought(), ledger.living().len()), (2, 1), "the machine that did not answer was replaced");
}

#[tokio::test]
async fn a_machine_whose_providers_checks_run_says_so_and_when_it_booted() {
    let walk = Walk::begin_in("providers-checks", &["--status-check-milliseconds", "8000"]).await;
    let _operator = Operator::start(&walk).await;
    pool(&walk, json!({ "provider": {} })).await;
    let waits =
        member(&walk, "waits for the provider", |_, message| message.contains("the provider's own checks")).await;
    assert_eq!(condition(&waits, "Ready").1, "ReadinessAwaited");
    let instance = waits.status.and_then(|status| status.instance).expect("a machine");
    assert!(instance.boot_time.is_some(), "its boot is known");
    walk.pool_has_ready(1).await;
}
