//! Which crate of the workspace may depend on which, and what the crates that only decide may not depend on at all.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::tree::sources;

/// From top to bottom: each crate with those that it may depend on, also in its tests.
const CRATES: &[(&str, &[&str])] = &[
    (
        "bullpen",
        &[
            "bullpen-bench-common",
            "kubectl-bullpen",
            "bullpen-devkit",
            "bullpen-uninstall",
            "bullpen-access",
            "bullpen-simcloud",
            "bullpen-simulate",
            "bullpen-ec2",
            "bullpen-openstack",
            "claim-protocol-model",
            "bullpen-plan",
            "bullpen-api",
        ],
    ),
    ("kubectl-bullpen", &["bullpen-uninstall", "bullpen-access", "bullpen-simulate", "bullpen-plan", "bullpen-api"]),
    ("bullpen-bench-common", &["bullpen-devkit", "bullpen-api"]),
    ("bullpen-devkit", &["bullpen-access", "bullpen-simcloud", "bullpen-plan", "bullpen-api"]),
    ("bullpen-uninstall", &["bullpen-access", "bullpen-plan", "bullpen-api"]),
    ("bullpen-access", &[]),
    ("bullpen-simcloud", &[]),
    ("bullpen-ec2", &["bullpen-cloud-http"]),
    ("bullpen-openstack", &["bullpen-cloud-http"]),
    ("bullpen-cloud-http", &[]),
    ("bullpen-simulate", &["bullpen-plan", "bullpen-api"]),
    ("claim-protocol-model", &["bullpen-plan", "bullpen-api"]),
    ("bullpen-plan", &["bullpen-api"]),
    ("bullpen-api", &[]),
];

/// The crates without async, client or randomness, when each is built alone.
const PURE: [&str; 3] = ["bullpen-simulate", "bullpen-plan", "bullpen-api"];

/// What brings async, a client or randomness. The `client` feature of kube is the crate `kube-client`.
const EFFECTS: [&str; 8] = ["futures", "hyper", "kube-client", "kube-runtime", "rand", "reqwest", "tokio", "tower"];

/// The dependencies that the table does not have, in what `cargo metadata` says.
pub(crate) fn forbidden(table: &[(&str, &[&str])], metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().expect("packages");
    let name_of = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let workspace: BTreeSet<String> = packages.iter().map(name_of).collect();
    let mut found = Vec::new();
    for package in packages {
        let name = name_of(package);
        let Some((_, allowed)) = table.iter().find(|(crate_, _)| *crate_ == name) else {
            found.push(format!("{name} has no line in the table"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter().map(name_of);
        for dependency in dependencies.filter(|dependency| workspace.contains(dependency)) {
            if !allowed.contains(&dependency.as_str()) {
                found.push(format!("{name} may not depend on {dependency}"));
            }
        }
    }
    found
}

/// What a crate depends on in the end although it may not, in what `cargo tree` says of it, a crate on each line.
pub(crate) fn effects(tree: &str) -> Vec<String> {
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    EFFECTS.iter().filter(|name| names.contains(*name)).map(|name| (*name).to_owned()).collect()
}

/// The folders that a crate's root stands in, but for those with another one below them.
pub(crate) fn roots() -> Vec<String> {
    let folder = |path: &str| path.strip_suffix("/lib.rs").or(path.strip_suffix("/main.rs")).map(str::to_owned);
    let all: BTreeSet<String> = sources().iter().filter_map(|source| folder(&source.path)).collect();
    let has_one_below = |root: &String| all.iter().any(|other| other.starts_with(&format!("{root}/")));
    all.iter().filter(|root| !has_one_below(root)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use serde_json::json;

    use super::*;
    use crate::assert_none;
    use crate::tree::root;

    fn cargo(arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO")).args(arguments).arg("--locked").current_dir(root()).output();
        let output = output.expect("cargo runs");
        assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    #[test]
    fn a_dependency_that_points_up_and_a_crate_without_a_line_are_named() {
        let metadata = json!({ "packages": [
            { "name": "above", "dependencies": [{ "name": "below" }, { "name": "serde" }] },
            { "name": "below", "dependencies": [{ "name": "above" }] },
            { "name": "new", "dependencies": [] },
        ] });
        let found = forbidden(&[("above", &["below"]), ("below", &[])], &metadata);
        assert_eq!(found, ["below may not depend on above", "new has no line in the table"]);
    }

    #[test]
    fn a_client_that_came_with_another_crate_is_named() {
        let tree = "bullpen-plan v0.1.0 (/src)\nkube v5.0.0\nkube-client v5.0.0\nrand_core v0.9.0\ntokio v1.0.0 (*)\n";
        assert_eq!(effects(tree), ["kube-client", "tokio"]);
    }

    #[test]
    fn crates_depend_only_on_what_is_below_them() {
        let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
        let metadata = serde_json::from_str(&metadata).expect("JSON");
        assert_none("dependencies that the table does not have", &forbidden(CRATES, &metadata));
    }

    #[test]
    fn each_line_of_the_table_names_only_crates_below_it() {
        for (index, (name, allowed)) in CRATES.iter().enumerate() {
            let below: Vec<&str> = CRATES[index + 1..].iter().map(|(name, _)| *name).collect();
            assert!(allowed.iter().all(|other| below.contains(other)), "{name}");
        }
    }

    #[test]
    fn the_crates_that_only_decide_have_no_async_no_client_and_no_randomness() {
        for name in PURE {
            let tree = cargo(&["tree", "--package", name, "--edges", "normal", "--prefix", "none"]);
            assert!(tree.contains("kube v"), "{name}: this is its tree:\n{tree}");
            assert_none(&format!("crates that {name} may not depend on"), &effects(&tree));
        }
    }
}
