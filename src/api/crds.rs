//! The CustomResourceDefinitions, made from the types and finished for the API server.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use super::{InstancePool, LaunchConfig, PoolClaim, PoolMember};

/// The four definitions, in the order in which `crds/` has them.
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
/// When the definition cannot be written as YAML.
pub fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(crd)
}

/// Adds what the derive macros cannot say: the default of `status` (a fresh object is not "current" for kstatus, and
/// `oldSelf` is always there for the transition rules), no required fields beside that default, no `nullable`, and
/// `metadata.name` where a rule about the name points at it.
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
            // The default of `status` as a whole decides what a fresh object has; zeroes would hide that nobody looked yet.
            property.remove("default");
        }
    }
    serde_json::from_value(value).expect("a tidied definition is still one")
}

/// Drops `nullable` (optional fields are left out, never null) and the empty defaults of lists.
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
#[path = "crds_tests.rs"]
mod tests;
