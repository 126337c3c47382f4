//! The block of the simulated cloud.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::ProviderBlock;

/// Settings of the simulated cloud.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.endpoint == oldSelf.endpoint")
        .message("endpoint is immutable: another cloud is another launch config").field_path(".endpoint")
)]
pub struct SimulatedProviderConfig {
    /// Base URL of the simulated cloud: http://, host and port. Immutable.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^http://[^/ ?#]+$"))]
    pub endpoint: String,
    /// Milliseconds that a machine takes to boot.
    #[serde(default = "default_boot_milliseconds")]
    #[schemars(range(min = 0, max = 86_400_000))]
    pub boot_milliseconds: i32,
    /// Most percent by which the boot time may differ from bootMilliseconds, up or down.
    #[serde(default = "default_boot_jitter_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub boot_jitter_percent: i32,
}

const fn default_boot_milliseconds() -> i32 {
    3_000
}

const fn default_boot_jitter_percent() -> i32 {
    20
}

impl ProviderBlock for SimulatedProviderConfig {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn machine(&self) -> Option<String> {
        // A machine is the same whatever its boot time was.
        None
    }
}
