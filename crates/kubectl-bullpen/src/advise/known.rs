//! What is known of a pool's load, and from what: when claims came, how long they hold machines, how long machines take to be
//! ready, and what they cost.

use bullpen_api::{AutosizeMode, InstancePool, InstancePoolSpec, LaunchConfig, PoolClaim, PoolMember, PoolState};
use bullpen_plan::pool::autosize::follow::goal;
use bullpen_plan::pool::autosize::sizer::{LEAST_CLAIMS, LEAST_LEADS};
use bullpen_simulate::{
    Arrival, BOOT_JITTER_PERCENT, Boot, CloudModel, CreateRate, HOUR, MILLISECOND, Micros, SECOND, STARTS_AT, Trace,
    TraceError, from_csv, from_learnt, from_prometheus, hourly_price, left_out,
};
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::shared::printing::{many, span};

/// So much of what was learnt is played: a week.
pub(super) const WEEK: Micros = 168 * HOUR;
/// What is drawn depends on this number, so that the same claims give the same advice.
const SEED: u64 = 1;
/// So many machines or claims are needed to say how long something takes.
const LEAST_MACHINES: usize = 3;
const LEAST_HOLDS: usize = 5;
/// So many claims that have ended are needed before those that hold machines still do not say it better.
const MANY_ENDED: usize = 20;
/// What follows from an assumed hold.
const HOLD_IS_ASSUMED: &str = "how long claims hold machines is not known, and is assumed: that adds the same to each size, as long as \
     maxSize leaves room. It is in bullpen_claim_held_seconds; give it with --hold-seconds";
/// Where nothing shows how long claims hold machines.
const ASSUMED_HOLD: f64 = 600.0;

/// Where claims are recorded.
pub(super) enum Recorded {
    /// In the status of the pool.
    Learnt,
    /// In a CSV file.
    Trace {
        /// Its path.
        file: String,
        /// What it has.
        text: String,
    },
    /// In an answer of Prometheus.
    Prometheus {
        /// Its path.
        file: String,
        /// What it has.
        text: String,
    },
}

/// What was read and asked for.
pub(super) struct Given {
    pub pool: InstancePool,
    /// Those of the pool that exist.
    pub launch_configs: Vec<LaunchConfig>,
    /// The pool's.
    pub members: Vec<PoolMember>,
    /// Of the namespace, whatever their pool.
    pub claims: Vec<PoolClaim>,
    pub recorded: Recorded,
    /// When a trace begins, if a flag says it.
    pub starts_at: Option<Timestamp>,
    pub hold_seconds: Option<f64>,
    pub boot_seconds: Option<f64>,
    pub goal_percent: Option<f64>,
    pub hourly_price: Option<f64>,
    pub now: Timestamp,
}

/// What is played.
pub(super) struct Known {
    pub name: String,
    pub namespace: String,
    /// As it would work if it were active.
    pub pool: InstancePoolSpec,
    pub launch_configs: Vec<LaunchConfig>,
    pub claims: Vec<Arrival>,
    /// When their record begins.
    pub starts_at: Timestamp,
    /// For how long claims were recorded.
    pub length: Micros,
    pub cloud: CloudModel,
    /// The price of each launch config, if all are known.
    pub prices: Option<Vec<f64>>,
    pub goal_percent: f64,
    /// Whether it is only assumed how long claims hold machines.
    pub hold_assumed: bool,
    /// Whether it is only assumed how long machines take to be ready.
    pub boot_assumed: bool,
    /// Whether the claims may be those of another pool or another time.
    pub of_another_load: bool,
    /// What autosize recommends for the present time.
    pub recommended: Option<i32>,
    /// From what it is known, a sentence for each.
    pub sources: Vec<String>,
    /// What to bear in mind, a sentence for each.
    pub notes: Vec<String>,
}

/// Puts together what is known.
///
/// # Errors
/// Why it is too little, and what to do.
pub(super) fn known(given: Given) -> Result<Known, String> {
    let status = given.pool.status.clone().unwrap_or_default();
    let Hold { mean, source: hold_source, is_assumed: hold_assumed } = hold(&given);
    let mut notes: Vec<String> = hold_assumed.then(|| HOLD_IS_ASSUMED.to_owned()).into_iter().collect();
    let Record { claims, starts_at, length, blank, source, ready } = claims(&given, mean)?;
    let (cloud, boot_source, boot_assumed) = boot(&given, ready);
    enough(&claims, length - blank, cloud.boot.mean())?;
    notes.extend(of_clock(&given, starts_at, blank));
    let prices = given.launch_configs.iter().map(|config| given.hourly_price.or_else(|| hourly_price(config)));
    let prices: Option<Vec<f64>> = prices.collect();
    if prices.is_none() {
        let lacking = given.launch_configs.iter().find(|config| hourly_price(config).is_none());
        let name = lacking.map(kube::ResourceExt::name_any).unwrap_or_default();
        notes.push(format!("no costs: set spec.hourlyPrice of launch config {name}, or give --hourly-price"));
    }
    if length < WEEK * 9 / 10 {
        notes.push(format!(
            "hours and costs are for a week, and {} are less: other nights, days or weekends may differ. Prometheus may know \
             more (--prometheus)",
            lasts(length)
        ));
    }
    let mut pool = given.pool.spec.clone();
    pool.state = PoolState::Active;
    // The boots that are played last until machines are ready, so both timeouts are for them.
    let readiness = &mut pool.readiness;
    readiness.launch_timeout_seconds =
        readiness.launch_timeout_seconds.saturating_add(readiness.warming_timeout_seconds);
    notes.extend(left_out(&pool, false));
    let asked = pool.autosize.clone().filter(|autosize| autosize.mode != AutosizeMode::Off).unwrap_or_default();
    Ok(Known {
        name: given.pool.name_any(),
        namespace: given.pool.namespace().unwrap_or_default(),
        pool,
        launch_configs: given.launch_configs,
        claims,
        starts_at: starts_at.unwrap_or(STARTS_AT),
        length,
        cloud,
        prices,
        goal_percent: given.goal_percent.unwrap_or_else(|| asked.hit_rate_percent.into()),
        hold_assumed,
        boot_assumed,
        of_another_load: matches!(given.recorded, Recorded::Trace { .. }),
        recommended: status.recommended_target,
        sources: [Some(source), Some(boot_source), hold_source].into_iter().flatten().collect(),
        notes,
    })
}

