//! The manifests for Argo CD and Flux in `deploy` are what those two accept, by their own definitions.

use std::fs;
use std::path::{Path, PathBuf};

use bullpen_devkit::control_plane::{ControlPlane, Options};
use serde::Deserialize;
use tokio::process::Command;

/// Which file has which definitions, by module.
const DEFINITIONS: [(&str, &[&str]); 4] = [
    ("github.com/argoproj/argo-cd/v3", &["manifests/crds/application-crd.yaml"]),
    ("github.com/fluxcd/helm-controller", &["config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml"]),
    ("github.com/fluxcd/kustomize-controller", &["config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml"]),
    ("github.com/fluxcd/source-controller", &["config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml"]),
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    dir: PathBuf,
}

/// Go's own copy of a module in the version that `tools/gitops-crds` pins.
async fn module(name: &str) -> PathBuf {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/gitops-crds");
    let pins = fs::read_to_string(tool.join("go.mod")).expect("the pins");
    let version = pins.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '));
    let wanted = format!("{name}@{}", version.unwrap_or_else(|| panic!("no {name} in {pins}")));
    let mut go = Command::new("go");
    let output = go.current_dir(tool).args(["mod", "download", "-json", &wanted]).output().await.expect("go runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str::<Downloaded>(&said).expect("where it is").dir
}

fn manifests(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(folder);
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).collect();
    assert!(found.len() >= 2, "{found:?}");
    found
}

#[tokio::test]
async fn the_manifests_for_argo_cd_and_flux_are_accepted_by_their_own_definitions() {
    let mut options = Options::default();
    options.controller_manager = false;
    let control_plane = ControlPlane::start(options).await.expect("a control plane");
    let kubectl = async |arguments: &[&str]| {
        let mut kubectl = Command::new(control_plane.kubectl_path());
        kubectl.arg("--kubeconfig").arg(control_plane.kubeconfig_path());
        kubectl.arg("--cache-dir").arg(control_plane.work_folder().join("kubectl"));
        let output = kubectl.args(arguments).output().await.expect("kubectl runs");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let must = async |arguments: &[&str]| {
        let (succeeded, output) = kubectl(arguments).await;
        assert!(succeeded, "kubectl {arguments:?}: {output}");
    };
    for (name, files) in DEFINITIONS {
        let folder = module(name).await;
        for file in files {
            must(&["create", "-f", &folder.join(file).display().to_string()]).await;
        }
    }
    must(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).await;
    for namespace in ["argocd", "flux-system"] {
        must(&["create", "namespace", namespace]).await;
    }
    let strictly = ["apply", "--dry-run=server", "--validate=strict", "--server-side", "-f"];
    for path in ["argocd", "flux"].into_iter().flat_map(manifests) {
        must(&[strictly.as_slice(), &[&path.display().to_string()]].concat()).await;
        // A check that lets nonsense pass would not be one.
        let text = fs::read_to_string(&path).expect("a manifest");
        let nonsense = control_plane.work_folder().join("nonsense.yaml");
        fs::write(&nonsense, text.replace("\nspec:\n", "\nspec:\n  nonsense: true\n")).expect("written");
        let (accepted, output) = kubectl(&[strictly.as_slice(), &[&nonsense.display().to_string()]].concat()).await;
        assert!(!accepted && output.contains("nonsense"), "{}: {output}", path.display());
    }
    control_plane.stop().await;
}
