//! Reads definitions from a `CustomResourceDefinition`, or from the `OpenAPI` document, which needs no permission.

use std::collections::BTreeSet;

use bullpen_api::{InstancePool, crds};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion,
};
use kube::Resource;
use serde_json::Value;

use super::Definition;

/// Most references that are resolved in one schema. Ours have none; the limit stops circular ones.
const MOST_REFERENCES: usize = 64;

impl Definition {
    /// The four definitions of this build.
    pub fn ours() -> Vec<Self> {
        crds::all().iter().filter_map(Self::of).collect()
    }

    /// From a `CustomResourceDefinition`; `None` if it does not serve our version.
    pub fn of(crd: &CustomResourceDefinition) -> Option<Self> {
        let served = || crd.spec.versions.iter().filter(|version| version.served);
        let version = served().find(|version| is_ours(version))?;
        let subresources = version.subresources.as_ref();
        let has_status = subresources.is_some_and(|subresources| subresources.status.is_some());
        let has_scale = subresources.is_some_and(|subresources| subresources.scale.is_some());
        let present = [("status", has_status), ("scale", has_scale)].into_iter().filter(|(_, present)| *present);
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        Some(Self {
            resource: crd.spec.names.plural.clone(),
            schema: serde_json::to_value(schema).unwrap_or_default(),
            subresources: present.map(|(name, _)| name.to_owned()).collect(),
            other_versions: served().filter(|other| !is_ours(other)).map(|other| other.name.clone()).collect(),
            digest: Some(crds::digest(crd)),
        })
    }
}

fn is_ours(version: &CustomResourceDefinitionVersion) -> bool {
    version.name == InstancePool::version(&())
}

/// Our definitions, as far as they are in the `OpenAPI` v3 document of our group and version.
pub fn from_openapi(document: &Value) -> Vec<Definition> {
    crds::all().iter().filter_map(|crd| one_from_openapi(document, crd)).collect()
}

fn one_from_openapi(document: &Value, ours: &CustomResourceDefinition) -> Option<Definition> {
    let (group, version, names) = (&ours.spec.group, InstancePool::version(&()), &ours.spec.names);
    let collection = format!("/apis/{group}/{version}/namespaces/{{namespace}}/{}", names.plural);
    let paths = document["paths"].as_object()?;
    paths.contains_key(&collection).then_some(())?;
    let within = format!("{collection}/{{name}}/");
    let subresources = paths.keys().filter_map(|path| path.strip_prefix(&within)).map(str::to_owned).collect();
    let is_meant = |schema: &&Value| {
        let mut kinds = schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten();
        kinds.any(|kind| kind["group"] == **group && kind["version"] == *version && kind["kind"] == *names.kind)
    };
    let mut schema = document.pointer("/components/schemas")?.as_object()?.values().find(is_meant)?.clone();
    let mut left = MOST_REFERENCES;
    for part in ["spec", "status"] {
        if let Some(part) = schema.get_mut("properties").and_then(|properties| properties.get_mut(part)) {
            resolve_references(part, document, &mut left);
        }
    }
    let resource = names.plural.clone();
    Some(Definition { resource, schema, subresources, other_versions: BTreeSet::new(), digest: None })
}

/// Replaces references by what they refer to.
fn resolve_references(schema: &mut Value, document: &Value, left: &mut usize) {
    // A reference with a description or default beside it is wrapped in `allOf`.
    let wrapped = || schema["allOf"].as_array().filter(|parts| parts.len() == 1).map(|parts| &parts[0]);
    let reference = schema.get("$ref").or_else(|| wrapped()?.get("$ref")).and_then(Value::as_str);
    let target = reference.and_then(|reference| document.pointer(reference.strip_prefix('#')?));
    if let Some(target) = target.filter(|_| *left > 0).cloned() {
        *left -= 1;
        *schema = target;
        resolve_references(schema, document, left);
        return;
    }
    for (key, part) in schema.as_object_mut().into_iter().flatten() {
        match key.as_str() {
            "properties" => {
                part.as_object_mut().into_iter().flatten().for_each(|(_, inner)| {
                    resolve_references(inner, document, left);
                });
            }
            "items" | "additionalProperties" => resolve_references(part, document, left),
            _ => {}
        }
    }
}
