//! A pool's rules for the claims on it: who may claim, for how long, and in which order.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::match_labels_schema;

/// Rules for the claims on a pool: defaults for what claims leave out, and limits on what they ask for.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.defaultTtlSeconds) || !has(self.maxTtlSeconds) || self.defaultTtlSeconds <= self.maxTtlSeconds"
    )
    .message("defaultTtlSeconds must not be above maxTtlSeconds").field_path(".defaultTtlSeconds")
)]
pub struct ClaimRules {
    /// The ttl of claims without ttlSeconds: seconds from binding or renewal until they expire. Unset: they do not
    /// expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub default_ttl_seconds: Option<i32>,
    /// The longest ttl that a claim gets: seconds from binding or renewal until it expires. It also applies to claims
    /// without any ttl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub max_ttl_seconds: Option<i32>,
    /// Most seconds that a claim may have its machine in total, however often it is renewed. A change of this field,
    /// defaultTtlSeconds or maxTtlSeconds applies to a claim when it is next bound or renewed, or its ttlSeconds
    /// change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub max_hold_seconds: Option<i32>,
    /// Seconds after binding at which a claim gets the condition Stale. The claim goes on.
    #[serde(default = "default_stale_after")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub stale_after_seconds: i32,
    /// What happens to a Bound claim when the cloud announces that it takes the machine away: Flag (the default; the
    /// claim goes on, with the condition Interrupted) or Release (the claim is Lost at once, and the machine terminated).
    #[serde(default)]
    pub on_interrupt: OnInterrupt,
    /// What a claim without whenEmpty does when no member is ready: Wait (the default) or Fail.
    #[serde(default)]
    pub when_empty: WhenEmpty,
    /// The highest priority that a claim gets, whatever it asks for. Unset: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1_000, max = 1_000))]
    pub max_priority: Option<i32>,
    /// Most members of this pool that the claims of one namespace may have at once; further claims wait. Machines of
    /// claims that were deleted count until they are gone, unless maxSize leaves room for targetSize (at least 1) more
    /// members. Unset: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20_000))]
    pub per_namespace: Option<i32>,
    /// The namespaces whose claims are served. Default: only the pool's own.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,
    /// Whether a claim ends, as Released, when its machine reports that its job is done. The claim stays as a record, and
    /// the machine is terminated. Otherwise only the member's status says that the job is done.
    #[serde(default)]
    pub release_on_done: bool,
    /// Seconds after which an ended claim (Expired, Lost, Failed or Released) is deleted, but not before its machine is gone.
    /// Unset: ended claims stay as records. Costs money with GitOps: whatever applies the same claim again after its
    /// record was deleted makes a new claim, which takes another machine, again and again. Leave it unset for claims
    /// that such a tool applies.
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
            on_interrupt: OnInterrupt::default(),
            when_empty: WhenEmpty::default(),
            max_priority: None,
            per_namespace: None,
            allowed_namespaces: AllowedNamespaces::default(),
            release_on_done: false,
            ttl_seconds_after_finished: None,
        }
    }
}

/// What happens to a Bound claim when the cloud announces that it takes the machine away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OnInterrupt {
    /// The claim goes on until the machine is gone, and says so in a condition.
    #[default]
    Flag,
    /// The claim ends at once.
    Release,
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

/// Labels that a namespace must have; all of them have to match.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Label keys and their values.
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
