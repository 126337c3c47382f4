//! What is compared, and how it is played.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use bullpen_api::{AutosizeMode, InstancePoolSpec, LaunchConfig};
use bullpen_simulate::{
    Arrival, BOOT_JITTER_PERCENT, BOOT_SECONDS, Boot, Case, CloudModel, CreateRate, MILLISECOND, Micros, Policy,
    SECOND, Setup, hourly_price, loop_size, run_all,
};
use jiff::Timestamp;

use super::args::{Price, SimulateArgs};
use super::files::PoolFile;
use super::progress::Progress;

/// One simulation to play.
#[derive(Debug)]
pub(super) struct Planned {
    policy: String,
    setup: Setup,
    /// The price of each launch config, if all are known.
    prices: Option<Vec<f64>>,
    /// The price of a stopped machine.
    stopped_price: f64,
}

/// All simulations that the flags ask for, of a trace that begins then.
pub(super) fn planned(
    args: &SimulateArgs,
    pools: &[PoolFile],
    trace: &[Arrival],
    starts_at: Timestamp,
) -> Result<Vec<Planned>, String> {
    let mut all = Vec::new();
    named_once(&args.hourly_price, pools)?;
    for pool in pools {
        let cloud = cloud(args, pool)?;
        let prices = prices(&args.hourly_price, pool)?;
        if args.stopped_hourly_price.is_some() && prices.is_none() {
            let file = &pool.file;
            return Err(format!(
                "--stopped-hourly-price: {file} has no prices of machines to add it to: give --hourly-price"
            ));
        }
        let swept = args.sweep.as_ref().map(super::args::Sweep::sizes);
        let of = |policy: Policy, label: String, size: i32, autosizes: bool| -> Result<Planned, String> {
            let mut spec = pool.spec.clone();
            if !autosizes {
                spec.autosize = None;
            }
            if size > spec.max_size {
                let max = spec.max_size;
                return Err(format!(
                    "{}: spec.maxSize: is {max}, below the targetSize {size} to try: raise it",
                    pool.file
                ));
            }
            (spec.target_size, spec.min_size) = (size, spec.min_size.min(size));
            let setup = Setup {
                name: pool.name.clone(),
                pool: spec,
                launch_configs: pool.launch_configs.clone(),
                cloud,
                policy,
                wait_timeout: args.wait_timeout_seconds.map(|seconds| Micros::from(seconds) * SECOND),
                warm_up: Micros::from(args.warm_up_seconds) * SECOND,
                starts_at,
                lasts: None,
                seed: args.seed,
            };
            setup.usable().map_err(|why| format!("{}: {why}", pool.file))?;
            Ok(Planned {
                policy: label,
                setup,
                prices: prices.clone(),
                stopped_price: args.stopped_hourly_price.unwrap_or(0.0),
            })
        };
        let own = if pools.len() == 1 { pool.name.clone() } else { pool.file.replace(" (--pool)", "") };
        for size in swept.iter().flatten() {
            all.push(of(Policy::Operator, own.clone(), *size, false)?);
        }
        if swept.is_none() {
            all.push(of(Policy::Operator, own.clone(), pool.spec.target_size, true)?);
        } else if sizes_itself(&pool.spec) {
            // It would find the same sizes for each `targetSize`.
            all.push(of(Policy::Operator, format!("{own} autosize"), pool.spec.target_size, true)?);
        }
        if let Some(seconds) = args.compare_loop {
            let by_rule = loop_size(trace, cloud.boot.mean(), f64::from(seconds)).min(pool.spec.max_size);
            let mut sizes = swept.unwrap_or_default();
            sizes.push(by_rule);
            sizes.sort_unstable();
            sizes.dedup();
            let every = Micros::from(seconds) * SECOND;
            let label = if pools.len() == 1 { String::new() } else { format!(" over {own}") };
            for size in sizes {
                all.push(of(Policy::Loop { every }, format!("loop of {seconds} s{label}"), size, false)?);
            }
        }
    }
    Ok(all)
}

