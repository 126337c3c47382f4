//! The block `openstack` of a launch config.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{IMAGE_BY_NAME, ProviderBlock};

/// Before the property and the value of an image, with `=` between them. The latest such image is meant.
pub const IMAGE_BY_PROPERTY: &str = "property:";

/// Settings of an OpenStack cloud. Its region is the launch config's, the zone an availability zone of Compute, the type a
/// flavor by name or id, the image an id, name:NAME or property:KEY=VALUE.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.authUrl == oldSelf.authUrl")
        .message("authUrl is immutable: another cloud is another launch config").field_path(".authUrl"),
    validation = Rule::new("self.secretRef == oldSelf.secretRef")
        .message("secretRef is immutable: change what is in the Secret").field_path(".secretRef"),
    validation = Rule::new("has(self.cloud) == has(oldSelf.cloud) && (!has(self.cloud) || self.cloud == oldSelf.cloud)")
        .message("cloud is immutable: another cloud is another launch config").field_path(".cloud")
)]
pub struct OpenStackProviderConfig {
    /// URL of the Identity API. The operator calls its own machine, and what its flag --openstack-endpoints allows. Immutable.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^https?://[^ ?#@]+$"))]
    pub auth_url: String,
    /// The Secret with the credentials, in the namespace of the launch config. It has a clouds.yaml, or
    /// applicationCredentialId and applicationCredentialSecret. It is read at each login, so its content may change at any
    /// time; the project may not. Immutable.
    pub secret_ref: OpenStackSecretRef,
    /// The entry of clouds.yaml. Not set: its only one. Immutable.
    #[schemars(length(min = 1, max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<String>,
    /// Ids of networks, of which the machine gets a port each. None: the only one that the project may use.
    #[schemars(length(max = 8), inner(length(min = 1, max = 64), regex(pattern = "^[0-9A-Za-z-]+$")))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// Names or ids of security groups. None: the project's default group.
    #[schemars(length(max = 16), inner(length(min = 1, max = 255)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// The name of a key pair. Keys of claims need none.
    #[schemars(length(min = 1, max = 255))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    /// The id of a server group.
    #[schemars(length(min = 1, max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_group: Option<String>,
    /// Whether the machine gets a disk with its user data and metadata. Not set: as the cloud does by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_drive: Option<bool>,
    /// A volume to boot from instead of a disk of the machine's host. It ends with the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_volume: Option<OpenStackBootVolume>,
}

/// The name of a Secret.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenStackSecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A volume that is made of the image.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenStackBootVolume {
    /// Size in GiB.
    #[schemars(range(min = 1, max = 65_536))]
    pub size_gib: i32,
    /// Type of the volume. Not set: the cloud's default.
    #[schemars(length(min = 1, max = 255))]
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub volume_type: Option<String>,
}

impl ProviderBlock for OpenStackProviderConfig {
    fn name(&self) -> &'static str {
        "openstack"
    }

    fn machine(&self) -> Option<String> {
        // URL, Secret and cloud say who buys, not what.
        let secret_ref = OpenStackSecretRef::default();
        let machine = Self { auth_url: String::new(), secret_ref, cloud: None, ..self.clone() };
        // No map with keys of its own is in it, so it always has the same text.
        serde_json::to_string(&machine).ok()
    }

    fn resolves(&self, image: &str) -> bool {
        [IMAGE_BY_NAME, IMAGE_BY_PROPERTY].iter().any(|prefix| image.starts_with(prefix))
    }
}
