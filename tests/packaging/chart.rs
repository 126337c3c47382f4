//! What Helm's own tools say of the chart.

use bullpen_devkit::control_plane::Program;

use crate::rendering::{Wanted, names, sets};
use crate::tools::{chart, helm, root, run, tool};

#[tokio::test]
async fn the_chart_and_every_value_set_pass_the_strict_lint() {
    let folder = chart();
    for name in names(&sets()) {
        let file = sets().join(format!("{name}.yaml"));
        let mut arguments = ["lint", "--strict", "--quiet", "--values"].map(std::ffi::OsString::from).to_vec();
        arguments.extend([file.into_os_string(), folder.clone().into_os_string()]);
        helm(&arguments).await.output();
    }
}

#[tokio::test]
async fn the_charts_own_tests_pass() {
    let program = tool(Program::HelmUnittest).await;
    let folder = chart();
    let said = run(&program, &[folder.as_os_str()], None).await.output();
    let line = said.lines().find(|line| line.starts_with("Tests:")).unwrap_or_default();
    let passed: Option<usize> = line.split_whitespace().nth(1).and_then(|count| count.parse().ok());
    assert!(passed.is_some_and(|passed| passed >= 50) && !line.contains("failed"), "{said}");
}

#[tokio::test]
async fn the_package_has_what_it_needs_and_nothing_else() {
    let target = tempfile::tempdir().expect("a folder");
    let arguments = ["package".into(), chart().into_os_string(), "--destination".into(), target.path().into()];
    helm(&arguments).await.output();
    let version = env!("CARGO_PKG_VERSION");
    let package = target.path().join(format!("bullpen-{version}.tgz"));
    let listed = run("tar".as_ref(), &["tzf".as_ref(), package.as_os_str()], None).await.output();
    for needed in ["values.schema.json", "files/crds/poolmembers.bullpen.dev.yaml", "templates/NOTES.txt"] {
        assert!(listed.contains(needed), "{listed}");
    }
    assert!(!listed.contains("/tests/"), "{listed}");
}

#[test]
fn the_chart_has_the_version_of_the_operator() {
    let text = std::fs::read_to_string(chart().join("Chart.yaml")).expect("a chart");
    let chart: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn every_namespaced_object_says_its_namespace_and_every_object_its_labels() {
    let rendered = Wanted::set("everything").serving(&["monitoring.coreos.com/v1/ServiceMonitor"]).objects().await;
    for (key, object) in &rendered {
        let metadata = &object["metadata"];
        assert_eq!(metadata["labels"]["app.kubernetes.io/part-of"], "bullpen", "{key}");
        assert_eq!(metadata["labels"]["example.org/owner"], "platform", "{key}");
        let cluster = ["Cluster", "Validating", "CustomResource", "FlowSchema", "PriorityLevel"];
        let expected = !cluster.iter().any(|prefix| key.starts_with(prefix));
        assert_eq!(metadata.get("namespace").is_some(), expected, "{key}");
    }
    assert!(rendered.len() > 30, "{}", rendered.len());
}

#[tokio::test]
async fn no_rule_grants_more_than_it_names() {
    for name in names(&sets()) {
        let rendered = Wanted::set(&name).objects().await;
        for (key, role) in rendered.iter().filter(|(_, object)| object.get("rules").is_some()) {
            if key.starts_with("FlowSchema") || role["apiVersion"] != "rbac.authorization.k8s.io/v1" {
                continue;
            }
            let rules = role["rules"].to_string();
            assert!(!rules.contains('*'), "{key}: {rules}");
            let lists_secrets = role["rules"].as_array().expect("rules").iter().any(|rule| {
                rule["resources"].to_string().contains("secrets") && rule["verbs"].to_string().contains("list")
            });
            assert!(!lists_secrets, "{key} lists secrets");
        }
    }
}

/// What README and `docs/operate/install.md` tell people to type has to be there.
#[test]
fn the_folders_that_the_docs_name_are_there() {
    let text = std::fs::read_to_string(root().join("docs/operate/install.md")).expect("a page");
    let words = text.split(|letter: char| letter.is_whitespace() || "`()".contains(letter));
    let paths: Vec<&str> = words.filter(|word| word.starts_with("deploy/") || word.starts_with("charts/")).collect();
    assert!(paths.len() > 5, "{paths:?}");
    for path in paths {
        let path = path.trim_end_matches(['.', ',', ':', ';']);
        assert!(root().join(path).exists(), "docs/operate/install.md names {path}");
    }
}
