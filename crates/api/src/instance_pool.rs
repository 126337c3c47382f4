//! `InstancePool`: the wish for N warm machines.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::claim_rules::ClaimRules;
use super::common::{RecordedError, conditions_schema, labels_schema, tags_schema};
use super::ssh::Ssh;
use super::upkeep::{Disruption, Recycle, Rollout};
use super::user_data::UserDataSource;

/// The wish for targetSize warm machines, and where and how to buy them.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "bullpen.dev",
    version = "v1alpha1",
    kind = "InstancePool",
    plural = "instancepools",
    shortname = "ipool",
    category = "bullpen",
    namespaced,
    status = "InstancePoolStatus",
    derive = "PartialEq",
    cel,
    doc = "An InstancePool keeps a number of machines booted and ready to be claimed.",
    scale(
        spec_replicas_path = ".spec.targetSize",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "State", type_ = "string", json_path = ".spec.state"),
    printcolumn(name = "Target", type_ = "integer", json_path = ".spec.targetSize"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.members.ready"),
    printcolumn(name = "Warming", type_ = "integer", json_path = ".status.members.warming"),
    printcolumn(name = "Claimed", type_ = "integer", json_path = ".status.members.claimed"),
    printcolumn(name = "Waiting", type_ = "integer", json_path = ".status.waitingClaims"),
    printcolumn(name = "Max", type_ = "integer", json_path = ".spec.maxSize"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Errored", type_ = "integer", json_path = ".status.members.errored", priority = 1),
    printcolumn(name = "Terminating", type_ = "integer", json_path = ".status.members.terminating", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.size() <= 48")
        .message("the name of a pool has at most 48 characters: it becomes a label value and a prefix of its members' names")
        .field_path(".metadata.name")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.minSize <= self.targetSize")
        .message("minSize must not be above targetSize").field_path(".minSize"),
    validation = Rule::new(
        "self.targetSize <= self.maxSize || (oldSelf.hasValue() && oldSelf.value().targetSize == self.targetSize)"
    )
    .message("targetSize must not be above maxSize").field_path(".targetSize").optional_old_self(true)
)]
pub struct InstancePoolSpec {
    /// Unclaimed members wanted: pending, warming and ready ones together.
    #[schemars(range(min = 0, max = 10_000))]
    pub target_size: i32,
    /// Hard limit on every member that can bill: pending, warming, ready, claimed, errored and terminating.
    /// Lowering it below targetSize is always accepted and clamps the pool.
    #[schemars(range(min = 0, max = 20_000))]
    pub max_size: i32,
    /// Members that have to be ready for the pool to count as Ready; recycling and rollouts never go below it.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000))]
    pub min_size: i32,
    /// What a claimant may expect. A pool that promises Ephemeral uses no launch config of market Spot.
    #[serde(default)]
    pub lifecycle_class: LifecycleClass,
    /// Active; Paused (no creates, no claims); Draining (no creates, no claims, and every unclaimed member is terminated).
    #[serde(default)]
    pub state: PoolState,
    /// The launch configs to buy machines by, in the pool's namespace.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub launch_configs: Vec<PoolLaunchConfig>,
    /// What runs on the machines. A change reaches members as rollout says.
    #[serde(default)]
    pub template: Template,
    /// When a machine counts as ready, and how long it may take.
    #[serde(default)]
    pub readiness: Readiness,
    /// How long a ready member is kept.
    #[serde(default)]
    pub recycle: Recycle,
    /// How many members may be too many or missing while others are replaced.
    #[serde(default)]
    pub disruption: Disruption,
    /// What becomes of members of an older template.
    #[serde(default)]
    pub rollout: Rollout,
    /// How fast machines are bought and given up.
    #[serde(default)]
    pub provisioning: Provisioning,
    /// Who may claim the machines, for how long, and in which order.
    #[serde(default)]
    pub claims: ClaimRules,
}

/// What a claimant may expect of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum LifecycleClass {
    /// It lives until its claim ends.
    #[default]
    Ephemeral,
    /// The cloud may take it back at any time.
    Spot,
}

