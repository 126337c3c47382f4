//! How claimants log in to machines by SSH.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// How whoever claims a machine of the pool logs in to it by SSH.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ssh {
    /// The account on the machine, as the Secrets of claims name it. With generateKey cloud-init makes it.
    #[serde(default = "default_user")]
    #[schemars(length(max = 32), regex(pattern = r"^[a-z_][a-z0-9_-]*$"))]
    pub user: String,
    /// Each machine gets a key of its own: the public half by its user data, as a cloud-init part beside yours, the
    /// private half only in the Secret of the claim that holds the machine.
    #[serde(default)]
    pub generate_key: bool,
}

/// The account that cloud-init makes unless the pool names another.
fn default_user() -> String {
    "bullpen".to_owned()
}

/// What a member's machine was bought with.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberSsh {
    /// The account on the machine.
    #[schemars(length(max = 32))]
    pub user: String,
    /// Id of the installation secret that the key of the machine was made from; not a secret itself. Absent: the machine
    /// has no key of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub key_id: Option<String>,
}
