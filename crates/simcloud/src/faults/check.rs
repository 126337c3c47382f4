//! Validates sets of faults. Every refusal names the field.

use axum::extract::Json;

use super::kinds::{After, CallFault, MachineFault};
use super::model::{FaultSet, Rule, Where};
use crate::cloud::MAX_PAGE;
use crate::ledger::Method;
use crate::validate::{self, name};
use crate::wire::{ErrorClass, Refusal};

/// Rules of one kind.
const MAX_RULES: usize = 256;
/// Longest delay of an answer: ten minutes.
const MAX_HOLD: u64 = 600_000;
/// Longest time of anything else: one day.
const MAX_MILLISECONDS: u64 = 86_400_000;
const MAX_FOREIGN: u32 = 1000;
const MAX_NAMES: usize = 256;
/// Longest text that a machine posts.
const MAX_TEXT: usize = 64 * 1024;

impl FaultSet {
    /// Parses a set from JSON.
    ///
    /// # Errors
    /// `Invalid`, naming the field, if it is not valid.
    pub fn from_json(text: &[u8]) -> Result<Self, Refusal> {
        let Json(set) = Json::<Self>::from_bytes(text).map_err(|wrong| Refusal::invalid(wrong.body_text()))?;
        set.check()?;
        Ok(set)
    }

    /// Parses a set from YAML, or from JSON, which is YAML too.
    ///
    /// # Errors
    /// `Invalid`, naming the field or the line, if it is not valid.
    pub fn from_yaml(text: &str) -> Result<Self, Refusal> {
        let wrong = |error: &dyn ToString| Refusal::invalid(error.to_string());
        let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| wrong(&error))?;
        // A file of comments only.
        let value = if value.is_null() { serde_json::json!({}) } else { value };
        Self::from_json(&serde_json::to_vec(&value).map_err(|error| wrong(&error))?)
    }

    fn check(&self) -> Result<(), Refusal> {
        let lengths = [
            ("calls", self.calls.len()),
            ("machines", self.machines.len()),
            ("limits", self.limits.len()),
            ("rates", self.rates.len()),
        ];
        if let Some((list, _)) = lengths.iter().find(|(_, length)| *length > MAX_RULES) {
            return Err(wrong(list, format!("at most {MAX_RULES} rules")));
        }
        for (number, rule) in self.calls.iter().enumerate() {
            call(&format!("calls[{number}]"), rule)?;
        }
        for (number, rule) in self.machines.iter().enumerate() {
            let path = format!("machines[{number}]");
            if !rule.on.is_empty() {
                return Err(wrong(&format!("{path}.on"), "only rules about calls have it"));
            }
            if rule.when.later_pages {
                return Err(wrong(&format!("{path}.when.laterPages"), "only rules about calls have it"));
            }
            common(&path, rule)?;
            rule.fault.check(&format!("{path}.fault"))?;
        }
        for (number, limit) in self.limits.iter().enumerate() {
            selector(&format!("limits[{number}].where"), &limit.only)?;
        }
        for (number, rate) in self.rates.iter().enumerate() {
            let path = format!("rates[{number}]");
            names(&format!("{path}.regions"), &rate.regions)?;
            within(&format!("{path}.everyMilliseconds"), rate.every_milliseconds, 1..=MAX_MILLISECONDS)?;
            within(&format!("{path}.burst"), rate.burst, 1..=1_000_000)?;
        }
        self.page_size.map_or(Ok(()), |size| within("pageSize", size as u64, 1..=MAX_PAGE as u64))
    }
}

impl MachineFault {
    /// Parses a fault of one machine from JSON.
    ///
    /// # Errors
    /// `Invalid`, naming the field, if it is not valid.
    pub fn from_json(text: &[u8]) -> Result<Self, Refusal> {
        let Json(fault) = Json::<Self>::from_bytes(text).map_err(|wrong| Refusal::invalid(wrong.body_text()))?;
        fault.check("fault")?;
        Ok(fault)
    }

    fn check(&self, path: &str) -> Result<(), Refusal> {
        let path = format!("{path}.{}", self.name());
        let field = |field: &str| format!("{path}.{field}");
        let day = 0..=MAX_MILLISECONDS;
        match self {
            Self::NeverBoots {}
            | Self::NeverReady {}
            | Self::AgentDown {}
            | Self::AgentHangs {}
            | Self::HeartbeatsStop {} => Ok(()),
            Self::AgentAnswers { status } => within(&field("status"), (*status).into(), 200..=599),
            Self::SlowBoot { milliseconds } => within(&field("milliseconds"), *milliseconds, day),
            Self::Dies(when)
            | Self::Vanishes(when)
            | Self::Stops(when)
            | Self::Moves(when)
            | Self::ReportsBroken(when) => after(&path, *when),
            // A minimum, because each change is a line in the ledger.
            Self::Flaps { ready_milliseconds, not_ready_milliseconds } => {
                within(&field("readyMilliseconds"), *ready_milliseconds, 10..=MAX_MILLISECONDS)?;
                within(&field("notReadyMilliseconds"), *not_ready_milliseconds, 10..=MAX_MILLISECONDS)
            }
            Self::Interrupted { notice, milliseconds, .. } => {
                after(&field("notice"), *notice)?;
                within(&field("milliseconds"), *milliseconds, day)
            }
            Self::PhonesHome(plan) => {
                within(&field("delayMilliseconds"), plan.delay_milliseconds, day.clone())?;
                within(&field("jobMilliseconds"), plan.job_milliseconds.unwrap_or_default(), day)?;
                within(&field("times"), plan.times.into(), 0..=100)?;
                within(&field("lose"), plan.lose.into(), 0..=100)?;
                within(&field("progress"), plan.progress.len() as u64, 0..=100)?;
                let texts = plan.progress.iter().chain(&plan.broken);
                let longest = texts.map(String::len).max().unwrap_or(0);
                if longest > MAX_TEXT {
                    return Err(wrong(&path, format!("a text has at most {MAX_TEXT} bytes")));
                }
                Ok(())
            }
            Self::Hidden { milliseconds, from } => {
                let shows = [Method::List, Method::Find, Method::Get, Method::Terminate];
                if from.is_empty() || from.iter().any(|method| !shows.contains(method)) {
                    return Err(wrong(&field("from"), "one or more of list, find, get and terminate"));
                }
                within(&field("milliseconds"), *milliseconds, day)
            }
        }
    }
}

