//! The kubeconfig files of a control plane.

use k8s_openapi::ByteString;
use serde_json::json;

use super::certificates::Identity;

/// The context, cluster and user in each file.
const NAME: &str = "bullpen";

/// A kubeconfig with everything in it, so that a copy of the file works too.
pub(super) fn kubeconfig(port: u16, authority: &str, identity: &Identity) -> String {
    let base64 = |pem: &str| json!(ByteString(pem.as_bytes().to_vec()));
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": NAME, "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority-data": base64(authority),
        }}],
        "users": [{ "name": NAME, "user": {
            "client-certificate-data": base64(&identity.certificate),
            "client-key-data": base64(&identity.key),
        }}],
        "contexts": [{ "name": NAME, "context": { "cluster": NAME, "user": NAME, "namespace": "default" } }],
        "current-context": NAME,
    });
    // JSON is YAML.
    format!("{config:#}\n")
}
