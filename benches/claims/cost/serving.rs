//! What a cycle costs while the operator serves it: the API server's processor time and the operator's own.

use std::time::{Duration, Instant};

use bullpen_bench_common::ground::Ground;
use futures::{StreamExt as _, stream};
use kube::Client;
use serde_json::{Value, json};

use super::blocks::{Meter, Source};
use crate::report::{Bar, Report};
use crate::seen::Seen;
use crate::stage::{Operator, PATIENCE, Stage};

/// Ready members: more than are claimed or replaced at any time.
const MEMBERS: u32 = 40;
/// Users, each with one claim at a time.
const USERS: usize = 4;
const REST: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(100);

/// Serves so many claims and waits until all of them are replaced.
pub async fn run(ground: &Ground, client: &Client, server: u32, claims: u16, report: &mut Report) -> Value {
    let stage = Stage::set(ground, client, "cost-serving", MEMBERS, MEMBERS * 4).await;
    let operator = stage.operator("leader");
    stage.ready(MEMBERS).await;
    full(&operator).await;
    let seen = Seen::begin(&ground.client(), &stage.namespace).await;
    let at_rest = |process| Meter::at_rest(Source::Processor(process), REST);
    let (server, own) = tokio::join!(at_rest(server), at_rest(operator.id()));
    let work = async {
        let user = stage.user();
        let users = stream::iter(0..claims).for_each_concurrent(USERS, async |turn| {
            let name = format!("claim-{turn}");
            let wait = seen.bound(&name);
            user.claim(&name).await;
            tokio::time::timeout(PATIENCE, wait).await.expect("it is Bound").expect("the watch lives");
            user.release(&name).await;
        });
        users.await;
        full(&operator).await;
    };
    let (((), of_operator), of_server) = server.of(own.of(work)).await;
    let [of_server, of_operator] = [of_server, of_operator].map(|seconds| seconds * 1_000.0 / f64::from(claims));
    report.figure("a cycle that the operator serves: API server", of_server, "ms", Bar::None);
    report.figure("  the operator itself", of_operator, "ms", Bar::None);
    json!({ "apiServerMilliseconds": of_server, "operatorMilliseconds": of_operator })
}

/// Waits until every member is ready and unclaimed.
async fn full(operator: &Operator) {
    let began = Instant::now();
    loop {
        let metrics = operator.scrape().await;
        let of = |labels: &[&str]| metrics.sum("bullpen_pool_members", labels);
        let (all, ready) = (of(&[]), of(&["state=\"ready\""]));
        if (all - f64::from(MEMBERS)).abs() < 0.5 && (ready - f64::from(MEMBERS)).abs() < 0.5 {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{ready} of {all} members are ready");
        tokio::time::sleep(POLL).await;
    }
}
