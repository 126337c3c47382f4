//! Claims at a steady rate, independent of earlier claims. Each is held briefly and released, and its member is
//! replaced. Times count from when a claim was due, so a stall counts for all claims that it delayed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_api::PoolMember;
use bullpen_bench_common::ground::Ground;
use bullpen_simcloud::ledger::{Entry, Method, Outcome, What};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::bare::Bare;
use crate::numbers::Times;
use crate::report::{Bar, Report};
use crate::seen::{self, Seen};
use crate::stage::{BOOT, Clock, Operator, Stage, USERS};

/// From Bound to the claim's deletion.
const HELD: Duration = Duration::from_millis(500);
/// A claim that is not Bound by then counts as missed.
const MISSED_AFTER: Duration = Duration::from_secs(20);
/// Members for each claim a second: more than are booting or ending at any time.
pub const MEMBERS: u32 = 4;
/// After the last claim, until its member is replaced and gone, for the count of writes.
const SETTLE: Duration = Duration::from_secs(4);
const RATIO_BAR: f64 = 2.0;
const REPLACED_BAR: f64 = 250.0;
const WRITES_BAR: f64 = 7.0;
/// Counts writes by kind, verb and outcome.
const WRITES: &str = "bullpen_api_writes_total";
/// The rate that the bars are for.
const BAR_RATE: u32 = 45;

/// How the claims come.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Claims a second.
    pub rate: u32,
    /// For so long.
    pub seconds: u32,
}

impl Load {
    const fn claims(self) -> u32 {
        self.rate * self.seconds
    }

    fn due(self, number: u32) -> Duration {
        Duration::from_secs_f64(f64::from(number) / f64::from(self.rate))
    }
}

/// The times of one claim.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// How late its create was begun, which is the benchmark's own delay.
    late: Duration,
    /// From when it was due until its create was answered.
    created: Duration,
    /// From when it was due until it was seen to be Bound.
    bound: Option<Duration>,
    /// What the two status writes of the bare client took.
    writes: Option<Duration>,
    /// What the bare client's create of the claim took since it was due, and that of a member: no create call can begin
    /// before.
    posts: Option<Duration>,
}

/// The load on an operator, and then on the bare client.
pub async fn run(ground: &Ground, client: &Client, load: Load, report: &mut Report) {
    let Load { rate, seconds } = load;
    report.head(&format!("Steady: {rate} claims/s for {seconds} s, open loop, each held {} ms", HELD.as_millis()));
    let bars = rate == BAR_RATE;
    let (bound, replaced, mut kept) = operator(ground, client, load, bars, report).await;
    let yardstick = bare(ground, client, load, report).await;
    let bar = if bars { Bar::AtMost(RATIO_BAR) } else { Bar::None };
    report.figure("p99 / p99 of the bare client's two writes", bound.at(990) / yardstick.writes.at(990), "", bar);
    let (of_bound, of_posts) = (bound.at(990) / yardstick.bound.at(990), replaced.at(990) / yardstick.posts.at(990));
    report.figure("p99 / p99 of the bare client, due to Bound", of_bound, "", Bar::None);
    report.figure("replacement's p99 / p99 of the bare client's two creates", of_posts, "", Bar::None);
    kept["bareTwoWrites"] = yardstick.writes.json();
    kept["bareDueToBound"] = yardstick.bound.json();
    kept["bareTwoCreates"] = yardstick.posts.json();
    report.keep(&format!("steady{rate}"), kept);
}

