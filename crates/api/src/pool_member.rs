//! `PoolMember`: the record of one machine. Only the operator makes them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{InstanceAddress, ObjectRef, RecordedError, conditions_schema};
use super::ssh::MemberSsh;
use super::states::MemberState;

/// What a member is: fixed when it is written, before its machine is bought, but for what a person asks of it later.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "bullpen.dev",
    version = "v1alpha1",
    kind = "PoolMember",
    plural = "poolmembers",
    shortname = "pm",
    category = "bullpen",
    namespaced,
    status = "PoolMemberStatus",
    derive = "PartialEq",
    cel,
    doc = "A PoolMember is the record of one machine, written before the machine is bought and gone only after the cloud says that the machine is gone. Only the operator makes them.",
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.poolRef.name"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Claim", type_ = "string", json_path = ".status.claimRef.name"),
    printcolumn(name = "Instance", type_ = "string", json_path = ".status.instance.id"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.instance.addresses[0].address"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".spec.placement.zone"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Deleting", type_ = "date", json_path = ".metadata.deletionTimestamp"),
    printcolumn(name = "Cordoned", type_ = "boolean", json_path = ".spec.cordoned", priority = 1),
    printcolumn(name = "Hold", type_ = "boolean", json_path = ".spec.hold", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.poolRef == oldSelf.poolRef && self.placement == oldSelf.placement && self.templateHash == oldSelf.templateHash"
    )
    .message("the spec of a member is immutable, but for cordoned and hold"),
    validation = Rule::new("has(self.ssh) == has(oldSelf.ssh) && (!has(self.ssh) || self.ssh == oldSelf.ssh)")
        .message("the spec of a member is immutable, but for cordoned and hold")
)]
pub struct PoolMemberSpec {
    /// The pool that the member belongs to: this, not the owner reference, decides.
    pub pool_ref: PoolRef,
    /// Where and how its machine is bought. A retry of the create sends the same again.
    pub placement: Placement,
    /// Hash of the pool's template and of the machine-defining fields of the launch config.
    #[schemars(length(max = 63))]
    pub template_hash: String,
    /// How the claimant logs in, by the template of then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<MemberSsh>,
    /// Not claimable, and not counted as ready: another is bought in its place. It still bills.
    #[serde(default)]
    pub cordoned: bool,
    /// Not claimable, and kept, whoever wants it gone: its machine is not terminated while this is true. It still
    /// bills. After that, what was asked for meanwhile is done.
    #[serde(default)]
    pub hold: bool,
}

/// One incarnation of a pool, in the member's namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct PoolRef {
    /// Name of the pool.
    #[schemars(length(max = 48))]
    pub name: String,
    /// Uid of the pool.
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// The place that a member is pinned to.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Placement {
    /// Name of the launch config.
    #[schemars(length(max = 48))]
    pub launch_config: String,
    /// The generation of the launch config that the member was written for.
    pub generation: i64,
    /// The image as resolved.
    #[schemars(length(max = 253))]
    pub image: String,
    /// The zone.
    #[schemars(length(max = 63))]
    pub zone: String,
}

/// Where a member is in its life.
// Atomic: one writer writes it, always whole. The API server would keep a record of each field's owner, work it out anew at
// each write and show it in each event (ADR 0009).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
#[x_kube(
    validation = Rule::new(
        "self.state == oldSelf.state || \
         (oldSelf.state == 'Pending' && self.state in ['Warming', 'Errored']) || \
         (oldSelf.state == 'Warming' && self.state in ['Ready', 'Errored']) || \
         (oldSelf.state == 'Ready' && self.state in ['Claimed', 'Errored']) || \
         (oldSelf.state == 'Claimed' && self.state == 'Ready')"
    )
    .message("a member does not go from its present state to this one").field_path(".state"),
    validation = Rule::new("has(self.claimRef) == (self.state == 'Claimed')")
        .message("claimRef is set exactly while the state is Claimed").field_path(".claimRef"),
    validation = Rule::new("!has(self.claimRef) || !has(oldSelf.claimRef) || self.claimRef == oldSelf.claimRef")
        .message("claimRef never goes from one claim to another").field_path(".claimRef")
)]
pub struct PoolMemberStatus {
    /// Ready. Stalled: its machine cannot be terminated. Quarantined: its machine was claimed before, by its tags.
    #[schemars(schema_with = "conditions_schema")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    #[serde(default)]
    pub observed_generation: i64,
    /// Pending, Warming, Ready, Claimed or Errored. A member that drains has a deletionTimestamp.
    #[serde(default)]
    pub state: MemberState,
    /// The claim that holds the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_ref: Option<ObjectRef>,
    /// The machine at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<MemberInstance>,
    /// When the provider accepted the create.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warming_started_at: Option<MicroTime>,
    /// When the member became ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<MicroTime>,
    /// When a claim took the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<MicroTime>,
    /// Why the member failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<RecordedError>,
}

/// The machine of a member.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MemberInstance {
    /// The provider's id.
    #[schemars(length(max = 128))]
    pub id: String,
    /// Region.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// Zone.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Instance type.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub type_: String,
    /// Addresses, the internal one first.
    #[schemars(length(max = 8))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<InstanceAddress>,
    /// When the provider launched it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_time: Option<MicroTime>,
    /// When it had booted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_time: Option<MicroTime>,
}
