//! What `autosize` saves: for each trace in a folder its idle hours and misses, beside those of a fixed size that is chosen with
//! hindsight, and of a loop of 60 s, both with no more misses. `make bench-sizing TRACES=DIR`; drawn claims where none is given.

use std::path::PathBuf;

use bullpen_api::{InstancePoolSpec, LaunchConfig};
use bullpen_simulate::{
    Arrival, Bursts, CloudModel, HOUR, Outcome, Policy, SECOND, Setup, bursts, from_csv, loop_size, poisson, run,
};
use serde_json::{Value, json};

/// The target while too little is known. It is of no trace.
const SPEC_TARGET: i32 = 20;
/// Largest size that is tried.
const MOST: i32 = 4_000;

fn main() {
    println!("| trace | claims | policy | size | misses | idle hours | all hours |");
    println!("|---|---|---|---|---|---|---|");
    for (name, trace) in traces() {
        compare(&name, &trace);
    }
}

/// The CSV files of the folder that `TRACES` names, else drawn claims.
fn traces() -> Vec<(String, Vec<Arrival>)> {
    let Some(folder) = std::env::var_os("TRACES").filter(|folder| !folder.is_empty()).map(PathBuf::from) else {
        let load = Bursts { quiet: 60.0, burst: 2_400.0, quiet_seconds: 3_600.0, burst_seconds: 240.0 };
        return vec![
            ("steady".to_owned(), poisson(240.0, 600.0, 25_000, 1)),
            ("bursts".to_owned(), bursts(load, 600.0, 25_000, 2)),
        ];
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("TRACES is a folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "csv"))
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let text = std::fs::read_to_string(&path).expect("a file");
        (name, from_csv(&text).expect("a trace"))
    };
    paths.into_iter().map(read).collect()
}

fn compare(name: &str, trace: &[Arrival]) {
    let row = |policy: &str, size: &str, outcome: &Outcome| {
        let (misses, hours) = (100.0 - outcome.claims.hit_percent(), outcome.hours);
        println!(
            "| {name} | {} | {policy} | {size} | {misses:.2} % | {:.0} | {:.0} |",
            trace.len(),
            hours.idle,
            hours.total
        );
    };
    let auto = play(trace, SPEC_TARGET, Policy::Operator, &json!({ "mode": "Auto" }));
    row("autosize", "its own", &auto);
    let fixed = least(trace, Policy::Operator, 99.0);
    row("fixed, by hindsight", &fixed.0.to_string(), &fixed.1);
    let every = Policy::Loop { every: 60 * SECOND };
    let looped = least(trace, every, auto.claims.hit_percent());
    row("loop of 60 s with the misses of autosize", &looped.0.to_string(), &looped.1);
    let looped = least(trace, every, 99.0);
    row("loop of 60 s with 1 % misses", &looped.0.to_string(), &looped.1);
    let rule = loop_size(trace, CloudModel::default().boot.mean(), 60.0);
    row("loop of 60 s by its rule", &rule.to_string(), &play(trace, rule, every, &Value::Null));
}

/// The smallest size with so many percent hits.
fn least(trace: &[Arrival], policy: Policy, percent: f64) -> (i32, Outcome) {
    let enough = |size| play(trace, size, policy, &Value::Null).claims.hit_percent() >= percent;
    // Small sizes are played faster than large ones, so the search comes from below.
    let (mut low, mut high) = (0, 1);
    while high < MOST && !enough(high) {
        (low, high) = (high, 2 * high);
    }
    while high - low > 1 {
        let middle = i32::midpoint(low, high);
        if enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    (high, play(trace, high, policy, &Value::Null))
}

fn play(trace: &[Arrival], size: i32, policy: Policy, autosize: &Value) -> Outcome {
    let mut spec = json!({ "targetSize": size, "maxSize": 9_000, "launchConfigs": [{ "name": "lc" }],
        "provisioning": { "maxConcurrentCreates": 1_000 } });
    if !autosize.is_null() {
        spec["autosize"] = autosize.clone();
    }
    let pool: InstancePoolSpec = serde_json::from_value(spec).expect("a pool");
    let config: LaunchConfig = serde_json::from_value(json!({
        "metadata": { "name": "lc" },
        "spec": { "region": "r", "zone": "z", "instanceType": "t", "image": "i", "simulated": { "endpoint": "http://c" } },
    }))
    .expect("a launch config");
    let setup = Setup {
        name: "bench".into(),
        pool,
        launch_configs: vec![config],
        cloud: CloudModel::default(),
        policy,
        wait_timeout: None,
        warm_up: HOUR,
        lasts: None,
        seed: 1,
    };
    run(&setup, trace, |_| {}).expect("an outcome")
}
