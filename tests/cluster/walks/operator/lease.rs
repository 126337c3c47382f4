//! Several operators, of which one leads.

use std::time::{Duration, Instant};

use bullpen_api::{InstancePool, PoolClaim, PoolMember};
use bullpen_devkit::control_plane::{ControlPlane, Options};
use bullpen_simcloud::ledger::Method;
use serde_json::json;
use tokio::time::sleep;

use crate::harness::objects::{POOL, member_of};
use crate::harness::{Ground, Operator, Walk, eventually};

/// How long a lease is held without a renewal.
const LEASE: Duration = Duration::from_secs(15);
/// From the death of a leader until another leads: the lease, and how late the other saw its last renewal.
const FAILOVER: Duration = Duration::from_secs(17);
/// What two busy cores may add to it.
const SLACK: Duration = Duration::from_secs(8);

/// Waits until the operator has counted so many transitions of its lead.
async fn has_transitions(operator: &Operator, which: &str, times: f64) {
    operator.metric_is(&format!(r#"bullpen_leader_transitions_total{{transition="{which}"}}"#), times).await;
}

#[tokio::test]
async fn a_standby_is_ready_and_takes_over_when_the_leader_is_killed() {
    let walk = Walk::begin("failover").await;
    let mut one = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    let mut two = Operator::start_beside(&walk, "two", "two").await;
    two.is_ready().await;
    assert!(two.endpoint("/livez").await.starts_with("[+]"), "{}", two.endpoint("/livez").await);
    two.says("one leads").await;
    assert!(one.leads_now().await && !two.leads_now().await);
    // It knows nothing of pools.
    two.metrics_lack("bullpen_pool_members{").await;

    one.kill_9();
    let killed = Instant::now();
    walk.claim("build-1", json!({})).await;
    two.leads_within(FAILOVER + SLACK).await;
    let led = killed.elapsed();
    walk.bound("build-1").await;
    eprintln!(
        "{:.1} s from kill -9 to the other's lead, {:.1} s to the claim that waited",
        led.as_secs_f64(),
        killed.elapsed().as_secs_f64()
    );
    two.is_ready().await;
    walk.pool_has_ready(2).await;
    let lease = walk.lease().await;
    assert_eq!((lease.holder_identity.as_deref(), lease.lease_transitions), (Some("two"), Some(1)));
    assert_eq!(walk.simcloud.ledger().await.bought(), 3);
}

#[tokio::test]
async fn an_operator_that_is_told_to_end_hands_over_before_its_lease_expires() {
    let walk = Walk::begin("handover").await;
    let mut one = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    let two = Operator::start_beside(&walk, "two", "two").await;
    two.is_ready().await;
    let told = Instant::now();
    assert_eq!(one.stop().await, Some(0), "{}", one.output());
    assert_ne!(walk.lease().await.holder_identity.as_deref(), Some("one"), "it was released");
    two.leads_within(LEASE / 2).await;
    eprintln!("{:.1} s from SIGTERM to the other's lead", told.elapsed().as_secs_f64());
    walk.claim("build-1", json!({})).await;
    walk.bound("build-1").await;
}

#[tokio::test]
async fn a_restarted_operator_takes_the_lease_in_its_name_at_once() {
    let walk = Walk::begin("own-lease").await;
    let mut one = Operator::start(&walk).await;
    one.comes_to_lead().await;
    let before = walk.lease().await;
    one.kill_9();
    one.start_again().await;
    let began = Instant::now();
    one.leads_within(LEASE / 2).await;
    eprintln!("leads {} ms after it listened", began.elapsed().as_millis());
    let after = walk.lease().await;
    assert_eq!((after.lease_transitions, after.acquire_time), (before.lease_transitions, before.acquire_time));
}

#[tokio::test]
async fn a_leader_frozen_past_its_lease_begins_nothing_when_it_wakes_up() {
    let walk = Walk::begin("frozen").await;
    let mut one = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("build-1", json!({})).await;
    let held = walk.bound("build-1").await;
    walk.pool_has_ready(2).await;
    let mut two = Operator::start_beside(&walk, "two", "two").await;
    two.is_ready().await;

    one.freeze();
    two.leads_within(FAILOVER + SLACK).await;
    two.is_ready().await;
    walk.pool_has_ready(2).await;
    // Work that only the one who wakes up could do now.
    two.freeze();
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 5 })).await;
    walk.delete::<PoolClaim>("build-1").await;
    let calls = async || {
        let ledger = walk.simcloud.ledger().await;
        (ledger.calls(Method::Create), ledger.calls(Method::Terminate), walk.list::<PoolMember>().await.len())
    };
    let before = calls().await;
    one.thaw();
    one.says("leads no more, and begins nothing").await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(calls().await, before, "creates, terminations and members");
    assert_eq!(walk.lease().await.holder_identity.as_deref(), Some("two"));
    one.stops_leading().await;
    has_transitions(&one, "lost", 1.0).await;
    // What it knew of pools is old.
    one.metrics_lack("bullpen_pool_members{").await;

    two.thaw();
    walk.pool_has_ready(5).await;
    walk.gone::<PoolMember>(member_of(&held)).await;
    one.is_ready().await;
    assert!(one.is_running() && two.is_running());
    assert_eq!(walk.simcloud.ledger().await.bought(), 6);
}

