//! How a pool keeps its members fresh: their age, their template, and how many may be missing meanwhile.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long a ready member is kept.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recycle {
    /// Seconds that a member may be ready before it is replaced. Booting and claimed members have no age.
    #[serde(default = "default_ready_ttl")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub ready_ttl_seconds: i32,
    /// How much of that time a member may lose, in percent: each loses another share, so that members that were born
    /// together do not expire together.
    #[serde(default = "default_jitter")]
    #[schemars(range(min = 0, max = 50))]
    pub jitter_percent: i32,
}

const fn default_ready_ttl() -> i32 {
    14_400
}

const fn default_jitter() -> i32 {
    20
}

impl Default for Recycle {
    fn default() -> Self {
        Self { ready_ttl_seconds: default_ready_ttl(), jitter_percent: default_jitter() }
    }
}

/// One budget for whatever replaces ready members: their age and their template.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.maxSurge + self.maxUnavailable >= 1")
        .message("maxSurge and maxUnavailable must not both be 0: nothing could ever be replaced").field_path(".maxSurge")
)]
pub struct Disruption {
    /// Members that may be bought above the target, so that a replacement is ready before its predecessor goes.
    #[serde(default = "default_surge")]
    #[schemars(range(min = 0, max = 10_000))]
    pub max_surge: i32,
    /// Ready members that may be missing from the target. Never below minSize. A pool without room for a surge under
    /// maxSize counts as if this were at least 1.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000))]
    pub max_unavailable: i32,
}

const fn default_surge() -> i32 {
    1
}

impl Default for Disruption {
    fn default() -> Self {
        Self { max_surge: default_surge(), max_unavailable: 0 }
    }
}

/// What becomes of members of an older template.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// RollingReplace replaces them within the disruption budget; OnReplenish leaves them until they go anyway. Claimed
    /// members are never touched.
    #[serde(default, rename = "type")]
    pub type_: RolloutType,
    /// Seconds without progress after which a RollingReplace counts as failed.
    #[serde(default = "default_progress_deadline")]
    #[schemars(range(min = 1, max = 86_400))]
    pub progress_deadline_seconds: i32,
    /// What a failed RollingReplace does. Pause retires no more old members until a member of the template gets ready
    /// or the template changes again.
    #[serde(default)]
    pub on_failure: RolloutFailure,
}

const fn default_progress_deadline() -> i32 {
    1_800
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            type_: RolloutType::default(),
            progress_deadline_seconds: default_progress_deadline(),
            on_failure: RolloutFailure::default(),
        }
    }
}

/// How members of an older template are replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RolloutType {
    /// One after the other, within the disruption budget; those that boot at once.
    #[default]
    RollingReplace,
    /// When they are claimed, expire or fail anyway.
    OnReplenish,
}

/// What a rollout does that makes no progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RolloutFailure {
    /// Old members are kept.
    #[default]
    Pause,
    /// It goes on, and only says so.
    Continue,
}