/// Whether the pool finds its size itself.
fn sizes_itself(pool: &InstancePoolSpec) -> bool {
    pool.autosize.as_ref().is_some_and(|autosize| autosize.mode == AutosizeMode::Auto)
}

/// What a person would not expect of these flags for these pools.
pub(super) fn notes(args: &SimulateArgs, pools: &[PoolFile]) -> Vec<String> {
    let of_pool = |pool: &PoolFile| {
        let mut notes = Vec::new();
        if args.sweep.is_some() && sizes_itself(&pool.spec) {
            notes.push(
                "spec.autosize of mode Auto finds its size itself: --sweep is played without it, and the pool once as it is"
                    .to_owned(),
            );
        }
        if pool.spec.autosize.as_ref().is_some_and(|autosize| autosize.mode == AutosizeMode::Recommend) {
            notes.push("spec.autosize.mode: Recommend changes no size: give it Auto to see what it would".to_owned());
        }
        let longest = pool.spec.readiness.launch_timeout_seconds;
        if let Ok(cloud) = cloud(args, pool)
            && cloud.boot.mean() > 0.9 * f64::from(longest)
        {
            notes.push(format!(
                "spec.readiness.launchTimeoutSeconds: gives machines up after {longest} s, and they boot in {:.0} s: raise it",
                cloud.boot.mean()
            ));
        }
        notes.extend(without_price(&args.hourly_price, pool));
        notes.into_iter().map(|note| format!("{}: {note}", pool.file)).collect::<Vec<_>>()
    };
    pools.iter().flat_map(of_pool).collect()
}

/// The launch configs whose price is missing, if others have one: there are no costs then.
fn without_price(given: &[Price], pool: &PoolFile) -> Option<String> {
    if !given.is_empty() {
        return None;
    }
    let priced = |config: &&LaunchConfig| hourly_price(config).is_some();
    let (with, without): (Vec<_>, Vec<_>) = pool.launch_configs.iter().partition(priced);
    let names: Vec<&str> = without.iter().filter_map(|config| config.metadata.name.as_deref()).collect();
    (!with.is_empty() && !without.is_empty()).then(|| {
        format!(
            "no costs, because the price of {} is not known: give it with --hourly-price NAME=PRICE",
            names.join(", ")
        )
    })
}

fn cloud(args: &SimulateArgs, pool: &PoolFile) -> Result<CloudModel, String> {
    let flags = &args.cloud;
    let milliseconds = |value: u32| Micros::from(value) * MILLISECOND;
    let boot = match (flags.boot_seconds, flags.boot_p99_seconds) {
        (Some(median), Some(p99)) if p99 < median => {
            return Err(format!("--boot-p99-seconds: is {p99}, below --boot-seconds {median}, the median"));
        }
        (Some(median), Some(p99)) => Boot::Tailed { median, p99 },
        (seconds, _) => {
            let (of_file, jitter) = boot_of_file(pool, flags.boot_seconds.is_some())?;
            let percent = flags.boot_jitter_percent.unwrap_or(jitter);
            Boot::Around { seconds: seconds.unwrap_or(of_file), percent }
        }
    };
    Ok(CloudModel {
        boot,
        call: milliseconds(flags.call_milliseconds),
        shutdown: milliseconds(flags.shutdown_milliseconds),
        stop: Micros::from(flags.stop_seconds) * SECOND,
        start_percent: flags.start_percent,
        resume_percent: flags.resume_percent,
        list: milliseconds(flags.list_milliseconds),
        write: milliseconds(flags.write_milliseconds),
        failing_percent: flags.failing_percent,
        lacking_percent: flags.lacking_percent,
        quota: flags.quota.map(|quota| quota as usize),
        creates: match flags.creates_per_second {
            Some(per_second) => Some(CreateRate { per_second, at_once: flags.creates_at_once.unwrap_or(1) }),
            // A launch config that is not in the file may be of any cloud.
            None => CreateRate::of(pool.launch_configs.iter().map(|config| &config.spec)).filter(|_| pool.all_there()),
        },
    })
}

