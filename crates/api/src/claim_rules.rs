//! What a pool says of the claims on it: who may claim, for how long, and in which order.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::match_labels_schema;

/// What holds of the claims on a pool, unless a claim may and does say otherwise.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.defaultTtlSeconds) || !has(self.maxTtlSeconds) || self.defaultTtlSeconds <= self.maxTtlSeconds"
    )
    .message("defaultTtlSeconds must not be above maxTtlSeconds").field_path(".defaultTtlSeconds")
)]
pub struct ClaimRules {
    /// Seconds that a claim without ttlSeconds holds its machine after it was bound or renewed. Unset: until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub default_ttl_seconds: Option<i32>,
    /// Most seconds that a claim may hold its machine after it was bound or renewed, whatever it asks for. It caps claims
    /// that ask for no end as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub max_ttl_seconds: Option<i32>,
    /// Most seconds that a claim may hold its machine in all, renewed or not. It reaches a claim when that is bound or
    /// renewed, or changes its ttlSeconds, as defaultTtlSeconds and maxTtlSeconds do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub max_hold_seconds: Option<i32>,
    /// Seconds after which a claim that still holds its machine is flagged, once, by the condition Stale. Nothing is
    /// ended by it.
    #[serde(default = "default_stale_after")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub stale_after_seconds: i32,
    /// What a claim without whenEmpty does when no member is ready: Wait (the default) or Fail.
    #[serde(default)]
    pub when_empty: WhenEmpty,
    /// The highest priority that a claim has, whatever it asks for. Unset: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1_000, max = 1_000))]
    pub max_priority: Option<i32>,
    /// Most members of this pool that the claims of one namespace may hold at once; further ones wait. Unset: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20_000))]
    pub per_namespace: Option<i32>,
    /// Whose claims are served. By default only those in the pool's namespace.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,
    /// Seconds after which a claim that has ended (Expired, Lost or Failed) is deleted, but not before its machine is gone.
    /// Unset: it stays as a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i32>,
}

const fn default_stale_after() -> i32 {
    86_400
}

impl Default for ClaimRules {
    fn default() -> Self {
        Self {
            default_ttl_seconds: None,
            max_ttl_seconds: None,
            max_hold_seconds: None,
            stale_after_seconds: default_stale_after(),
            when_empty: WhenEmpty::default(),
            max_priority: None,
            per_namespace: None,
            allowed_namespaces: AllowedNamespaces::default(),
            ttl_seconds_after_finished: None,
        }
    }
}

/// The namespaces whose claims a pool serves.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.from == 'Selector') == has(self.selector)")
        .message("selector must be set exactly when from is Selector").field_path(".selector")
)]
pub struct AllowedNamespaces {
    /// Same (the pool's own, the default), All, or Selector.
    #[serde(default)]
    pub from: NamespacesFrom,
    /// With from Selector: labels that a namespace must have. The pool's own namespace is always allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
}

/// Where claims may come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum NamespacesFrom {
    /// The pool's namespace.
    #[default]
    Same,
    /// Every namespace.
    All,
    /// The pool's namespace, and those with the labels of `selector`.
    Selector,
}

/// Labels that a namespace must have, all of them.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// The labels and their values.
    #[schemars(schema_with = "match_labels_schema")]
    pub match_labels: BTreeMap<String, String>,
}

/// What to do when no member is ready: Wait (the default) or Fail. Immutable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WhenEmpty {
    /// Wait in the queue.
    #[default]
    Wait,
    /// Fail at once.
    Fail,
}
