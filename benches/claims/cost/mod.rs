//! What each write of the claim path costs kube-apiserver, beside the same writes on the same definitions without rules,
//! and beside writes of ConfigMaps, which have no schema to check.
//!
//! It is measured twice: in processor time, and in memory allocated, which no machine's speed changes. Blocks with and
//! without rules follow each other, and ratios are taken within a round, so that the machine's speed cancels out.

mod blocks;
mod serving;
mod without_rules;

use std::time::{Duration, Instant};

use bullpen_bench_common::ground::Ground;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use serde_json::{Value, json};

use crate::bare::Bare;
use crate::numbers::Spread;
use crate::report::{Bar, Report};
use crate::seen;
use crate::stage::Stage;
use blocks::{Meter, Source, WRITES};

const NAMESPACE: &str = "cost";
/// At rest before each round.
const REST: Duration = Duration::from_secs(1);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Rounds in which processor time is measured.
    pub rounds: usize,
    /// Cycles of each block.
    pub cycles: u16,
    /// Claims that an operator serves afterwards; none without any.
    pub served: u16,
}

/// Rounds in which memory is measured.
const MEMORY_ROUNDS: usize = 5;
/// Of one core: an API server that uses less is at rest.
const AT_REST: f64 = 0.05;
/// Until it is at rest, or is measured as it is.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// What is measured, and the bars for it.
struct Measure {
    name: &'static str,
    unit: &'static str,
    /// What the rules may make of a cycle without them.
    rules: f64,
    /// What each write may cost, in writes of a ConfigMap. In the order of [`WRITES`].
    writes: [f64; WRITES.len()],
}

// Processor time of single writes differs by half from run to run on a busy machine, memory by a tenth or two. The bars are
// farther above what was measured than that: they show what went wrong as a whole, and `crates/api/src/crds/tests.rs` a rule.
const PROCESSOR: Measure =
    Measure { name: "processor time", unit: "ms", rules: 1.6, writes: [3.0, 3.5, 6.0, 5.5, 5.5, 5.5, 4.5, 5.0, 10.0] };
const MEMORY: Measure = Measure {
    name: "memory allocated",
    unit: "kB",
    rules: 1.5,
    writes: [3.5, 5.8, 10.8, 11.7, 12.3, 11.5, 7.4, 8.1, 16.9],
};

/// One round: what each write cost.
struct Round {
    with: [f64; WRITES.len()],
    without: [f64; WRITES.len()],
    plain: f64,
    idle: f64,
}

/// Who writes.
struct Writers {
    with: Bare,
    without: Bare,
    maps: Api<ConfigMap>,
}

/// Measures, and compares with the bars.
pub async fn run(ground: &Ground, client: &Client, size: Size, report: &mut Report) {
    let Size { rounds, cycles, served } = size;
    report.head(&format!("Cost: what kube-apiserver takes for each write, in rounds of {cycles} cycles"));
    let server = ground.api_server_id();
    let stage = Stage::set(ground, client, NAMESPACE, 0, 1).await;
    let elsewhere = without_rules::install(client).await;
    let writers = Writers {
        with: Bare::new(client, NAMESPACE, stage.pool.clone()),
        without: Bare::new(&elsewhere, NAMESPACE, stage.pool.clone()),
        maps: Api::namespaced(client.clone(), NAMESPACE),
    };
    let _watches = (seen::as_an_operator(client, NAMESPACE).await, seen::as_an_operator(&elsewhere, NAMESPACE).await);
    let processor = Source::Processor(server);
    settle(&processor).await;
    // The first round fills caches, and does not count.
    writers.round(&processor, "warm", 0, cycles).await;
    let mut kept = json!({});
    for (measure, source, rounds) in
        [(PROCESSOR, processor, rounds), (MEMORY, Source::Memory(ground.client()), MEMORY_ROUNDS)]
    {
        let mut measured = Vec::new();
        for turn in 0..rounds {
            measured.push(writers.round(&source, measure.unit, turn, cycles).await);
        }
        kept[measure.name] = told(&measure, &measured, report);
    }
    if served > 0 {
        kept["serving"] = serving::run(ground, client, server, served, report).await;
    }
    report.keep("cost", kept);
}

/// After new definitions the API server builds documents of its schemas for a while.
async fn settle(processor: &Source) {
    let began = Instant::now();
    while Meter::at_rest(processor.clone(), REST).await.idle() > AT_REST && began.elapsed() < SETTLED_WITHIN {}
}

impl Writers {
    async fn round(&self, source: &Source, name: &str, turn: usize, cycles: u16) -> Round {
        let meter = Meter::at_rest(source.clone(), REST).await;
        let name = format!("{}-{turn}", name.to_lowercase());
        // Every other round goes the other way round, so that what grows meanwhile favours neither.
        let (with, without) = if turn.is_multiple_of(2) {
            let with = blocks::cycles(&meter, &self.with, &name, cycles).await;
            (with, blocks::cycles(&meter, &self.without, &name, cycles).await)
        } else {
            let without = blocks::cycles(&meter, &self.without, &name, cycles).await;
            (blocks::cycles(&meter, &self.with, &name, cycles).await, without)
        };
        let plain = blocks::plain(&meter, &self.maps, &name, cycles).await;
        Round { with, without, plain, idle: meter.idle() }
    }
}

fn told(measure: &Measure, rounds: &[Round], report: &mut Report) -> Value {
    let Measure { name, unit, .. } = measure;
    let plain = Spread::new(rounds.iter().map(|round| round.plain));
    report.line(&format!("{name}, {} rounds: at rest", rounds.len()), &{
        let idle = Spread::new(rounds.iter().map(|round| round.idle * 1_000.0));
        idle.words(&format!("{unit}/s"))
    });
    report.line("a write of a ConfigMap", &plain.words(unit));
    let mut writes = serde_json::Map::new();
    for (place, write) in WRITES.into_iter().enumerate() {
        let with = Spread::new(rounds.iter().map(|round| round.with[place]));
        let without = Spread::new(rounds.iter().map(|round| round.without[place]));
        let relative = Spread::new(rounds.iter().map(|round| round.with[place] / round.plain));
        report.line(write, &format!("{} with rules, {} without", with.words(unit), without.words(unit)));
        let figure = format!("  {write}, in writes of a ConfigMap");
        report.figure(&figure, relative.median(), "", Bar::AtMost(measure.writes[place]));
        writes.insert(
            write.to_owned(),
            json!({ "with": with.json(), "without": without.json(), "inPlainWrites": relative.json() }),
        );
    }
    let sum = |writes: &[f64; WRITES.len()]| writes.iter().sum::<f64>();
    let with = Spread::new(rounds.iter().map(|round| sum(&round.with)));
    let without = Spread::new(rounds.iter().map(|round| sum(&round.without)));
    let ratio = Spread::new(rounds.iter().map(|round| sum(&round.with) / sum(&round.without)));
    let rules = Spread::new(rounds.iter().map(|round| sum(&round.with) - sum(&round.without)));
    report.line("a whole cycle", &format!("{} with rules, {} without", with.words(unit), without.words(unit)));
    report.line("  the rules' part", &rules.words(unit));
    report.figure("  a cycle with rules / without", ratio.median(), "", Bar::AtMost(measure.rules));
    report.line("", &ratio.words(""));
    json!({
        "unit": unit, "plainWrite": plain.json(), "writes": writes, "ratio": ratio.json(),
        "cycle": { "with": with.json(), "without": without.json(), "rules": rules.json() },
    })
}
