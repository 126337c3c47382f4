//! How long 100,000 claims take: at most 10 s on one core. With a file as argument, its claims instead of drawn ones.

mod common;

use std::time::{Duration, Instant};

use bullpen_simulate::{Arrival, Policy, from_csv, poisson, run};
use serde_json::json;

use self::common::setup;

/// Most time for 100,000 claims.
const MOST: Duration = Duration::from_secs(10);

fn main() {
    let file = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let trace: Vec<Arrival> = match &file {
        Some(path) => from_csv(&std::fs::read_to_string(path).expect("a file")).expect("a trace").arrivals,
        // As many a minute, and as long, as on a large CI: about 350 machines are held at a time.
        None => poisson(960.0, 1_300.0, 100_000, 1),
    };
    let spec = json!({ "targetSize": 60, "maxSize": 2_500, "launchConfigs": [{ "name": "lc" }] });
    let setup = setup(spec, Policy::Operator);
    let began = Instant::now();
    let outcome = run(&setup, &trace, |_| {}).expect("an outcome");
    let took = began.elapsed();
    println!("{} claims in {took:.2?}: {:.2} % hits, {:?}", trace.len(), outcome.claims.hit_percent(), outcome.hours);
    let allowed = MOST * u32::try_from(trace.len().div_ceil(100_000)).expect("few claims");
    assert!(took <= allowed, "it may take {allowed:?}");
}
