//! Many claims at once on as many ready members, while these are replaced; and the same writes by the bare client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_api::{MemberState, PoolClaim, PoolMember};
use bullpen_bench_common::ground::Ground;
use futures::{StreamExt as _, stream};
use kube::Client;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::bare::Bare;
use crate::numbers::Times;
use crate::report::{Bar, Report};
use crate::seen::{self, Seen};
use crate::stage::{Clock, PATIENCE, Stage, USERS};

const RATIO_BAR: f64 = 0.8;
const RATE_AIM: f64 = 270.0;
const CLAIM_WRITES: &str = "bullpen_api_writes_total";

/// Writes of an operator in a burst, beside the two that bind each claim.
#[derive(Clone, Copy, Debug)]
struct Mix {
    /// Members created, for each claim.
    posts: f64,
    /// Statuses of members that are on their way to Ready, for each claim.
    statuses: f64,
}

/// A burst of so many claims, and then the bare client's with so many workers.
pub async fn run(ground: &Ground, client: &Client, claims: u32, workers: &[usize], report: &mut Report) {
    report.head(&format!("Burst: {claims} claims at once by {USERS} users on {claims} ready members, refill going on"));
    let (rate, writes, mix) = operator(ground, client, claims, report).await;
    let mut ceiling: f64 = 0.0;
    for &workers in workers {
        let (bare_rate, bare_writes) = bare(ground, client, claims, workers, mix).await;
        report.line(
            &format!("bare client, {workers} workers"),
            &format!("{bare_rate:.0} claims/s, {bare_writes:.0} writes/s of the same mix"),
        );
        ceiling = ceiling.max(bare_writes);
    }
    report.figure("writes/s of the operator / bare client", writes / ceiling, "", Bar::AtLeast(RATIO_BAR));
    report.keep(
        &format!("burst{claims}"),
        json!({
            "claimsPerSecond": rate, "operatorWritesPerSecond": writes, "bareWritesPerSecond": ceiling,
            "ratio": writes / ceiling, "memberCreatesPerClaim": mix.posts, "memberStatusesPerClaim": mix.statuses,
        }),
    );
}

async fn operator(ground: &Ground, client: &Client, claims: u32, report: &mut Report) -> (f64, f64, Mix) {
    let stage = Stage::set(ground, client, &format!("burst-{claims}"), claims, claims * 3).await;
    let operator = stage.operator("leader");
    stage.ready(claims).await;
    let seen = Seen::begin(&ground.client(), &stage.namespace).await;
    let (before, clock) = (operator.scrape().await, Clock::read(ground, Some(&operator)));

    let began = Instant::now();
    let names: Vec<_> = (0..claims).map(|number| format!("claim-{number}")).collect();
    let waits: Vec<_> = names.iter().map(|name| seen.bound(name)).collect();
    let (claimant, made) = (stage.user(), Instant::now());
    stream::iter(&names).for_each_concurrent(USERS, async |name| claimant.claim(name).await).await;
    let made = made.elapsed();
    let mut times = Vec::new();
    for wait in waits {
        times.push(
            tokio::time::timeout(PATIENCE, wait).await.expect("every claim is Bound").expect("the watch lives") - began,
        );
    }
    let took = times.iter().max().expect("a claim").as_secs_f64();
    let after = operator.scrape().await;
    let used = Clock::read(ground, Some(&operator)).since(&clock);

    let (all, number) = (after.grown(&before, CLAIM_WRITES, &["outcome=\"ok\""]), f64::from(claims));
    let posts = after.grown(&before, CLAIM_WRITES, &["kind=\"PoolMember\",verb=\"create\"", "outcome=\"ok\""]);
    let statuses =
        after.grown(&before, CLAIM_WRITES, &["kind=\"PoolMember\",verb=\"update_status\"", "outcome=\"ok\""]);
    let mix = Mix { posts: posts / number, statuses: ((statuses - number) / number).max(0.0) };
    let rate = number / took;
    report.figure("claims/s to the last Bound", rate, "claims/s", Bar::AtLeast(RATE_AIM));
    report.line(
        "all claims created after",
        &format!("{:.2} s; the last one Bound after {took:.2} s", made.as_secs_f64()),
    );
    report.line("first create to Bound", &Times::new(times).words());
    report.figure("writes of the operator", all / took, "writes/s", Bar::None);
    report.line("refill meanwhile", &format!("{posts:.0} members created, {:.0} statuses", statuses - number));
    report.line("processor seconds", &used.to_string());
    (rate, all / took, mix)
}

