//! How objects become a folder for kustomize.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::rendering::Objects;

/// Texts by their file's name.
pub(crate) type Files = BTreeMap<String, String>;

const HEAD: &str = "# Generated from charts/bullpen: make deploy.\n";

fn yaml(value: &Value) -> String {
    let text = serde_saphyr::to_string(value).expect("JSON is YAML");
    format!("{HEAD}{}\n", text.trim_end())
}

/// Takes away what only Helm reads, or says that it comes from there.
pub(crate) fn without_helm(mut object: Value) -> Value {
    for pointer in ["/metadata", "/spec/template/metadata"] {
        let Some(metadata) = object.pointer_mut(pointer).and_then(Value::as_object_mut) else { continue };
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove("helm.sh/chart");
            labels.remove("app.kubernetes.io/managed-by");
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|name, _| !name.starts_with("helm.sh/") && name != "argocd.argoproj.io/hook");
        }
        if metadata.get("annotations").and_then(Value::as_object).is_some_and(Map::is_empty) {
            metadata.remove("annotations");
        }
    }
    object
}

/// The name of an object's file.
fn file(object: &Value) -> String {
    let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_lowercase();
    let namespace = match word("/metadata/namespace").as_str() {
        "" | "bullpen" => String::new(),
        other => format!("{other}-"),
    };
    format!("{}-{namespace}{}.yaml", word("/kind"), word("/metadata/name"))
}

fn kustomization(about: &str, content: &Value) -> String {
    let mut whole = json!({ "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization" });
    for (name, value) in content.as_object().into_iter().flatten() {
        whole[name] = value.clone();
    }
    format!("# {about}\n{}", yaml(&whole))
}

/// A folder with a file for each object, on top of other folders.
pub(crate) fn folder(objects: &Objects, others: &[&str], about: &str) -> Files {
    let mut files: Files = objects.values().map(|object| (file(object), yaml(object))).collect();
    assert_eq!(files.len(), objects.len(), "two objects in one file");
    let resources: Vec<&str> = others.iter().copied().chain(files.keys().map(String::as_str)).collect();
    let kustomization = kustomization(about, &json!({ "resources": resources }));
    files.insert("kustomization.yaml".to_owned(), kustomization);
    files
}

/// A folder that makes `wanted` of `base`: by more objects, fewer, and patches.
pub(crate) fn overlay(base: &Objects, wanted: &Objects, path: &str) -> Files {
    let mut files = Files::new();
    let (mut resources, mut patches) = (vec![path.to_owned()], Vec::new());
    for (key, object) in wanted {
        let Some(before) = base.get(key) else {
            files.insert(file(object), yaml(object));
            resources.push(file(object));
            continue;
        };
        let mut operations = Vec::new();
        difference("", before, object, &mut operations);
        if !operations.is_empty() {
            let name = format!("patch-{}", file(object));
            files.insert(name.clone(), yaml(&Value::Array(operations)));
            patches.push(json!({ "path": name, "target": target(object) }));
        }
    }
    for (_, object) in base.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
        let name = format!("delete-{}", file(object));
        let metadata = &object["metadata"];
        let mut deleted = json!({
            "$patch": "delete", "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": { "name": metadata["name"] }
        });
        if let Some(namespace) = metadata.get("namespace") {
            deleted["metadata"]["namespace"] = namespace.clone();
        }
        files.insert(name.clone(), yaml(&deleted));
        patches.push(json!({ "path": name }));
    }
    let mut content = json!({ "resources": resources });
    if !patches.is_empty() {
        content["patches"] = patches.into();
    }
    let about = "What the chart renders with values.yaml, as a change of deploy/base.";
    files.insert("kustomization.yaml".to_owned(), kustomization(about, &content));
    files
}

fn target(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut target = json!({ "kind": object["kind"], "name": metadata["name"] });
    if let Some(namespace) = metadata.get("namespace") {
        target["namespace"] = namespace.clone();
    }
    target
}

/// The JSON patch from one value to another. Lists of another length are replaced as a whole.
fn difference(path: &str, before: &Value, after: &Value, operations: &mut Vec<Value>) {
    match (before, after) {
        _ if before == after => (),
        (Value::Object(old), Value::Object(new)) => {
            let below = |name: &String| format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
            for name in old.keys().filter(|name| !new.contains_key(*name)) {
                operations.push(json!({ "op": "remove", "path": below(name) }));
            }
            for (name, value) in new {
                match old.get(name) {
                    Some(known) => difference(&below(name), known, value, operations),
                    None => operations.push(json!({ "op": "add", "path": below(name), "value": value })),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (known, value)) in old.iter().zip(new).enumerate() {
                difference(&format!("{path}/{index}"), known, value, operations);
            }
        }
        _ => operations.push(json!({ "op": "replace", "path": path, "value": after })),
    }
}