/// What a pool is allowed to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PoolState {
    /// It buys machines and hands them out.
    #[default]
    Active,
    /// No creates, no claims.
    Paused,
    /// No creates, no claims; every unclaimed member is terminated, claimed ones finish.
    Draining,
}

impl PoolState {
    /// The name as it stands in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Paused => "Paused",
            Self::Draining => "Draining",
        }
    }
}

/// A launch config as a pool uses it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolLaunchConfig {
    /// Name of the LaunchConfig.
    #[schemars(length(min = 1, max = 48))]
    pub name: String,
    /// Share of the pool's machines that are bought by it, relative to the other weights. 0 buys none.
    #[serde(default = "full_weight")]
    #[schemars(range(min = 0, max = 100))]
    pub weight: i32,
    /// Most members of this pool that it may have at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20_000))]
    pub max_instances: Option<i32>,
}

const fn full_weight() -> i32 {
    100
}

/// What runs on the machines of a pool.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    // A bound on the length counts characters, clouds count bytes.
    validation = Rule::new("!has(self.userData) || bytes(self.userData).size() <= 16384")
        .message("userData has at most 16384 bytes").field_path(".userData"),
    validation = Rule::new("!has(self.userData) || !has(self.userDataFrom)")
        .message("userData and userDataFrom must not both be set").field_path(".userDataFrom"),
    // What is added to it takes some 700 bytes of the 16 KiB; what does not fit after all is said in a condition.
    validation = Rule::new(
        "!has(self.userData) || !has(self.ssh) || !self.ssh.generateKey || bytes(self.userData).size() <= 15360"
    )
    .message("beside a generated key, userData has at most 15360 bytes").field_path(".userData")
)]
pub struct Template {
    /// Labels of the PoolMember objects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels_schema")]
    pub labels: BTreeMap<String, String>,
    /// Tags of the instances at the provider.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "tags_schema")]
    pub tags: BTreeMap<String, String>,
    /// User data (cloud-init) of the instances. At most 16 KiB, the smallest limit among clouds. Not for secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16_384))]
    pub user_data: Option<String>,
    /// Where user data comes from instead. Its content counts as part of the template: it is read again once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data_from: Option<UserDataSource>,
    /// How whoever claims a machine logs in to it by SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<Ssh>,
}

/// When a machine counts as ready.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Ready when the provider says that the machine runs and passed the provider's own checks. The default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderReadiness>,
    /// Seconds from the accepted create to a booted machine; after that the member is Errored.
    #[serde(default = "default_launch_timeout")]
    #[schemars(range(min = 1, max = 86_400))]
    pub launch_timeout_seconds: i32,
    /// Seconds from boot to ready; after that the member is Errored.
    #[serde(default = "default_warming_timeout")]
    #[schemars(range(min = 1, max = 86_400))]
    pub warming_timeout_seconds: i32,
}

/// Readiness by the provider's own word; it has no settings.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderReadiness {}

const fn default_launch_timeout() -> i32 {
    600
}

const fn default_warming_timeout() -> i32 {
    1_800
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            provider: None,
            launch_timeout_seconds: default_launch_timeout(),
            warming_timeout_seconds: default_warming_timeout(),
        }
    }
}

/// How fast machines are bought and given up.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provisioning {
    /// Most members whose create was not accepted yet, at any time.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1, max = 1_000))]
    pub max_concurrent_creates: i32,
    /// Most terminate calls in flight, and most booting members of an older template given up, at any time.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1, max = 1_000))]
    pub max_concurrent_deletes: i32,
    /// Members in a row that fail before they were ever ready, by one launch config and template, until that launch
    /// config is left alone for cooldownSeconds. Also the most of them in flight before the first one was ready.
    #[serde(default = "default_failure_threshold")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: i32,
    /// Seconds that a launch config is left alone after failureThreshold failures. Doubled each time that the one
    /// member bought after it fails too, up to an hour.
    #[serde(default = "default_cooldown")]
    #[schemars(range(min = 1, max = 86_400))]
    pub cooldown_seconds: i32,
}

