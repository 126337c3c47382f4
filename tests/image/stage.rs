//! A real API server with Bullpen's definitions and its service account, and a pool and a claim on it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bullpen_devkit::control_plane::{ControlPlane, Options};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::oci::text;
use crate::{eventually, output, repository};

/// Where the operator stands, by `deploy/base`.
pub(crate) const HOME: &str = "bullpen";
/// Where the pool and the claim are.
const NAMESPACE: &str = "default";

/// A control plane and what the operator is given of it.
pub(crate) struct Stage {
    control_plane: ControlPlane,
    folder: TempDir,
}

impl Stage {
    /// A control plane of a test's own with all of `deploy/base`: the chart's service account has exactly its permissions,
    /// and nobody runs the Deployment's pods.
    pub(crate) async fn set() -> Self {
        let control_plane = ControlPlane::start(Options::default()).await.expect("a control plane");
        let stage = Self { control_plane, folder: TempDir::new().expect("a folder") };
        stage.kubectl(&["apply", "--server-side", "-k", &in_repository("deploy/base")]);
        stage.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &in_repository("crds")]);
        stage
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.control_plane.kubectl_path());
        command.arg("--kubeconfig").arg(self.control_plane.kubeconfig_path());
        command.arg("--cache-dir").arg(self.folder.path().join("kubectl"));
        command
    }

    /// Runs kubectl as an administrator; it must succeed.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        output(self.command().args(arguments))
    }

    /// The environment that a kubelet gives to containers.
    pub(crate) fn service(&self) -> [(&'static str, String); 2] {
        [("KUBERNETES_SERVICE_HOST", "127.0.0.1".to_owned()), ("KUBERNETES_SERVICE_PORT", self.port())]
    }

    fn port(&self) -> String {
        self.control_plane.port().to_string()
    }

    fn token(&self) -> String {
        self.kubectl(&["create", "token", "bullpen", "--namespace", HOME, "--duration=1h"])
    }

    fn admin(&self) -> Value {
        let admin = fs::read(self.control_plane.kubeconfig_path()).expect("the administrator's kubeconfig");
        serde_json::from_slice(&admin).expect("it is JSON")
    }

    /// A folder with what a kubelet mounts at `/var/run/secrets/kubernetes.io/serviceaccount`, which anybody may read.
    pub(crate) fn service_account(&self) -> PathBuf {
        let folder = self.folder.path().join("serviceaccount");
        fs::create_dir_all(&folder).expect("a folder");
        let authority = text(&self.admin()["clusters"][0]["cluster"]["certificate-authority-data"]);
        let authority = STANDARD.decode(authority).expect("base64");
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("everybody may read it");
        for (name, content) in [("ca.crt", authority), ("namespace", HOME.into()), ("token", self.token().into())] {
            let path = folder.join(name);
            fs::write(&path, content).expect("written");
            fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("everybody may read it");
        }
        folder
    }

    /// The kubeconfig of the service account.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        let mut kubeconfig = self.admin();
        kubeconfig["users"][0]["user"] = json!({ "token": self.token() });
        kubeconfig["contexts"][0]["context"]["namespace"] = json!(HOME);
        let path = self.folder.path().join("kubeconfig");
        fs::write(&path, kubeconfig.to_string()).expect("written");
        path
    }

    /// Makes a pool of the cloud at this address and a claim on it, and waits until the claim is Bound to a machine, which
    /// ends with the claim.
    pub(crate) async fn serve_a_claim(&self, cloud: &str) {
        let launch_config = json!({
            "region": "sim-1", "zone": "sim-1a", "instanceType": "small", "image": "img-1",
            "simulated": { "endpoint": format!("http://{cloud}"), "bootMilliseconds": 200 },
        });
        self.apply("LaunchConfig", "sim", &launch_config);
        let pool = json!({ "targetSize": 1, "maxSize": 4, "launchConfigs": [{ "name": "sim" }] });
        self.apply("InstancePool", "ci", &pool);
        self.apply("PoolClaim", "build", &json!({ "poolRef": { "name": "ci" } }));
        self.kubectl(&["wait", "--for=condition=Bound", "--timeout=120s", "--namespace", NAMESPACE, "pclaim/build"]);

        let members = || -> Value {
            let list = self.kubectl(&["get", "pm", "--namespace", NAMESPACE, "-o", "json"]);
            serde_json::from_str(&list).expect("it is JSON")
        };
        let of_claim = |list: &Value| {
            let claimed = |member: &&Value| member["status"]["state"] == "Claimed";
            list["items"]
                .as_array()
                .expect("a list")
                .iter()
                .find(claimed)
                .map(|member| text(&member["metadata"]["name"]))
        };
        let held = of_claim(&members()).expect("a member is claimed");
        self.kubectl(&["delete", "--namespace", NAMESPACE, "pclaim/build"]);
        eventually("the member of the claim is gone, and another one is ready", || {
            let list = members();
            let items = list["items"].as_array().expect("a list");
            let is_held = |member: &Value| member["metadata"]["name"] == held.as_str();
            let is_ready = |member: &Value| member["status"]["state"] == "Ready";
            if !items.iter().any(is_held) && items.iter().any(is_ready) { Ok(()) } else { Err(list.to_string()) }
        })
        .await;
    }

    fn apply(&self, kind: &str, name: &str, spec: &Value) {
        let object = json!({
            "apiVersion": "bullpen.dev/v1alpha1", "kind": kind,
            "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec,
        });
        let path = self.folder.path().join("object.json");
        fs::write(&path, object.to_string()).expect("written");
        self.kubectl(&["apply", "--server-side", "--validate=strict", "-f", &path.display().to_string()]);
    }

    /// Ends the control plane.
    pub(crate) async fn clear(self) {
        self.control_plane.stop().await;
    }
}

fn in_repository(path: &str) -> String {
    repository().join(path).display().to_string()
}