/// Recorded claims.
struct Record {
    claims: Vec<Arrival>,
    /// When it begins, if it or a flag says that.
    starts_at: Option<Timestamp>,
    length: Micros,
    /// For how long of that nobody counted.
    blank: Micros,
    source: String,
    /// How long machines took to be ready, in seconds, the shortest first.
    ready: Vec<f64>,
}

fn claims(given: &Given, hold: f64) -> Result<Record, String> {
    let of_file = |file: &str, flag: &str, read: Result<Trace, TraceError>| {
        let Trace { arrivals: claims, starts_at } = read.map_err(|why| format!("{file} ({flag}): {why}"))?;
        let length = claims.last().map_or(0, |claim| claim.at);
        let source = format!("{} in {}, of {file}", many(count(&claims), "claim", "claims"), lasts(length));
        let starts_at = given.starts_at.or(starts_at);
        Ok(Record { claims, starts_at, length, blank: 0, source, ready: Vec::new() })
    };
    match &given.recorded {
        Recorded::Trace { file, text } => of_file(file, "--trace", from_csv(text)),
        Recorded::Prometheus { file, text } => of_file(file, "--prometheus", from_prometheus(text, hold, SEED)),
        Recorded::Learnt => {
            let learnt = given.pool.status.as_ref().and_then(|status| status.learnt.as_ref());
            let Some(text) = learnt else { return Err(nothing_learnt(&given.pool.spec)) };
            let learnt = from_learnt(text, WEEK, hold, SEED).map_err(|why| format!("{why}; {ELSE}"))?;
            let ago = span(given.now.duration_since(learnt.until).as_secs());
            let number = many(count(&learnt.arrivals), "claim", "claims");
            let source = format!(
                "{number} in {} until {ago} ago, as autosize has learnt them (status.learnt)",
                lasts(learnt.length)
            );
            Ok(Record {
                claims: learnt.arrivals,
                starts_at: Some(learnt.starts_at),
                length: learnt.length,
                blank: learnt.blank,
                source,
                ready: learnt.ready_seconds,
            })
        }
    }
}

/// What to bear in mind of the clock.
fn of_clock(given: &Given, starts_at: Option<Timestamp>, blank: Micros) -> Vec<String> {
    let is_assumed = starts_at.is_none() && !given.pool.spec.schedules.is_empty();
    let assumed = is_assumed.then(|| {
        let day = STARTS_AT.strftime("%A");
        format!(
            "schedules go by the clock, and the trace does not say when it began: {STARTS_AT}, a {day}, is assumed; give it with \
             --starts-at"
        )
    });
    let uncounted = (blank > 0).then(|| {
        format!(
            "{} in which no operator counted are played without claims, because schedules and bursts go by the clock",
            lasts(blank)
        )
    });
    assumed.into_iter().chain(uncounted).collect()
}

/// What to do where the pool does not know enough.
const ELSE: &str = "or give recorded claims with --trace or --prometheus";

fn nothing_learnt(pool: &InstancePoolSpec) -> String {
    if goal(pool, None).is_none() {
        return format!(
            "nothing is known of its claims, because spec.autosize is off: set spec.autosize.mode to Recommend, which changes no \
             size, and ask again after a day; {ELSE}"
        );
    }
    format!(
        "nothing is known of its claims yet: autosize writes what it has learnt at most once in ten minutes, and only if claims \
         came: ask again later; {ELSE}"
    )
}

fn enough(claims: &[Arrival], length: Micros, boot: f64) -> Result<(), String> {
    let least = seconds(LEAST_LEADS * boot);
    if claims.len() as u64 >= LEAST_CLAIMS && length >= least {
        return Ok(());
    }
    Err(format!(
        "{} in {} are too little to advise from: it takes {LEAST_CLAIMS} claims, and the time of {LEAST_LEADS} boots ({}). Ask again \
         later, {ELSE}",
        many(count(claims), "claim", "claims"),
        lasts(length),
        lasts(least)
    ))
}

