//! Version skew: how the definitions that the API server serves differ from those of this build.
//!
//! An older definition is dangerous: the API server silently drops fields that it does not know, so a written status
//! loses information. A newer definition only has more fields.

mod finding;
mod served;

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use thiserror::Error;

pub use finding::{Finding, judge, judge_document};
pub use served::from_openapi;

/// The parts of one definition that are compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Its plural, such as `instancepools`.
    pub resource: String,
    /// The schema of our version.
    pub schema: Value,
    /// Its subresources: `status`, `scale`.
    pub subresources: BTreeSet<String>,
    /// Other versions that are served.
    pub other_versions: BTreeSet<String>,
    /// A digest of the whole definition; `None` if only the schema can be read.
    pub digest: Option<String>,
}

/// How served definitions differ from ours. `place` names the part for the message, as after "it lacks".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Skew {
    /// They are the same.
    #[error("the CustomResourceDefinitions are those of this version")]
    Same,
    /// All fields are the same; rules, limits, defaults, names or printer columns differ.
    #[error("the CustomResourceDefinition of {resource} has all fields of this version, and other rules or columns")]
    RulesDiffer {
        /// The first that differs.
        resource: String,
    },
    /// They have parts that this program does not know.
    #[error("the CustomResourceDefinition of {resource} is newer than this version, which does not know {place}")]
    Newer {
        /// The first that is newer.
        resource: String,
        /// The first that is not known.
        place: String,
    },
    /// They lack a part that this program writes or reads.
    #[error("the CustomResourceDefinition of {resource} is older than this version: it lacks {place}")]
    Older {
        /// The first that is older.
        resource: String,
        /// The first that is missing.
        place: String,
    },
    /// A definition is not installed.
    #[error("the CustomResourceDefinition of {resource} is not installed")]
    Missing {
        /// The first that is not installed.
        resource: String,
    },
}

impl Skew {
    /// Whether this program can work with them: the API server drops nothing that it writes.
    pub const fn is_usable(&self) -> bool {
        matches!(self, Self::Same | Self::RulesDiffer { .. } | Self::Newer { .. })
    }

    /// Severity; higher is worse.
    const fn rank(&self) -> u8 {
        match self {
            Self::Same => 0,
            Self::RulesDiffer { .. } => 1,
            Self::Newer { .. } => 2,
            Self::Older { .. } => 3,
            Self::Missing { .. } => 4,
        }
    }
}

/// The worst difference, and the first of several. A difference that could mean older or newer counts as older: waiting
/// for no reason does less harm than writing fields that are dropped.
pub fn compare(ours: &[Definition], served: &[Definition]) -> Skew {
    let of = |own: &Definition| {
        let found = served.iter().find(|found| found.resource == own.resource);
        found.map_or_else(|| Skew::Missing { resource: own.resource.clone() }, |found| compare_one(own, found))
    };
    ours.iter().map(of).fold(Skew::Same, |worst, next| if next.rank() > worst.rank() { next } else { worst })
}

fn compare_one(ours: &Definition, served: &Definition) -> Skew {
    let resource = ours.resource.clone();
    if ours.digest.is_some() && ours.digest == served.digest {
        return Skew::Same;
    }
    let mut found = Differences::default();
    for subresource in &ours.subresources {
        if !served.subresources.contains(subresource) {
            found.lacks(format!("the subresource {subresource}"));
        }
    }
    // The API server has its own schema for the other parts, such as metadata.
    for part in ["spec", "status"] {
        found.properties(part, ours.schema["properties"].get(part), served.schema["properties"].get(part));
    }
    if let Some(version) = served.other_versions.difference(&ours.other_versions).next() {
        found.has(format!("version {version}"));
    }
    let Differences { lacking, unknown, rules } = found;
    let rules = rules || (ours.digest.is_some() && served.digest.is_some());
    match (lacking, unknown) {
        (Some(place), _) => Skew::Older { resource, place },
        (None, Some(place)) => Skew::Newer { resource, place },
        (None, None) if rules => Skew::RulesDiffer { resource },
        (None, None) => Skew::Same,
    }
}

