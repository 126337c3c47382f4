//! How long a claim holds its machine: ttl, renewal, the longest hold, the flag for long holds, and the end of records.

use std::fs;
use std::time::Duration;

use bullpen_api::{ClaimPhase, InstancePool, PoolClaim, PoolClaimStatus, PoolMember};
use bullpen_devkit::control_plane::{ControlPlane, Options};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::harness::objects::{POOL, condition, machine_of, member_of, phase};
use crate::harness::{Audit, Ground, History, Operator, Walk, eventually};

/// How late two busy cores may be.
const SLACK: SignedDuration = SignedDuration::from_secs(20);

/// An operator under which claims may expire soon after its start.
async fn operator(walk: &Walk) -> Operator {
    Operator::start_with(walk, &[("--expiry-grace-seconds", "1")]).await
}

fn status(claim: &PoolClaim) -> PoolClaimStatus {
    claim.status.clone().expect("a status")
}

fn bound_at(claim: &PoolClaim) -> Timestamp {
    status(claim).bound_at.expect("it was bound").0
}

fn renewed_at(claim: &PoolClaim) -> Timestamp {
    status(claim).renewed_at.expect("it was bound").0
}

fn expires_at(claim: &PoolClaim) -> Option<Timestamp> {
    status(claim).expires_at.map(|at| at.0)
}

fn finished_at(claim: &PoolClaim) -> Timestamp {
    status(claim).finished_at.expect("it has ended").0
}

/// Seconds from the last renewal until the claim expires.
fn granted(claim: &PoolClaim) -> Option<i64> {
    Some(expires_at(claim)?.duration_since(renewed_at(claim)).as_secs())
}

async fn expired(walk: &Walk, name: &str) -> PoolClaim {
    walk.until(name, "is Expired", |claim: &PoolClaim| phase(claim) == ClaimPhase::Expired).await
}

/// Renews a claim, and gives it as it is once that was answered.
async fn renew(walk: &Walk, name: &str) -> PoolClaim {
    let now = Timestamp::now();
    let renewed: PoolClaim = walk.set(name, json!({ "renewTime": format!("{now:.6}") })).await;
    let asked = renewed.spec.renew_time.clone();
    let answered = |claim: &PoolClaim| status(claim).observed_renew_time == asked || phase(claim) != ClaimPhase::Bound;
    walk.until(name, "has its renewal answered", answered).await
}

