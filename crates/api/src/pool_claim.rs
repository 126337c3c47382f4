//! `PoolClaim`: a request for one machine, and afterwards the record of who has it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::claim_rules::WhenEmpty;
use super::common::{InstanceAddress, ObjectRef, conditions_schema, match_labels_schema};
use super::instance_pool::LifecycleClass;
use super::moments::RenewTime;
use super::states::ClaimPhase;

/// A request for one machine of a pool.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    doc = "A PoolClaim is a request for one machine of a pool, and afterwards the record of who has it. Deleting it releases the machine, which is terminated and replaced.",
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
    printcolumn(name = "Served-By", type_ = "string", json_path = ".status.poolRef.name", priority = 1),
    printcolumn(name = "For", type_ = "string", json_path = ".spec.acquiredFor", priority = 1),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt", priority = 1),
    validation = Rule::new("self.metadata.name.size() <= 245 || !has(self.spec.binding) || self.spec.binding != 'Secret'")
        .message("the name of a claim with binding Secret has at most 245 characters: its Secret is named after it, with -binding at the end")
        .field_path(".metadata.name")
)]
#[serde(rename_all = "camelCase")]
// That a field neither comes nor goes is a rule of the spec, that its value stays is one of the field.
#[x_kube(
    // Only of a new claim: afterwards both are immutable.
    validation = Rule::new("oldSelf.hasValue() || has(self.poolRef) != has(self.poolSelector)")
        .message("exactly one of poolRef and poolSelector must be set").optional_old_self(true),
    validation = Rule::new("has(self.poolRef) == has(oldSelf.poolRef)")
        .message("poolRef is immutable: make another claim").field_path(".poolRef"),
    validation = Rule::new("has(self.poolSelector) == has(oldSelf.poolSelector)")
        .message("poolSelector is immutable: make another claim").field_path(".poolSelector"),
    validation = Rule::new("has(self.whenEmpty) == has(oldSelf.whenEmpty)")
        .message("whenEmpty is immutable").field_path(".whenEmpty"),
    validation = Rule::new("has(self.waitTimeoutSeconds) == has(oldSelf.waitTimeoutSeconds)")
        .message("waitTimeoutSeconds is immutable").field_path(".waitTimeoutSeconds"),
    validation = Rule::new("has(self.acquiredBy) == has(oldSelf.acquiredBy)")
        .message("acquiredBy is immutable").field_path(".acquiredBy"),
    validation = Rule::new("has(self.binding) == has(oldSelf.binding)")
        .message("binding is immutable").field_path(".binding")
)]
pub struct PoolClaimSpec {
    /// The pool to claim from. Set either this or poolSelector. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("poolRef is immutable: make another claim"))]
    pub pool_ref: Option<ClaimPoolRef>,
    /// Selects pools of the claim's namespace; the claim gets a machine of any of them. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("poolSelector is immutable: make another claim"))]
    pub pool_selector: Option<PoolSelector>,
    /// What to do when no member is ready: Wait (the default) or Fail. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("whenEmpty is immutable"))]
    pub when_empty: Option<WhenEmpty>,
    /// Seconds to wait for a machine, and for the Secret if spec.binding asks for one, before the claim is Failed. Unset:
    /// it waits for ever, and 10 minutes with a machine for its Secret; but with whenEmpty Fail it waits 30 seconds for
    /// a pool that does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_592_000))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("waitTimeoutSeconds is immutable"))]
    pub wait_timeout_seconds: Option<i32>,
    /// Seconds from binding or renewal until the claim is Expired and its machine is terminated. Unset: the pool's
    /// claims.defaultTtlSeconds, and if that is unset too, until the claim is deleted. The pool may cap it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub ttl_seconds: Option<i32>,
    /// Each change of this field renews the claim: the ttl begins anew when the operator sees the change. It is only
    /// compared, so any other value will do; the present time is customary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MicroTime>")]
    pub renew_time: Option<RenewTime>,
    /// Claims of a higher priority are served first. A waiting claim's priority rises with time. Unset: 0. The pool may
    /// cap it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1_000, max = 1_000))]
    pub priority: Option<i32>,
    /// Secret: write how to reach the machine to a Secret as well, `NAME-binding` for a claim NAME, also named by
    /// `status.binding.name`. It exists before the claim is Bound and is deleted with the claim. Default: None.
    /// Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("binding is immutable"))]
    pub binding: Option<Binding>,
    /// Who claims the machine, for the record. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("acquiredBy is immutable"))]
    pub acquired_by: Option<String>,
    /// What the machine is for, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1_024))]
    pub acquired_for: Option<String>,
    /// A Secret of the claim's namespace whose content the machine gets with its assignment, at most 16 KiB: a
    /// registration token, or what the job is. It is read once, when the machine asks after the claim was bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_secret_ref: Option<InputSecretRef>,
}

/// A Secret of the claim's namespace.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct InputSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A pool, by default in the claim's namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ClaimPoolRef {
    /// Name of the pool.
    #[schemars(length(min = 1, max = 48))]
    pub name: String,
    /// Namespace of the pool, if it is not the claim's. The pool's claims.allowedNamespaces has to allow the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// What a pool of the claim's namespace must have to serve the claim.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.lifecycleClass) || (has(self.matchLabels) && self.matchLabels.size() > 0)")
        .message("at least one of matchLabels and lifecycleClass must be given")
)]
pub struct PoolSelector {
    /// Labels that the pool must have, and their values.
    #[schemars(schema_with = "match_labels_schema")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// The lifecycleClass that the pool must have. Unset: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_class: Option<LifecycleClass>,
}

