//! Blocks of writes, and what the API server uses for each kind of write in them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bullpen_bench_common::machine::cost_of;
use bullpen_bench_common::of;
use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::bare::Bare;

/// The writes of one cycle, in their order. The first is the user's, and so is the one that deletes the claim.
pub const WRITES: [&str; 9] = [
    "create a claim",
    "create a member",
    "member: Warming",
    "member: Ready",
    "member: Claimed",
    "claim: Bound",
    "delete a claim",
    "delete a member",
    "take its finalizer",
];

/// Requests at a time: enough to keep an API server on two cores at work, which then does not spend time on waking up.
const WORKERS: usize = 4;
/// A ConfigMap's data, about as large as a member.
const PAYLOAD: usize = 1_200;
/// A metric of every program in Go.
const ALLOCATED: &str = "go_memstats_alloc_bytes_total ";
/// Writes of a block of ConfigMaps, for each of them: a create, two replaces, a delete.
const PLAIN_WRITES: f64 = 4.0;

/// What is measured of the API server.
#[derive(Clone)]
pub enum Source {
    /// Seconds of processor time of the process with this id, by the kernel.
    Processor(u32),
    /// Megabytes (10⁶ bytes) that it has allocated in all, by its own metrics. The machine's speed does not change this, and
    /// a collection of garbage costs processor time for what was allocated.
    Memory(Client),
}

impl Source {
    async fn read(&self) -> f64 {
        match self {
            Self::Processor(process) => cost_of(*process).cpu_seconds,
            Self::Memory(client) => {
                let request = http::Request::get("/metrics").body(Vec::new()).expect("a request");
                let metrics = client.request_text(request).await.expect("the API server's metrics");
                let bytes = metrics.lines().find_map(|line| line.strip_prefix(ALLOCATED)).expect("the line is there");
                bytes.trim().parse::<f64>().expect("a number of bytes") / 1_000_000.0
            }
        }
    }
}

/// Reads a source before and after some work, and takes away what the API server uses at rest and for the reading.
pub struct Meter {
    source: Source,
    reading: f64,
    idle: f64,
}

impl Meter {
    /// Measures what the API server uses at rest, for so long.
    pub async fn at_rest(source: Source, rest: Duration) -> Self {
        let raw = Self { source, reading: 0.0, idle: 0.0 };
        let ((), reading) = raw.of(async {}).await;
        let meter = Self { reading, ..raw };
        let ((), used) = meter.of(tokio::time::sleep(rest)).await;
        Self { idle: used / rest.as_secs_f64(), ..meter }
    }

    /// What it uses in a second at rest.
    pub const fn idle(&self) -> f64 {
        self.idle
    }

    /// What it uses for `work`.
    pub async fn of<T>(&self, work: impl Future<Output = T>) -> (T, f64) {
        let (before, began) = (self.source.read().await, Instant::now());
        let done = work.await;
        let elapsed = began.elapsed().as_secs_f64();
        (done, self.source.read().await - before - self.reading - self.idle * elapsed)
    }
}

/// So many cycles, each write of all of them before the next one. Returns thousandths of the meter's unit for
/// each write.
pub async fn cycles(meter: &Meter, bare: &Bare, name: &str, number: u16) -> [f64; WRITES.len()] {
    let (claims, created) =
        meter.of(all(stream::iter(0..number).map(async |turn| bare.claim(&format!("{name}-{turn}")).await))).await;
    let (members, posted) = meter.of(all(stream::iter(0..number).map(async |_| bare.post().await))).await;
    let (members, warming) = meter.of(all(stream::iter(&members).map(|member| bare.warming(member)))).await;
    let (members, ready) = meter.of(all(stream::iter(&members).map(|member| bare.ready(member)))).await;
    let pairs = stream::iter(claims.iter().zip(&members)).map(|(claim, member)| bare.swap(claim, member));
    let (members, claimed) = meter.of(all(pairs)).await;
    let pairs = stream::iter(claims.iter().zip(&members)).map(|(claim, member)| bare.bound(claim, member));
    let (claims, bound) = meter.of(all(pairs)).await;
    let (_, released) = meter.of(all(stream::iter(&claims).map(|claim| bare.unclaim(claim)))).await;
    let (deleting, deleted) = meter.of(all(stream::iter(&members).map(|member| bare.delete(member)))).await;
    let (_, gone) = meter.of(all(stream::iter(&deleting).map(|member| bare.let_go(member)))).await;
    [created, posted, warming, ready, claimed, bound, released, deleted, gone]
        .map(|used| used * 1_000.0 / f64::from(number))
}

/// Creates, replaces and deletes so many ConfigMaps. Returns thousandths of the meter's unit for each write.
pub async fn plain(meter: &Meter, maps: &Api<ConfigMap>, name: &str, number: u16) -> f64 {
    let data = |letter: &str| BTreeMap::from([("data".to_owned(), letter.repeat(PAYLOAD))]);
    let create = async |turn: u16| {
        let map = of(json!({ "metadata": { "name": format!("{name}-{turn}") }, "data": data("a") }));
        maps.create(&PostParams::default(), &map).await.expect("a ConfigMap")
    };
    let replace = async |mut map: ConfigMap, letter: &str| {
        map.data = Some(data(letter));
        maps.replace(&map.name_any(), &PostParams::default(), &map).await.expect("the ConfigMap changes")
    };
    let work = async {
        let made = all(stream::iter(0..number).map(create)).await;
        let once = all(stream::iter(made).map(|map| replace(map, "b"))).await;
        let twice = all(stream::iter(once).map(|map| replace(map, "c"))).await;
        all(stream::iter(twice).map(async |map| maps.delete(&map.name_any(), &DeleteParams::default()).await)).await
    };
    let (deleted, used) = meter.of(work).await;
    assert!(deleted.iter().all(Result::is_ok), "the ConfigMaps go");
    used * 1_000.0 / (PLAIN_WRITES * f64::from(number))
}

/// A few at a time, until all are done.
async fn all<F: Future>(work: impl Stream<Item = F>) -> Vec<F::Output> {
    work.buffered(WORKERS).collect().await
}