const fn default_failure_threshold() -> i32 {
    5
}

const fn default_cooldown() -> i32 {
    60
}

const fn default_concurrency() -> i32 {
    10
}

impl Default for Provisioning {
    fn default() -> Self {
        Self {
            max_concurrent_creates: default_concurrency(),
            max_concurrent_deletes: default_concurrency(),
            failure_threshold: default_failure_threshold(),
            cooldown_seconds: default_cooldown(),
        }
    }
}

/// What the operator knows of a pool. Facts only: nothing in here changes by the passing of time alone.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstancePoolStatus {
    /// Ready, Reconciling, Stalled, ProvisioningHealthy, CapacityAvailable, AtMaxSize, TemplateCurrent, Drained; and
    /// `TerminationHealthy` and Quarantined once they had something to say.
    #[schemars(schema_with = "conditions_schema")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    #[serde(default)]
    pub observed_generation: i64,
    /// Members by state, each counted once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<MemberCounts>,
    /// Pending, warming and ready members: what the scale subresource reports.
    #[serde(default)]
    pub replicas: i32,
    /// Members that are still to be bought to reach the effective target.
    #[serde(default)]
    pub deficit: i32,
    /// The target that is acted on, and where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_target: Option<EffectiveTarget>,
    /// Claims that wait for a member of this pool.
    #[serde(default)]
    pub waiting_claims: i32,
    /// The pool's launch configs as they were found.
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub launch_configs: Vec<LaunchConfigInUse>,
    /// One hash over the templateHash of every launch config: it changes when new members become something else.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub template_hash: String,
    /// Ready members of the current template.
    #[serde(default)]
    pub updated_ready: i32,
    /// When the present rollout began or last made progress; absent when no member is of an older template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout_progress_time: Option<MicroTime>,
    /// The value of the annotation bullpen.dev/reconcile-requested-at that a pass has answered.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// When members were last written to fill a deficit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_replenish_time: Option<MicroTime>,
    /// Label selector of the pool's members.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
}

/// Members by state. Each counts once, first match: claimed, terminating, errored, ready, warming, pending. Cordoned and
/// held members that would be one of the last three count in total only.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MemberCounts {
    /// Written down, the create not accepted yet.
    pub pending: i32,
    /// Booting.
    pub warming: i32,
    /// Can be claimed.
    pub ready: i32,
    /// Held by a claim.
    pub claimed: i32,
    /// Failed, about to be terminated.
    pub errored: i32,
    /// Being terminated, until the provider says that the machine is gone.
    pub terminating: i32,
    /// All of them: what maxSize limits.
    pub total: i32,
}

/// The target that the reaper acts on.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectiveTarget {
    /// Unclaimed members.
    pub size: i32,
    /// What decided it: Spec, or MaxSize when the limit clamps it.
    pub source: TargetSource,
}

/// What decided the effective target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TargetSource {
    /// `spec.targetSize`.
    Spec,
    /// `spec.maxSize` less the members that are claimed, cordoned or held.
    MaxSize,
    /// A pool that is draining or being deleted wants none.
    Draining,
}

/// A launch config of the pool, as it was found, and how its members fared.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchConfigInUse {
    /// Name of the LaunchConfig.
    #[schemars(length(max = 48))]
    pub name: String,
    /// Hash of the template and the machine-defining fields of this launch config: what new members get.
    #[schemars(length(max = 63))]
    pub template_hash: String,
    /// Members of this hash that failed, one after the other, before they were ever ready. 0 once one is ready.
    #[serde(default)]
    pub consecutive_failures: i32,
    /// Nothing is bought by this launch config before this moment; from then on one member at a time is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_until: Option<MicroTime>,
    /// The last of consecutiveFailures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<RecordedError>,
}
