//! The CustomResourceDefinitions, generated from the types and completed for the API server.

mod manifest;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResourceExt, ResourceExt};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub use self::manifest::read_spec;
use super::names::ANNOTATION_SCHEMA_DIGEST;
use super::{InstancePool, LaunchConfig, PoolClaim, PoolMember};

/// Deleting a definition deletes all its objects, and with them the records of all machines. So `helm uninstall` and
/// Argo CD keep the definitions. The sync wave makes Argo CD apply them before objects of their kinds.
const ANNOTATIONS: [(&str, &str); 3] = [
    ("helm.sh/resource-policy", "keep"),
    ("argocd.argoproj.io/sync-options", "Prune=false,Delete=false"),
    ("argocd.argoproj.io/sync-wave", "-1"),
];

/// The four definitions, in the order of `crds/`.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        finished(&InstancePool::crd(), json!({"observedGeneration": -1})),
        finished(&LaunchConfig::crd(), json!({"observedGeneration": -1})),
        finished(&PoolClaim::crd(), json!({"observedGeneration": -1, "phase": "Pending"})),
        finished(&PoolMember::crd(), json!({"observedGeneration": -1, "state": "Pending"})),
    ]
}

/// One definition as YAML.
///
/// # Errors
/// When the definition cannot be serialized.
pub fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(crd)
}

/// A digest, in hexadecimal, of what the API server serves for a definition: names, scope, and each version's schema
/// with its rules, subresources and printer columns. Descriptions and everything outside `spec` do not count.
pub fn digest(crd: &CustomResourceDefinition) -> String {
    let spec = serde_json::to_value(&crd.spec).unwrap_or_default();
    let names = ["plural", "singular", "kind", "shortNames", "categories"];
    let names: Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), spec["names"][name].clone())).collect();
    let mut versions = spec["versions"].clone();
    for version in versions.as_array_mut().into_iter().flatten() {
        if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
            drop_descriptions(schema);
        }
    }
    // The map sorts its keys, so the text is the same each time.
    let served = json!({ "group": spec["group"], "scope": spec["scope"], "names": names, "versions": versions });
    Sha256::digest(served.to_string()).iter().take(16).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Removes the descriptions of a schema and of all nested schemas, but no property that is named `description`.
fn drop_descriptions(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("description");
    for (key, part) in object {
        match key.as_str() {
            "properties" => part.as_object_mut().into_iter().flatten().for_each(|(_, inner)| drop_descriptions(inner)),
            "items" | "additionalProperties" => drop_descriptions(part),
            _ => {}
        }
    }
}

/// Completes a derived definition with what the derive macros cannot express:
/// - a default `status`, so that kstatus does not take a new object for current and transition rules always have `oldSelf`;
/// - no required fields in `status`, and no `nullable`;
/// - `metadata.name` where a rule about the name refers to it;
/// - the annotations.
fn finished(crd: &CustomResourceDefinition, status_default: Value) -> CustomResourceDefinition {
    let mut value = serde_json::to_value(crd).expect("a definition made from types is JSON");
    let schema =
        value.pointer_mut("/spec/versions/0/schema/openAPIV3Schema").expect("a derived definition has a schema");
    tidy(schema);
    if schema.get("x-kubernetes-validations").is_some() {
        schema["properties"]["metadata"] = json!({"type": "object", "properties": {"name": {"type": "string"}}});
    }
    let status = schema
        .pointer_mut("/properties/status")
        .and_then(Value::as_object_mut)
        .expect("each of the four resources has a status");
    status.remove("required");
    status.insert("default".into(), status_default);
    if let Some(properties) = status.get_mut("properties").and_then(Value::as_object_mut) {
        for property in properties.values_mut().filter_map(Value::as_object_mut) {
            // A new object has only the default of `status` as a whole; zeros would hide that nobody has looked at it
            // yet.
            property.remove("default");
        }
    }
    let mut crd: CustomResourceDefinition = serde_json::from_value(value).expect("a tidied definition is still one");
    let digest = digest(&crd);
    let annotations = ANNOTATIONS.into_iter().chain([(ANNOTATION_SCHEMA_DIGEST, digest.as_str())]);
    crd.annotations_mut().extend(annotations.map(|(key, value)| (key.to_owned(), value.to_owned())));
    crd
}

/// Removes `nullable` (optional fields are omitted, never null) and null defaults.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.remove("nullable");
            drop_unwritten_default(object);
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn drop_unwritten_default(object: &mut Map<String, Value>) {
    if matches!(object.get("default"), Some(Value::Null)) {
        object.remove("default");
    }
}

#[cfg(test)]
mod tests;
