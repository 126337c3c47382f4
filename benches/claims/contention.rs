//! Ten claims for each machine that there may be, so that most of them wait; and the same with the leader killed
//! half-way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_bench_common::ground::Ground;
use futures::{StreamExt as _, stream};
use kube::Client;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::numbers::{Scrape, Times};
use crate::report::{Bar, Report};
use crate::seen::Seen;
use crate::stage::{PATIENCE, Stage, USERS, User};

/// From Bound to the claim's deletion.
const HELD: Duration = Duration::from_millis(200);
/// What the killed leader had written may be seen a moment later; its successor has to wait for the lease for longer.
const LAST_WORDS: Duration = Duration::from_secs(2);
const FAILOVER_BAR: f64 = 17.0;

/// The numbers of claims and members.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Claims.
    pub claims: usize,
    /// Members that there may be in all.
    pub members: u32,
}

/// Without a failover, and with one.
pub async fn run(ground: &Ground, client: &Client, crowd: Crowd, report: &mut Report) {
    let Crowd { claims, members } = crowd;
    report
        .head(&format!("Contention: {claims} claims at once on {members} machines, each held {} ms", HELD.as_millis()));
    let mut kept = json!({});
    for failover in [false, true] {
        let name = if failover { "failover" } else { "contention" };
        let stage = Stage::set(ground, client, name, members, members).await;
        let mut leader = stage.operator("leader");
        leader.leads().await;
        let standby = failover.then(|| stage.operator("standby"));
        stage.ready(members).await;
        let (before, began) = (leader.scrape().await, Instant::now());
        let mut bound = begin(&stage, claims).await;

        let mut moments = Vec::new();
        let mut killed: Option<(Instant, Scrape)> = None;
        while moments.len() < claims {
            let moment = tokio::time::timeout(PATIENCE, bound.recv()).await.expect("the claims get on");
            moments.push(moment.expect("every claim is Bound"));
            if failover && killed.is_none() && moments.len() >= claims / 2 {
                let scrape = leader.scrape().await;
                leader.kill_9();
                killed = Some((Instant::now(), scrape));
            }
        }
        let last = moments.iter().max().expect("a claim").duration_since(began);
        let mut conflicts = [0.0; 2];
        let mut add = |after: &Scrape, before: &Scrape| {
            conflicts[0] += after.grown(before, "bullpen_bind_conflicts_total", &[]);
            conflicts[1] += after.grown(before, "bullpen_api_writes_total", &["outcome=\"conflict\""]);
        };
        match (&standby, &killed) {
            (Some(standby), Some((moment, scrape))) => {
                add(scrape, &before);
                add(&standby.scrape().await, &Scrape::default());
                let after = moments.iter().filter_map(|bound| bound.checked_duration_since(*moment));
                let first = after.filter(|after| *after > LAST_WORDS).min().unwrap_or_default();
                report.figure(
                    "leader killed to the next first bind",
                    first.as_secs_f64(),
                    "s",
                    Bar::AtMost(FAILOVER_BAR),
                );
                kept["killToFirstBindSeconds"] = json!(first.as_secs_f64());
            }
            _ => add(&leader.scrape().await, &before),
        }
        report.line(&format!("{name}: all Bound after"), &format!("{:.1} s", last.as_secs_f64()));
        report.line("  from the first create", &Times::new(moments.iter().map(|bound| *bound - began)).words());
        report.figure("  compare-and-swaps of members that conflicted", conflicts[0], "", Bar::None);
        report.figure("  conflicts of all writes, tried again", conflicts[1], "", Bar::None);
        kept[name] = json!({ "seconds": last.as_secs_f64(), "bindConflicts": conflicts[0], "conflicts": conflicts[1] });
    }
    report.keep("contention", kept);
}

/// Makes the claims, and releases each one after it was held. Returns when each was Bound.
async fn begin(stage: &Stage<'_>, claims: usize) -> mpsc::UnboundedReceiver<Instant> {
    let seen = Arc::new(Seen::begin(&stage.ground.client(), &stage.namespace).await);
    let (tell, told) = mpsc::unbounded_channel();
    let user = stage.user();
    tokio::spawn(async move {
        let mut tasks = JoinSet::new();
        let waits: Vec<_> = (0..claims).map(|number| seen.bound(&format!("claim-{number}"))).collect();
        for (number, wait) in waits.into_iter().enumerate() {
            let (user, tell): (User, _) = (user.clone(), tell.clone());
            tasks.spawn(async move {
                let Ok(bound) = wait.await else { return };
                let _ = tell.send(bound);
                tokio::time::sleep(HELD).await;
                user.release(&format!("claim-{number}")).await;
            });
        }
        drop(tell);
        stream::iter(0..claims)
            .for_each_concurrent(USERS, async |number| user.claim(&format!("claim-{number}")).await)
            .await;
        tasks.join_all().await;
        drop(seen);
    });
    told
}
