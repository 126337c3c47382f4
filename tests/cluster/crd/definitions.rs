//! The definitions themselves: that the server takes them, and by which names it then knows the four resources.

use std::collections::BTreeSet;
use std::process::Command;

use bullpen_api::crds;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
use kube::{Api, Client, ResourceExt};

use crate::harness::definitions::client_with_crds;
use crate::harness::shared::control_plane;

#[tokio::test]
async fn the_definitions_are_accepted_and_established_without_a_complaint() {
    let definitions: Api<CustomResourceDefinition> = Api::all(client_with_crds().await);
    for crd in crds::all() {
        let name = crd.name_any();
        let installed = definitions.get(&name).await.expect("the definition");
        let conditions = installed.status.and_then(|status| status.conditions).unwrap_or_default();
        for (type_, wanted) in [("NamesAccepted", "True"), ("Established", "True"), ("NonStructuralSchema", "False")] {
            let status =
                conditions.iter().find(|condition| condition.type_ == type_).map(|found| found.status.as_str());
            let holds = status == Some(wanted) || (status.is_none() && wanted == "False");
            assert!(holds, "{name}: {type_} is {status:?}: {conditions:#?}");
        }
    }
}

/// Every resource that the server has, subresources left out, with its group.
async fn all_resources(client: &Client) -> Vec<(String, APIResource)> {
    let mut found = Vec::new();
    for version in client.list_core_api_versions().await.expect("core versions").versions {
        let list = client.list_core_api_resources(&version).await.expect("core resources");
        found.extend(list.resources.into_iter().map(|resource| (String::new(), resource)));
    }
    for group in client.list_api_groups().await.expect("groups").groups {
        for version in &group.versions {
            let list = client.list_api_group_resources(&version.group_version).await.expect("resources of a group");
            found.extend(list.resources.into_iter().map(|resource| (group.name.clone(), resource)));
        }
    }
    found.retain(|(_, resource)| !resource.name.contains('/'));
    found
}

#[tokio::test]
async fn each_short_name_means_our_kind_and_no_other() {
    let resources = all_resources(&client_with_crds().await).await;
    assert!(
        resources.iter().any(|(group, resource)| group.is_empty() && resource.kind == "Pod"),
        "all groups are here"
    );
    for (short_name, kind) in
        [("ipool", "InstancePool"), ("lc", "LaunchConfig"), ("pm", "PoolMember"), ("pclaim", "PoolClaim")]
    {
        let meant: BTreeSet<_> = resources
            .iter()
            .filter(|(_, resource)| {
                resource.short_names.iter().flatten().any(|name| name == short_name)
                    || [&resource.name, &resource.singular_name].into_iter().any(|name| name == short_name)
            })
            .map(|(group, resource)| (group.as_str(), resource.kind.as_str()))
            .collect();
        assert_eq!(meant, BTreeSet::from([("bullpen.dev", kind)]), "{short_name}");
    }
}

#[tokio::test]
async fn no_name_of_ours_is_a_name_of_another_group() {
    let resources = all_resources(&client_with_crds().await).await;
    let names = |resource: &APIResource| {
        let mut names = vec![resource.name.clone(), resource.singular_name.clone(), resource.kind.to_lowercase()];
        names.extend(resource.short_names.clone().unwrap_or_default());
        names.into_iter().filter(|name| !name.is_empty()).collect::<BTreeSet<_>>()
    };
    let (ours, others): (Vec<_>, Vec<_>) = resources.iter().partition(|(group, _)| group == "bullpen.dev");
    let ours: BTreeSet<_> = ours.into_iter().flat_map(|(_, resource)| names(resource)).collect();
    let others: BTreeSet<_> = others.into_iter().flat_map(|(_, resource)| names(resource)).collect();
    assert_eq!(ours.len(), 12, "plural, singular and short name of four kinds: {ours:?}");
    assert_eq!(ours.intersection(&others).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[tokio::test]
async fn the_category_bullpen_is_the_four_resources() {
    let resources = all_resources(&client_with_crds().await).await;
    let members: BTreeSet<_> = resources
        .iter()
        .filter(|(_, resource)| resource.categories.iter().flatten().any(|category| category == "bullpen"))
        .map(|(group, resource)| (group.as_str(), resource.name.as_str()))
        .collect();
    let ours = ["instancepools", "launchconfigs", "poolclaims", "poolmembers"].map(|name| ("bullpen.dev", name));
    assert_eq!(members, BTreeSet::from(ours));
}

/// What the pinned kubectl prints.
fn kubectl(arguments: &[&str]) -> String {
    let control_plane = control_plane();
    let output = Command::new(control_plane.kubectl_path())
        .args(arguments)
        .arg("--kubeconfig")
        .arg(control_plane.kubeconfig_path())
        .arg("--cache-dir")
        .arg(control_plane.work_folder().join("kubectl-cache"))
        .output()
        .expect("kubectl runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "kubectl {arguments:?}: {text}");
    text
}

#[tokio::test]
async fn kubectl_knows_the_short_names_the_category_and_the_fields() {
    client_with_crds().await;
    for (name, title) in [
        ("ipool.spec.targetSize", "FIELD: targetSize <integer>"),
        ("lc.spec.simulated.endpoint", "FIELD: endpoint <string>"),
        ("pm.status.state", "FIELD: state <string>"),
        ("pclaim.status.memberRef", "FIELD: memberRef <Object>"),
    ] {
        let text = kubectl(&["explain", name]);
        assert!(text.contains("GROUP:      bullpen.dev"), "{text}");
        assert!(text.contains(title) && text.contains("DESCRIPTION:"), "{text}");
    }
    let explained = kubectl(&["explain", "ipool.spec"]);
    assert!(explained.contains("targetSize\t<integer> -required-"), "{explained}");
    assert!(explained.contains("unclaimed members wanted"), "{explained}");
    for names in ["ipool,lc,pm,pclaim", "bullpen"] {
        kubectl(&["get", names, "--all-namespaces"]);
    }
}
