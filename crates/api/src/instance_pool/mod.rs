//! `InstancePool`: how many warm machines are wanted, and how to buy them.

mod autosize;
mod health;
mod readiness;
mod reuse;
mod schedule;
mod standby;

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
pub use autosize::{Autosize, AutosizeMode};
pub use health::{Health, HealthProbe, HeartbeatProbe};
pub use readiness::{
    HttpGetReadiness, HttpScheme, PhoneHomeReadiness, ProviderReadiness, Readiness, TcpSocketReadiness,
};
pub use reuse::{AfterReset, Reuse};
pub use schedule::{NextTarget, PoolSchedule};
pub use standby::{FailuresInARow, Standby, StandbyFailures, StandbyMode};

/// How many warm machines are wanted, and where and how to buy them.
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
    printcolumn(name = "Target", type_ = "integer", json_path = ".status.effectiveTarget.size"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.members.ready"),
    printcolumn(name = "Warming", type_ = "integer", json_path = ".status.members.warming"),
    printcolumn(name = "Claimed", type_ = "integer", json_path = ".status.members.claimed"),
    printcolumn(name = "Waiting", type_ = "integer", json_path = ".status.waitingClaims"),
    printcolumn(name = "Max", type_ = "integer", json_path = ".spec.maxSize"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Installation", type_ = "string", json_path = ".status.installation", priority = 1),
    printcolumn(name = "TargetSize", type_ = "integer", json_path = ".spec.targetSize", priority = 1),
    printcolumn(name = "Standby", type_ = "integer", json_path = ".status.members.standby", priority = 1),
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
    .message("targetSize must not be above maxSize").field_path(".targetSize").optional_old_self(true),
    validation = Rule::new(
        "!has(self.schedules) || self.schedules.all(s, s.targetSize <= self.maxSize) || (oldSelf.hasValue() && \
         has(oldSelf.value().schedules) && oldSelf.value().schedules == self.schedules)"
    )
    .message("the targetSize of a schedule must not be above maxSize").field_path(".schedules").optional_old_self(true)
)]
pub struct InstancePoolSpec {
    /// Number of unclaimed members wanted: pending, warming and ready together.
    #[schemars(range(min = 0, max = 10_000))]
    pub target_size: i32,
    /// Hard limit on all members whose machines may cost money: pending, warming, ready, claimed, errored,
    /// terminating, and on standby. It may be lowered below targetSize; the pool then aims for maxSize.
    #[schemars(range(min = 0, max = 20_000))]
    pub max_size: i32,
    /// Fewest ready members for the pool to be Ready. Recycling and rollouts keep at least as many ready.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000))]
    pub min_size: i32,
    /// Larger targets at certain times. The highest number counts, targetSize included; status.effectiveTarget has it.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<PoolSchedule>,
    /// Finds the size for a hit rate, from the claims that come. Unset: nothing is learnt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autosize: Option<Autosize>,
    /// How long there must be more members than wanted, without interruption, before some are terminated; in seconds. A
    /// targetSize or maxSize that was lowered does not wait.
    #[serde(default = "default_scale_down_delay")]
    #[schemars(range(min = 0, max = 86_400))]
    pub scale_down_delay_seconds: i32,
    /// What a claimant may expect of a machine. A pool of class Ephemeral does not buy by launch configs whose market
    /// is Spot.
    #[serde(default)]
    pub lifecycle_class: LifecycleClass,
    /// Active; Paused (buys nothing, serves no claims); Draining (as Paused, and every unclaimed member is terminated).
    #[serde(default)]
    pub state: PoolState,
    /// The launch configs to buy machines by, in the pool's namespace.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub launch_configs: Vec<PoolLaunchConfig>,
    /// What runs on the machines. The field rollout decides how members are replaced after a change.
    #[serde(default)]
    pub template: Template,
    /// When a machine counts as ready, and how long it may take.
    #[serde(default)]
    pub readiness: Readiness,
    /// How machines that were ready are watched. Unset: only the provider's word that they are there counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How long a ready member is kept.
    #[serde(default)]
    pub recycle: Recycle,
    /// Whether a machine whose claim has ended serves further claims, after a reset that its cloud proves. Unset: it is
    /// terminated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse: Option<Reuse>,
    /// Stopped members that are started before machines are bought. Unset: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<Standby>,
    /// How many members may be above the target, or missing from it, while members are replaced.
    #[serde(default)]
    pub disruption: Disruption,
    /// How members of an older template are replaced.
    #[serde(default)]
    pub rollout: Rollout,
    /// Limits on how fast machines are bought and terminated.
    #[serde(default)]
    pub provisioning: Provisioning,
    /// Who may claim the machines, for how long, and in which order.
    #[serde(default)]
    pub claims: ClaimRules,
}

