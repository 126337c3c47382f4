//! Whether machines serve more than one claim.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a machine whose claim has ended comes back, and how often.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reuse {
    /// The reset that has to be proved before the next claim. Reimage: the cloud boots the machine from its image anew,
    /// with a new disk.
    pub after_reset: AfterReset,
    /// Most claims that one machine serves. After the last one it is terminated.
    #[serde(default = "default_max_uses")]
    #[schemars(range(min = 2, max = 10_000))]
    pub max_uses: i32,
    /// A machine that was launched longer ago than this many seconds is terminated after its claim.
    #[serde(default = "default_max_age")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub max_age_seconds: i32,
}

const fn default_max_uses() -> i32 {
    10
}

const fn default_max_age() -> i32 {
    86_400
}

/// The reset that a used machine goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AfterReset {
    /// The cloud boots the machine from its image anew, with a new disk.
    Reimage,
}
