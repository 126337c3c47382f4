//! `PoolMember`: the record of one machine. Only the operator creates them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{ClaimRef, InstanceAddress, RecordedError, conditions_schema};
use super::instance_pool::StandbyMode;
use super::machine_report::{MachineReport, MemberPhoneHome};
use super::ssh::MemberSsh;
use super::states::MemberState;

const FIXED: &str = "the spec of a member is immutable, but for cordoned and hold";

/// The rule of a field that never changes. It stands on the field itself, and not on the object that has it: each time
/// that a rule reads a field of an object, the API server copies the schemas of all fields of that object.
fn fixed() -> Rule {
    Rule::new("self == oldSelf").message(FIXED)
}

/// What a member is. Fixed when it is created, before its machine is bought; only cordoned and hold may change later.
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
    doc = "A PoolMember is the record of one machine, created before the machine is bought and deleted only after the cloud has reported that the machine is gone. Only the operator creates them.",
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.poolRef.name"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Claim", type_ = "string", json_path = ".status.claimRef.name"),
    printcolumn(name = "Instance", type_ = "string", json_path = ".status.instance.id"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.instance.addresses[0].address"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".spec.placement.zone"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Deleting", type_ = "date", json_path = ".metadata.deletionTimestamp"),
    printcolumn(name = "Uses", type_ = "integer", json_path = ".status.uses", priority = 1),
    printcolumn(name = "Cordoned", type_ = "boolean", json_path = ".spec.cordoned", priority = 1),
    printcolumn(name = "Hold", type_ = "boolean", json_path = ".spec.hold", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "has(self.ssh) == has(oldSelf.ssh) && has(self.adopted) == has(oldSelf.adopted) && \
         has(self.phoneHome) == has(oldSelf.phoneHome) && \
         (!has(oldSelf.cloud) || has(self.cloud))"
    )
    .message(FIXED)
)]
pub struct PoolMemberSpec {
    /// The pool of the member. This decides, not the owner reference.
    pub pool_ref: PoolRef,
    /// Where and how the machine is bought. A retry of the create sends the same request again.
    pub placement: Placement,
    /// The cloud that the machine is bought at, recorded before the first call. While the launch config leads to
    /// another one, nothing is done with the member. Members of versions that did not record it are given it once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<MemberCloud>,
    /// The machine that the member was made for, by a person's word, instead of buying one. It served a claim before, so
    /// no claim gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = fixed())]
    pub adopted: Option<String>,
    /// Hash of the pool's template and of the machine-defining fields of the launch config.
    #[schemars(length(max = 63))]
    #[x_kube(validation = fixed())]
    pub template_hash: String,
    /// How the claimant logs in, from the pool's template at the time of creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = fixed())]
    pub ssh: Option<MemberSsh>,
    /// How the machine reports over HTTP, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = fixed())]
    // Boxed, as few members have one.
    pub phone_home: Option<Box<MemberPhoneHome>>,
    /// While true, no claim gets the member, and it does not count as ready: another is bought in its place. Its
    /// machine runs and costs money.
    #[serde(default)]
    pub cordoned: bool,
    /// While true, no claim gets the member, and its machine is not terminated, not even if the member or its pool is
    /// deleted. The machine costs money. Pending deletions go on once this is false.
    #[serde(default)]
    pub hold: bool,
}

/// A pool in the member's namespace; the uid tells it from a later pool of the same name.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct PoolRef {
    /// Name of the pool.
    #[schemars(length(max = 48))]
    #[x_kube(validation = fixed())]
    pub name: String,
    /// Uid of the pool.
    #[schemars(length(max = 64))]
    #[x_kube(validation = fixed())]
    pub uid: String,
}

/// The launch config, image and zone that a member is bound to.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Placement {
    /// Name of the launch config.
    #[schemars(length(max = 48))]
    #[x_kube(validation = fixed())]
    pub launch_config: String,
    /// The generation of the launch config when the member was created.
    #[x_kube(validation = fixed())]
    pub generation: i64,
    /// The resolved image.
    #[schemars(length(max = 253))]
    #[x_kube(validation = fixed())]
    pub image: String,
    /// The zone.
    #[schemars(length(max = 63))]
    #[x_kube(validation = fixed())]
    pub zone: String,
}