/// How long claims hold machines.
struct Hold {
    /// In the mean, in seconds.
    mean: f64,
    /// How that is known. `None`: a trace says it for each.
    source: Option<String>,
    /// Whether nothing shows it.
    is_assumed: bool,
}

fn hold(given: &Given) -> Hold {
    if let Recorded::Trace { .. } = given.recorded {
        return Hold { mean: ASSUMED_HOLD, source: None, is_assumed: false };
    }
    let say = |mean: f64, why: &str| {
        let source = Some(format!("claims hold a machine for {} in the mean: {why}", brief(mean)));
        Hold { mean, source, is_assumed: false }
    };
    if let Some(mean) = given.hold_seconds {
        return say(mean, "--hold-seconds");
    }
    let pool = (given.pool.namespace().unwrap_or_default(), given.pool.name_any());
    let own = given.claims.iter().filter(|claim| claim.pool() == Some((pool.0.as_str(), pool.1.as_str())));
    let (mut ended, mut held) = (Vec::new(), Vec::new());
    for status in own.filter_map(|claim| claim.status.as_ref()) {
        let Some(bound) = &status.bound_at else { continue };
        let until = status.finished_at.as_ref().map_or(given.now, |finished| finished.0);
        let lasted = until.duration_since(bound.0).as_secs_f64().max(0.0);
        if status.finished_at.is_some() { &mut ended } else { &mut held }.push(lasted);
    }
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len().max(1) as f64;
    if ended.len() >= MANY_ENDED || (ended.len() >= LEAST_HOLDS && held.len() < LEAST_HOLDS) {
        return say(mean(&ended), &format!("as the {} that have ended and are still there", many_claims(ended.len())));
    }
    if held.len() >= LEAST_HOLDS {
        // Exponentially distributed times are memoryless: those that go on have lasted for the mean so far.
        return say(mean(&held), &format!("as long as the {} that hold one now have had it", many_claims(held.len())));
    }
    Hold { is_assumed: true, ..say(ASSUMED_HOLD, "assumed") }
}

/// The cloud of the pool, how its boots are known, and whether they are only assumed.
fn boot(given: &Given, learnt: Vec<f64>) -> (CloudModel, String, bool) {
    let say = |boot: Boot, why: String| format!("machines are ready after {} in the mean: {why}", brief(boot.mean()));
    if let Some(seconds) = given.boot_seconds {
        let boot = Boot::Around { seconds, percent: BOOT_JITTER_PERCENT };
        return (CloudModel { boot, ..measured(given) }, say(boot, "--boot-seconds".to_owned()), false);
    }
    let mut times = learnt;
    if times.len() < LEAST_MACHINES {
        times = given.members.iter().filter_map(ready_after).collect();
    }
    let Some(boot) = Boot::like(&times).filter(|_| times.len() >= LEAST_MACHINES) else {
        let boot = measured(given).boot;
        let why = "assumed, because no machines of the pool show it; give it with --boot-seconds".to_owned();
        return (measured(given), say(boot, why), true);
    };
    let number = times.len();
    (CloudModel { boot, ..measured(given) }, say(boot, format!("as the last {number} of the pool were")), false)
}

/// A cloud whose boots are measured from the launch until the operator sees that the machine is ready: calls and lists are in them.
fn measured(given: &Given) -> CloudModel {
    // One that is not there may be of any cloud.
    let all_there = given.launch_configs.len() == given.pool.spec.launch_configs.len();
    let creates = CreateRate::of(given.launch_configs.iter().map(|config| &config.spec)).filter(|_| all_there);
    CloudModel { call: 0, list: MILLISECOND, creates, ..CloudModel::default() }
}

/// How long a machine took from its launch until it was ready. One that was reset or started again shows nothing.
fn ready_after(member: &PoolMember) -> Option<f64> {
    let status = member.status.as_ref().filter(|status| status.uses <= 1 && status.standby.is_none())?;
    let created = member.metadata.creation_timestamp.as_ref()?.0;
    let (ready, launched) =
        (status.ready_since.as_ref()?.0, status.instance.as_ref().and_then(|it| it.launch_time.as_ref()));
    // By the cloud's clock, so it may be nonsense.
    let launched = launched.map(|time| time.0).filter(|launched| (created..=ready).contains(launched));
    Some(ready.duration_since(launched.unwrap_or(created)).as_secs_f64().max(0.01))
}

fn count(claims: &[Arrival]) -> i64 {
    i64::try_from(claims.len()).unwrap_or(i64::MAX)
}

fn many_claims(number: usize) -> String {
    many(i64::try_from(number).unwrap_or(i64::MAX), "claim", "claims")
}

fn lasts(length: Micros) -> String {
    span(length / SECOND)
}

fn seconds(seconds: f64) -> Micros {
    (seconds * SECOND as f64) as Micros
}

/// A time in seconds for a person.
pub(super) fn brief(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{:.0} ms", seconds * 1_000.0),
        ..120.0 => format!("{seconds:.1} s"),
        _ => span(seconds as i64),
    }
}