impl InstancePool {
    /// The number of unclaimed members that the spec, or what `spec.autosize` found, and the schedule that was on wanted when the status was written, before
    /// `maxSize`.
    pub fn wanted_size(&self) -> i32 {
        let target = self.status.as_ref().and_then(|status| status.effective_target.as_ref());
        let on = target.and_then(|target| target.schedule.as_deref());
        let scheduled = self.spec.schedules.iter().find(|schedule| Some(schedule.name.as_str()) == on);
        let follows = self.spec.autosize.as_ref().is_some_and(|autosize| autosize.mode == AutosizeMode::Auto);
        let found = self.status.as_ref().and_then(|status| status.recommended_target).filter(|_| follows);
        found.unwrap_or(self.spec.target_size).max(scheduled.map_or(0, |schedule| schedule.target_size))
    }
}

impl InstancePoolSpec {
    /// The field that has its machines call the operator, if one does.
    pub fn calls_by(&self) -> Option<&'static str> {
        let beats = self.health.as_ref().is_some_and(|health| health.probe.heartbeat.is_some());
        let phones = self.readiness.phone_home.is_some();
        phones.then_some("readiness.phoneHome").or_else(|| beats.then_some("health.probe.heartbeat"))
    }
}

/// What a claimant may expect of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum LifecycleClass {
    /// The machine runs until its claim ends.
    #[default]
    Ephemeral,
    /// The cloud may take the machine back at any time.
    Spot,
}

/// What a pool is allowed to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PoolState {
    /// Buys machines and serves claims.
    #[default]
    Active,
    /// Buys nothing and serves no claims.
    Paused,
    /// Buys nothing and serves no claims; unclaimed members are terminated, claimed ones run until their claims end.
    Draining,
}

impl PoolState {
    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Paused => "Paused",
            Self::Draining => "Draining",
        }
    }
}

/// A launch config that a pool buys by.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolLaunchConfig {
    /// Name of the LaunchConfig.
    #[schemars(length(min = 1, max = 48))]
    pub name: String,
    /// Share of the pool's machines to buy by it, relative to the other weights. 0: none.
    #[serde(default = "full_weight")]
    #[schemars(range(min = 0, max = 100))]
    pub weight: i32,
    /// Most members that this pool may have by it at once.
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
    // maxLength counts characters; clouds count bytes.
    validation = Rule::new("!has(self.userData) || bytes(self.userData).size() <= 16384")
        .message("userData has at most 16384 bytes").field_path(".userData"),
    validation = Rule::new("!has(self.userData) || !has(self.userDataFrom)")
        .message("userData and userDataFrom must not both be set").field_path(".userDataFrom"),
    // The generated part takes about 700 bytes of the 16 KiB. If the sum is still too long, a condition reports it.
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
    /// Tags of the machines at the provider.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "tags_schema")]
    pub tags: BTreeMap<String, String>,
    /// User data (cloud-init) of the machines: at most 16 KiB, the smallest limit among clouds. Do not put secrets
    /// here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16_384))]
    pub user_data: Option<String>,
    /// Read the user data from a Secret or ConfigMap instead. Its content is part of the template and is read once a
    /// minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data_from: Option<UserDataSource>,
    /// How claimants log in to their machines by SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<Ssh>,
}

/// Limits on how fast machines are bought and terminated.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provisioning {
    /// Most members of one launch config at any time whose create call the provider has not accepted yet.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1, max = 1_000))]
    pub max_concurrent_creates: i32,
    /// Most terminate calls in flight at any time; also the most booting members of an older template that are being
    /// replaced.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1, max = 1_000))]
    pub max_concurrent_deletes: i32,
    /// After this many members in a row of one launch config and template failed before they were ready, nothing is
    /// bought by that launch config for cooldownSeconds. Also the most of them in flight until the first one was ready.
    #[serde(default = "default_failure_threshold")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: i32,
    /// Seconds for which nothing is bought by a launch config after failureThreshold failures. Then one member is
    /// tried; each time it fails too, the time doubles, up to an hour.
    #[serde(default = "default_cooldown")]
    #[schemars(range(min = 1, max = 86_400))]
    pub cooldown_seconds: i32,
}

