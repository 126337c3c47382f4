//! Decides which calls and machines a fault hits. Depends only on the seed, the document and the order of the calls.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::dice::Roll;
use super::kinds::{CallFault, MachineFault};
use super::model::{FaultSet, Limit, Rate, Rule, Where};
use crate::ledger::Method;
use crate::wire::{CreateInstance, ErrorClass, Instance, Market, Refusal};

/// The properties of a call or a machine that rules match. An unknown property does not match a rule that needs it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    region: Option<&'a str>,
    /// Zone, size and image.
    kind: Option<(&'a str, &'a str, &'a str)>,
    market: Option<Market>,
    tags: Option<&'a BTreeMap<String, String>>,
}

/// A rule that hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit<F> {
    /// Its place in the document: `calls[0]`.
    pub rule: String,
    /// The fault.
    pub fault: F,
    /// Random values for the details of the fault.
    pub roll: Roll,
}

/// The active set, and how often each rule was evaluated and has hit.
#[derive(Debug)]
pub struct Faults {
    set: FaultSet,
    seed: u64,
    /// How many sets were active before. It enters the random values, so that the same set, set again, gives others.
    generation: u64,
    since: Timestamp,
    calls: Vec<Tally>,
    machines: Vec<Tally>,
    /// For each bucket of `rates`, the time at which it would be full again.
    full: Vec<Timestamp>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    asked: u64,
    hit: u64,
}

impl Faults {
    /// Activates `set` from `now` on.
    pub fn new(seed: u64, set: FaultSet, now: Timestamp) -> Self {
        let mut faults = Self {
            set: FaultSet::default(),
            seed,
            generation: 0,
            since: now,
            calls: Vec::new(),
            machines: Vec::new(),
            full: Vec::new(),
        };
        faults.replace(set, now);
        faults
    }

    /// Activates another set.
    pub fn replace(&mut self, set: FaultSet, now: Timestamp) {
        self.calls = vec![Tally::default(); set.calls.len()];
        self.machines = vec![Tally::default(); set.machines.len()];
        self.full = vec![now; set.rates.len()];
        self.set = set;
        self.generation += 1;
        self.since = now;
    }

    /// The active set.
    pub const fn set(&self) -> &FaultSet {
        &self.set
    }

    /// The fault of a call: the first rule that hits. `later` is true for a page of a list after the first.
    pub fn call(
        &mut self,
        now: Timestamp,
        method: Method,
        subject: &Subject<'_>,
        later: bool,
    ) -> Option<Hit<CallFault>> {
        let age = age(self.since, now);
        for (number, (rule, tally)) in self.set.calls.iter().zip(&mut self.calls).enumerate() {
            let methods = if rule.on.is_empty() { rule.fault.methods() } else { &rule.on };
            if !methods.contains(&method) || (rule.when.later_pages && !later) {
                continue;
            }
            let roll = |nth| Roll::new(self.seed, self.generation, "calls", number, nth);
            if let Some(roll) = tally.strike(rule, subject, age, roll) {
                return Some(Hit { rule: format!("calls[{number}]"), fault: rule.fault.clone(), roll });
            }
        }
        None
    }

    /// The faults of a new machine: every `hidden` that hits, and the first of the others.
    pub fn machine(&mut self, now: Timestamp, subject: &Subject<'_>) -> Vec<Hit<MachineFault>> {
        let age = age(self.since, now);
        let mut hits: Vec<Hit<MachineFault>> = Vec::new();
        let mut fated = false;
        for (number, (rule, tally)) in self.set.machines.iter().zip(&mut self.machines).enumerate() {
            let hides = matches!(rule.fault, MachineFault::Hidden { .. });
            let spot_only = rule.fault.is_for_spot_only();
            if (fated && !hides) || (spot_only && subject.market != Some(Market::Spot)) {
                continue;
            }
            let roll = |nth| Roll::new(self.seed, self.generation, "machines", number, nth);
            if let Some(roll) = tally.strike(rule, subject, age, roll) {
                fated |= !hides;
                hits.push(Hit { rule: format!("machines[{number}]"), fault: rule.fault.clone(), roll });
            }
        }
        hits
    }

    /// Random values for a fault that an API call requested.
    pub fn roll_for(&self, number: u64) -> Roll {
        Roll::new(self.seed, self.generation, "instances", 0, number)
    }

