//! When a machine of a pool counts as ready.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a machine counts as ready. At most one of provider, tcpSocket, httpGet and phoneHome is set; none of them means
/// provider.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "[has(self.provider), has(self.tcpSocket), has(self.httpGet), has(self.phoneHome)].filter(set, set).size() <= 1"
    )
    .message(
        "at most one of readiness.provider, readiness.tcpSocket, readiness.httpGet and readiness.phoneHome may be set"
    )
)]
pub struct Readiness {
    /// A machine is ready when the provider reports that it runs and has passed the provider's own checks. The default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderReadiness>,
    /// A machine is ready when it runs and accepts a TCP connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocketReadiness>,
    /// A machine is ready when it runs and answers an HTTP GET request with a status that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGetReadiness>,
    /// A machine is ready when it runs and has called the operator. cloud-init does so at the end of its first boot, or a
    /// script of yours does. The operator needs an address that machines reach. Part of the template: a change replaces
    /// machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_home: Option<PhoneHomeReadiness>,
    /// Most seconds from the accepted create until the machine has booted; after that the member is Errored.
    #[serde(default = "default_launch_timeout")]
    #[schemars(range(min = 1, max = 86_400))]
    pub launch_timeout_seconds: i32,
    /// Most seconds from boot until the machine is ready; after that the member is Errored.
    #[serde(default = "default_warming_timeout")]
    #[schemars(range(min = 1, max = 86_400))]
    pub warming_timeout_seconds: i32,
}

/// Readiness as the provider reports it. Has no settings.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderReadiness {}

/// A call of the machine to the operator. Has no settings.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneHomeReadiness {}

/// A TCP connection that the operator opens to the machine.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpSocketReadiness {
    /// The port.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,
}

/// An HTTP GET request that the operator sends to the machine. Redirects are not followed, and the body of the answer is
/// not read.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpGetReadiness {
    /// The port.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,
    /// The path, with a query if there is one.
    #[serde(default = "root")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r#"^/[!-"$-~]*$"#))]
    pub path: String,
    /// HTTP or HTTPS. The certificate of the machine is not verified, as a kubelet does not verify those of probes.
    #[serde(default)]
    pub scheme: HttpScheme,
    /// The only status that means ready. Without it, each from 200 to 299 does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 200, max = 599))]
    pub expected_status: Option<i32>,
}

/// How an HTTP request is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum HttpScheme {
    /// In plain text.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// Over TLS.
    #[serde(rename = "HTTPS")]
    Https,
}

fn root() -> String {
    "/".to_owned()
}

const fn default_launch_timeout() -> i32 {
    600
}

const fn default_warming_timeout() -> i32 {
    1_800
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            provider: None,
            tcp_socket: None,
            http_get: None,
            phone_home: None,
            launch_timeout_seconds: default_launch_timeout(),
            warming_timeout_seconds: default_warming_timeout(),
        }
    }
}