async fn pass(moment: Timestamp) {
    eventually(&format!("{moment} passes"), async || {
        let now = Timestamp::now();
        if now > moment { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
}

fn claim_writes(audit: &mut Audit) -> usize {
    audit.writes().iter().filter(|write| write.resource() == "poolclaims").count()
}

/// That the operator has written claims just so often. The log has a write a moment after watches show it.
async fn has_written_claims(audit: &mut Audit, times: usize) {
    eventually(&format!("{times} writes of claims are in the log"), async || {
        let written = claim_writes(audit);
        if written >= times { Ok(()) } else { Err(format!("{written}")) }
    })
    .await;
    assert_eq!(claim_writes(audit), times);
}

/// The number that etcd gave to this version: it counts over all objects.
fn revision<K: kube::ResourceExt>(object: &K) -> u64 {
    object.resource_version().expect("a version").parse().expect("a number")
}

#[tokio::test]
async fn a_claim_expires_after_its_ttl_and_its_machine_is_terminated_and_replaced() {
    let walk = Walk::begin("expires").await;
    let operator = operator(&walk).await;
    walk.ready_pool(2, json!({})).await;
    let (mut audit, mut members) = (walk.audit(), History::<PoolMember>::begin(&walk).await);
    walk.claim("build-1", json!({ "ttlSeconds": 3 })).await;
    let claim = walk.bound("build-1").await;
    assert_eq!((renewed_at(&claim), granted(&claim)), (bound_at(&claim), Some(3)));
    // Its term is in the write that binds it.
    has_written_claims(&mut audit, 1).await;

    let ended = expired(&walk, "build-1").await;
    let due = expires_at(&claim).expect("it has an end");
    assert!(finished_at(&ended) >= due && finished_at(&ended) < due + SLACK, "{} for {due}", finished_at(&ended));
    for type_ in ["Bound", "Ready", "Stalled"] {
        let (holds, reason, message) = condition(&ended, type_);
        let expected = if type_ == "Stalled" { "True" } else { "False" };
        assert_eq!((holds.as_str(), reason.as_str()), (expected, "TtlExpired"), "{type_}");
        assert!(message.contains("not renewed since"), "{message}");
    }
    walk.gone::<PoolMember>(member_of(&claim)).await;
    let ledger = walk.simcloud.ledger().await;
    assert!(ledger.ended(machine_of(&claim)), "its machine is terminated");
    walk.pool_has_ready(2).await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 3, "and was replaced when it was claimed, not again");

    let versions = members.versions().await;
    let held = versions.iter().filter(|member| member.name_any() == member_of(&claim));
    let first_deleted = held.filter(|member| member.metadata.deletion_timestamp.is_some()).map(revision).min();
    assert!(first_deleted.expect("it was deleted") > revision(&ended), "the claim ended first, the member second");
    has_written_claims(&mut audit, 2).await;
    audit.assert_none_refused();
    let pool = format!(r#"namespace="{}",pool="ci""#, walk.namespace);
    for (series, value) in [
        (format!(r#"bullpen_claims_ended_total{{{pool},end="expired"}}"#), 1.0),
        (format!(r#"bullpen_claims_ended_total{{{pool},end="released"}}"#), 0.0),
        (format!("bullpen_claim_held_seconds_count{{{pool}}}"), 1.0),
        (format!(r#"bullpen_claim_held_seconds_bucket{{le="10.0",{pool}}}"#), 1.0),
    ] {
        operator.metric_is(&series, value).await;
    }
    assert_eq!(walk.has_event("TtlExpired").await, 1, "one event");
}

#[tokio::test]
async fn a_renewed_claim_stays_until_it_is_renewed_no_more() {
    let walk = Walk::begin("renewed").await;
    let _operator = operator(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let mut audit = walk.audit();
    walk.claim("build-1", json!({ "ttlSeconds": 8 })).await;
    let first = walk.bound("build-1").await;
    let enough = expires_at(&first).expect("it has an end") + SignedDuration::from_secs(3);
    let mut renewals = 0;
    let mut last = first.clone();
    while Timestamp::now() < enough {
        let claim = renew(&walk, "build-1").await;
        assert_eq!(phase(&claim), ClaimPhase::Bound, "{:?}", condition(&claim, "Bound"));
        assert_eq!(granted(&claim), Some(8));
        assert!(renewed_at(&claim) > renewed_at(&last) && bound_at(&claim) == bound_at(&first));
        assert_eq!(Some(status(&claim).observed_generation), claim.metadata.generation);
        (renewals, last) = (renewals + 1, claim);
        sleep(Duration::from_secs(1)).await;
    }
    // One write a renewal.
    has_written_claims(&mut audit, 1 + renewals).await;
    // It asks of each condition whether it speaks of the present spec.
    walk.kubectl(&["wait", "--for=condition=Bound", "pclaim/build-1", "--timeout=5s"]).await;
    assert!(!walk.simcloud.ledger().await.ended(machine_of(&first)));
    let ended = expired(&walk, "build-1").await;
    assert!(finished_at(&ended) >= expires_at(&last).expect("it has an end"));
    assert_eq!(condition(&ended, "Bound").1, "TtlExpired");
    let renewed: PoolClaim = renew(&walk, "build-1").await;
    assert_eq!(phase(&renewed), ClaimPhase::Expired, "a renewal of a claim that has ended changes nothing");
    walk.gone::<PoolMember>(member_of(&first)).await;
}

#[tokio::test]
async fn the_pools_default_and_maximum_apply_and_changed_ones_from_the_next_renewal_on() {
    let walk = Walk::begin("ttl-rules").await;
    let _operator = operator(&walk).await;
    walk.ready_pool(5, json!({ "claims": { "defaultTtlSeconds": 3_600, "maxTtlSeconds": 7_200 } })).await;
    for (name, asked, expected) in [
        ("silent", json!({}), 3_600),
        ("modest", json!({ "ttlSeconds": 60 }), 60),
        ("greedy", json!({ "ttlSeconds": 90_000 }), 7_200),
    ] {
        walk.claim(name, asked).await;
        assert_eq!(granted(&walk.bound(name).await), Some(expected), "{name}");
    }
    walk.set::<InstancePool>(POOL, json!({ "claims": { "defaultTtlSeconds": null, "maxTtlSeconds": 100 } })).await;
    walk.pool_until(POOL, "has seen its new rules", |_| true).await;
    walk.claim("capped", json!({})).await;
    assert_eq!(granted(&walk.bound("capped").await), Some(100), "no end is more than the most");
    let silent: PoolClaim = walk.set("silent", json!({ "acquiredFor": "a note" })).await;
    let observed = |claim: &PoolClaim| Some(status(claim).observed_generation) == silent.metadata.generation;
    let silent = walk.until("silent", "is observed", observed).await;
    assert_eq!(granted(&silent), Some(3_600), "what was granted stays");
    assert_eq!(granted(&renew(&walk, "silent").await), Some(100));
    assert_eq!(granted(&walk.get("greedy").await), Some(7_200));
}

#[tokio::test]
async fn a_claim_without_any_ttl_has_no_end() {
    let walk = Walk::begin("endless").await;
    let _operator = operator(&walk).await;
    walk.ready_pool(1, json!({})).await;
    walk.claim("build-1", json!({})).await;
    let claim = walk.bound("build-1").await;
    assert_eq!((expires_at(&claim), renewed_at(&claim)), (None, bound_at(&claim)));
}

#[tokio::test]
async fn max_hold_ends_even_a_renewed_claim() {
    let walk = Walk::begin("max-hold").await;
    let _operator = operator(&walk).await;
    walk.ready_pool(1, json!({ "claims": { "maxHoldSeconds": 5 } })).await;
    walk.claim("build-1", json!({ "ttlSeconds": 60 })).await;
    let first = walk.bound("build-1").await;
    let end = bound_at(&first) + SignedDuration::from_secs(5);
    assert_eq!(expires_at(&first), Some(end));
    let ended = loop {
        let claim = renew(&walk, "build-1").await;
        if phase(&claim) != ClaimPhase::Bound {
            break claim;
        }
        assert_eq!(expires_at(&claim), Some(end), "no renewal leads past it");
        sleep(Duration::from_millis(500)).await;
    };
    assert_eq!(phase(&ended), ClaimPhase::Expired);
    assert!(finished_at(&ended) >= end && finished_at(&ended) < end + SLACK);
    let (_, reason, message) = condition(&ended, "Bound");
    assert_eq!(reason, "MaxHoldReached");
    assert!(message.contains("for longer than 5 s"), "{message}");
    walk.gone::<PoolMember>(member_of(&first)).await;
}

#[tokio::test]
async fn nothing_expires_right_after_an_operator_start_and_a_late_renewal_wins() {
    let walk = Walk::begin("late-renewal").await;
    let mut before = operator(&walk).await;
    walk.ready_pool(2, json!({})).await;
    for name in ["renewed", "forgotten"] {
        walk.claim(name, json!({ "ttlSeconds": 8 })).await;
    }
    let (renewed, forgotten) = (walk.bound("renewed").await, walk.bound("forgotten").await);
    before.kill_9();
    for claim in [&renewed, &forgotten] {
        pass(expires_at(claim).expect("it has an end")).await;
        assert_eq!(phase(&walk.get(&claim.name_any()).await), ClaimPhase::Bound, "it was not ended before the kill");
    }
    walk.set::<PoolClaim>("renewed", json!({ "renewTime": format!("{:.6}", Timestamp::now()), "ttlSeconds": 600 }))
        .await;

    let started = Timestamp::now();
    let grace = [("--expiry-grace-seconds", "6"), ("--identity", "one")];
    let _after = Operator::start_with(&walk, &grace).await;
    let ended = expired(&walk, "forgotten").await;
    assert!(finished_at(&ended) >= started + SignedDuration::from_secs(6), "not within the grace");
    walk.gone::<PoolMember>(member_of(&forgotten)).await;
    let kept: PoolClaim = walk.get("renewed").await;
    assert_eq!((phase(&kept), granted(&kept)), (ClaimPhase::Bound, Some(600)));
    assert!(renewed_at(&kept) >= started);
    assert!(!walk.simcloud.ledger().await.ended(machine_of(&kept)));
}

#[tokio::test]
async fn nothing_expires_right_after_the_api_server_was_away() {
    let mut control_plane = ControlPlane::start(Options::default()).await.expect("a control plane of its own");
    let ground = Ground::on(&control_plane).await;
    let walk = Walk::begin_at(&ground, "api-gap", &[]).await;
    let grace = SignedDuration::from_secs(15);
    // With a lease this would be another term of leadership.
    let operator = Operator::start_with(&walk, &[("--leader-elect=false", ""), ("--expiry-grace-seconds", "15")]).await;
    walk.ready_pool(1, json!({})).await;
    walk.claim("build-1", json!({ "ttlSeconds": 20 })).await;
    let claim = walk.bound("build-1").await;

    control_plane.stop_api_server().await;
    let away = Timestamp::now();
    pass(expires_at(&claim).expect("it has an end")).await;
    pass(away + SignedDuration::from_secs(34)).await;
    control_plane.start_api_server().await.expect("the server again");
    let back = Timestamp::now();
    let ended = expired(&walk, "build-1").await;
    let late = finished_at(&ended).duration_since(back);
    eprintln!("it expired {:.1} s after the API server was back", late.as_secs_f64());
    // It may have answered a little before it was known to be ready.
    let earliest = back + grace - SignedDuration::from_secs(5);
    assert!(finished_at(&ended) >= earliest, "{} and back at {back}", finished_at(&ended));
    drop(operator);
    control_plane.stop().await;
}

#[tokio::test]
async fn a_renewal_that_meets_the_end_of_its_claim_wins_or_comes_after_it() {
    let walk = Walk::begin("end-race").await;
    let _operator = operator(&walk).await;
    walk.ready_pool(8, json!({ "provisioning": { "maxConcurrentCreates": 20 } })).await;
    let outcomes = join_all((0..8).map(async |number| {
        let name = format!("build-{number}");
        walk.claim(&name, json!({ "ttlSeconds": 2 })).await;
        let mut claim = walk.bound(&name).await;
        let mut won = 0_usize;
        while won < 5 {
            let moment = expires_at(&claim).expect("it has an end")
                + SignedDuration::from_millis(rand::rng().random_range(-60..20));
            sleep(moment.duration_since(Timestamp::now()).try_into().unwrap_or_default()).await;
            let now = format!("{:.6}", Timestamp::now());
            let renewed: PoolClaim = walk.set(&name, json!({ "renewTime": now })).await;
            if phase(&renewed) == ClaimPhase::Expired {
                return (won, true);
            }
            // It was there before the end, so the end must not come over it.
            let asked = renewed.spec.renew_time.clone();
            let answered = |claim: &PoolClaim| status(claim).observed_renew_time == asked;
            claim = walk.until(&name, "has its renewal answered", answered).await;
            won += 1;
        }
        (won, false)
    }))
    .await;
    let (won, late) = outcomes.iter().fold((0, 0), |(won, late), (more, last)| (won + more, late + usize::from(*last)));
    assert!(won > 0, "{late} came after the end");
}

#[tokio::test]
async fn a_changed_ttl_is_counted_from_the_last_renewal() {
    let walk = Walk::begin("changed-ttl").await;
    let _operator = operator(&walk).await;
    walk.ready_pool(1, json!({})).await;
    walk.claim("build-1", json!({ "ttlSeconds": 3_600 })).await;
    walk.bound("build-1").await;
    let first = renew(&walk, "build-1").await;
    for ttl in [Some(7_200), None, Some(60)] {
        let set: PoolClaim = walk.set("build-1", json!({ "ttlSeconds": ttl })).await;
        let seen = |claim: &PoolClaim| Some(status(claim).observed_generation) == set.metadata.generation;
        let claim = walk.until("build-1", "has its ttl seen", seen).await;
        assert_eq!((granted(&claim), renewed_at(&claim)), (ttl, renewed_at(&first)));
    }
    pass(renewed_at(&first) + SignedDuration::from_secs(1)).await;
    walk.set::<PoolClaim>("build-1", json!({ "ttlSeconds": 1 })).await;
    let ended = expired(&walk, "build-1").await;
    assert_eq!(expires_at(&ended), Some(renewed_at(&first) + SignedDuration::from_secs(1)));
}

fn manifest(kind: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "bullpen.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}

/// A file for `kubectl apply`.
fn file(walk: &Walk, items: &[Value]) -> String {
    let path = walk.folder().join("manifest.json");
    fs::write(&path, json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()).expect("written");
    path.display().to_string()
}

/// Applies the file again and again, in both ways.
async fn apply_again(walk: &Walk, file: &str) {
    for flags in [&[][..], &["--server-side"], &["--server-side"], &[], &["--server-side", "--force-conflicts"]] {
        walk.kubectl(&[&["apply", "-f", file], flags].concat()).await;
    }
}

#[tokio::test]
async fn an_expired_claim_stays_as_a_record_and_applied_again_takes_no_second_machine() {
    let walk = Walk::begin("record").await;
    let mut operator = operator(&walk).await;
    walk.ready_pool(2, json!({})).await;
    let spec = json!({ "poolRef": { "name": POOL }, "ttlSeconds": 2, "acquiredFor": "build 1" });
    let file = file(&walk, &[manifest("PoolClaim", "build-1", &spec)]);
    walk.kubectl(&["apply", "-f", &file]).await;
    let ended = expired(&walk, "build-1").await;
    walk.gone::<PoolMember>(member_of(&ended)).await;
    walk.pool_has_ready(2).await;
    let mut audit = walk.audit();
    audit.is_settled().await;
    let before = audit.writes().len();

    apply_again(&walk, &file).await;
    operator.kill_9();
    operator.start_again().await;
    operator.is_ready().await;
    apply_again(&walk, &file).await;
    walk.set::<PoolClaim>("build-1", json!({ "renewTime": format!("{:.6}", Timestamp::now()) })).await;
    audit.is_settled().await;
    let written: Vec<String> = audit.writes()[before..].iter().map(ToString::to_string).collect();
    assert_eq!(written, Vec::<String>::new());
    let claim: PoolClaim = walk.get("build-1").await;
    assert_eq!((claim.uid(), status(&claim)), (ended.uid(), status(&ended)));
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.bought(), ledger.living().len()), (3, 2));
}

#[tokio::test]
async fn a_pool_and_a_claim_applied_again_and_again_cause_no_write_and_no_second_machine() {
    let walk = Walk::begin("gitops").await;
    let _operator = operator(&walk).await;
    walk.launch_config("sim", json!({})).await;
    let rules = json!({ "defaultTtlSeconds": 3_600, "maxTtlSeconds": 7_200, "maxHoldSeconds": 86_400, "ttlSecondsAfterFinished": 3_600 });
    let pool = json!({ "targetSize": 1, "maxSize": 5, "launchConfigs": [{ "name": "sim" }], "claims": rules });
    let claim = json!({ "poolRef": { "name": POOL }, "renewTime": "2026-11-24T07:00:00.5+01:00", "priority": 3 });
    let file = file(&walk, &[manifest("InstancePool", POOL, &pool), manifest("PoolClaim", "build-1", &claim)]);
    walk.kubectl(&["apply", "-f", &file]).await;
    let first = walk.bound("build-1").await;
    assert_eq!(granted(&first), Some(3_600));
    walk.pool_has_ready(1).await;
    let mut audit = walk.audit();
    audit.is_settled().await;
    let before = audit.writes().len();

    apply_again(&walk, &file).await;
    apply_again(&walk, &file).await;
    audit.is_settled().await;
    let written: Vec<String> = audit.writes()[before..].iter().map(ToString::to_string).collect();
    assert_eq!(written, Vec::<String>::new());
    let claim: PoolClaim = walk.get("build-1").await;
    assert_eq!(status(&claim), status(&first));
    assert_eq!(claim.metadata.generation, Some(1));
    assert_eq!(walk.simcloud.ledger().await.bought(), 2);
}

#[tokio::test]
async fn a_finished_claim_goes_after_its_time_if_the_pool_says_so_and_not_before_its_machine() {
    let walk = Walk::begin("finished").await;
    let _operator = operator(&walk).await;
    walk.ready_pool(1, json!({})).await;
    walk.claim("build-1", json!({ "ttlSeconds": 2 })).await;
    let first = expired(&walk, "build-1").await;
    walk.gone::<PoolMember>(member_of(&first)).await;
    walk.pool_has_ready(1).await;
    let kept: PoolClaim = walk.get("build-1").await;
    assert_eq!(status(&kept), status(&first), "it stays as a record");

    walk.set::<InstancePool>(POOL, json!({ "claims": { "ttlSecondsAfterFinished": 1 } })).await;
    walk.gone::<PoolClaim>("build-1").await;
    let (mut members, mut claims) =
        (History::<PoolMember>::begin(&walk).await, History::<PoolClaim>::begin(&walk).await);
    walk.claim("build-2", json!({ "ttlSeconds": 2 })).await;
    let second = walk.bound("build-2").await;
    walk.gone::<PoolClaim>("build-2").await;
    // A deletion is a version of its own, the last one.
    let last_member =
        async || members.versions().await.iter().filter(|it| it.name_any() == member_of(&second)).map(revision).max();
    let last_claim =
        async || claims.versions().await.iter().filter(|it| it.name_any() == "build-2").map(revision).max();
    let (mut member, mut claim) = (last_member, last_claim);
    assert!(member().await < claim().await, "the record goes after the machine");

    let mut audit = walk.audit();
    walk.set::<InstancePool>(POOL, json!({ "state": "Paused" })).await;
    walk.pool_until(POOL, "is known to be paused", |_| true).await;
    walk.claim("impatient", json!({ "whenEmpty": "Fail" })).await;
    walk.gone::<PoolClaim>("impatient").await;
    audit.assert_none_refused();
}

#[tokio::test]
async fn a_claim_held_for_long_is_flagged_once_and_keeps_its_machine() {
    let walk = Walk::begin("stale").await;
    let mut operator = operator(&walk).await;
    walk.ready_pool(1, json!({ "claims": { "staleAfterSeconds": 2 } })).await;
    let mut audit = walk.audit();
    walk.claim("build-1", json!({})).await;
    let bound = walk.bound("build-1").await;
    let flagged = |claim: &PoolClaim| condition(claim, "Stale").0 == "True";
    let claim = walk.until("build-1", "is flagged", flagged).await;
    let (_, reason, message) = condition(&claim, "Stale");
    assert_eq!(reason, "HeldForLong");
    assert!(message.contains("is it still needed? Nothing is ended"), "{message}");
    let since = status(&claim).conditions.iter().find(|it| it.type_ == "Stale").map(|it| it.last_transition_time.0);
    assert!(since.expect("a time").as_second() >= bound_at(&bound).as_second() + 2);
    let series = format!(r#"bullpen_pool_stale_claims{{namespace="{}",pool="ci"}}"#, walk.namespace);
    operator.metric_is(&series, 1.0).await;
    walk.pool_has_ready(1).await;
    audit.is_settled().await;
    operator.kill_9();
    operator.start_again().await;
    operator.metric_is(&series, 1.0).await;
    audit.is_settled().await;

    has_written_claims(&mut audit, 2).await;
    assert_eq!(walk.has_event("HeldForLong").await, 1, "once");
    let claim: PoolClaim = walk.get("build-1").await;
    assert_eq!(phase(&claim), ClaimPhase::Bound);
    assert!(!walk.simcloud.ledger().await.ended(machine_of(&claim)));
    walk.delete::<PoolClaim>("build-1").await;
    walk.gone::<PoolMember>(member_of(&claim)).await;
    let released = format!(r#"bullpen_claims_ended_total{{namespace="{}",pool="ci",end="released"}}"#, walk.namespace);
    operator.metric_is(&released, 1.0).await;
}