    /// Takes one token from each rate bucket that the call counts for, if all of them have one.
    ///
    /// # Errors
    /// The first rule whose bucket is empty, and `RateLimited` with the time until it has a token.
    pub fn rate(&mut self, now: Timestamp, method: Method, region: Option<&str>) -> Result<(), (String, Refusal)> {
        let counts = |rate: &Rate| {
            (rate.on.is_empty() || rate.on.contains(&method))
                && (rate.regions.is_empty() || region.is_some_and(|region| one_of(&rate.regions, region)))
        };
        let mut full = self.full.clone();
        for (number, (rate, full)) in self.set.rates.iter().zip(&mut full).enumerate().filter(|(_, (r, _))| counts(r)) {
            let every = milliseconds(rate.every_milliseconds);
            let room = milliseconds(rate.every_milliseconds.saturating_mul(rate.burst));
            let then = (*full).max(now).saturating_add(every).unwrap_or(Timestamp::MAX);
            let wait = then.duration_since(now).saturating_sub(room);
            if wait > SignedDuration::ZERO {
                let wait = u64::try_from(wait.as_micros()).unwrap_or(0).div_ceil(1000);
                let message = format!("too many {} calls", method.as_str());
                let refusal = Refusal::new(ErrorClass::RateLimited, message);
                let refusal = Refusal { retry_after_milliseconds: Some(wait), ..refusal };
                return Err((format!("rates[{number}]"), refusal));
            }
            *full = then;
        }
        self.full = full;
        Ok(())
    }

    /// Whether one more machine is within all limits; `count` returns the number of machines of a kind.
    ///
    /// # Errors
    /// The first rule whose limit is reached, and its refusal.
    pub fn limit(&self, subject: &Subject<'_>, count: impl Fn(&Where) -> u64) -> Result<(), (String, Refusal)> {
        let reached = |limit: &Limit| limit.only.matches(subject) && count(&limit.only) >= limit.machines;
        let Some(number) = self.set.limits.iter().position(reached) else { return Ok(()) };
        let limit = &self.set.limits[number];
        let refusal = match limit.capacity {
            None => Refusal::new(ErrorClass::Quota, format!("at most {} machines", limit.machines)),
            scope => Refusal { scope, ..Refusal::new(ErrorClass::Capacity, "there are no more of these machines") },
        };
        Err((format!("limits[{number}]"), refusal))
    }
}

impl Tally {
    /// Counts a call or machine that the rule matches, and draws whether the rule hits it.
    fn strike<F>(
        &mut self,
        rule: &Rule<F>,
        subject: &Subject<'_>,
        age: u64,
        roll: impl FnOnce(u64) -> Roll,
    ) -> Option<Roll> {
        let when = &rule.when;
        let in_time = age >= when.from_milliseconds.unwrap_or(0) && when.until_milliseconds.is_none_or(|end| age < end);
        if !in_time || !rule.only.matches(subject) {
            return None;
        }
        self.asked += 1;
        let spared = self.asked <= when.skip.unwrap_or(0) || when.times.is_some_and(|times| self.hit >= times);
        let roll = roll(self.asked);
        if spared || !roll.is_within(rule.percent) {
            return None;
        }
        self.hit += 1;
        Some(roll)
    }
}

impl Where {
    /// Whether these properties match.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        let kind =
            |list: &[String], value: Option<&str>| list.is_empty() || value.is_some_and(|value| one_of(list, value));
        let (zone, instance_type, image) =
            subject.kind.map_or((None, None, None), |(zone, size, image)| (Some(zone), Some(size), Some(image)));
        kind(&self.regions, subject.region)
            && kind(&self.zones, zone)
            && kind(&self.instance_types, instance_type)
            && kind(&self.images, image)
            && (self.markets.is_empty() || subject.market.is_some_and(|market| self.markets.contains(&market)))
            && self.tags.iter().all(|(key, value)| subject.tags.is_some_and(|tags| tags.get(key) == Some(value)))
    }
}

impl<'a> Subject<'a> {
    /// The properties of a call that concerns no particular machine.
    pub fn region(region: Option<&'a str>) -> Self {
        Self { region, ..Self::default() }
    }
}

impl<'a> From<&'a CreateInstance> for Subject<'a> {
    fn from(request: &'a CreateInstance) -> Self {
        Self {
            region: Some(&request.region),
            kind: Some((&request.zone, &request.instance_type, &request.image)),
            market: Some(request.market),
            tags: Some(&request.tags),
        }
    }
}

impl<'a> From<&'a Instance> for Subject<'a> {
    fn from(instance: &'a Instance) -> Self {
        Self {
            region: Some(&instance.region),
            kind: Some((&instance.zone, &instance.instance_type, &instance.image)),
            market: Some(instance.market),
            tags: Some(&instance.tags),
        }
    }
}

fn one_of(list: &[String], value: &str) -> bool {
    list.iter().any(|item| item == value)
}

fn age(since: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.duration_since(since).as_millis()).unwrap_or(0)
}

fn milliseconds(number: u64) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(number).unwrap_or(i64::MAX))
}