async fn operator(
    ground: &Ground,
    client: &Client,
    load: Load,
    bars: bool,
    report: &mut Report,
) -> (Times, Times, Value) {
    let Load { rate, seconds } = load;
    let target = rate * MEMBERS;
    let stage = Stage::set(ground, client, &format!("steady-{rate}"), target, target * 4).await;
    let operator = stage.operator("leader");
    stage.ready(target).await;
    tokio::time::sleep(SETTLE).await;
    let seen = Arc::new(Seen::begin(&ground.client(), &stage.namespace).await);
    let ledger = ledger_last(ground).await;
    let writes = ground.writes(None).await;
    let (before, clock) = (operator.scrape().await, Clock::read(ground, Some(&operator)));

    let (moment, began) = (Timestamp::now(), Instant::now());
    let tasks = begin(&stage, &seen, load, began);
    let least = least_ready(&operator, began + Duration::from_secs(u64::from(seconds))).await;
    let told = tasks.join_all().await;
    let used = Clock::read(ground, Some(&operator)).since(&clock);
    tokio::time::sleep(SETTLE + BOOT).await;
    let after = operator.scrape().await;
    let claims = f64::from(load.claims());
    // Two of each cycle are the user's.
    let written = u32::try_from(ground.writes(None).await - writes).expect("a few writes");
    let cycle = f64::from(written) / claims - 2.0;
    let own = after.grown(&before, WRITES, &["outcome=\"ok\""]) / claims;

    let bound = tell(&told, "due to Bound, seen by a watch", report);
    let creates = creates_since(ground, ledger).await;
    let dues = (0..load.claims()).filter_map(|number| moment.checked_add(load.due(number)).ok());
    let waits = dues.zip(&creates).map(|(due, create)| create.duration_since(due).try_into().unwrap_or_default());
    let replaced = Times::new(waits);
    let replaced_bar = if bars { Bar::AtMost(REPLACED_BAR) } else { Bar::None };
    report.figure("claim due to the replacement's create call, p99", replaced.at(990), "ms", replaced_bar);
    report.line("", &replaced.words());
    let (sum, count) = ("bullpen_replacement_delay_seconds_sum", "bullpen_replacement_delay_seconds_count");
    let average = after.grown(&before, sum, &[]) / after.grown(&before, count, &[]) * 1_000.0;
    report.figure("the same by the operator's metric, from pairing", average, "ms average", Bar::None);
    // The pool's status is coalesced: it has no part in the budget of a cycle.
    let counted = ["kind=\"PoolMember\"", "kind=\"PoolClaim\""];
    let of_cycles: f64 = counted.iter().map(|kind| after.grown(&before, WRITES, &[kind])).sum::<f64>() / claims;
    report.figure("operator writes of members and claims per cycle", of_cycles, "writes", Bar::AtMost(WRITES_BAR));
    report.figure("all of its writes per cycle, by the API server", cycle, "writes", Bar::None);
    report.figure("the same by its metrics", own, "writes", Bar::None);
    for (labels, writes) in after.growth(&before, WRITES, claims) {
        report.figure(&format!("  {labels}"), writes, "", Bar::None);
    }
    report.figure("fewest ready members", least, "", Bar::None);
    let per_thousand = used["operator"].as_f64().unwrap_or(f64::NAN) / claims * 1_000.0;
    report.figure("operator: processor time per 1,000 claims", per_thousand, "s", Bar::None);
    report.figure("operator: peak resident memory", operator.cost().peak, "MB", Bar::None);
    report.line("processor seconds", &used.to_string());
    let kept = json!({
        "dueToBound": bound.json(), "missed": missed(&told), "replacement": replaced.json(),
        "operatorWritesPerCycle": cycle, "processorSecondsPer1000Claims": per_thousand,
        "peakMegabytes": operator.cost().peak, "processorSeconds": used, "fewestReady": least,
    });
    (bound, replaced, kept)
}

/// Makes the claims of a load that began at `began`, and releases each one after it was held.
pub fn begin(stage: &Stage<'_>, seen: &Arc<Seen>, load: Load, began: Instant) -> JoinSet<Told> {
    let mut tasks = JoinSet::new();
    for number in 0..load.claims() {
        let (user, seen) = (stage.user(), seen.clone());
        tasks.spawn(async move {
            let due = began + load.due(number);
            tokio::time::sleep_until(due.into()).await;
            let late = due.elapsed();
            let name = format!("claim-{number}");
            let wait = seen.bound(&name);
            user.claim(&name).await;
            let created = due.elapsed();
            let bound = tokio::time::timeout(MISSED_AFTER, wait).await.ok().and_then(Result::ok);
            let bound = bound.map(|bound| bound - due);
            tokio::time::sleep(HELD).await;
            user.release(&name).await;
            Told { late, created, bound, writes: None, posts: None }
        });
    }
    tasks
}

/// What the bare client took.
struct Yardstick {
    writes: Times,
    bound: Times,
    posts: Times,
}