/// An account and region of a cloud.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
#[x_kube(validation = Rule::new("has(self.endpoint) == has(oldSelf.endpoint)").message(FIXED))]
pub struct MemberCloud {
    /// The kind of provider, by the name of its block in a launch config.
    #[schemars(length(max = 63))]
    #[x_kube(validation = fixed())]
    pub provider: String,
    /// The URL of the cloud's API, or a partition of it. Absent if the region is enough.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = fixed())]
    pub endpoint: String,
    /// The account.
    #[schemars(length(max = 256))]
    #[x_kube(validation = fixed())]
    pub account: String,
    /// The region.
    #[schemars(length(max = 63))]
    #[x_kube(validation = fixed())]
    pub region: String,
}

/// Where a member is in its life.
// Atomic, because it has one writer, which always writes all of it. Otherwise the API server would track the owner of
// each field, compute that at each write and send it in each watch event (ADR 0009).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
#[x_kube(
    validation = Rule::new("has(self.claimRef) == (self.state == 'Claimed')")
        .message("claimRef is set exactly while the state is Claimed").field_path(".claimRef")
)]
pub struct PoolMemberStatus {
    /// Ready. Stalled: the machine cannot be terminated. Quarantined: by its tags, the machine was claimed before.
    /// Reachable: the launch config leads to the cloud that the machine was bought at. Of a claimed member, Interrupted:
    /// the cloud has announced that it takes the machine away. Healthy: the machine answers health probes.
    #[schemars(schema_with = "conditions_schema")]
    #[serde(default, deserialize_with = "crate::moments::conditions", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status describes.
    #[serde(default)]
    pub observed_generation: i64,
    /// Pending, Warming, Ready, Claimed, Resetting, Stopping, Standby or Errored. A member that is being terminated has a deletionTimestamp.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new(
            "self == oldSelf || \
             (oldSelf == 'Pending' && self in ['Warming', 'Errored']) || \
             (oldSelf == 'Warming' && self in ['Ready', 'Errored']) || \
             (oldSelf == 'Ready' && self in ['Claimed', 'Stopping', 'Errored']) || \
             (oldSelf == 'Claimed' && self in ['Ready', 'Resetting']) || \
             (oldSelf == 'Resetting' && self in ['Warming', 'Errored']) || \
             (oldSelf == 'Stopping' && self in ['Standby', 'Errored']) || \
             (oldSelf == 'Standby' && self in ['Warming', 'Errored'])"
        )
        .message("a member does not go from its present state to this one")
    )]
    pub state: MemberState,
    /// The claim that has the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_ref: Option<ClaimRef>,
    /// The machine at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<MemberInstance>,
    /// Number of claims that had the machine and have ended, each followed by a reset. The machine's SSH key and token
    /// are derived with it, so that those of former claims are of no use.
    #[serde(default)]
    #[schemars(range(min = 0))]
    #[x_kube(
        validation = Rule::new("self == oldSelf || self == oldSelf + 1").message("uses are counted one by one")
    )]
    pub uses: i32,
    /// When the last claim had ended and the reset was decided.
    #[serde(default, deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub reset_started_at: Option<MicroTime>,
    /// The last stay on standby. Absent if the machine was never stopped by the operator since its last reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Boxed, as few members have one.
    pub standby: Option<Box<MemberStandby>>,
    /// When the provider accepted the create; after a reset, when the provider showed that it was done; after standby,
    /// when the start was decided.
    #[serde(default, deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub warming_started_at: Option<MicroTime>,
    /// When the member last became ready.
    #[serde(default, deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<MicroTime>,
    /// When the member was bound to its claim.
    #[serde(default, deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<MicroTime>,
    /// Why the member failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<RecordedError>,
    /// What the machine has reported of itself over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Boxed, as few members have one.
    pub reported: Option<Box<MachineReport>>,
}

/// A stay on standby.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStandby {
    /// When it was decided to stop the machine.
    #[serde(deserialize_with = "crate::moments::moment")]
    pub since: MicroTime,
    /// When the machine last started, by the provider's clock. What shows the machine with an earlier start is out of date,
    /// and after the end of the stay only a later one proves that it runs again.
    #[serde(deserialize_with = "crate::moments::moment")]
    pub last_start: MicroTime,
    /// How the machine was stopped.
    #[serde(default)]
    pub mode: StandbyMode,
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
    #[serde(deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub launch_time: Option<MicroTime>,
    /// When it finished booting.
    #[serde(deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub boot_time: Option<MicroTime>,
}
