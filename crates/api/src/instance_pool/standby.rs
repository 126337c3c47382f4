//! Stopped machines behind the ready ones.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A second, cheaper tier: machines that were ready once and are stopped until the pool needs them.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standby {
    /// Number of stopped members wanted. They count against maxSize, after the ready ones: where it leaves no room, there
    /// are fewer.
    #[schemars(range(min = 0, max = 10_000))]
    pub size: i32,
    /// How the machines are kept. Stopped: switched off, so that only their disks bill. Hibernated: the same, with what was
    /// in their memory on their disks, so that they go on where they were; it needs a launch config whose machines can do that.
    #[serde(default)]
    pub mode: StandbyMode,
}

/// How standby machines are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StandbyMode {
    /// Switched off; a start boots them from their disk.
    #[default]
    Stopped,
    /// Switched off with their memory saved; a start goes on where they were.
    Hibernated,
}

impl StandbyMode {
    /// What a machine is that is kept so, in a sentence.
    pub const fn participle(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Hibernated => "hibernated",
        }
    }
}