#[tokio::test]
async fn an_api_server_that_is_away_for_longer_than_the_lease_ends_the_term_and_not_the_process() {
    let mut control_plane = ControlPlane::start(Options::default()).await.expect("a control plane of its own");
    let ground = Ground::on(&control_plane).await;
    let walk = Walk::begin_at(&ground, "outage", &[]).await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    let before = walk.lease().await;

    control_plane.stop_api_server().await;
    let away = Instant::now();
    operator.says("leads no more, and begins nothing").await;
    operator.stops_leading().await;
    eventually("it is not ready to take over", async || {
        let body = operator.endpoint("/readyz").await;
        if body.contains("[-]lease: cannot use the lease") { Ok(()) } else { Err(body) }
    })
    .await;
    sleep((LEASE + Duration::from_secs(1)).saturating_sub(away.elapsed())).await;
    let alive = operator.endpoint("/livez").await;
    assert!(alive.ends_with("ok\n"), "an outage is no reason to be restarted: {alive}");
    let told = operator.output().matches("cannot use the lease").count();
    assert!(told <= 3, "told {told} times");
    control_plane.start_api_server().await.expect("the server again");

    operator.comes_to_lead().await;
    operator.is_ready().await;
    has_transitions(&operator, "gained", 2.0).await;
    has_transitions(&operator, "lost", 1.0).await;
    let after = walk.lease().await;
    assert_eq!((after.lease_transitions, after.acquire_time), (before.lease_transitions, before.acquire_time));
    walk.claim("build-1", json!({})).await;
    walk.bound("build-1").await;
    walk.pool_has_ready(2).await;
    assert!(operator.is_running());
    drop(operator);
    control_plane.stop().await;
}

#[tokio::test]
async fn of_two_operators_with_one_identity_the_younger_leads_and_the_older_stands_by() {
    let walk = Walk::begin("namesakes").await;
    let mut old = Operator::start(&walk).await;
    old.comes_to_lead().await;
    let mut new = Operator::start_beside(&walk, "namesake", "one").await;
    old.says("was changed by another process of the identity one").await;
    new.comes_to_lead().await;
    old.says("waits for the lease").await;
    old.stops_leading().await;
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        assert!(new.leads_now().await && !old.leads_now().await, "they do not take it from each other");
        sleep(Duration::from_millis(250)).await;
    }
    new.kill_9();
    old.leads_within(FAILOVER + SLACK).await;
}

#[tokio::test]
async fn without_permissions_on_the_lease_it_ends_and_names_them() {
    let walk = Walk::begin("no-lease").await;
    let mut operator = Operator::start_for_lease(&walk, "another");
    assert_eq!(operator.exit_code().await, Some(1));
    let expected = "not allowed to get leases.coordination.k8s.io in namespace bullpen-operators";
    assert!(operator.output().contains(expected), "{}", operator.output());
}

#[tokio::test]
async fn an_operator_that_is_told_not_to_stand_for_a_lease_leads_without_one() {
    let walk = Walk::begin("no-election").await;
    let operator = Operator::start_without_lease(&walk).await;
    operator.comes_to_lead().await;
    walk.ready_pool(1, json!({})).await;
    assert!(walk.try_lease().await.is_none());
}