/// The next step of a member of the bare client.
type Growing = Arc<Mutex<VecDeque<PoolMember>>>;

async fn bare(ground: &Ground, client: &Client, claims: u32, workers: usize, mix: Mix) -> (f64, f64) {
    let stage = Stage::set(ground, client, &format!("bare-{claims}-{workers}"), 0, 1).await;
    let _watches = seen::as_an_operator(&ground.client(), &stage.namespace).await;
    let seen = Seen::begin(&ground.client(), &stage.namespace).await;
    let bare = Bare::new(client, &stage.namespace, stage.pool.clone());
    let members: Vec<_> = stream::iter(0..claims).map(|_| bare.ready_member()).buffer_unordered(USERS).collect().await;

    let began = Instant::now();
    let names: Vec<_> = (0..claims).map(|number| format!("claim-{number}")).collect();
    let waits: Vec<_> = names.iter().map(|name| seen.bound(name)).collect();
    let (made, queue) = mpsc::unbounded_channel::<PoolClaim>();
    let queue = Arc::new(tokio::sync::Mutex::new(queue));
    let members = Arc::new(Mutex::new(members));
    let (growing, owed) = (Growing::default(), Arc::new(Mutex::new((0.0, 0.0))));
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let (bare, queue, members, growing, owed) =
            (bare.clone(), queue.clone(), members.clone(), growing.clone(), owed.clone());
        tasks.spawn(async move {
            let mut written = 0_u32;
            loop {
                let Some(claim) = queue.lock().await.recv().await else { return written };
                let member = members.lock().pop().expect("a member for each claim");
                bare.bind(&claim, &member).await;
                written += 2 + refill(&bare, mix, &growing, &owed).await;
            }
        });
    }
    stream::iter(&names)
        .for_each_concurrent(USERS, async |name| {
            let _ = made.send(bare.claim(name).await);
        })
        .await;
    drop(made);
    let mut last = Duration::ZERO;
    for wait in waits {
        let moment =
            tokio::time::timeout(PATIENCE, wait).await.expect("every claim is Bound").expect("the watch lives");
        last = last.max(moment - began);
    }
    let written: u32 = tasks.join_all().await.into_iter().sum();
    // The last refill may follow the last claim.
    (f64::from(claims) / last.as_secs_f64(), f64::from(written) / began.elapsed().as_secs_f64())
}

/// The share of refill that one claim brings with it.
async fn refill(bare: &Bare, mix: Mix, growing: &Growing, owed: &Mutex<(f64, f64)>) -> u32 {
    let mut written = 0;
    let (mut posts, mut statuses) = {
        let mut owed = owed.lock();
        owed.0 += mix.posts;
        owed.1 += mix.statuses;
        let whole = (owed.0.floor(), owed.1.floor());
        *owed = (owed.0 - whole.0, owed.1 - whole.1);
        whole
    };
    while posts >= 1.0 {
        let member = bare.post().await;
        growing.lock().push_back(member);
        (posts, written) = (posts - 1.0, written + 1);
    }
    while statuses >= 1.0 {
        let Some(member) = growing.lock().pop_front() else { break };
        if member.status.as_ref().is_some_and(|status| status.state == MemberState::Warming) {
            bare.ready(&member).await;
        } else {
            let warming = bare.warming(&member).await;
            growing.lock().push_back(warming);
        }
        (statuses, written) = (statuses - 1.0, written + 1);
    }
    written
}
