//! How claimants log in to machines by SSH.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// How claimants log in to machines of the pool by SSH.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ssh {
    /// The account on the machine. Claims' Secrets name it. With generateKey, cloud-init creates it.
    #[serde(default = "default_user")]
    #[schemars(length(max = 32), regex(pattern = r"^[a-z_][a-z0-9_-]*$"))]
    pub user: String,
    /// Give each machine an SSH key of its own. The public key is added to the user data, as a cloud-init part beside
    /// yours; the private key is only in the Secret of the claim that has the machine.
    #[serde(default)]
    pub generate_key: bool,
}

/// The account that cloud-init creates if the pool does not name one.
fn default_user() -> String {
    "bullpen".to_owned()
}

/// The SSH settings with which a member's machine was bought.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberSsh {
    /// The account on the machine.
    #[schemars(length(max = 32))]
    pub user: String,
    /// Id of the installation secret that the machine's key was derived from; not a secret itself. Absent: the machine
    /// has no key from the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub key_id: Option<String>,
}
