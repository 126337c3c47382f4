//! What a simulation assumes, because neither flags nor files say it. Pure.

use bullpen_api::StandbyMode;
use bullpen_simulate::{BOOT_JITTER_PERCENT, BOOT_SECONDS, STARTS_AT};
use serde::Serialize;

use super::args::SimulateArgs;
use super::files::PoolFile;

/// An assumption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Assumed {
    /// What is assumed.
    text: String,
    /// The flags that change it.
    flags: Vec<&'static str>,
}

/// What is assumed for these pools, the most important first. A default that was given by its flag is among them.
pub(super) fn assumed(args: &SimulateArgs, pools: &[PoolFile]) -> Vec<Assumed> {
    let mut all = Vec::new();
    let mut add = |text: String, flags: &[&'static str]| {
        let new = Assumed { text, flags: flags.to_vec() };
        if !all.contains(&new) {
            all.push(new);
        }
    };
    let cloud = &args.cloud;
    for pool in pools {
        of_boots(args, pool, &mut add);
        let lacking = pool.lacking();
        if !lacking.is_empty() {
            let names = lacking.join(", ");
            let is = if lacking.len() == 1 {
                format!("launch config {names} is")
            } else {
                format!("launch configs {names} are")
            };
            add(format!("{is} not in {}, and so without limits", pool.file), &[]);
        }
        if cloud.creates_per_second.is_none() && !pool.all_there() {
            add(
                "machines are bought as fast as they are wanted".into(),
                &["--creates-per-second", "--creates-at-once"],
            );
        }
        of_standby(args, pool, &mut add);
    }
    add(
        format!("what the operator sees of machines is up to {} old", milliseconds(cloud.list_milliseconds)),
        &["--list-milliseconds"],
    );
    add(
        format!(
            "a call of the cloud takes {}, a write to the API server {}, and a machine bills for {} after its end",
            milliseconds(cloud.call_milliseconds),
            milliseconds(cloud.write_milliseconds),
            milliseconds(cloud.shutdown_milliseconds)
        ),
        &["--call-milliseconds", "--write-milliseconds", "--shutdown-milliseconds"],
    );
    let quota = cloud.quota.map_or_else(|| "no quota".to_owned(), |quota| format!("a quota of {quota} machines"));
    add(
        format!(
            "{} % of the machines fail, {} % of the creates find no capacity, {quota}",
            cloud.failing_percent, cloud.lacking_percent
        ),
        &["--failing-percent", "--lacking-percent", "--quota"],
    );
    let waits = args.wait_timeout_seconds.map_or_else(|| "for ever".to_owned(), |seconds| format!("for {seconds} s"));
    add(
        format!(
            "claims wait {waits} for a machine; before the first one the pool has {} s to fill",
            args.warm_up_seconds
        ),
        &["--wait-timeout-seconds", "--warm-up-seconds"],
    );
    if let (None, Some(hold)) = (&args.trace, args.hold_seconds) {
        add(
            format!("how long claims hold machines is exponentially distributed, with a mean of {hold} s"),
            &["--hold-seconds", "--trace"],
        );
    }
    add(format!("all that is drawn depends on seed {}", args.seed), &["--seed"]);
    all
}

fn of_boots(args: &SimulateArgs, pool: &PoolFile, add: &mut impl FnMut(String, &[&'static str])) {
    let flags = &args.cloud;
    if flags.boot_p99_seconds.is_some() || pool.says_boots() {
        return;
    }
    match (flags.boot_seconds, flags.boot_jitter_percent) {
        (Some(_), Some(_)) => {}
        (None, given) => {
            let percent = given.unwrap_or(BOOT_JITTER_PERCENT);
            let text = format!("machines boot in {BOOT_SECONDS} s, and up to {percent} % less or more");
            add(text, &["--boot-seconds", "--boot-jitter-percent", "--boot-p99-seconds"]);
        }
        (Some(_), None) => {
            let text = format!("boots take up to {BOOT_JITTER_PERCENT} % less or more");
            add(text, &["--boot-jitter-percent", "--boot-p99-seconds"]);
        }
    }
}

fn of_standby(args: &SimulateArgs, pool: &PoolFile, add: &mut impl FnMut(String, &[&'static str])) {
    let Some(standby) = &pool.spec.standby else { return };
    let cloud = &args.cloud;
    let (percent, flag) = match standby.mode {
        StandbyMode::Hibernated => (cloud.resume_percent, "--resume-percent"),
        StandbyMode::Stopped => (cloud.start_percent, "--start-percent"),
    };
    let stop = cloud.stop_seconds;
    let text = format!("a machine on standby is ready again in {percent} % of a boot, and takes {stop} s to stop");
    add(text, &[flag, "--stop-seconds"]);
}

fn milliseconds(milliseconds: u32) -> String {
    if milliseconds < 1_000 { format!("{milliseconds} ms") } else { format!("{} s", f64::from(milliseconds) / 1_000.0) }
}

/// One line for each, for a person.
pub(super) fn lines(all: &[Assumed]) -> String {
    let line = |assumed: &Assumed| match assumed.flags.as_slice() {
        [] => format!("  {}: add it to the file\n", assumed.text),
        flags => format!("  {} ({})\n", assumed.text, flags.join(", ")),
    };
    let lines: String = all.iter().map(line).collect();
    format!("Assumed, unless these flags say something else:\n{lines}")
}

/// What is to be said where schedules go by a clock that nothing says.
pub(super) fn start() -> Assumed {
    let day = STARTS_AT.strftime("%A");
    let text = format!("the trace begins at {STARTS_AT}, a {day}, and spec.schedules go by that");
    Assumed { text, flags: vec!["--starts-at"] }
}

/// What is to be said where nothing has a price.
pub(super) fn unpriced() -> Assumed {
    let text = "without prices, hours of machines are compared instead of costs".to_owned();
    Assumed { text, flags: vec!["--hourly-price"] }
}