fn call(path: &str, rule: &Rule<CallFault>) -> Result<(), Refusal> {
    common(path, rule)?;
    let methods = rule.fault.methods();
    if rule.on.iter().any(|method| !methods.contains(method)) {
        let message = format!("{} can only befall {}", rule.fault.name(), listed(methods));
        return Err(wrong(&format!("{path}.on"), message));
    }
    let methods = if rule.on.is_empty() { methods } else { &rule.on };
    let of_one_machine =
        [Method::Create, Method::Get, Method::Terminate, Method::Tag, Method::Reset, Method::Stop, Method::Start];
    let only_regions = Where { regions: rule.only.regions.clone(), ..Where::default() };
    if rule.only != only_regions && methods.iter().any(|method| !of_one_machine.contains(method)) {
        let message = "only create, get, terminate, tag, reset, stop and start are about one machine: name them in `on`, or give only \
             regions";
        return Err(wrong(&format!("{path}.where"), message));
    }
    if rule.when.later_pages && methods.iter().any(|method| !matches!(method, Method::List | Method::Find)) {
        return Err(wrong(&format!("{path}.when.laterPages"), "only list and find have pages"));
    }
    let path = format!("{path}.fault.{}", rule.fault.name());
    let field = |field: &str| format!("{path}.{field}");
    match &rule.fault {
        CallFault::Error { class, scope, retry_after_milliseconds } => {
            if scope.is_some() != (*class == ErrorClass::Capacity) {
                return Err(wrong(&field("scope"), "must be given with the class Capacity, and only there"));
            }
            if retry_after_milliseconds.is_some() && *class != ErrorClass::RateLimited {
                return Err(wrong(&field("retryAfterMilliseconds"), "only with the class RateLimited"));
            }
            within(&field("retryAfterMilliseconds"), retry_after_milliseconds.unwrap_or(0), 0..=MAX_MILLISECONDS)
        }
        CallFault::Hang { milliseconds, .. } | CallFault::Slow { milliseconds, .. } => {
            within(&field("milliseconds"), *milliseconds, 1..=MAX_HOLD)
        }
        CallFault::AsAccount { account } => name(&field("account"), account),
        CallFault::Stale { milliseconds } => within(&field("milliseconds"), *milliseconds, 1..=MAX_HOLD),
        CallFault::Omit { percent } | CallFault::Duplicate { percent } => {
            within(&field("percent"), (*percent).into(), 0..=100)
        }
        CallFault::Foreign { count, tags, .. } => {
            within(&field("count"), (*count).into(), 1..=MAX_FOREIGN.into())?;
            validate::tags(&field("tags"), tags)
        }
        CallFault::Lingers { milliseconds } => {
            within(&field("milliseconds"), milliseconds.unwrap_or(0), 0..=MAX_MILLISECONDS)
        }
        CallFault::AnswerLost {}
        | CallFault::Empty {}
        | CallFault::OmitPage {}
        | CallFault::CutShort {}
        | CallFault::Twice {}
        | CallFault::Ignored {} => Ok(()),
    }
}

fn common<F>(path: &str, rule: &Rule<F>) -> Result<(), Refusal> {
    within(&format!("{path}.percent"), rule.percent.into(), 0..=100)?;
    selector(&format!("{path}.where"), &rule.only)?;
    let (from, until) = (rule.when.from_milliseconds, rule.when.until_milliseconds);
    if until.is_some_and(|until| until <= from.unwrap_or(0)) {
        return Err(wrong(&format!("{path}.when.untilMilliseconds"), "must be after fromMilliseconds"));
    }
    Ok(())
}

fn selector(path: &str, only: &Where) -> Result<(), Refusal> {
    let lists = [
        ("regions", &only.regions),
        ("zones", &only.zones),
        ("instanceTypes", &only.instance_types),
        ("images", &only.images),
    ];
    for (field, list) in lists {
        names(&format!("{path}.{field}"), list)?;
    }
    validate::tags(&format!("{path}.tags"), &only.tags)
}

fn names(path: &str, list: &[String]) -> Result<(), Refusal> {
    if list.len() > MAX_NAMES {
        return Err(wrong(path, format!("at most {MAX_NAMES}")));
    }
    list.iter().try_for_each(|item| name(path, item))
}

fn after(path: &str, when: After) -> Result<(), Refusal> {
    within(&format!("{path}.milliseconds"), when.milliseconds, 0..=MAX_MILLISECONDS)?;
    within(&format!("{path}.spreadMilliseconds"), when.spread_milliseconds, 0..=MAX_MILLISECONDS)
}

fn within(path: &str, number: u64, range: std::ops::RangeInclusive<u64>) -> Result<(), Refusal> {
    if range.contains(&number) {
        Ok(())
    } else {
        Err(wrong(path, format!("{number} is not from {} to {}", range.start(), range.end())))
    }
}

fn wrong(path: &str, message: impl AsRef<str>) -> Refusal {
    Refusal::invalid(format!("{path}: {}", message.as_ref()))
}

fn listed(methods: &[Method]) -> String {
    methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ")
}
