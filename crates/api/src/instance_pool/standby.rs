//! Stopped machines behind the ready ones.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::RecordedError;

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

/// The machines of a launch config that could not be stopped for the standby tier, or did not come back from it, in a row. Either
/// is absent once one is stopped or has come back.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StandbyFailures {
    /// How they were stopped. With another `spec.standby.mode`, it begins anew.
    #[serde(default)]
    pub mode: StandbyMode,
    /// Stops that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stops: Option<FailuresInARow>,
    /// Machines that could not be started, were not ready after their start, or were gone or started by others while stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<FailuresInARow>,
}

/// Failures since the last success, and the pause that follows from them.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailuresInARow {
    /// How many there were; those in a pause count once.
    #[serde(default)]
    pub consecutive_failures: i32,
    /// Nothing is bought or stopped for the standby tier by this launch config before this time; after it, one machine at a
    /// time is tried.
    #[serde(deserialize_with = "crate::moments::moment")]
    pub open_until: MicroTime,
    /// The last failure.
    pub last_failure: RecordedError,
}