async fn bare(ground: &Ground, client: &Client, load: Load, report: &mut Report) -> Yardstick {
    let stage = Stage::set(ground, client, &format!("steady-bare-{}", load.rate), 0, 1).await;
    let _watches = seen::as_an_operator(&ground.client(), &stage.namespace).await;
    let seen = Arc::new(Seen::begin(&ground.client(), &stage.namespace).await);
    let bare = Bare::new(client, &stage.namespace, stage.pool.clone());
    let ready: Arc<Mutex<VecDeque<PoolMember>>> = Arc::default();
    let filled: Vec<_> =
        stream::iter(0..load.rate * MEMBERS).map(|_| bare.ready_member()).buffer_unordered(USERS).collect().await;
    ready.lock().extend(filled);
    let clock = Clock::read(ground, None);
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..load.claims() {
        let (bare, seen, ready) = (bare.clone(), seen.clone(), ready.clone());
        tasks.spawn(async move {
            let due = began + load.due(number);
            tokio::time::sleep_until(due.into()).await;
            let late = due.elapsed();
            let name = format!("claim-{number}");
            let wait = seen.bound(&name);
            let claim = bare.claim(&name).await;
            let created = due.elapsed();
            let member = take(&ready).await;
            let first = Instant::now();
            let (member, claim) = bare.bind(&claim, &member).await;
            let writes = first.elapsed();
            // The replacement and the release are the background, as they are beside the operator.
            let replacement = bare.clone();
            let replaced = tokio::spawn(async move {
                let began = Instant::now();
                let member = replacement.post().await;
                let posted = began.elapsed();
                let member = replacement.warming(&member).await;
                tokio::time::sleep(BOOT).await;
                let member = replacement.ready(&member).await;
                ready.lock().push_back(member);
                posted
            });
            let bound = tokio::time::timeout(MISSED_AFTER, wait).await.ok().and_then(Result::ok);
            let bound = bound.map(|bound| bound - due);
            tokio::time::sleep(HELD).await;
            bare.unclaim(&claim).await;
            bare.end(&member).await;
            let posted = replaced.await.expect("the replacement");
            Told { late, created, bound, writes: Some(writes), posts: Some(created + posted) }
        });
    }
    let told = tasks.join_all().await;
    let used = Clock::read(ground, None).since(&clock);
    report.line("processor seconds, bare client", &used.to_string());
    let bound = tell(&told, "bare client: due to Bound, seen by a watch", report);
    let writes = Times::new(told.iter().filter_map(|told| told.writes));
    report.line("bare client: its two status writes", &writes.words());
    let posts = Times::new(told.iter().filter_map(|told| told.posts));
    report.line("bare client: due to created, and a member's create", &posts.words());
    Yardstick { writes, bound, posts }
}

/// The member that is ready for longest. On a machine that is too slow for the load there may be none for a while.
async fn take(ready: &Mutex<VecDeque<PoolMember>>) -> PoolMember {
    loop {
        if let Some(member) = ready.lock().pop_front() {
            return member;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub fn tell(told: &[Told], what: &str, report: &mut Report) -> Times {
    let bound = Times::new(told.iter().filter_map(|told| told.bound));
    report.line(what, &bound.words());
    report.line("  of that, due to created", &Times::new(told.iter().map(|told| told.created)).words());
    let late = Times::new(told.iter().map(|told| told.late));
    report.line("  creates begun late (the benchmark's own part)", &late.words());
    report.figure("  not Bound within 20 s", f64::from(missed(told)), "claims", Bar::AtMost(0.0));
    bound
}

fn missed(told: &[Told]) -> u32 {
    told.iter().map(|told| u32::from(told.bound.is_none())).sum()
}

/// The lowest number of ready members in the operator's metrics, read once a second.
async fn least_ready(operator: &Operator, until: Instant) -> f64 {
    let mut least = f64::INFINITY;
    while Instant::now() < until {
        least = least.min(operator.scrape().await.sum("bullpen_pool_members", &["state=\"ready\""]));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    least
}

async fn ledger_last(ground: &Ground) -> u64 {
    let health = reqwest::get(format!("{}/healthz", ground.cloud_endpoint())).await.expect("the cloud's health");
    let health: Value = health.json().await.expect("JSON");
    health["ledger"]["last"].as_u64().expect("the last line")
}

/// When the cloud was called to create a machine, after this line of its ledger.
async fn creates_since(ground: &Ground, line: u64) -> Vec<Timestamp> {
    let ledger = reqwest::get(format!("{}/ledger?since={line}", ground.cloud_endpoint())).await.expect("the ledger");
    let ledger = ledger.text().await.expect("lines");
    let create = |line: &str| {
        let entry: Entry = serde_json::from_str(line).expect("a line of the ledger");
        let What::Call(call) = entry.what else { return None };
        (call.method == Method::Create && call.outcome == Outcome::Created).then_some(entry.time)
    };
    ledger.lines().filter_map(create).collect()
}
