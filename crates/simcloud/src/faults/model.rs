//! The document. `docs/use/simcloud.md` explains it to users.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kinds::{CallFault, MachineFault};
use crate::ledger::Method;
use crate::wire::{CapacityScope, Market};

/// All faults in force. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FaultSet {
    /// What befalls calls: the first rule that hits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Rule<CallFault>>,
    /// What befalls machines, decided as each is made: every `hidden` that hits, and the first of the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<Rule<MachineFault>>,
    /// How many machines there may be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// How often calls may come.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<Rate>,
    /// Most machines on one page of a list, however many are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_size: Option<usize>,
}

/// A fault, and what it befalls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule<F> {
    /// Of calls only: which ones; all that the fault can befall, if empty.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Method>,
    /// How many in a hundred.
    #[serde(default = "always")]
    pub percent: u32,
    /// Only these.
    #[serde(default, rename = "where", skip_serializing_if = "Where::is_empty")]
    pub only: Where,
    /// Only then.
    #[serde(default, skip_serializing_if = "When::is_empty")]
    pub when: When,
    /// What happens.
    pub fault: F,
}

const fn always() -> u32 {
    100
}

/// Which calls or machines; an empty list is no restriction.
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

/// At which times, counted from when the set came into force, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct When {
    /// Not before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_milliseconds: Option<u64>,
    /// Not from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_milliseconds: Option<u64>,
    /// The first so many calls or machines are spared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    /// At most so many hits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Only a list's pages after its first.
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
    /// So many that are not `Terminated`.
    pub machines: u64,
    /// Only these count, and only these are refused.
    #[serde(default, rename = "where", skip_serializing_if = "Where::is_empty")]
    pub only: Where,
    /// Refused with `Capacity` of this scope; with `Quota`, if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityScope>,
}

/// How often calls may come: a bucket that holds `burst` calls and gets one more every `everyMilliseconds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rate {
    /// Which calls share the bucket; all, if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Method>,
    /// Only of these regions, which share it too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// From one call to the next.
    pub every_milliseconds: u64,
    /// So many may come at once.
    #[serde(default = "one")]
    pub burst: u64,
}

const fn one() -> u64 {
    1
}

impl FaultSet {
    /// How far back a list may look, in milliseconds.
    pub(crate) fn horizon(&self) -> u64 {
        let looks_back = |rule: &Rule<CallFault>| match rule.fault {
            CallFault::Stale { milliseconds } => milliseconds,
            _ => 0,
        };
        self.calls.iter().map(looks_back).max().unwrap_or(0)
    }
}
