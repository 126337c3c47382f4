//! `LaunchConfig`: one place and way to buy a machine.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{RecordedError, conditions_schema};
use super::instance_pool::StandbyMode;

mod aws;
mod openstack;
mod provider_block;
mod simulated;

pub use aws::{
    AwsAssumeRole, AwsBlockDevice, AwsLaunchTemplate, AwsProviderConfig, AwsTenancy, IMAGE_BY_NAME, IMAGE_BY_PARAMETER,
};
pub use openstack::{IMAGE_BY_PROPERTY, OpenStackBootVolume, OpenStackProviderConfig, OpenStackSecretRef};
pub use provider_block::ProviderBlock;
pub use simulated::SimulatedProviderConfig;

/// The price in a spec that says to ask the provider for it.
pub const HOURLY_PRICE_AUTO: &str = "auto";

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
    printcolumn(name = "Installation", type_ = "string", json_path = ".status.installation", priority = 1),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", priority = 1),
    printcolumn(name = "Price", type_ = "string", json_path = ".status.hourlyPrice", priority = 1),
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
    validation = Rule::new("(has(self.aws) ? 1 : 0) + (has(self.openstack) ? 1 : 0) + (has(self.simulated) ? 1 : 0) == 1")
        .message("set exactly one provider block; this version of Bullpen knows: aws, openstack, simulated"),
    validation = Rule::new("self.region == oldSelf.region")
        .message("region is immutable: another region is another launch config").field_path(".region"),
    validation = Rule::new("!has(self.aws) || !has(self.aws.hibernation) || !self.aws.hibernation || self.market == 'OnDemand'")
        .message("aws.hibernation needs the market OnDemand: a Spot machine is hibernated by EC2 alone").field_path(".market")
)]
pub struct LaunchConfigSpec {
    /// Region of the provider. Immutable.
    #[schemars(length(min = 1, max = 63))]
    pub region: String,
    /// Zone of the region.
    #[schemars(length(min = 1, max = 63))]
    pub zone: String,
    /// How the machine is paid for.
    #[serde(default)]
    pub market: Market,
    /// The provider's name for a size of machine.
    #[schemars(length(min = 1, max = 63))]
    pub instance_type: String,
    /// The provider's name for a boot image. For EC2 also resolve:ssm:PARAMETER and name:OWNER/PATTERN, for
    /// OpenStack name:NAME and property:KEY=VALUE, which are looked up every few minutes; another result is a rollout.
    #[schemars(length(min = 1, max = 253))]
    pub image: String,
    /// Most members that this launch config may have at once, in all pools together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20_000))]
    pub max_instances: Option<i32>,
    /// Price of one such machine for an hour, for reports: a number such as 0.096, in any currency, or auto for what the
    /// provider says. EC2 tells the present price of Spot machines with Linux, in US dollars, and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^(auto|[0-9]{1,9}(\.[0-9]{1,9})?)$"))]
    pub hourly_price: Option<String>,
    /// The provider bills whole units of so many seconds from the launch of a machine, such as 3600. A machine that the
    /// pool does not need any more is kept until its unit is nearly over, because it is paid for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 86_400))]
    pub billing_seconds: Option<i32>,
    /// While true, nothing is bought by this launch config. Existing members stay.
    #[serde(default)]
    pub paused: bool,
    /// Settings of Amazon EC2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsProviderConfig>,
    /// Settings of an OpenStack cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openstack: Option<OpenStackProviderConfig>,
    /// Settings for the simulated cloud of the command bullpen-simcloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<SimulatedProviderConfig>,
}

impl LaunchConfigSpec {
    /// Whether its machines are bought so that they can be stopped in this mode, where the provider stops machines at all.
    pub fn allows_standby(&self, mode: StandbyMode) -> bool {
        let hibernates = self.aws.as_ref().is_none_or(|block| block.hibernation);
        self.market == Market::OnDemand && (mode == StandbyMode::Stopped || hibernates)
    }
}

/// How a machine is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Market {
    /// Bought for as long as it is needed.
    #[default]
    OnDemand,
    /// Spare capacity that the cloud may take back.
    Spot,
}

/// What the operator observed of a launch config.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LaunchConfigStatus {
    /// Available: the cloud answers and accepts requests. `CapacityAvailable`: the cloud has machines to sell. Paused.
    /// Stalled: the credentials belong to another account than before. `PriceKnown`: the price is known, if it is to be
    /// asked of the provider. `SweepBlocked`: so many machines have no member
    /// that a person has to confirm before they are terminated.
    #[schemars(schema_with = "conditions_schema")]
    #[serde(deserialize_with = "crate::moments::conditions", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status describes.
    pub observed_generation: i64,
    /// The id of the installation that works on it. Another one does nothing with it, unless the annotation
    /// bullpen.dev/take-over names that one.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installation: Option<String>,
    /// Percent of its share that is bought by it, from its success rate in about the last hour: 100 if all members
    /// became ready, never below 5, in steps of 5. 0 while it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    /// Nothing is bought by it before this time; then one member is tried.
    #[serde(deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub unavailable_until: Option<MicroTime>,
    /// The last error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<RecordedError>,
    /// The account of the machines, as found when the provider was first reached. While a member needs it, the operator
    /// does not use credentials of another account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<LaunchConfigIdentity>,
    /// What the image of the spec stands for, where that is a name that the provider resolves. A change of it is a
    /// rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_image: Option<ResolvedImage>,
    /// The price of one machine for an hour, as the spec or the provider says. The provider is asked once an hour.
    #[schemars(length(max = 24))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hourly_price: Option<String>,
    /// Number of members that have it in their placement now, in all pools together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<i32>,
    /// Machines of its account and region that have no member. Set only while a person has to confirm their
    /// termination, or while the operator only reports them (dry run); otherwise they are terminated within seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orphans: Option<Orphans>,
    /// Recent errors by class and message, the latest first.
    #[schemars(length(max = 10))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recent_errors: Vec<RecentError>,
}

/// The image that a name stands for.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResolvedImage {
    /// The image of the spec, as it was resolved.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The provider's id of the image.
    #[schemars(length(max = 253))]
    pub id: String,
}

/// Machines without a member.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Orphans {
    /// Number of these machines, without those in `claimed`.
    pub count: i32,
    /// Ids of some of these machines, sorted.
    #[schemars(length(max = 20), inner(length(max = 128)))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<String>,
    /// The value that the annotation bullpen.dev/confirm-sweep needs for exactly these machines to be terminated. Empty
    /// if no confirmation is needed.
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// Some of those that carry the tag of a claim. Each of them needs a person's word of its own.
    #[schemars(length(max = 20))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claimed: Vec<ClaimedOrphan>,
}

/// A machine without a member that carries the tag of a claim: somebody may work on it.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimedOrphan {
    /// Id of the machine.
    #[schemars(length(max = 128))]
    pub instance: String,
    /// Uid of the claim.
    #[schemars(length(max = 64))]
    pub claim_uid: String,
    /// Namespace and name of the claim. Machines that an earlier version tagged do not have it.
    #[schemars(length(max = 320))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub claim: String,
    /// Namespace and name of the member that it was bought for.
    #[schemars(length(max = 320))]
    pub member: String,
}

/// Errors of one class and message.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecentError {
    /// The kind of error, such as Capacity, Quota, LaunchTimeout.
    #[schemars(length(max = 64))]
    pub class: String,
    /// The provider's message, or what was waited for.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// How often it happened since it entered this list.
    pub count: i32,
    /// When it last happened.
    #[serde(deserialize_with = "crate::moments::moment")]
    pub last_time: MicroTime,
}

/// An account and region at the provider.
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
