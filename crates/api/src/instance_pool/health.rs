//! How machines of a pool that were ready are watched.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::readiness::{HttpGetReadiness, TcpSocketReadiness};

/// How machines that were ready are watched. Machines of unclaimed members that do not answer are replaced; of claimed
/// ones, member and claim only get the condition Healthy with status False.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// What each machine is asked, or sends.
    pub probe: HealthProbe,
    /// Most seconds between two probes of a machine. A claim gets a machine whose last answer is older only if it answers
    /// once more. With heartbeat, the seconds between two heartbeats.
    #[serde(default = "default_period")]
    #[schemars(range(min = 1, max = 3_600))]
    pub period_seconds: i32,
    /// After this many probes in a row that fail, a member is unhealthy. One probe alone proves nothing. With heartbeat,
    /// after one more period than that without any.
    #[serde(default = "default_failure_threshold")]
    #[schemars(range(min = 2, max = 100))]
    pub failure_threshold: i32,
    /// Most unhealthy members that are being replaced at once.
    #[serde(default = "default_replacements")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_unhealthy_replacements: i32,
}

/// What a machine is asked, or sends. Exactly one of tcpSocket, httpGet and heartbeat is set.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.tcpSocket), has(self.httpGet), has(self.heartbeat)].filter(set, set).size() == 1")
        .message("exactly one of health.probe.tcpSocket, health.probe.httpGet and health.probe.heartbeat must be set")
)]
pub struct HealthProbe {
    /// A machine answers when it accepts a TCP connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocketReadiness>,
    /// A machine answers when it answers an HTTP GET request with a status that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGetReadiness>,
    /// The operator asks nothing: a machine posts to the operator once each period. The operator needs an address that
    /// machines reach. Setting it is part of the template, unless readiness.phoneHome is set: the machines get URLs to call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<HeartbeatProbe>,
}

/// A call of the machine to the operator, once each period. Has no settings.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatProbe {}

const fn default_period() -> i32 {
    30
}

const fn default_failure_threshold() -> i32 {
    3
}

const fn default_replacements() -> i32 {
    1
}