const fn default_scale_down_delay() -> i32 {
    30
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

/// What the operator observed of a pool. Nothing in it changes merely because time passes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstancePoolStatus {
    /// Ready, Reconciling, Stalled, ProvisioningHealthy, CapacityAvailable, AtMaxSize, TemplateCurrent, Drained; with the fields
    /// that they are about `SchedulesValid`, Autosized and `StandbyFilled`; and `TerminationHealthy`, Quarantined and
    /// `HealthSuspended` once there was a problem.
    #[schemars(schema_with = "conditions_schema")]
    #[serde(default, deserialize_with = "crate::moments::conditions", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status describes.
    #[serde(default)]
    pub observed_generation: i64,
    /// The id of the installation that works on it. Another one does nothing with it, unless the annotation
    /// bullpen.dev/take-over names that one.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<String>,
    /// Members by state, each counted once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<MemberCounts>,
    /// Number of pending, warming and ready members, as the scale subresource reports it.
    #[serde(default)]
    pub replicas: i32,
    /// Number of members still to be bought to reach the effective target.
    #[serde(default)]
    pub deficit: i32,
    /// The target that the operator acts on, and what decided it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_target: Option<EffectiveTarget>,
    /// When a schedule next changes the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_target: Option<NextTarget>,
    /// The size that spec.autosize found, between minSize and maxSize. Absent while too little is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommended_target: Option<i32>,
    /// What spec.autosize has learnt, for the operator itself: it goes on from here after a restart.
    #[schemars(length(max = 16_384))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learnt: Option<String>,
    /// Number of claims that wait for a member of this pool.
    #[serde(default)]
    pub waiting_claims: i32,
    /// The pool's launch configs, as the operator last saw them.
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub launch_configs: Vec<LaunchConfigInUse>,
    /// One hash over the templateHash of all launch configs. It changes when new members would differ from the present
    /// ones.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub template_hash: String,
    /// Number of ready members of the current template.
    #[serde(default)]
    pub updated_ready: i32,
    /// When the present rollout began or last made progress. Absent if no member is of an older template.
    #[serde(default, deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub rollout_progress_time: Option<MicroTime>,
    /// The last value of the annotation bullpen.dev/reconcile-requested-at that the operator has handled.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// When members were last added to fill a deficit.
    #[serde(default, deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub last_replenish_time: Option<MicroTime>,
    /// When the pool first had all of the machines that targetSize and schedules wanted, ready or claimed. Absent before
    /// that, and again once it drained or none was wanted. Until then the pool is not Ready.
    #[serde(default, deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub filled_time: Option<MicroTime>,
    /// Label selector of the pool's members.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
}

/// Members by state. Each member counts once, for the first that applies of: claimed, terminating, errored, ready,
/// warming, pending, standby. Cordoned and held members that would count as one of the last four count in total only.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MemberCounts {
    /// Written, but the provider has not accepted the create yet.
    pub pending: i32,
    /// Booting, or being reset after a claim.
    pub warming: i32,
    /// Can be claimed.
    pub ready: i32,
    /// Stopped, or being stopped, for the standby tier.
    pub standby: i32,
    /// Bound to a claim.
    pub claimed: i32,
    /// Failed, about to be terminated.
    pub errored: i32,
    /// Being terminated: the provider has not reported yet that the machine is gone.
    pub terminating: i32,
    /// All members: the number that maxSize limits.
    pub total: i32,
}

/// The target that the operator acts on, and what decided it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectiveTarget {
    /// Number of unclaimed members.
    pub size: i32,
    /// Spec: spec.targetSize. Autosize: the size that spec.autosize found. Schedule: the highest of spec.schedules that is on. MaxSize: the room that spec.maxSize leaves. Draining: the pool is draining or being
    /// deleted.
    pub source: TargetSource,
    /// The schedule that is on and wants more than targetSize, also if maxSize leaves room for less.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
}

/// What decided the effective target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TargetSource {
    /// `spec.targetSize`.
    Spec,
    /// The size that `spec.autosize` found.
    Autosize,
    /// One of `spec.schedules` that is on.
    Schedule,
    /// `spec.maxSize` less the members that are claimed, cordoned or held.
    MaxSize,
    /// The pool is draining or being deleted, so the target is 0.
    Draining,
}

/// A launch config of the pool as the operator last saw it, and how its members fared.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchConfigInUse {
    /// Name of the LaunchConfig.
    #[schemars(length(max = 48))]
    pub name: String,
    /// Hash that new members get: over the template and the fields of this launch config that define a machine.
    #[schemars(length(max = 63))]
    pub template_hash: String,
    /// Number of members of this hash in a row that failed before they were ready. 0 once one is ready.
    #[serde(default)]
    pub consecutive_failures: i32,
    /// Nothing is bought by this launch config before this time; after it, one member at a time is tried.
    #[serde(default, deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub open_until: Option<MicroTime>,
    /// The last failure of those that consecutiveFailures counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<RecordedError>,
    /// What failed of its stops and starts for the standby tier. Absent if nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<Box<StandbyFailures>>,
}
