//! How a pool replaces members that are too old or of an older template, and how many may be missing meanwhile.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When ready members are replaced because of their age.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recycle {
    /// Seconds after which a ready member is replaced. The time counts from ready; claimed members are never replaced.
    #[serde(default = "default_ready_ttl")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub ready_ttl_seconds: i32,
    /// Each member's readyTtlSeconds is shortened by another share, of up to this many percent, so that members that
    /// became ready together are not replaced together.
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

/// The disruption budget that recycling and rollouts share when they replace ready members.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.maxSurge + self.maxUnavailable >= 1")
        .message("maxSurge and maxUnavailable must not both be 0: nothing could ever be replaced").field_path(".maxSurge")
)]
pub struct Disruption {
    /// Most members above the target: a replacement is ready before the old member is terminated.
    #[serde(default = "default_surge")]
    #[schemars(range(min = 0, max = 10_000))]
    pub max_surge: i32,
    /// Most ready members missing from the target; minSize stays ready in any case. If maxSize leaves no room for a
    /// surge, this counts as at least 1.
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

/// How members of an older template are replaced.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// RollingReplace replaces them within the disruption budget. OnReplenish leaves them until they are claimed, too
    /// old or failed. Claimed members are never replaced.
    #[serde(default, rename = "type")]
    pub type_: RolloutType,
    /// Seconds without progress after which a RollingReplace has failed.
    #[serde(default = "default_progress_deadline")]
    #[schemars(range(min = 1, max = 86_400))]
    pub progress_deadline_seconds: i32,
    /// What a failed RollingReplace does. Pause: no more old members are replaced until a member of the present
    /// template becomes ready or the template changes again. Continue: it goes on.
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
    /// Ready ones within the disruption budget; booting ones at once.
    #[default]
    RollingReplace,
    /// Only when they are claimed, too old or failed.
    OnReplenish,
}

/// What a rollout without progress does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RolloutFailure {
    /// It stops replacing old members.
    #[default]
    Pause,
    /// It goes on; only a condition reports the failure.
    Continue,
}
