//! How a machine reports over HTTP, and what it has reported.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use kube::core::Rule;
use serde::{Deserialize, Serialize};

/// The longest text that a machine may report, in characters.
pub const MAX_REPORT: usize = 512;

fn once() -> Rule {
    Rule::new("self == oldSelf").message("a machine reports this once")
}

/// With what a machine was bought to report over HTTP.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberPhoneHome {
    /// The beginning of the URLs that it calls, as the operator had it. The rest has the machine's token, and is not
    /// recorded.
    #[schemars(length(max = 512))]
    pub url: String,
    /// Id of the installation secret that its token is derived from; not a secret itself.
    #[schemars(length(max = 64))]
    pub key_id: String,
}

/// A machine's word that the job of its claim is done.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobDone {
    /// Uid of the claim that had the machine then.
    #[schemars(length(max = 64))]
    pub claim_uid: String,
    /// When it was reported.
    #[serde(default, deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    pub at: Option<MicroTime>,
    /// How the job ended, by the machine's word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub result: String,
}

/// What a machine has reported of itself over HTTP. Any replica of the operator writes it; the leader acts on it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineReport {
    /// When the machine reported that it is ready.
    #[serde(default, deserialize_with = "crate::moments::optional", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = once())]
    pub ready_at: Option<MicroTime>,
    /// Why the machine is broken, by its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = once())]
    pub broken: Option<String>,
    /// How far the machine is, by its last word on that before it was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub progress: Option<String>,
    /// The name that the machine has for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"))]
    pub hostname: Option<String>,
    /// The machine's SSH host keys, each as its type and the key in base64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), inner(length(max = 1500), regex(pattern = r"^[a-z0-9-]+ [A-Za-z0-9+/]+=*$")))]
    pub host_keys: Vec<String>,
    /// That the job of its claim is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<JobDone>,
}