impl PoolClaim {
    /// Namespace and name of the claim's pool: the one that it names, or the one that served it. `None` for a claim
    /// with a selector that was not served yet.
    pub fn pool(&self) -> Option<(&str, &str)> {
        let own = self.metadata.namespace.as_deref().unwrap_or_default();
        if let Some(pool) = &self.spec.pool_ref {
            return Some((pool.namespace.as_deref().unwrap_or(own), &pool.name));
        }
        let served = self.status.as_ref()?.pool_ref.as_ref()?;
        Some((&served.namespace, &served.name))
    }

    /// As [`pool`](Self::pool); failing that, the pool in whose queue the claim waits.
    pub fn pool_or_queue(&self) -> Option<(&str, &str)> {
        let queue = || {
            let pool = self.status.as_ref()?.queue.as_ref()?.pool.as_deref()?;
            Some((self.metadata.namespace.as_deref().unwrap_or_default(), pool))
        };
        self.pool().or_else(queue)
    }
}

/// A pool, by its name.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ServedByPool {
    /// Namespace of the pool.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Name of the pool.
    #[schemars(length(max = 48))]
    pub name: String,
}

/// Whether a claim gets a Secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Binding {
    /// No Secret.
    #[default]
    None,
    /// A Secret with what is needed to reach the machine.
    Secret,
}

/// What the operator has done for a claim. Only the operator's binding writes it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(oldSelf.phase in ['Expired', 'Lost', 'Failed', 'Released']) || self == oldSelf")
        .message("a claim that has ended stays as it is: make another one"),
    validation = Rule::new("has(self.memberRef) == (self.phase in ['Bound', 'Expired', 'Lost', 'Released'])")
        .message("memberRef is set exactly when the claim was bound").field_path(".memberRef"),
    validation = Rule::new("!has(oldSelf.poolRef) || has(self.poolRef)")
        .message("poolRef is set once").field_path(".poolRef")
)]
pub struct PoolClaimStatus {
    /// Bound, Ready, Stalled; Stale once the claim has had its machine for longer than claims.staleAfterSeconds;
    /// Interrupted once the cloud announced that it takes the machine away; Healthy once the machine did not answer.
    #[schemars(schema_with = "conditions_schema")]
    #[serde(default, deserialize_with = "crate::moments::conditions", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status describes.
    #[serde(default)]
    pub observed_generation: i64,
    /// Pending, Bound, Expired, Lost, Failed or Released.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new(
            "self == oldSelf || \
             (oldSelf == 'Pending' && self in ['Bound', 'Failed']) || \
             (oldSelf == 'Bound' && self in ['Expired', 'Lost', 'Released'])"
        )
        .message("a claim does not go from its present phase to this one")
    )]
    pub phase: ClaimPhase,
    /// The member that the claim has or had. Set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("memberRef is set once"))]
    pub member_ref: Option<ObjectRef>,
    /// The pool of that member. For a claim with poolSelector that Failed: the pool in whose queue it waited. Set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("poolRef is set once"))]
    pub pool_ref: Option<ServedByPool>,
    /// The machine that the claim has or had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<ClaimInstance>,
    /// When the claim was bound.
    #[serde(default, deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub bound_at: Option<MicroTime>,
    /// The Secret with what is needed to reach the machine, if spec.binding is Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<BindingRef>,
    /// When the present ttl began: when the claim was bound or last renewed, by the API server's clock.
    #[serde(default, deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub renewed_at: Option<MicroTime>,
    /// When the claim expires unless it is renewed. Absent: never.
    #[serde(default, deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<MicroTime>,
    /// The last spec.renewTime that the operator has acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MicroTime>")]
    pub observed_renew_time: Option<RenewTime>,
    /// The last spec.ttlSeconds that the operator has acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_ttl_seconds: Option<i32>,
    /// When the claim became Expired, Lost, Failed or Released, by the API server's clock.
    #[serde(default, deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<MicroTime>,
    /// The claim's place in its queue while it waits. Updated at most twice a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueuePlace>,
}

/// A Secret in the claim's namespace, as Provisioned Services of servicebinding.io name it.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct BindingRef {
    /// Name of the Secret.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// A claim's place in its queue.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct QueuePlace {
    /// 1 is served next. Absent if no member that becomes ready could serve the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i32>,
    /// Why it waits, as one CamelCase word.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For a claim with poolSelector: the pool whose queue this place is in, and that buys a machine for the claim. The
    /// claim may still get a machine of another pool that matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 48))]
    pub pool: Option<String>,
}

/// The machine of a claim.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ClaimInstance {
    /// The provider's id.
    #[schemars(length(max = 128))]
    pub id: String,
    /// The region it runs in.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// The zone it runs in.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// The provider's name for its size.
    #[schemars(length(max = 63))]
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub type_: String,
    /// Addresses, the internal one first.
    #[schemars(length(max = 8))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<InstanceAddress>,
    /// Number of claims that had the machine before, each followed by a reset that the provider proved. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former_uses: Option<i32>,
}
