//! A cluster to install Bullpen on, and the tools to do it with.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bullpen_devkit::control_plane::{Binaries, ControlPlane, Options, Program as Tool};
use kube::Client;
use serde_json::Value;

use super::RELEASE;
use super::audit::{self, Audit};
use super::kubelet::Kubelet;
use super::pod::Program;
use crate::harness::{BULLPEN, Ground, SIMCLOUD, Simcloud};

/// How long Helm waits for what it installs.
const HELM_PATIENCE: &str = "120s";
const KUBECTL_PATIENCE: Duration = Duration::from_mins(2);
/// How much of an output is shown.
const MOST_LINES: usize = 40;

/// A cluster without Bullpen, a cloud, and a node that runs pods.
pub(crate) struct Site {
    pub(crate) client: Client,
    pub(crate) kubelet: Kubelet,
    pub(crate) simcloud: Simcloud,
    control_plane: ControlPlane,
    helm: PathBuf,
    folder: Folder,
}

/// Where logs and kubeconfigs are; kept when the test fails.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- all logs are in {} ---", self.0.display());
        } else {
            // What stays behind is in the target folder.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

impl Site {
    /// An empty cluster; `name` is that of the folder for logs.
    pub(crate) async fn begin(name: &str) -> Self {
        Self::begin_with(name, Vec::new()).await
    }

    /// Like [`Site::begin`], with more images than those of this version.
    pub(crate) async fn begin_with(name: &str, mut programs: Vec<Program>) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("install").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for logs");
        let mut policy = tempfile::NamedTempFile::new().expect("a file for the audit policy");
        policy.write_all(audit::policy().as_bytes()).expect("written");
        let mut options = Options::default();
        options.api_server_flags = vec![
            format!("--audit-policy-file={}", policy.path().display()),
            format!("--audit-log-path={}", audit::LOG),
            // Some clusters have it, and it asks for permissions that no request names.
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned(),
        ];
        let more = ["deployment-controller", "replicaset-controller", "job-controller"];
        options.controllers = more.map(str::to_owned).into();
        let control_plane = ControlPlane::start(options).await.expect("a control plane");
        let helm = Binaries::tool(Tool::Helm, &Options::default().progress).await.expect("helm");
        let client = Client::try_from(control_plane.client_config()).expect("a client");
        programs.extend([
            Program { image: "bullpen-simcloud".into(), binary: SIMCLOUD.into() },
            Program { image: "bullpen".into(), binary: BULLPEN.into() },
        ]);
        let kubelet = Kubelet::start(client.clone(), &control_plane.kubeconfig_path(), &folder, programs);
        let simcloud = Simcloud::start(&folder, &[]).await;
        Self { client, kubelet, simcloud, control_plane, helm, folder: Folder(folder) }
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.control_plane.kubeconfig_path()
    }

    /// The same cluster for a walk that has its own namespace and cloud.
    pub(crate) async fn ground(&self) -> Ground {
        Ground::without_definitions(&self.control_plane).await
    }

    /// The requests of every service account from now on.
    pub(crate) fn audit(&self) -> Audit {
        Audit::of(self.control_plane.work_folder().join(audit::LOG))
    }

    /// Installs or upgrades the release and waits until Helm says that it is there.
    pub(crate) async fn upgrade(&self, chart: &Path, arguments: &[&str]) -> String {
        let chart = chart.display().to_string();
        let fixed = [
            "upgrade",
            "--install",
            RELEASE,
            &chart,
            "--namespace",
            RELEASE,
            "--create-namespace",
            "--wait",
            "--timeout",
            HELM_PATIENCE,
        ];
        self.helm_succeeds(&[&fixed, arguments].concat()).await
    }

    /// Runs Helm; it must succeed.
    pub(crate) async fn helm_succeeds(&self, arguments: &[&str]) -> String {
        let (succeeded, output) = self.helm(arguments).await;
        assert!(succeeded, "helm {arguments:?}: {output}\n{}", self.kubelet.logs().await);
        output
    }

    /// Whether Helm succeeded, and what it wrote to both of its outputs.
    pub(crate) async fn helm(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = tokio::process::Command::new(&self.helm);
        command.args(arguments);
        for (variable, folder) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            command.env(variable, self.folder.0.join("helm").join(folder));
        }
        self.run(command).await
    }

    /// Runs kubectl as an administrator; it must succeed.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        let (succeeded, output) = self.try_kubectl(arguments).await;
        assert!(succeeded, "kubectl {arguments:?}: {output}");
        output
    }

    /// Whether kubectl succeeded, and what it wrote to both of its outputs.
    pub(crate) async fn try_kubectl(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = tokio::process::Command::new(self.control_plane.kubectl_path());
        command.env("KUBECACHEDIR", self.folder.0.join("kubectl")).args(arguments);
        self.run(command).await
    }

    async fn run(&self, mut command: tokio::process::Command) -> (bool, String) {
        command.env("KUBECONFIG", self.kubeconfig()).kill_on_drop(true);
        let output = tokio::time::timeout(2 * KUBECTL_PATIENCE, command.output()).await;
        let output = output.expect("it ends in time").expect("it runs");
        let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        // For `make demo-install`, and for whoever reads why a test failed.
        eprintln!("$ {}\n{}", shown(command.as_std()), cut(&printed));
        (output.status.success(), printed)
    }

    /// Writes a file beside the logs, and gives its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.0.join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    /// Applies objects, as `kubectl apply --server-side` does.
    pub(crate) async fn apply(&self, namespace: &str, objects: &[Value]) {
        let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        let path = self.write("apply.json", &list.to_string());
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-n", namespace, "-f", &path]).await;
    }

    /// Ends the cluster.
    pub(crate) async fn end(self) {
        drop(self.kubelet);
        self.control_plane.stop().await;
    }
}

/// The chart in this tree.
pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/bullpen")
}

/// The first lines, and how many more there are.
fn cut(printed: &str) -> String {
    let more = printed.lines().count().saturating_sub(MOST_LINES);
    let first = printed.lines().take(MOST_LINES).collect::<Vec<_>>().join("\n");
    if more == 0 { first + "\n" } else { format!("{first}\n… {more} lines more\n") }
}

/// A command as a user would type it.
fn shown(command: &std::process::Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
