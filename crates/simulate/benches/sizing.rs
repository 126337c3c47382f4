//! What `autosize` saves: for each trace in a folder its idle hours and misses, beside those of a fixed size that is chosen with
//! hindsight, and of a loop of 60 s, both with no more misses. `make bench-sizing TRACES=DIR`; drawn claims where none is given.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "times and counts of a trace are far below 2^52"
)]

mod common;
mod hindsight;

use std::fmt::Write as _;
use std::path::PathBuf;

use bullpen_simulate::{
    Arrival, Bursts, Case, CloudModel, HOUR, Micros, Outcome, Policy, SECOND, bursts, from_csv, loop_size, poisson,
    run, svg,
};
use serde_json::{Value, json};

use self::common::setup;

/// The target while too little is known. It is of no trace.
const SPEC_TARGET: i32 = 20;
/// Largest size that is tried.
const MOST: i32 = 4_000;

fn main() {
    let out = std::env::var_os("OUT").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let mut page = String::from(HEAD);
    let bounds: String = traces().iter().map(|(name, trace)| of_spans(name, trace)).collect();
    println!("{BOUNDS}{bounds}");
    for (name, trace) in traces() {
        let cases = compare(&name, &trace);
        page.push_str(&rows(&name, trace.len(), &cases));
        println!("{}", rows(&name, trace.len(), &cases));
        if let Some(out) = &out {
            std::fs::create_dir_all(out).expect("OUT is a folder");
            std::fs::write(out.join(format!("{name}.svg")), svg(&cases, 99.0)).expect("a drawing");
        }
    }
    if let Some(out) = &out {
        let _ = write!(page, "{BOUNDS}{bounds}");
        for (name, _) in traces() {
            let _ = writeln!(page, "\n![{name}: what hits cost, and machines over time]({name}.svg)");
        }
        std::fs::write(out.join("README.md"), page).expect("a page");
    }
}

/// How the page begins that `OUT` gets.
const HEAD: &str = "# What autosize saves\n\nWritten by `make bench-sizing TRACES=DIR OUT=DIR`. What it means: \
    [sizing](../sizing.md#autosize). Machines boot in 72 to 108 s, the cloud is listed every 5 s.\nSizes beside those with \
    1 % misses show what other hit rates cost.\n\n\
    | trace | claims | policy | size | misses | idle hours | all hours |\n|---|---|---|---|---|---|---|\n";

/// How the table of the best sizes of spans begins.
const BOUNDS: &str = "\nThe best size of each span of the trace, chosen with hindsight. Computed and not played: a claim takes a \
    ready machine, and the next one is ready 95 s later.\n\n\
    | trace | a size for each | misses | idle hours |\n|---|---|---|---|\n";

/// A line for each length of spans.
fn of_spans(name: &str, trace: &[Arrival]) -> String {
    let lead = (CloudModel::default().boot.mean() as Micros) * SECOND + LISTED_WITHIN;
    let spans =
        [("trace", Micros::MAX), ("day", 24 * HOUR), ("hour", HOUR), ("10 minutes", HOUR / 6), ("minute", HOUR / 60)];
    let row = |(span, length)| {
        let best = hindsight::best(trace, lead, length, 1.0);
        format!("| {name} | {span} | {:.2} % | {:.0} |\n", best.misses, best.idle_hours)
    };
    spans.into_iter().map(row).collect()
}

/// A machine that is up is seen at the next list of the cloud.
const LISTED_WITHIN: Micros = 5 * SECOND;

/// A line of the table for each case.
fn rows(name: &str, claims: usize, cases: &[Case]) -> String {
    let row = |case: &Case| {
        let (misses, hours) = (100.0 - case.hit_percent(), case.outcome.hours);
        let size = match case.policy.as_str() {
            AUTOSIZE => "its own".to_owned(),
            CLAIRVOYANT => format!("{} s ahead", case.target_size),
            _ => case.target_size.to_string(),
        };
        let policy = &case.policy;
        format!("| {name} | {claims} | {policy} | {size} | {misses:.2} % | {:.0} | {:.0} |\n", hours.idle, hours.total)
    };
    cases.iter().map(row).collect()
}

