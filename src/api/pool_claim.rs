//! `PoolClaim`: a request for one machine, and afterwards the record of who holds it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{InstanceAddress, ObjectRef, conditions_schema};
use super::states::ClaimPhase;

/// A request for one machine of a pool.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "bullpen.dev",
    version = "v1alpha1",
    kind = "PoolClaim",
    plural = "poolclaims",
    shortname = "pclaim",
    category = "bullpen",
    namespaced,
    status = "PoolClaimStatus",
    derive = "PartialEq",
    cel,
    doc = "A PoolClaim is a request for one machine of a pool, and afterwards the record of who holds it. Deleting it releases the machine, which is terminated and replaced.",
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.poolRef.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Member", type_ = "string", json_path = ".status.memberRef.name"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.instance.addresses[0].address"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Bound\")].reason",
        priority = 1
    ),
    printcolumn(name = "For", type_ = "string", json_path = ".spec.acquiredFor", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.poolRef == oldSelf.poolRef")
        .message("poolRef is immutable: make another claim").field_path(".poolRef"),
    validation = Rule::new(
        "has(self.whenEmpty) == has(oldSelf.whenEmpty) && (!has(self.whenEmpty) || self.whenEmpty == oldSelf.whenEmpty)"
    )
    .message("whenEmpty is immutable").field_path(".whenEmpty"),
    validation = Rule::new(
        "has(self.waitTimeoutSeconds) == has(oldSelf.waitTimeoutSeconds) && \
         (!has(self.waitTimeoutSeconds) || self.waitTimeoutSeconds == oldSelf.waitTimeoutSeconds)"
    )
    .message("waitTimeoutSeconds is immutable").field_path(".waitTimeoutSeconds"),
    validation = Rule::new(
        "has(self.acquiredBy) == has(oldSelf.acquiredBy) && (!has(self.acquiredBy) || self.acquiredBy == oldSelf.acquiredBy)"
    )
    .message("acquiredBy is immutable").field_path(".acquiredBy")
)]
pub struct PoolClaimSpec {
    /// The pool, in the claim's namespace. Immutable.
    pub pool_ref: ClaimPoolRef,
    /// What to do when no member is ready: Wait (the default) or Fail. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_empty: Option<WhenEmpty>,
    /// Seconds to wait for a machine before the claim is Failed. Unset: for ever, but with whenEmpty Fail, 30 for a pool that is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_592_000))]
    pub wait_timeout_seconds: Option<i32>,
    /// Who takes the machine, for the record. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub acquired_by: Option<String>,
    /// What the machine is for, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1_024))]
    pub acquired_for: Option<String>,
}

/// A pool in the claim's namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimPoolRef {
    /// Name of the pool.
    #[schemars(length(min = 1, max = 48))]
    pub name: String,
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

/// How far a claim has come. The binder is its only writer.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(oldSelf.phase in ['Expired', 'Lost', 'Failed']) || self == oldSelf")
        .message("a claim that has ended stays as it is: make another one"),
    validation = Rule::new(
        "self.phase == oldSelf.phase || \
         (oldSelf.phase == 'Pending' && self.phase in ['Bound', 'Failed']) || \
         (oldSelf.phase == 'Bound' && self.phase in ['Expired', 'Lost'])"
    )
    .message("a claim does not go from its present phase to this one").field_path(".phase"),
    validation = Rule::new("!has(oldSelf.memberRef) || (has(self.memberRef) && self.memberRef == oldSelf.memberRef)")
        .message("memberRef is set once").field_path(".memberRef"),
    validation = Rule::new("has(self.memberRef) == (self.phase in ['Bound', 'Expired', 'Lost'])")
        .message("memberRef is set exactly when the claim was bound").field_path(".memberRef")
)]
pub struct PoolClaimStatus {
    /// Bound, Ready, Stalled.
    #[schemars(schema_with = "conditions_schema")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    #[serde(default)]
    pub observed_generation: i64,
    /// Pending, Bound, Expired, Lost or Failed.
    #[serde(default)]
    pub phase: ClaimPhase,
    /// The member that the claim holds, or held. Set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_ref: Option<ObjectRef>,
    /// The machine that the claim holds, or held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<ClaimInstance>,
    /// When the claim was bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_at: Option<MicroTime>,
}

/// The machine that a claim holds.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimInstance {
    /// The provider's id.
    #[schemars(length(max = 128))]
    pub id: String,
    /// Addresses, the internal one first.
    #[schemars(length(max = 8))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<InstanceAddress>,
}
