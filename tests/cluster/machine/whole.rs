//! One real machine from its purchase to its end.

use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, InstancePool, MemberState, PoolClaim, PoolMember};
use bullpen_simcloud::ledger::State;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::ground::{BOOT, Ground, member, user_data};
use super::login::Login;
use crate::harness::objects::{LAUNCH_CONFIG, POOL, machine_of, member_of, merge, phase};
use crate::harness::{Walk, eventually, eventually_within};

/// Shows what claims leave on a machine.
const TRACES: &str = "ls; ls /var/tmp | grep heard; sudo ls /root; echo done";

/// A pool of one machine that calls, sends heartbeats and serves several claims, with these changes of its spec.
pub(super) async fn pool(walk: &Walk, changes: Value) {
    walk.launch_config(LAUNCH_CONFIG, json!({ "simulated": { "bootMilliseconds": 0 } })).await;
    let mut spec = json!({
        "targetSize": 1,
        "maxSize": 1,
        "readiness": { "phoneHome": {}, "warmingTimeoutSeconds": BOOT.as_secs() },
        "health": { "probe": { "heartbeat": {} }, "periodSeconds": 30, "failureThreshold": 5 },
        "reuse": { "afterReset": "Reimage" },
        "template": { "ssh": { "user": "ci", "generateKey": true }, "userData": user_data() },
    });
    merge(&mut spec, changes);
    walk.pool(POOL, spec).await;
}

/// Creates a claim with a job that writes these words to the machine's disk.
pub(super) async fn claim(walk: &Walk, name: &str, words: &str) {
    let script = "cp \"$BULLPEN_INPUT/words\" /var/tmp/heard";
    let input = json!({ "metadata": { "name": name }, "stringData": { "script": script, "words": words } });
    walk.create::<Secret>(input).await;
    walk.claim(name, json!({ "binding": "Secret", "inputSecretRef": { "name": name } })).await;
}

pub(super) async fn bound(walk: &Walk, name: &str) -> PoolClaim {
    eventually_within(BOOT, &format!("{name} is Bound"), async || {
        let claim: PoolClaim = walk.get(name).await;
        if phase(&claim) == ClaimPhase::Bound { Ok(claim) } else { Err(format!("{:?}", claim.status)) }
    })
    .await
}

/// Waits until the machine has said that the job of its claim is done.
pub(super) async fn is_done(walk: &Walk, claim: &PoolClaim) {
    eventually_within(BOOT, "the job is done", async || {
        let member: PoolMember = walk.get(member_of(claim)).await;
        let done = member.status.and_then(|status| status.reported).and_then(|reported| reported.done);
        let done = done.ok_or("it is not")?;
        assert_eq!((Some(done.claim_uid), done.result.as_str()), (claim.uid(), "exit 0"));
        Ok(())
    })
    .await;
}

pub(super) fn tell(what: &str, took: Duration) {
    println!("{what}: {:.1} s", took.as_secs_f64());
}

#[tokio::test]
#[ignore = "make test-machine"]
async fn a_real_machine_is_warmed_up_claimed_logged_in_to_reset_and_claimed_again() {
    let mut ground = Ground::begin("machine").await;
    let (began, walk) = (Instant::now(), &ground.walk);
    pool(walk, json!({})).await;
    let ready = member(walk, MemberState::Ready).await;
    tell("from the pool to a machine that has called", began.elapsed());
    let reported = ready.status.expect("a status").reported.expect("it has reported");
    assert_eq!(reported.host_keys.len(), 1, "{reported:?}");

    let asked = Instant::now();
    claim(walk, "first", "build 4711, please").await;
    let first = bound(walk, "first").await;
    tell("from the claim to Bound", asked.elapsed());
    let machine = machine_of(&first).to_owned();
    assert_eq!(reported.hostname.as_deref(), Some(machine.as_str()));
    let login = Login::of(&ground, "first").await;
    assert_eq!(login.does("id -un; sudo id -un; hostname").await, format!("ci\nroot\n{machine}"));
    tell("from the claim to the end of a command by SSH", asked.elapsed());
    login.says("cat /var/tmp/heard", "build 4711, please").await;
    is_done(walk, &first).await;
    tell("from the claim to the end of its job", asked.elapsed());
    let heard = "bullpen_machine_requests_total{route=\"heartbeat\",result=\"heard\"}";
    ground.operator.metric_reaches(heard, 1.0).await;
    login.does("echo secret >left; sudo touch /root/left; sync").await;
    assert_eq!(login.does(TRACES).await, "left\nheard\nleft\ndone");
    let boot = login.does("cat /proc/sys/kernel/random/boot_id").await;

    let ended = Instant::now();
    walk.delete::<PoolClaim>("first").await;
    let reset = |ledger: &crate::harness::Ledger| ledger.reached(State::Reset) == [machine.as_str()];
    walk.ledger_until("the machine is reset", reset).await;
    tell("from the claim's end to the boot of the new system", ended.elapsed());
    ground.operator.kill_9();
    claim(walk, "second", "build 4712, please").await;
    ground.operator.start_again().await;
    let walk = &ground.walk;
    let second = bound(walk, "second").await;
    tell("from the end of the first claim to the next one's Bound, with an operator killed between", ended.elapsed());
    assert_eq!((machine_of(&second), member_of(&second)), (machine.as_str(), member_of(&first)));
    let again = Login::of(&ground, "second").await;
    let left = again.does(TRACES).await;
    assert!(left.ends_with("done") && !left.contains("left"), "{left}");
    assert_ne!(again.does("cat /proc/sys/kernel/random/boot_id").await, boot);
    again.says("cat /var/tmp/heard", "build 4712, please").await;
    is_done(walk, &second).await;

    let refused = again.with_key_of(&login).run("true").await;
    assert!(!refused.succeeded && refused.errors.contains("Permission denied"), "{}", refused.errors);
    let refused = again.with_known_hosts_of(&login).run("true").await;
    assert!(!refused.succeeded && refused.errors.contains("Host key verification failed"), "{}", refused.errors);

    walk.set::<InstancePool>(POOL, json!({ "state": "Draining" })).await;
    // It may be gone before its answer is.
    let _ = again.run("sudo systemctl poweroff").await;
    eventually_within(BOOT, "the machine has switched itself off", async || {
        let stopped = walk.simcloud.ledger().await.reached(State::Stopped).len();
        if stopped == 1 { Ok(()) } else { Err(format!("{stopped}")) }
    })
    .await;
    assert_eq!(phase(&walk.get::<PoolClaim>("second").await), ClaimPhase::Bound, "that is its holder's own affair");
    walk.delete::<PoolClaim>("second").await;
    walk.none_left::<PoolMember>().await;
    let ledger = walk.no_machine_left().await;
    assert_eq!((ledger.bought(), ledger.reached(State::Terminated)), (1, vec![machine.as_str()]));
    eventually("the machine's process and its disk are gone", async || {
        let disks = ground.disks();
        if disks.is_empty() { Ok(()) } else { Err(format!("{disks:?}")) }
    })
    .await;
    assert!(!again.run("true").await.succeeded, "nobody listens there any more");
    tell("all of it", began.elapsed());
}
