//! The document with the faults. `docs/use/simcloud.md` explains it to users.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kinds::{CallFault, MachineFault};
use crate::ledger::Method;
use crate::wire::{CapacityScope, Market};

/// All active faults. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FaultSet {
    /// Faults of calls. The first rule that hits applies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Rule<CallFault>>,
    /// Faults of machines, drawn at their creation: every `hidden` that hits, and the first of the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<Rule<MachineFault>>,
    /// How many machines there may be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// How often calls may come.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<Rate>,
    /// Most machines on one page of a list, whatever the request's limit is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_size: Option<usize>,
}

/// A fault, and what it can hit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule<F> {
    /// For calls: which ones. Empty: all that the fault can hit.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Method>,
    /// The probability in percent.
    #[serde(default = "always")]
    pub percent: u32,
    /// Hits only these.
    #[serde(default, rename = "where", skip_serializing_if = "Where::is_empty")]
    pub only: Where,
    /// Hits only at these times.
    #[serde(default, skip_serializing_if = "When::is_empty")]
    pub when: When,
    /// The fault.
    pub fault: F,
}

const fn always() -> u32 {
    100
}

/// Restricts a rule to some calls or machines. An empty list is no restriction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Where {
    /// One of these regions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// One of these zones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// One of these sizes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instance_types: Vec<String>,
    /// One of these images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// One of these markets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub markets: Vec<Market>,
    /// All of these tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl Where {
    /// Whether it restricts nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Restricts when and how often a rule hits. Times count from the activation of the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct When {
    /// Hits not before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_milliseconds: Option<u64>,
    /// Hits only before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_milliseconds: Option<u64>,
    /// Does not hit the first so many calls or machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    /// At most so many hits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Hits only a list's pages after the first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub later_pages: bool,
}

impl When {
    /// Whether it restricts nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How many machines there may be at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limit {
    /// Most machines that are not `Terminated`.
    pub machines: u64,
    /// Only these machines count, and only these are refused.
    #[serde(default, rename = "where", skip_serializing_if = "Where::is_empty")]
    pub only: Where,
    /// Refused with `Capacity` of this scope; with `Quota`, if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityScope>,
}

/// A rate limit: a token bucket for `burst` calls that gets one more every `everyMilliseconds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rate {
    /// The calls that share the bucket. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Method>,
    /// Only calls of these regions, which share the bucket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// The time until the bucket gets another token.
    pub every_milliseconds: u64,
    /// Most calls at once.
    #[serde(default = "one")]
    pub burst: u64,
}

const fn one() -> u64 {
    1
}

impl FaultSet {
    /// The age of the oldest state that a list may show, in milliseconds.
    pub(crate) fn horizon(&self) -> u64 {
        let looks_back = |rule: &Rule<CallFault>| match rule.fault {
            CallFault::Stale { milliseconds } => milliseconds,
            _ => 0,
        };
        self.calls.iter().map(looks_back).max().unwrap_or(0)
    }
}