/// What differs between two schemas.
#[derive(Default)]
struct Differences {
    /// The first that only ours has.
    lacking: Option<String>,
    /// The first that only the served one has.
    unknown: Option<String>,
    /// Whether anything else differs.
    rules: bool,
}

/// Keys that are compared separately, or are only documentation.
const NO_RULES: [&str; 8] =
    ["description", "properties", "items", "additionalProperties", "enum", "required", "type", "example"];

impl Differences {
    fn lacks(&mut self, place: String) {
        self.lacking.get_or_insert(place);
    }

    fn has(&mut self, place: String) {
        self.unknown.get_or_insert(place);
    }

    /// Compares a part that either may lack.
    fn properties(&mut self, path: &str, ours: Option<&Value>, served: Option<&Value>) {
        match (ours, served) {
            (Some(ours), Some(served)) => self.schemas(path, ours, served),
            (Some(_), None) => self.lacks(path.to_owned()),
            (None, Some(_)) => self.has(path.to_owned()),
            (None, None) => {}
        }
    }

    fn schemas(&mut self, path: &str, ours: &Value, served: &Value) {
        // A part that preserves unknown fields may have no type.
        if served["x-kubernetes-preserve-unknown-fields"] == true {
            self.rules |= ours["x-kubernetes-preserve-unknown-fields"] != true;
            return;
        }
        if ours["type"] != served["type"] {
            self.lacks(format!("the type {} of {path}", ours["type"].as_str().unwrap_or("any")));
            return;
        }
        self.rules |= rules(ours) != rules(served);
        self.enums(path, ours, served);
        self.fields(path, ours, served);
        self.properties(&format!("{path}[]"), ours.get("items"), served.get("items"));
        self.properties(&format!("{path}{{}}"), ours.get("additionalProperties"), served.get("additionalProperties"));
    }

    fn fields(&mut self, path: &str, ours: &Value, served: &Value) {
        let empty = Map::new();
        let fields = |schema: &'_ Value| schema["properties"].as_object().cloned();
        let (own, found) = (fields(ours).unwrap_or_else(|| empty.clone()), fields(served).unwrap_or(empty));
        for name in own.keys().chain(found.keys().filter(|name| !own.contains_key(*name))) {
            self.properties(&format!("{path}.{name}"), own.get(name), found.get(name));
        }
        let (own_required, found_required) = (strings(&ours["required"]), strings(&served["required"]));
        // The API server would refuse our objects without that field.
        for name in found_required.difference(&own_required) {
            if own.contains_key(*name) {
                self.lacks(format!("an optional {path}.{name}, which it requires"));
            } else {
                self.has(format!("{path}.{name}"));
            }
        }
        self.rules |= !own_required.is_subset(&found_required);
    }

    fn enums(&mut self, path: &str, ours: &Value, served: &Value) {
        match (ours["enum"].is_array(), served["enum"].is_array()) {
            (true, true) => {
                let (own, found) = (strings(&ours["enum"]), strings(&served["enum"]));
                if let Some(value) = own.difference(&found).next() {
                    self.lacks(format!("the value {value} of {path}"));
                }
                if let Some(value) = found.difference(&own).next() {
                    self.has(format!("the value {value} of {path}"));
                }
            }
            (true, false) => self.has(format!("other values of {path}")),
            (false, true) => self.lacks(format!("other values of {path}")),
            (false, false) => {}
        }
    }
}

/// The strings of a list as a set; other values are ignored.
fn strings(list: &Value) -> BTreeSet<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Limits, patterns, defaults, validations and merge rules.
fn rules(schema: &Value) -> Vec<(&str, String)> {
    let all = schema.as_object().into_iter().flatten();
    // 0 and 0.0 are the same limit.
    let text = |value: &Value| value.as_f64().map_or_else(|| value.to_string(), |number| number.to_string());
    all.filter(|(key, _)| !NO_RULES.contains(&key.as_str())).map(|(key, value)| (key.as_str(), text(value))).collect()
}

#[cfg(test)]
mod tests;
