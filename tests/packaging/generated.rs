//! What is generated from the chart is what the chart renders. With `BULLPEN_WRITE_GENERATED` set it is written anew.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::kustomize::{self, Files};
use crate::rendering::{Objects, Wanted, is_hook, key, names, objects, overlays, sets};
use crate::tools;

/// Compares generated files with those in a folder, or writes them there. Files called `keep` are none of them.
fn settle(folder: &Path, made: &Files, keep: &[&str]) {
    let write = std::env::var_os("BULLPEN_WRITE_GENERATED").is_some();
    if write {
        std::fs::create_dir_all(folder).expect("the folder");
    }
    let mut found = Files::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_file() && !keep.contains(&name.as_str()) {
            found.insert(name, std::fs::read_to_string(&path).expect("text"));
        }
    }
    if !write {
        let stale: Vec<&String> =
            made.keys().chain(found.keys()).filter(|name| made.get(*name) != found.get(*name)).collect();
        assert!(
            stale.is_empty(),
            "{}: {stale:?} are stale: run `make generated` and commit what it wrote",
            folder.display()
        );
        return;
    }
    for name in found.keys().filter(|name| !made.contains_key(*name)) {
        std::fs::remove_file(folder.join(name)).expect("removed");
    }
    for (name, text) in made {
        std::fs::write(folder.join(name), text).expect("written");
    }
}

/// What a plain `kubectl apply` of a rendering is: without hooks, and without what only Helm reads.
async fn plain(wanted: &Wanted) -> Objects {
    let rendered = wanted.objects().await.into_values().filter(|object| !is_hook(object));
    rendered.map(kustomize::without_helm).map(|object| (key(&object), object)).collect()
}

fn namespace() -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "bullpen" } })
}

fn is_definition(object: &Value) -> bool {
    object["kind"] == "CustomResourceDefinition"
}

/// What `deploy/base` and the overlays have: the rendering, and the namespace that `helm --create-namespace` would make.
async fn expected(wanted: &Wanted) -> Objects {
    let mut expected = plain(wanted).await;
    expected.insert(key(&namespace()), namespace());
    expected
}

#[tokio::test]
async fn deploy_is_what_the_chart_renders() {
    let deploy = tools::root().join("deploy");
    let base = expected(&Wanted::default()).await;
    let (definitions, rest): (Objects, Objects) =
        base.clone().into_iter().partition(|(_, object)| is_definition(object));
    assert_eq!(definitions.len(), 4);
    settle(&deploy.join("crds"), &kustomize::folder(&definitions, &[], "The definitions alone."), &[]);
    let about = "The operator for all namespaces, with its definitions: kubectl apply --server-side -k deploy/base";
    settle(&deploy.join("base"), &kustomize::folder(&rest, &["../crds"], about), &[]);
    for name in names(&overlays()) {
        let files = kustomize::overlay(&base, &expected(&Wanted::overlay(&name)).await, "../../base");
        settle(&overlays().join(&name), &files, &["values.yaml"]);
    }
    let pool = Wanted::overlay("simcloud").and("simcloud: {examplePool: {enabled: true}}").objects().await;
    let pool = pool.into_values().filter(|object| object["apiVersion"] == "bullpen.dev/v1alpha1");
    let pool: Objects = pool.map(kustomize::without_helm).map(|object| (key(&object), object)).collect();
    assert_eq!(pool.len(), 2);
    settle(
        &deploy.join("example-pool"),
        &kustomize::folder(&pool, &[], "A pool in the cloud of overlays/simcloud."),
        &[],
    );
}

#[tokio::test]
async fn what_kustomize_builds_is_what_helm_renders_object_by_object() {
    let deploy = tools::root().join("deploy");
    let mut cases = vec![(deploy.join("base"), Wanted::default())];
    cases.extend(names(&overlays()).into_iter().map(|name| (overlays().join(&name), Wanted::overlay(&name))));
    assert_eq!(cases.len(), 4);
    for (folder, wanted) in cases {
        let (built, expected) = (objects(&tools::kustomize(&folder).await), expected(&wanted).await);
        let (built_keys, expected_keys): (Vec<_>, Vec<_>) = (built.keys().collect(), expected.keys().collect());
        assert_eq!(built_keys, expected_keys, "{}", folder.display());
        for (key, object) in &expected {
            assert_eq!(&built[key], object, "{key} of {}", folder.display());
        }
        let text = serde_json::to_string(&built).expect("JSON");
        for word in ["helm.sh/", "app.kubernetes.io/managed-by"] {
            assert!(!text.contains(word), "{}: {word}", folder.display());
        }
    }
}

/// Writes 1.0 as 1, as Helm does.
fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => json!(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(list) => list.into_iter().map(whole).collect(),
        Value::Object(map) => map.into_iter().map(|(name, value)| (name, whole(value))).collect(),
        other => other,
    }
}

#[tokio::test]
async fn the_definitions_of_the_chart_are_those_of_the_types() {
    let rendered = Wanted::default().objects().await;
    for definition in bullpen_api::crds::all() {
        let definition = serde_json::to_value(definition).expect("JSON");
        let object = &rendered[&key(&definition)];
        assert_eq!(object["spec"], whole(definition["spec"].clone()), "{}", key(&definition));
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/resource-policy"], "keep");
        assert_eq!(annotations["argocd.argoproj.io/sync-options"], "Prune=false,Delete=false");
        let digest = &definition["metadata"]["annotations"]["bullpen.dev/schema-digest"];
        assert!(digest.as_str().is_some_and(|digest| !digest.is_empty()), "{}: {digest}", key(&definition));
        assert_eq!(annotations["bullpen.dev/schema-digest"], *digest, "{}", key(&definition));
    }
}

#[tokio::test]
async fn the_main_value_sets_render_as_their_snapshots_say() {
    let mut made = BTreeMap::new();
    for name in names(&sets()) {
        let wanted = Wanted::set(&name).and("crds: {enabled: false}");
        let wanted =
            wanted.serving(&["monitoring.coreos.com/v1/ServiceMonitor", "monitoring.coreos.com/v1/PodMonitor"]);
        made.insert(format!("{name}.yaml"), wanted.text().await);
    }
    assert_eq!(made.len(), 6);
    settle(&tools::root().join("tests/packaging/snapshots"), &made, &[]);
}
