//! What `bullpen simulate` says of a trace is what happens when it is played: the same claims, against a real API server and
//! the operator, with a cloud whose machines boot in seconds.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, PoolClaim, PoolMember};
use bullpen_simcloud::ledger::{Entry, State, What};
use bullpen_simulate::{
    Arrival, Boot, CloudModel, CreateRate, HOUR, MILLISECOND, Outcome, Policy, SECOND, STARTS_AT, Setup, run,
};
use futures::TryStreamExt as _;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use crate::harness::objects::{LAUNCH_CONFIG, POOL, phase};
use crate::harness::{Operator, PATIENCE, Walk};

/// The pool's `targetSize`.
const TARGET: i32 = 18;
/// How long machines boot.
const BOOT_MILLISECONDS: i32 = 3_500;
/// Number of bursts, and the time from one to the next. The machines that replace those of a burst are ready more than a
/// second after the next burst and before the one after it, so that no claim's luck hangs on milliseconds.
const BURSTS: i64 = 18;
const BETWEEN: i64 = 2_500 * MILLISECOND;
/// If the operator takes longer than this to react, the machine is busy with other work.
const BUSY: Duration = Duration::from_millis(100);
/// How many claims a large burst has.
const LARGE: i64 = 30;

/// How many claims a burst has: most have a few, which are all hits, and two have more than the pool has machines.
const fn size(burst: i64) -> i64 {
    if burst % 7 == 5 { LARGE } else { (burst * burst * 7 + 3) % 8 }
}

/// All claims. What each holds its machine is between one and five seconds.
fn trace() -> Vec<Arrival> {
    let claims = (0..BURSTS).flat_map(|burst| (0..size(burst)).map(move |claim| (burst, claim)));
    let arrival = |(burst, claim): (i64, i64)| Arrival {
        at: burst * BETWEEN + claim * 60 * MILLISECOND,
        holds: SECOND + (burst * 5 + claim * 3) % 9 * SECOND / 2,
    };
    claims.map(arrival).collect()
}

/// What came of the trace in reality.
#[derive(Clone)]
pub(super) struct Played {
    pub(super) hits: f64,
    /// Seconds for which machines were ready and nobody's.
    pub(super) idle: f64,
    pub(super) bought: usize,
    /// The time of a create of a claim, in the middle of all of them.
    pub(super) write: Duration,
    /// The mean time from a claim until the call for the machine that it orders is answered.
    pub(super) reaction: Duration,
    /// By how much these times differ from their mean, on average.
    pub(super) spread: Duration,
    /// The mean time from when a machine runs until its member is Ready.
    pub(super) notice: Duration,
}

#[tokio::test]
async fn a_trace_that_is_played_for_real_has_the_misses_and_the_idle_time_that_the_simulation_says() {
    let walk = Walk::begin("simulated").await;
    let operator = Operator::start(&walk).await;
    let boot = json!({ "simulated": { "bootMilliseconds": BOOT_MILLISECONDS } });
    let config = walk.launch_config(LAUNCH_CONFIG, boot).await;
    // Without limits on what is under way, how late a create begins is the machine's doing alone.
    walk.pool(POOL, json!({ "targetSize": TARGET, "maxSize": 200, "provisioning": { "maxConcurrentCreates": 100, "failureThreshold": 100 } }))
        .await;
    let pool = walk.pool_has_ready(TARGET).await;
    let trace = trace();
    let played = play(&walk, &operator, &trace).await;
    let boot = Boot::Around { seconds: f64::from(BOOT_MILLISECONDS) / 1_000.0, percent: 0.0 };
    let simulated = simulate(&pool, config, boot, &trace, &played);

    let number = |count: usize| f64::from(u32::try_from(count).expect("few claims"));
    let (claims, hits) = (number(trace.len()), number(simulated.claims.hits));
    let idle = simulated.hours.idle * 3_600.0;
    let seen = format!(
        "of {claims} claims {} hits in reality and {hits} simulated; {:.1} s and {idle:.1} s idle; {} and {} machines \
         bought; a write took {:?}, a reaction {:?} (± {:?}), a notice {:?}",
        played.hits,
        played.idle,
        played.bought,
        simulated.machines.bought,
        played.write,
        played.reaction,
        played.spread,
        played.notice
    );
    eprintln!("{seen}");
    assert!(hits > 0.5 * claims && hits < 0.95 * claims, "the trace shows nothing: {seen}");
    assert!((played.hits - hits).abs() <= 0.02 * claims, "{seen}");
    // A machine that is busy with other walks takes now short, now long to react, and the model has one time for all.
    let noise = if played.reaction > BUSY { played.spread.as_secs_f64() * claims } else { 0.0 };
    assert!((played.idle - idle).abs() <= 0.02 * idle + noise, "{seen}; {noise:.1} s of noise");
}

