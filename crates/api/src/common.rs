//! Types and schemas that the four resources share: references, recorded errors, bounded lists and maps.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A reference to one namespaced object; the uid tells it from a later object of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ObjectRef {
    /// Namespace of the object.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Name of the object.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Uid of the object: an object of the same name with another uid is not this one.
    #[schemars(length(max = 64))]
    pub uid: String,
}

impl ObjectRef {
    /// A reference to the object with this metadata. Absent fields become empty strings.
    pub fn to(metadata: &ObjectMeta) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Self { namespace: text(&metadata.namespace), name: text(&metadata.name), uid: text(&metadata.uid) }
    }
}

/// The claim that has a member. `formerUid` tells that the member was given back to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
#[x_kube(
    validation = Rule::new("self.uid == oldSelf.uid || (has(self.formerUid) && self.formerUid == oldSelf.uid)")
        .message(ONE_CLAIM)
)]
pub struct ClaimRef {
    /// Namespace of the claim.
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self == oldSelf").message(ONE_CLAIM))]
    pub namespace: String,
    /// Name of the claim.
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message(ONE_CLAIM))]
    pub name: String,
    /// Uid of the claim: a claim of the same name with another uid is not this one.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Uid of the claim of the same name that had the member before. It went with the definition of claims, and was
    /// applied again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub former_uid: Option<String>,
}

const ONE_CLAIM: &str = "claimRef never goes from one claim to another, unless that is the same one applied again";

impl ClaimRef {
    /// A reference to the claim with this metadata. Absent fields become empty strings.
    pub fn to(metadata: &ObjectMeta) -> Self {
        let ObjectRef { namespace, name, uid } = ObjectRef::to(metadata);
        Self { namespace, name, uid, former_uid: None }
    }
}

/// An address of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceAddress {
    /// InternalIP, ExternalIP, InternalDNS or ExternalDNS, as on a Node.
    #[serde(rename = "type")]
    #[schemars(length(max = 32))]
    pub type_: String,
    /// The address.
    #[schemars(length(max = 253))]
    pub address: String,
}

/// An error, and when it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedError {
    /// The kind of error, such as Capacity, Quota, LaunchTimeout.
    #[schemars(length(max = 64))]
    pub class: String,
    /// The provider's message, or what was waited for.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// When it happened.
    #[serde(deserialize_with = "crate::moments::moment")]
    pub time: MicroTime,
}

/// The longest message of a condition or a recorded error, in characters.
pub const MAX_MESSAGE: usize = 1024;

/// `text`, cut to the longest message that the API accepts.
pub fn bounded_message(text: &str) -> String {
    if text.chars().count() <= MAX_MESSAGE {
        return text.to_owned();
    }
    text.chars().take(MAX_MESSAGE - 1).chain(['…']).collect()
}

/// `moment` in whole microseconds, which is what `MicroTime` stores, so that it is equal after a round trip.
pub fn micro_time(moment: Timestamp) -> MicroTime {
    MicroTime(Timestamp::from_microsecond(moment.as_microsecond()).unwrap_or(moment))
}

/// The schema of a list of conditions: a map list by `type`, with bounds on everything.
pub(super) fn conditions_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "description": "Conditions of the object, by type.",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"type": "string", "maxLength": 316, "description": "Type of the condition, in CamelCase."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether the condition is true."},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0,
                    "description": "The generation of the object that the condition describes."},
                "lastTransitionTime": {"type": "string", "format": "date-time", "description": "When status last changed."},
                "reason": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Why, as one CamelCase word for programs."},
                "message": {"type": "string", "maxLength": 32768, "description": "A sentence for people."}
            }
        }
    })
}

/// The schema of a map of labels: keys are qualified names outside `bullpen.dev/`, values are label values.
pub(super) fn labels_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 63, "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"},
        "x-kubernetes-validations": [
            {"rule": "self.all(key, key.size() <= 253 && \
              key.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
             "message": "each key must be a label key, such as team or example.com/team"},
            {"rule": "self.all(key, !key.startsWith('bullpen.dev/'))",
             "message": "keys under bullpen.dev/ belong to the operator"}
        ]
    })
}

/// The schema of labels to match: keys are any qualified names, values are label values.
pub(super) fn match_labels_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = labels_schema(generator);
    if let Some(rules) = schema.get_mut("x-kubernetes-validations").and_then(serde_json::Value::as_array_mut) {
        rules.truncate(1);
    }
    schema
}

/// The schema of a map of machine tags: keys outside `bullpen.dev/`, with the length limits of EC2.
pub(super) fn tags_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 256},
        "x-kubernetes-validations": [
            {"rule": "self.all(key, key.size() >= 1 && key.size() <= 128)", "message": "each key must have 1 to 128 characters"},
            {"rule": "self.all(key, !key.startsWith('bullpen.dev/'))",
             "message": "keys under bullpen.dev/ belong to the operator"}
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_to_what_the_api_accepts() {
        assert_eq!(bounded_message(&"é".repeat(5_000)).chars().count(), MAX_MESSAGE);
    }
}