const AUTOSIZE: &str = "autosize";
/// Knows the claims of so many seconds to come, and not how long machines will boot.
const CLAIRVOYANT: &str = "who knows the claims to come";

/// The CSV files of the folder that `TRACES` names, else drawn claims.
fn traces() -> Vec<(String, Vec<Arrival>)> {
    let Some(folder) = std::env::var_os("TRACES").filter(|folder| !folder.is_empty()).map(PathBuf::from) else {
        let load = Bursts { quiet: 60.0, burst: 2_400.0, quiet_seconds: 3_600.0, burst_seconds: 240.0 };
        return vec![
            ("steady".to_owned(), poisson(240.0, 600.0, 25_000, 1)),
            ("bursts".to_owned(), bursts(load, 600.0, 25_000, 2)),
            ("a batch each night".to_owned(), by_the_clock(7, 400, |hour| hour % 24 == 2)),
            (
                "jobs each working hour".to_owned(),
                by_the_clock(14, 100, |hour| hour % 168 < 120 && (8..18).contains(&(hour % 24))),
            ),
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
        (name, from_csv(&text).expect("a trace").arrivals)
    };
    paths.into_iter().map(read).collect()
}

/// Some 20 claims an hour at any time, and so many within half a minute at the begin of each of these hours, for so many days.
fn by_the_clock(days: usize, burst: i64, is_burst: impl Fn(i64) -> bool) -> Vec<Arrival> {
    let mut trace = poisson(20.0, 600.0, days * 24 * 20, 3);
    let hours = (0..days as i64 * 24).filter(|hour| is_burst(*hour));
    let of_hour = |hour: i64| (0..burst).map(move |claim| hour * HOUR + claim * 30 * SECOND / burst);
    trace.extend(hours.flat_map(of_hour).map(|at| Arrival { at, holds: 600 * SECOND }));
    trace.sort_by_key(|arrival| arrival.at);
    trace
}

/// Autosize, and each other policy at the smallest size with 1 % misses, with as many as autosize, and around these.
fn compare(name: &str, trace: &[Arrival]) -> Vec<Case> {
    eprintln!("{name}");
    let case = |policy: &str, size: i32, outcome| Case {
        policy: policy.to_owned(),
        target_size: size,
        sizes_itself: policy == AUTOSIZE,
        outcome,
        cost: None,
    };
    let auto = play(trace, SPEC_TARGET, Policy::Operator, &json!({ "mode": "Auto" }));
    let hits = auto.claims.hit_percent();
    let mut cases = vec![case(AUTOSIZE, SPEC_TARGET, auto)];
    let others = [
        ("fixed, by hindsight", Policy::Operator),
        ("loop of 60 s", Policy::Loop { every: 60 * SECOND }),
        ("estimator of Taskcluster, 10 s", Policy::Estimator { every: 10 * SECOND }),
        (CLAIRVOYANT, Policy::Clairvoyant),
    ];
    for (label, policy) in others {
        let (goal, same) = (least(trace, policy, 99.0), least(trace, policy, hits));
        let mut sizes = vec![goal, same];
        // Those who see less far miss most.
        sizes.extend((policy != Policy::Clairvoyant).then_some(goal * 3 / 4));
        if let Policy::Loop { .. } = policy {
            sizes.push(loop_size(trace, CloudModel::default().boot.mean(), 60.0));
        }
        sizes.sort_unstable();
        sizes.dedup();
        cases.extend(sizes.into_iter().map(|size| case(label, size, play(trace, size, policy, &Value::Null))));
    }
    cases
}

/// The smallest size with so many percent hits.
fn least(trace: &[Arrival], policy: Policy, percent: f64) -> i32 {
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
    high
}

fn play(trace: &[Arrival], size: i32, policy: Policy, autosize: &Value) -> Outcome {
    let mut spec = json!({ "targetSize": size, "maxSize": 9_000, "launchConfigs": [{ "name": "lc" }],
        "provisioning": { "maxConcurrentCreates": 1_000 } });
    if !autosize.is_null() {
        spec["autosize"] = autosize.clone();
    }
    run(&setup(spec, policy), trace, |_| {}).expect("an outcome")
}
