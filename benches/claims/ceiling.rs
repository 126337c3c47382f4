//! How many full claim cycles the API server takes at all: from a bare client, with more and more workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bullpen_bench_common::ground::Ground;
use kube::Client;
use serde_json::json;
use tokio::task::JoinSet;

use crate::bare::Bare;
use crate::report::{Bar, Report};
use crate::seen;
use crate::stage::{Clock, Stage};

/// Writes of one cycle: seven of the operator, two of the claim's user.
const WRITES: f64 = 9.0;
/// Workers that reach the ceiling.
const ENOUGH: usize = 8;

/// Sweeps the number of workers, over one connection and over many.
pub async fn run(
    ground: &Ground,
    clients: &[(&'static str, Client)],
    workers: &[usize],
    each: Duration,
    report: &mut Report,
) {
    report.head("Ceiling: full claim cycles of a bare client (7 writes of an operator, 2 of a user), 4 watches open");
    let mut points = Vec::new();
    for (protocol, client) in clients {
        let namespace = format!("ceiling-{}", protocol.to_lowercase().replace(['/', '.'], ""));
        let stage = Stage::set(ground, client, &namespace, 0, 1).await;
        let _watches = seen::as_an_operator(&ground.client(), &namespace).await;
        for &workers in workers {
            let before = Clock::read(ground, None);
            let rate = sweep(&stage, workers, each).await;
            let used = Clock::read(ground, None).since(&before);
            report.figure(&format!("{protocol}, {workers} workers"), rate * WRITES, "writes/s", Bar::None);
            points.push(json!({
                "protocol": protocol, "workers": workers, "cyclesPerSecond": rate, "writesPerSecond": rate * WRITES,
                "processorSeconds": used,
            }));
        }
    }
    report.keep("ceiling", json!(points));
}

/// Cycles a second with so many workers, in a namespace of its own.
pub async fn cycles(ground: &Ground, client: &Client, namespace: &str, workers: usize, each: Duration) -> f64 {
    let stage = Stage::set(ground, client, namespace, 0, 1).await;
    let _watches = seen::as_an_operator(&ground.client(), namespace).await;
    sweep(&stage, workers, each).await
}

/// Cycles a second with so many workers.
async fn sweep(stage: &Stage<'_>, workers: usize, each: Duration) -> f64 {
    let bare = Bare::new(&stage.client, &stage.namespace, stage.pool.clone());
    let (done, began) = (Arc::new(AtomicU32::new(0)), Instant::now());
    let mut tasks = JoinSet::new();
    for worker in 0..workers {
        let (bare, done) = (bare.clone(), done.clone());
        tasks.spawn(async move {
            let mut turn = 0;
            while began.elapsed() < each {
                turn += 1;
                let claim = bare.claim(&format!("c-{workers}-{worker}-{turn}")).await;
                let member = bare.ready_member().await;
                let (member, claim) = bare.bind(&claim, &member).await;
                bare.unclaim(&claim).await;
                bare.end(&member).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tasks.join_all().await;
    f64::from(done.load(Ordering::Relaxed)) / began.elapsed().as_secs_f64()
}

/// Measures the ceiling of a bare client for `each`. Returns it, in cycles a second, and this share of it, in whole claims
/// a second.
pub async fn share(
    ground: &Ground,
    client: &Client,
    namespace: &str,
    (share, each): (f64, Duration),
    report: &mut Report,
) -> (f64, u32) {
    let ceiling = cycles(ground, client, namespace, ENOUGH, each).await;
    let rate = ((ceiling * share).round() as u32).max(1);
    report.line("bare client, cycles/s; claims/s of the operator", &format!("{ceiling:.1}; {rate}"));
    (ceiling, rate)
}
