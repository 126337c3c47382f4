//! Sizes by the clock.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A larger target at certain times. While several are on, or none is above targetSize, the highest number counts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.cron.matches('^[0-9A-Za-z*/,#-]+( +[0-9A-Za-z*/,#-]+){4}$')")
        .message("cron must have five fields (minute, hour, day of the month, month, day of the week), such as 0 8 * * 1-5; @daily and the like are not known")
        .field_path(".cron")
)]
pub struct PoolSchedule {
    /// A name for messages.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// When it begins: minute, hour, day of the month, month, day of the week, as in crontab. Sunday is 0 or 7.
    #[schemars(length(max = 128))]
    pub cron: String,
    /// The time zone of cron, by its name in the IANA database, such as Europe/Berlin.
    #[serde(default = "default_time_zone")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9_+/-]+$"))]
    pub time_zone: String,
    /// How long it lasts, by the clock of its time zone: from 22:00 for 28800 seconds is until 06:00, also in a night
    /// in which the clock changes.
    #[schemars(range(min = 60, max = 2_678_400))]
    pub duration_seconds: i32,
    /// The number of unclaimed members wanted while it is on.
    #[schemars(range(min = 0, max = 10_000))]
    pub target_size: i32,
}

fn default_time_zone() -> String {
    "Etc/UTC".to_owned()
}

/// A change of the target by the clock.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextTarget {
    /// When.
    #[serde(deserialize_with = "crate::moments::moment")]
    pub time: k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime,
    /// The number of unclaimed members wanted from then on, before maxSize.
    pub size: i32,
}
