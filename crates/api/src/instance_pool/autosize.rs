//! Sizes by what is claimed.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Finds the cheapest size that keeps a hit rate, from the claims that come. Between minSize and maxSize.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Autosize {
    /// Off: nothing is learnt. Recommend: status.recommendedTarget has the size. Auto: the pool follows it instead of
    /// targetSize, once enough is known; schedules raise it.
    #[serde(default)]
    pub mode: AutosizeMode,
    /// How many percent of the claims should find a ready machine when they come.
    #[schemars(range(min = 1, max = 99))]
    #[serde(default = "default_hit_rate")]
    pub hit_rate_percent: i32,
    /// For how long a size must have been too large before a smaller one is recommended. It grows at once.
    #[schemars(range(min = 1, max = 3_600))]
    #[serde(default = "default_window")]
    pub window_seconds: i32,
}

impl Default for Autosize {
    fn default() -> Self {
        Self { mode: AutosizeMode::default(), hit_rate_percent: default_hit_rate(), window_seconds: default_window() }
    }
}

/// What is done with the size that is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AutosizeMode {
    /// Nothing is learnt.
    Off,
    /// It is recommended in the status.
    #[default]
    Recommend,
    /// The pool follows it.
    Auto,
}

const fn default_hit_rate() -> i32 {
    99
}

const fn default_window() -> i32 {
    60
}
