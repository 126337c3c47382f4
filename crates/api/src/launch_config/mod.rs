//! `LaunchConfig`: one place and way to buy a machine.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{RecordedError, conditions_schema};

mod provider_block;
mod simulated;

pub use provider_block::ProviderBlock;
pub use simulated::SimulatedProviderConfig;

/// One place and way to buy a machine.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "bullpen.dev",
    version = "v1alpha1",
    kind = "LaunchConfig",
    plural = "launchconfigs",
    shortname = "lc",
    category = "bullpen",
    namespaced,
    status = "LaunchConfigStatus",
    derive = "PartialEq",
    cel,
    doc = "A LaunchConfig is one place and way to buy a machine: provider, region, zone, market, instance type and image.",
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".spec.zone"),
    printcolumn(name = "Market", type_ = "string", json_path = ".spec.market"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.instanceType"),
    printcolumn(name = "Available", type_ = "string", json_path = ".status.conditions[?(@.type==\"Available\")].status"),
    printcolumn(name = "Paused", type_ = "boolean", json_path = ".spec.paused"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".status.weight"),
    printcolumn(name = "Instances", type_ = "integer", json_path = ".status.instances"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", priority = 1),
    printcolumn(name = "Until", type_ = "string", json_path = ".status.unavailableUntil", priority = 1),
    printcolumn(name = "Error", type_ = "string", json_path = ".status.lastError.class", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Available\")].message",
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.size() <= 48")
        .message("the name of a launch config has at most 48 characters: it becomes a label value")
        .field_path(".metadata.name")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.simulated)")
        .message("set exactly one provider block; this version of Bullpen knows: simulated"),
    validation = Rule::new("self.region == oldSelf.region")
        .message("region is immutable: another region is another launch config").field_path(".region")
)]
pub struct LaunchConfigSpec {
    /// Region of the provider. Immutable.
    #[schemars(length(min = 1, max = 63))]
    pub region: String,
    /// Zone within the region.
    #[schemars(length(min = 1, max = 63))]
    pub zone: String,
    /// How the machine is paid for.
    #[serde(default)]
    pub market: Market,
    /// The provider's name for a size of machine.
    #[schemars(length(min = 1, max = 63))]
    pub instance_type: String,
    /// The provider's name for a boot image.
    #[schemars(length(min = 1, max = 253))]
    pub image: String,
    /// Most members that this launch config may have at once, over all pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20_000))]
    pub max_instances: Option<i32>,
    /// Buys nothing while true; members that are there live on.
    #[serde(default)]
    pub paused: bool,
    /// The simulated cloud that the command bullpen-simcloud serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<SimulatedProviderConfig>,
}

/// How a machine is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Market {
    /// Bought for as long as it is wanted.
    #[default]
    OnDemand,
    /// Spare capacity that the cloud may take back.
    Spot,
}

/// What the operator knows of a launch config.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LaunchConfigStatus {
    /// Available (its cloud answers and takes its requests), `CapacityAvailable` (there are machines to buy), Paused;
    /// Stalled: the account is another than before; `SweepBlocked`: so many machines have lost their member that a person
    /// has to confirm their end.
    #[schemars(schema_with = "conditions_schema")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    pub observed_generation: i64,
    /// How much of its share it gets, in percent, by how its members fared in about the last hour: 100 when all got
    /// ready, never below 5. Rounded to 5; 0 while it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    /// Nothing is bought by it before this moment; then one member is tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable_until: Option<MicroTime>,
    /// The last thing that went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<RecordedError>,
    /// The account that the machines of this launch config are in, as it was at first contact. While a member needs it,
    /// nothing is done with the credentials of another account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<LaunchConfigIdentity>,
    /// Members that are pinned to it now, over all pools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<i32>,
    /// Machines of its account and region that have no member, while a person has to confirm their end or the operator
    /// only says that it would end them. Absent otherwise: they are ended within seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orphans: Option<Orphans>,
    /// What went wrong lately, by class and message, the latest first.
    #[schemars(length(max = 10))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recent_errors: Vec<RecentError>,
}

/// Machines without a member.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Orphans {
    /// How many there are.
    pub count: i32,
    /// The ids of some of them, in order.
    #[schemars(length(max = 20), inner(length(max = 128)))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<String>,
    /// What the annotation bullpen.dev/confirm-sweep has to say for just these machines to be ended. Empty if no word
    /// is waited for.
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub code: String,
}

/// Errors of one class and message.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecentError {
    /// The kind of error, such as Capacity, Quota, LaunchTimeout.
    #[schemars(length(max = 64))]
    pub class: String,
    /// What the provider said, or what was waited for.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// How often it happened since it is in this list.
    pub count: i32,
    /// When it last happened.
    pub last_time: MicroTime,
}

/// Whose machines they are.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchConfigIdentity {
    /// The account that the credentials belong to.
    #[schemars(length(max = 256))]
    pub account: String,
    /// The region.
    #[schemars(length(max = 63))]
    pub region: String,
}
