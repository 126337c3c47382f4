//! Parses the objects of lists and watches so that a broken one does not fail the whole list.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::error_boundary::InvalidObject;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::{Map, Value};

/// An object, or its metadata and what is wrong with it.
///
/// Like kube's `DeserializeGuard`, but without a second copy, and managed fields, which are most of an object, are
/// skipped while parsing.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, InvalidObject>);

impl<'de, K: Resource + DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = deserializer.deserialize_map(Parts { of_metadata: false })?;
        match K::deserialize(&object) {
            Ok(object) => Ok(Self(Ok(object))),
            Err(error) => {
                let metadata = object.get("metadata").unwrap_or(&Value::Null);
                let metadata = ObjectMeta::deserialize(metadata).map_err(de::Error::custom)?;
                Ok(Self(Err(InvalidObject { error: error.to_string(), metadata })))
            }
        }
    }
}

/// Parses an object, or its metadata, as JSON without `metadata.managedFields`.
#[derive(Clone, Copy)]
struct Parts {
    of_metadata: bool,
}

impl<'de> Visitor<'de> for Parts {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            match (self.of_metadata, key.as_str()) {
                (true, "managedFields") => drop(entries.next_value::<IgnoredAny>()?),
                (false, "metadata") => {
                    object.insert(key, entries.next_value_seed(Self { of_metadata: true })?);
                }
                _ => {
                    object.insert(key, entries.next_value()?);
                }
            }
        }
        Ok(Value::Object(object))
    }
}

impl<'de> DeserializeSeed<'de> for Parts {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(kind: &K::DynamicType) -> Cow<'_, str> {
        K::kind(kind)
    }

    fn group(kind: &K::DynamicType) -> Cow<'_, str> {
        K::group(kind)
    }

    fn version(kind: &K::DynamicType) -> Cow<'_, str> {
        K::version(kind)
    }

    fn plural(kind: &K::DynamicType) -> Cow<'_, str> {
        K::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|broken| &broken.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|broken| &mut broken.metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use bullpen_api::PoolClaim;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> serde_json::Result<Guarded<PoolClaim>> {
        serde_json::from_str(text)
    }

    #[test]
    fn an_object_is_read_without_its_managed_fields() {
        let text = json!({
            "apiVersion": "bullpen.dev/v1alpha1", "kind": "PoolClaim",
            "metadata": {
                "name": "build", "namespace": "ci", "labels": { "managedFields": "a label" },
                "managedFields": [{ "manager": "kubectl", "operation": "Apply", "fieldsV1": { "f:spec": {} } }],
            },
            "spec": { "poolRef": { "name": "linux" } },
        });
        let claim = read(&text.to_string()).unwrap().0.unwrap();
        assert_eq!(claim.metadata.managed_fields, None);
        assert_eq!(claim.metadata.labels.unwrap()["managedFields"], "a label");
        assert_eq!(claim.spec.pool_ref.unwrap().name, "linux");
    }

    #[test]
    fn a_broken_object_is_known_by_its_metadata_and_says_what_is_wrong() {
        let text = json!({
            "metadata": { "name": "build", "namespace": "ci", "uid": "u-1", "managedFields": "nonsense" },
            "spec": { "poolRef": { "name": 7 } },
        });
        let guarded = read(&text.to_string()).unwrap();
        assert_eq!(guarded.meta().uid.as_deref(), Some("u-1"));
        let broken = guarded.0.unwrap_err();
        assert!(broken.error.contains("expected a string"), "{}", broken.error);
    }

    #[test]
    fn what_has_no_readable_metadata_is_an_error() {
        for text in ["7", "null", "[]", r#"{"metadata": 7, "spec": {}}"#, r#"{"metadata": {"name": 7}, "spec": 7}"#] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
