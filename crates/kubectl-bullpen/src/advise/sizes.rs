//! Plays what is known at several sizes.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;

use bullpen_api::{Autosize, AutosizeMode, InstancePoolSpec};
use bullpen_simulate::{HOUR, Outcome, Policy, SECOND, Setup, run_all};

use super::known::Known;

/// Sizes beside the cheapest one, as shares of it.
const BESIDE: [f64; 6] = [0.5, 0.7, 0.85, 1.15, 1.3, 1.6];

/// For so many boots autosize is played, which takes about ten seconds in an optimised build.
const MOST_BOOTS: f64 = 60_000.0;

/// A size of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// Always the same.
    Fixed(i32),
    /// By `autosize` of mode `Auto`, for the goal that is asked for.
    Auto,
}

/// What came of a size.
pub(super) struct Row {
    pub size: Size,
    pub outcome: Outcome,
    /// What it cost, if prices are known.
    pub cost: Option<f64>,
}

impl Row {
    /// What sizes are compared by: the cost, or the hours of machines where prices are not known.
    pub fn price(&self) -> f64 {
        self.cost.unwrap_or(self.outcome.hours.total)
    }

    pub fn hit_percent(&self) -> f64 {
        self.outcome.claims.hit_percent()
    }
}

/// What came of all sizes: fixed ones from the least on, and then `Auto`.
pub(super) struct Played {
    pub rows: Vec<Row>,
    /// The pool's own.
    pub own: Size,
    /// The cheapest that keeps the goal.
    pub cheapest: Option<Size>,
}

impl Played {
    /// What came of this size.
    pub fn row(&self, size: Size) -> Option<&Row> {
        self.rows.iter().find(|row| row.size == size)
    }
}

/// Plays what is known at sizes from `minSize` to `maxSize`, so many at a time.
///
/// # Errors
/// Why the pool may not buy by one of its launch configs.
pub(super) fn play(known: &Known, threads: usize) -> Result<Played, String> {
    let spec = &known.pool;
    let follows = spec.autosize.as_ref().is_some_and(|autosize| autosize.mode == AutosizeMode::Auto);
    let own = if follows { Size::Auto } else { Size::Fixed(spec.target_size) };
    let least = least_good(known)?;
    let middle = least.unwrap_or(spec.max_size);
    let mut sizes: BTreeSet<i32> = BESIDE.iter().map(|share| (f64::from(middle) * share).round() as i32).collect();
    sizes.extend([middle - 1, middle, middle + 1, spec.target_size, spec.min_size]);
    sizes.extend(known.recommended);
    let possible = spec.min_size.min(spec.max_size)..=spec.max_size;
    // What the pool has is shown, whatever limits say.
    sizes.retain(|size| possible.contains(size) || *size == spec.target_size);
    let mut all: Vec<Size> = sizes.into_iter().map(Size::Fixed).collect();
    if follows || is_brief(known) {
        all.push(Size::Auto);
    }
    let rows = rows(known, &all, threads)?;
    let good = rows.iter().filter(|row| row.hit_percent() >= known.goal_percent);
    let cheapest = good.min_by(|one, other| one.price().total_cmp(&other.price())).map(|row| row.size);
    Ok(Played { rows, own, cheapest })
}

/// Whether autosize is played in little time: how long that takes depends on how often it looks, which is many times in a boot.
pub(super) fn is_brief(known: &Known) -> bool {
    known.length as f64 / SECOND as f64 <= MOST_BOOTS * known.cloud.boot.mean()
}

/// The least fixed size that keeps the goal, if one does up to `maxSize`.
fn least_good(known: &Known) -> Result<Option<i32>, String> {
    let (min, max) = (known.pool.min_size, known.pool.max_size);
    let is_good = |size: i32| -> Result<bool, String> {
        let played = rows(known, &[Size::Fixed(size)], 1)?;
        Ok(played.first().is_some_and(|row| row.hit_percent() >= known.goal_percent))
    };
    // Large sizes take long, so the first one that is large enough is looked for from below.
    let (mut bad, mut size) = (min - 1, min);
    while !is_good(size)? {
        if size >= max {
            return Ok(None);
        }
        bad = size;
        size = (size * 2).clamp(1, max);
    }
    let mut good = size;
    while good - bad > 1 {
        let middle = i32::midpoint(bad, good);
        if is_good(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(Some(good))
}

fn rows(known: &Known, sizes: &[Size], threads: usize) -> Result<Vec<Row>, String> {
    let setups: Vec<Setup> = sizes.iter().map(|size| setup(known, *size)).collect();
    let setups: Vec<&Setup> = setups.iter().collect();
    let outcomes = run_all(&setups, &known.claims, threads, &AtomicUsize::new(0));
    let rows = sizes.iter().zip(outcomes).map(|(size, outcome)| {
        let outcome = outcome?;
        Ok(Row { size: *size, cost: known.prices.as_ref().map(|prices| outcome.cost(prices)), outcome })
    });
    rows.collect()
}

fn setup(known: &Known, size: Size) -> Setup {
    Setup {
        name: known.name.clone(),
        pool: sized(&known.pool, size, known.goal_percent),
        launch_configs: known.launch_configs.clone(),
        cloud: known.cloud,
        policy: Policy::Operator,
        wait_timeout: None,
        warm_up: HOUR,
        starts_at: known.starts_at,
        lasts: Some(known.length),
        seed: 1,
    }
}

/// The whole `hitRatePercent` that keeps a goal.
pub(super) fn hit_rate_percent(goal_percent: f64) -> i32 {
    goal_percent.ceil() as i32
}

/// The pool with this size.
fn sized(pool: &InstancePoolSpec, size: Size, goal_percent: f64) -> InstancePoolSpec {
    let mut pool = pool.clone();
    match size {
        Size::Fixed(size) => {
            (pool.target_size, pool.min_size) = (size, pool.min_size.min(size));
            pool.autosize = None;
        }
        Size::Auto => {
            let hit_rate_percent = hit_rate_percent(goal_percent);
            let autosize = pool.autosize.unwrap_or_default();
            pool.autosize = Some(Autosize { mode: AutosizeMode::Auto, hit_rate_percent, ..autosize });
        }
    }
    pool
}
