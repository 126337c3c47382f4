//! What a pool makes of the size that was found.

use std::fmt::Write as _;

use bullpen_api::{Autosize, AutosizeMode, ConditionType, ConditionValue, InstancePoolSpec, Reason};
use jiff::Timestamp;

use super::forecaster::Goal;
use super::forecaster::recurring::Period;
use super::sizer::{Advice, LEAST_CLAIMS, LEAST_LEADS, LEAST_READY};
use crate::call_rate::CreateRate;

/// What it takes to find a size, for a person.
fn too_little() -> String {
    format!(
        "too little is known yet: it takes {LEAST_CLAIMS} claims, {LEAST_READY} machines that became ready, and the time of {LEAST_LEADS} \
         boots"
    )
}

/// What is to be kept, by the spec of a pool whose machines can be bought so often. `None`: nothing is learnt.
pub fn goal(spec: &InstancePoolSpec, creates: Option<CreateRate>) -> Option<Goal> {
    let autosize = spec.autosize.as_ref().filter(|autosize| autosize.mode != AutosizeMode::Off)?;
    Some(Goal {
        hits: f64::from(autosize.hit_rate_percent) / 100.0,
        window: f64::from(autosize.window_seconds),
        creates,
        most: u16::try_from(spec.max_size.max(0)).unwrap_or(u16::MAX),
        schedules: spec.schedules.as_slice().into(),
    })
}

/// The size that is recommended: that of the advice, at least `minSize` and at most `maxSize`. `None`: too little is known.
pub fn recommended(spec: &InstancePoolSpec, advice: &Advice) -> Option<i32> {
    let Advice::Size { size, learning, .. } = advice else { return None };
    let size = if *learning { (*size).max(spec.target_size) } else { *size };
    // maxSize is the harder bound: a pool may have a minSize above it for a while.
    Some(size.max(spec.min_size).min(spec.max_size))
}

/// The size that the pool follows instead of `targetSize`, if it does.
pub fn followed(spec: &InstancePoolSpec, advice: &Advice) -> Option<i32> {
    let follows = spec.autosize.as_ref().is_some_and(|autosize| autosize.mode == AutosizeMode::Auto);
    if follows { recommended(spec, advice) } else { None }
}

/// The condition that says what was found, and why.
pub fn condition(spec: &InstancePoolSpec, advice: &Advice) -> Option<ConditionValue> {
    let autosize = spec.autosize.as_ref().filter(|autosize| autosize.mode != AutosizeMode::Off)?;
    let Some(size) = recommended(spec, advice) else {
        let message = format!("{}; targetSize {} applies", too_little(), spec.target_size);
        return Some(ConditionValue::new(ConditionType::Autosized, false, Reason::TooLittleKnown, message));
    };
    let follows = autosize.mode == AutosizeMode::Auto;
    let reason = if follows { Reason::SizeFollowed } else { Reason::SizeRecommended };
    Some(ConditionValue::new(ConditionType::Autosized, follows, reason, why(spec, advice, size, autosize)))
}

fn why(spec: &InstancePoolSpec, advice: &Advice, size: i32, autosize: &Autosize) -> String {
    let Advice::Size { size: found, learning, hourly, lead, burst } = advice else { return String::new() };
    let goal = autosize.hit_rate_percent;
    let mut text = format!("{} claims an hour, boot {} s: {found} keeps {goal} %", number(*hourly), number(*lead));
    if *learning && spec.target_size > *found {
        let _ = write!(text, "; at least targetSize {} while it learns", spec.target_size);
    } else if size > *found {
        let _ = write!(text, "; minSize makes it {size}");
    } else if size < *found {
        let _ = write!(text, "; maxSize makes it {size}, which misses more");
    }
    if let Some((machines, period, expected)) = burst {
        let _ = write!(text, "; {machines} of them for a burst that comes {}", time_of(*period, expected.at));
    }
    text
}

/// When a burst comes, as this millisecond is one at which it does.
fn time_of(period: Period, at: i64) -> String {
    let format = match period {
        Period::Hour => "about %M minutes past each hour",
        Period::Day => "about %H:%M UTC each day",
        Period::Week => "about %H:%M UTC each %A",
    };
    // To the next minute.
    Timestamp::from_millisecond(at + 30_000).map_or_else(|_| String::new(), |at| at.strftime(format).to_string())
}

/// A number as people say it: with one decimal below ten.
fn number(value: f64) -> String {
    if value < 10.0 { format!("{}", (value * 10.0).round() / 10.0) } else { format!("{value:.0}") }
}