/// Boot time in seconds and jitter in percent, by the block `simulated` of the file's launch configs.
fn boot_of_file(pool: &PoolFile, is_given: bool) -> Result<(f64, f64), String> {
    let blocks = pool.launch_configs.iter().map(|config| config.spec.simulated.as_ref());
    let blocks = blocks.map(|block| block.map(|block| (block.boot_milliseconds, block.boot_jitter_percent)));
    let mut blocks: Vec<Option<(i32, i32)>> = blocks.collect();
    blocks.dedup();
    match blocks.as_slice() {
        [Some((boot, jitter))] if pool.all_there() => Ok((f64::from(*boot) / 1_000.0, f64::from(*jitter))),
        [_, _, ..] if pool.all_there() && !is_given => {
            Err(format!("{}: its launch configs boot differently: give --boot-seconds for all of them", pool.file))
        }
        _ => Ok((BOOT_SECONDS, BOOT_JITTER_PERCENT)),
    }
}

/// Refuses prices that would count for nothing.
fn named_once(given: &[Price], pools: &[PoolFile]) -> Result<(), String> {
    for (index, price) in given.iter().enumerate() {
        let name = price.launch_config.as_deref();
        if given[..index].iter().any(|before| before.launch_config.as_deref() == name) {
            let which = name.map_or_else(|| "all launch configs".to_owned(), |name| format!("launch config {name}"));
            return Err(format!("--hourly-price: is given twice for {which}"));
        }
        let mut entries = pools.iter().flat_map(|pool| &pool.spec.launch_configs);
        if let Some(name) = name.filter(|name| !entries.any(|entry| entry.name == *name)) {
            return Err(format!("--hourly-price: no pool has a launch config {name}"));
        }
    }
    Ok(())
}

/// The price of each launch config of the pool: that of the flags, else of the file. `None` if no price is given, or
/// none by flags and not all of them by the file.
fn prices(given: &[Price], pool: &PoolFile) -> Result<Option<Vec<f64>>, String> {
    let of_file = |name: &str| {
        let mut configs = pool.launch_configs.iter();
        configs.find(|config| config.metadata.name.as_deref() == Some(name)).and_then(hourly_price)
    };
    let entries = pool.spec.launch_configs.iter();
    if given.is_empty() {
        return Ok(entries.map(|entry| of_file(&entry.name)).collect());
    }
    let of = |name: Option<&str>| given.iter().find(|price| price.launch_config.as_deref() == name);
    let priced = entries.map(|entry| {
        let price = of(Some(&entry.name)).or_else(|| of(None)).map(|price| price.amount);
        price.or_else(|| of_file(&entry.name)).ok_or_else(|| {
            format!("--hourly-price: launch config {name} has none: add --hourly-price {name}=PRICE", name = entry.name)
        })
    });
    priced.collect::<Result<_, _>>().map(Some)
}

/// Plays them, several at a time, in the order in which they were planned.
pub(super) fn play(planned: Vec<Planned>, trace: &[Arrival], threads: Option<u16>) -> Result<Vec<Case>, String> {
    let threads = threads.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from);
    let progress = Progress::begin(planned.len() * trace.len());
    let (done, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let setups: Vec<&Setup> = planned.iter().map(|case| &case.setup).collect();
    let outcomes = thread::scope(|scope| {
        scope.spawn(|| progress.follow(&done, || ended.load(Ordering::Relaxed)));
        let outcomes = run_all(&setups, trace, threads, &done);
        ended.store(true, Ordering::Relaxed);
        outcomes
    });
    let cases = planned.into_iter().zip(outcomes).map(|(case, outcome)| {
        let outcome = outcome?;
        let stopped = case.stopped_price * outcome.hours.stopped;
        let cost = case.prices.map(|prices| outcome.cost(&prices) + stopped);
        let (pool, operates) = (&case.setup.pool, case.setup.policy == Policy::Operator);
        let sizes_itself = operates && sizes_itself(pool);
        Ok(Case { policy: case.policy, target_size: pool.target_size, sizes_itself, outcome, cost })
    });
    cases.collect()
}
