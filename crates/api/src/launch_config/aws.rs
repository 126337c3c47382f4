//! The block `aws` of a launch config.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ProviderBlock;

/// Before the name of a parameter of the Systems Manager that has the id of an image: EC2's own notation.
pub const IMAGE_BY_PARAMETER: &str = "resolve:ssm:";

/// Before the owner and the name of an image, with a slash between them. The latest such image is meant.
pub const IMAGE_BY_NAME: &str = "name:";

/// Settings of Amazon EC2.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.endpoint) == has(oldSelf.endpoint) && (!has(self.endpoint) || self.endpoint == oldSelf.endpoint)")
        .message("endpoint is immutable: another cloud is another launch config").field_path(".endpoint"),
    validation = Rule::new("has(self.assumeRole) == has(oldSelf.assumeRole) && (!has(self.assumeRole) || self.assumeRole == oldSelf.assumeRole)")
        .message("assumeRole is immutable: another account is another launch config").field_path(".assumeRole"),
    validation = Rule::new("has(self.subnetId) || has(self.launchTemplate)")
        .message("set subnetId, or a launchTemplate that has one").field_path(".subnetId"),
    validation = Rule::new("!has(self.associatePublicIpAddress) || has(self.subnetId)")
        .message("associatePublicIpAddress needs subnetId: EC2 takes both of the network interface")
        .field_path(".associatePublicIpAddress")
)]
pub struct AwsProviderConfig {
    /// URL of the API instead of AWS's own, such as a VPC endpoint. The operator calls hosts of AWS, its own machine, and
    /// what its flag --simulated-endpoints allows. Immutable.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^https?://[^/ ?#@]+$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// A role that the operator takes on for all calls, such as one of another account. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AwsAssumeRole>,
    /// The subnet. Its zone must be the launch config's: a machine's retries stay in one zone.
    #[schemars(length(max = 32), regex(pattern = "^subnet-[0-9a-f]{8,17}$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    /// Security groups. None: the default group of the VPC, or those of the launch template.
    #[schemars(length(max = 16), inner(length(max = 32), regex(pattern = "^sg-[0-9a-f]{8,17}$")))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_group_ids: Vec<String>,
    /// Whether the machine gets a public IPv4 address. Not set: as the subnet says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub associate_public_ip_address: Option<bool>,
    /// The name of an EC2 key pair. Keys of claims need none.
    #[schemars(length(min = 1, max = 255))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    /// Name or ARN of the instance profile.
    #[schemars(length(min = 1, max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_profile: Option<String>,
    /// Volumes, besides those of the image or instead of them. They end with the machine.
    #[schemars(length(max = 12))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["deviceName"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block_devices: Vec<AwsBlockDevice>,
    /// A launch template. The launch config's own fields override it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_template: Option<AwsLaunchTemplate>,
    /// The id of a capacity reservation (cr-…), or the ARN of a resource group of them.
    #[schemars(length(max = 512), regex(pattern = "^(cr-[0-9a-f]{8,17}|arn:[^ ]+)$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_reservation: Option<String>,
    /// The name of a placement group.
    #[schemars(length(min = 1, max = 255))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement_group: Option<String>,
    /// Whether the machine's hardware is shared with other accounts. Not set: as the VPC says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenancy: Option<AwsTenancy>,
    /// How many network hops an answer of the metadata service may take; containers on the machine need 2. The service
    /// always asks for tokens, as its version 2 does.
    #[schemars(range(min = 1, max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_hop_limit: Option<i32>,
    /// Whether the machine is launched so that it can be hibernated, for a pool whose spec.standby.mode is Hibernated. EC2 asks
    /// for a root volume that is encrypted and has room for the memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hibernation: bool,
}

/// A role to take on.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsAssumeRole {
    /// Its ARN.
    #[schemars(length(max = 256), regex(pattern = "^arn:[a-z-]+:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$"))]
    pub arn: String,
    /// The external id that the role's trust policy asks for. It is not a secret.
    #[schemars(length(min = 2, max = 256), regex(pattern = "^[A-Za-z0-9+=,.@:/_-]+$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

/// A launch template of EC2.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwsLaunchTemplate {
    /// Its id.
    #[schemars(length(max = 32), regex(pattern = "^lt-[0-9a-f]{8,17}$"))]
    pub id: String,
    /// Its version, a number. A version such as $Latest would change machines without a rollout.
    #[schemars(length(max = 9), regex(pattern = "^[1-9][0-9]{0,8}$"))]
    pub version: String,
}

/// One volume.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.sizeGib) || has(self.snapshotId) || !has(self.type)")
        .message("set sizeGib, or a snapshotId that has a size").field_path(".sizeGib")
)]
pub struct AwsBlockDevice {
    /// The name of the device, such as /dev/xvda. The image's own name for its root volume changes that volume.
    #[schemars(length(min = 1, max = 63))]
    pub device_name: String,
    /// Size in GiB.
    #[schemars(range(min = 1, max = 65_536))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_gib: Option<i32>,
    /// Type of the volume, such as gp3.
    #[schemars(length(min = 1, max = 16))]
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub volume_type: Option<String>,
    /// Operations a second, where the type takes them.
    #[schemars(range(min = 100, max = 400_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<i32>,
    /// MiB a second, where the type takes them.
    #[schemars(range(min = 125, max = 4_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<i32>,
    /// The snapshot that it is made from.
    #[schemars(length(max = 32), regex(pattern = "^snap-[0-9a-f]{8,17}$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    /// Whether it is encrypted.
    #[serde(default = "encrypted")]
    pub encrypted: bool,
    /// Id or ARN of its KMS key. Not set: the account's default key.
    #[schemars(length(min = 1, max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
}

const fn encrypted() -> bool {
    true
}

/// Whether hardware is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AwsTenancy {
    /// Shared with other accounts.
    Default,
    /// Hardware of this account alone.
    Dedicated,
}

impl ProviderBlock for AwsProviderConfig {
    fn name(&self) -> &'static str {
        "aws"
    }

    fn machine(&self) -> Option<String> {
        // Endpoint and role say who buys, not what.
        let machine = Self { endpoint: None, assume_role: None, ..self.clone() };
        // No map with keys of its own is in it, so it always has the same text.
        serde_json::to_string(&machine).ok()
    }

    fn resolves(&self, image: &str) -> bool {
        [IMAGE_BY_PARAMETER, IMAGE_BY_NAME].iter().any(|prefix| image.starts_with(prefix))
    }
}