/// How fast this machine is goes into the model; what comes of it does not.
pub(super) fn simulate(
    pool: &InstancePool,
    config: LaunchConfig,
    boot: Boot,
    trace: &[Arrival],
    played: &Played,
) -> Outcome {
    let milliseconds = |time: Duration| i64::try_from(time.as_millis()).expect("a short time") * MILLISECOND;
    let cloud = CloudModel {
        boot,
        call: milliseconds(played.reaction.saturating_sub(played.write)),
        shutdown: 100 * MILLISECOND,
        // On average, half of the time between two lists passes until one shows what has happened.
        list: milliseconds(played.notice.saturating_sub(played.write) * 2).max(MILLISECOND),
        write: milliseconds(played.write),
        creates: Some(CreateRate { per_second: 200.0, at_once: 200 }),
        ..CloudModel::default()
    };
    let setup = Setup {
        name: POOL.to_owned(),
        pool: pool.spec.clone(),
        launch_configs: vec![config],
        cloud,
        policy: Policy::Operator,
        wait_timeout: None,
        warm_up: HOUR,
        starts_at: STARTS_AT,
        lasts: None,
        seed: 1,
    };
    run(&setup, trace, |_| {}).expect("an outcome")
}

/// Creates each claim at its time and deletes it when it has held its machine, and measures until the last one has come.
pub(super) async fn play(walk: &Walk, operator: &Operator, trace: &[Arrival]) -> Played {
    let seen = Members::default();
    let members = tokio::spawn(follow_members(walk.api(), seen.clone()));
    let (mut tell, mut bound) = (HashMap::new(), Vec::new());
    for number in 0..trace.len() {
        let (sender, receiver) = oneshot::channel();
        tell.insert(name(number), sender);
        bound.push(receiver);
    }
    let claims = tokio::spawn(follow_claims(walk.api(), tell));
    let before = walk.simcloud.ledger().await.bought();
    // The watches are there before the first claim.
    sleep_until(Instant::now() + Duration::from_secs(1)).await;
    let (began, clock) = (Instant::now(), Timestamp::now());
    let ends = clock + Duration::from_micros(trace.last().expect("a claim").at.unsigned_abs());
    let lives = trace.iter().zip(bound).enumerate().map(|(number, (arrival, bound))| async move {
        sleep_until(began + Duration::from_micros(arrival.at.unsigned_abs())).await;
        let asked = Instant::now();
        walk.claim(&name(number), json!({})).await;
        let took = asked.elapsed();
        let at = timeout(PATIENCE, bound).await.expect("in time").expect("Bound");
        sleep_until(at + Duration::from_micros(arrival.holds.unsigned_abs())).await;
        walk.delete::<PoolClaim>(&name(number)).await;
        took
    });
    let mut writes = join_all(lives).await;
    claims.abort();
    members.abort();
    let seen = seen.lock().clone();
    let ledger = walk.simcloud.ledger().await;
    let entries = ledger.into_entries();
    let bought = reached(&entries, State::Created, before);
    let delays = delays(trace, clock, &bought);
    let reaction = mean(delays.iter().copied());
    // A member that was given up was nobody's until then.
    let given_up: HashMap<String, Timestamp> =
        reached(&entries, State::ShuttingDown, 0).into_iter().map(|(at, member)| (member, at)).collect();
    let left = |member, claimed: Option<Timestamp>| claimed.or_else(|| given_up.get(member).copied());
    let idle =
        seen.iter().map(|(member, (ready, claimed))| idle_within(*ready, left(member, *claimed), (clock, ends))).sum();
    writes.sort();
    let series =
        format!(r#"bullpen_claim_pairing_duration_seconds_count{{namespace="{}",pool="{POOL}"}}"#, walk.namespace);
    Played {
        hits: operator.metric_reaches(&series, 1.0).await,
        idle,
        bought: bought.len(),
        write: writes[writes.len() / 2],
        reaction,
        spread: mean(
            delays.iter().map(|delay| (*delay - SignedDuration::try_from(reaction).unwrap_or_default()).abs()),
        ),
        notice: notice(&reached(&entries, State::Running, before), &seen),
    }
}

/// How fast the operator answers claims here. Each claim orders one machine when it comes, in their order.
fn delays(trace: &[Arrival], began: Timestamp, bought: &[(Timestamp, String)]) -> Vec<SignedDuration> {
    let came = trace.iter().map(|arrival| began + Duration::from_micros(arrival.at.unsigned_abs()));
    came.zip(bought).map(|(came, (bought, _))| bought.duration_since(came)).collect()
}

/// How fast it sees here that machines run.
fn notice(running: &[(Timestamp, String)], members: &HashMap<String, Times>) -> Duration {
    let ready = |member: &String| members.get(member).and_then(|(ready, _)| *ready);
    mean(running.iter().filter_map(|(runs, member)| Some(ready(member)?.duration_since(*runs))))
}

fn mean(times: impl Iterator<Item = SignedDuration>) -> Duration {
    let (sum, count) = times.fold((SignedDuration::ZERO, 0), |(sum, count), time| (sum + time, count + 1));
    Duration::try_from(sum / count.max(1)).unwrap_or_default()
}

/// When machines came to this state, and for which member; but for the first `before`.
fn reached(entries: &[Entry], state: State, before: usize) -> Vec<(Timestamp, String)> {
    let reached = entries.iter().filter_map(|entry| match &entry.what {
        What::Machine(event) if event.event == state => Some((entry.time, event.token.clone())),
        _ => None,
    });
    reached.skip(before).collect()
}

/// When a member became ready, and when it was claimed.
type Times = (Option<Timestamp>, Option<Timestamp>);

/// The times of each member, by uid.
type Members = Arc<Mutex<HashMap<String, Times>>>;

async fn follow_members(api: Api<PoolMember>, seen: Members) {
    let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
    while let Ok(Some(member)) = events.try_next().await {
        let status = member.status.as_ref();
        let times =
            status.map(|status| [&status.ready_since, &status.claimed_at].map(|time| time.as_ref().map(|time| time.0)));
        if let (Some(uid), Some([ready, claimed])) = (member.uid(), times) {
            seen.lock().insert(uid, (ready, claimed));
        }
    }
}

async fn follow_claims(api: Api<PoolClaim>, mut tell: HashMap<String, oneshot::Sender<Instant>>) {
    let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
    while let Ok(Some(claim)) = events.try_next().await {
        if phase(&claim) == ClaimPhase::Bound
            && let Some(told) = tell.remove(&claim.name_any())
        {
            // Nobody listens any more when the test has failed.
            let _ = told.send(Instant::now());
        }
    }
}

/// Seconds between these times for which a member was ready and nobody's. It was ready until it `left`.
fn idle_within(ready: Option<Timestamp>, left: Option<Timestamp>, (begin, end): (Timestamp, Timestamp)) -> f64 {
    let Some(ready) = ready else { return 0.0 };
    let (from, to) = (ready.max(begin), left.unwrap_or(end).min(end));
    to.duration_since(from).as_secs_f64().max(0.0)
}

fn name(number: usize) -> String {
    format!("build-{number}")
}
