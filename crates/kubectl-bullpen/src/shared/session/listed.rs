//! Reads the objects of a list one by one, so that one that cannot be read hides no other.

use std::borrow::Cow;

use kube::Resource;
use kube::api::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An object of a list, or why it cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Listed<K> {
    pub(super) metadata: ObjectMeta,
    pub(super) object: Result<K, String>,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Listed<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let metadata = ObjectMeta::deserialize(&value["metadata"]).unwrap_or_else(|_| {
            let text = |field: &str| value["metadata"][field].as_str().map(str::to_owned);
            ObjectMeta { namespace: text("namespace"), name: text("name"), ..ObjectMeta::default() }
        });
        Ok(Self { metadata, object: serde_json::from_value(value).map_err(|error| error.to_string()) })
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Listed<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use bullpen_api::PoolClaim;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_with_an_unreadable_object_has_all_others_and_its_name() {
        let claim = |name: &str, phase: &str| {
            let metadata = json!({"name": name, "namespace": "ci"});
            json!({"metadata": metadata, "spec": {"poolRef": {"name": "linux"}}, "status": {"phase": phase}})
        };
        let mut odd = claim("odd", "Bound");
        odd["metadata"]["creationTimestamp"] = json!("9999-12-31T23:59:59Z");
        let list = json!([claim("good", "Bound"), claim("of-a-later-version", "Suspended"), odd]);
        let list: Vec<Listed<PoolClaim>> = serde_json::from_value(list).unwrap();
        let names: Vec<_> = list.iter().map(|it| (it.metadata.name.as_deref().unwrap(), it.object.is_ok())).collect();
        assert_eq!(names, [("good", true), ("of-a-later-version", false), ("odd", false)]);
    }
}
