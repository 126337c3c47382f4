//! Checks manifests that no API server has seen.

use std::fmt::Display;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Reads the spec of an object of this definition. Refuses what the API server would by the schema: unknown and missing fields, values
/// of another type, texts, numbers and lists out of their bounds, and entries of a list with the same key. Patterns, and the rules
/// between fields, are left to the caller. A field that is null counts as one that is not there.
///
/// # Errors
/// What is wrong with it, naming the field.
pub fn read_spec<S: DeserializeOwned>(definition: &CustomResourceDefinition, object: &Value) -> Result<S, String> {
    let schema = definition.spec.versions.first().and_then(|version| version.schema.as_ref());
    let fields = schema.and_then(|schema| schema.open_api_v3_schema.as_ref()?.properties.as_ref());
    let spec = without_nulls(&object["spec"]);
    fields.and_then(|fields| fields.get("spec")).map_or(Ok(()), |schema| within("spec", &spec, schema))?;
    serde_json::from_value(spec).map_err(|error| format!("spec: {error}"))
}

/// Without fields that are null, which the API server prunes.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let set = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(set.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

fn within(path: &str, value: &Value, schema: &JSONSchemaProps) -> Result<(), String> {
    typed(value, schema).map_err(|wrong| format!("{path}: is {value}: {wrong}"))?;
    match value {
        Value::Object(fields) => object(path, fields, schema),
        Value::Array(items) => list(path, items, schema),
        Value::String(text) => {
            let length = text.chars().count() as i64;
            between((schema.min_length, schema.max_length), length)
                .map_err(|wrong| format!("{path}: has {length} characters, {wrong}"))
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            between((schema.minimum, schema.maximum), number).map_err(|wrong| format!("{path}: is {number}, {wrong}"))
        }
        _ => Ok(()),
    }
}

/// Whether it is of the type, and one of the values, that the schema has.
fn typed(value: &Value, schema: &JSONSchemaProps) -> Result<(), String> {
    if schema.x_kubernetes_int_or_string == Some(true) {
        return Ok(());
    }
    let (is_it, what) = match schema.type_.as_deref() {
        Some("integer") => (value.is_i64() || value.is_u64(), "a whole number"),
        Some("number") => (value.is_number(), "a number"),
        Some("string") if value.is_number() => (false, "a text, in quotes"),
        Some("string") => (value.is_string(), "a text"),
        Some("boolean") => (value.is_boolean(), "true or false"),
        Some("array") => (value.is_array(), "a list"),
        Some("object") => (value.is_object(), "fields"),
        _ => (true, ""),
    };
    if !is_it {
        return Err(format!("give {what}"));
    }
    let Some(allowed) = schema.enum_.as_ref().filter(|allowed| !allowed.iter().any(|one| one.0 == *value)) else {
        return Ok(());
    };
    let names: Vec<_> = allowed.iter().filter_map(|one| one.0.as_str()).collect();
    Err(format!("give one of {}", names.join(", ")))
}

fn object(path: &str, fields: &Map<String, Value>, schema: &JSONSchemaProps) -> Result<(), String> {
    let Some(known) = &schema.properties else { return Ok(()) };
    fields.iter().try_for_each(|(name, value)| {
        if let Some(schema) = known.get(name) {
            return within(&format!("{path}.{name}"), value, schema);
        }
        let names: Vec<_> = known.keys().map(String::as_str).collect();
        Err(format!("{path}.{name}: there is no such field; there are {}", names.join(", ")))
    })?;
    // The API server sets defaults before it looks.
    let is_set =
        |name: &String| fields.contains_key(name) || known.get(name).is_some_and(|field| field.default.is_some());
    let missing = schema.required.iter().flatten().find(|name| !is_set(name));
    missing.map_or(Ok(()), |name| Err(format!("{path}.{name}: is missing")))
}

fn list(path: &str, items: &[Value], schema: &JSONSchemaProps) -> Result<(), String> {
    let length = items.len() as i64;
    between((schema.min_items, schema.max_items), length)
        .map_err(|wrong| format!("{path}: has {length} entries, {wrong}"))?;
    if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
        let mut numbered = items.iter().enumerate();
        numbered.try_for_each(|(index, item)| within(&format!("{path}[{index}]"), item, schema))?;
    }
    let Some(keys) = &schema.x_kubernetes_list_map_keys else { return Ok(()) };
    let key = |item: &Value| keys.iter().map(|key| item[key].to_string()).collect::<Vec<_>>().join(", ");
    let keys_of: Vec<String> = items.iter().map(key).collect();
    let twice = keys_of.iter().enumerate().find(|(index, key)| keys_of[..*index].contains(key));
    twice.map_or(Ok(()), |(index, key)| {
        Err(format!("{path}[{index}]: there is another one with {} {key}", keys.join(", ")))
    })
}

fn between<T: Copy + PartialOrd + Display>((least, most): (Option<T>, Option<T>), value: T) -> Result<(), String> {
    match (least, most) {
        (Some(least), _) if value < least => Err(format!("and must be at least {least}")),
        (_, Some(most)) if value > most => Err(format!("and may be at most {most}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;
    use serde_json::json;

    use super::*;
    use crate::{InstancePool, InstancePoolSpec, LaunchConfig, LaunchConfigSpec};

    fn pool(change: &Value) -> Result<InstancePoolSpec, String> {
        let mut spec = json!({ "targetSize": 5, "maxSize": 9, "launchConfigs": [{ "name": "a" }] });
        for (name, value) in change.as_object().unwrap() {
            spec[name] = value.clone();
        }
        read_spec(&InstancePool::crd(), &json!({ "spec": spec }))
    }

    #[test]
    fn what_the_schema_refuses_is_refused_with_its_field_and_what_to_give() {
        for (change, expected) in [
            (json!({ "targetSize": "five" }), "spec.targetSize: is \"five\": give a whole number"),
            (json!({ "targetSize": 5.5 }), "spec.targetSize: is 5.5: give a whole number"),
            (json!({ "targetSize": 5.0 }), "spec.targetSize: is 5.0: give a whole number"),
            (json!({ "targetSize": null }), "spec.targetSize: is missing"),
            (json!({ "launchConfigs": [null] }), "spec.launchConfigs[0]: is null: give fields"),
            (json!({ "targetSize": -1 }), "spec.targetSize: is -1, and must be at least 0"),
            (json!({ "targetSizes": 1 }), "spec.targetSizes: there is no such field; there are "),
            (json!({ "autosize": "Auto" }), "spec.autosize: is \"Auto\": give fields"),
            (json!({ "autosize": { "mode": "Autoo" } }), "spec.autosize.mode: is \"Autoo\": give one of "),
            (json!({ "standby": {} }), "spec.standby.size: is missing"),
            (json!({ "launchConfigs": ["a"] }), "spec.launchConfigs[0]: is \"a\": give fields"),
            (json!({ "launchConfigs": [] }), "spec.launchConfigs: has 0 entries, and must be at least 1"),
            (
                json!({ "launchConfigs": [{ "name": "a" }, { "name": "b" }, { "name": "a" }] }),
                "spec.launchConfigs[2]: there is another one with name \"a\"",
            ),
            (
                json!({ "schedules": [{ "name": "day", "cron": "0 8 * * *", "targetSize": 1 }] }),
                "spec.schedules[0].durationSeconds: is missing",
            ),
        ] {
            let error = pool(&change).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        let config =
            json!({ "spec": { "region": "r", "zone": "z", "instanceType": "t", "image": "i", "hourlyPrice": 0.1 } });
        let price = read_spec::<LaunchConfigSpec>(&LaunchConfig::crd(), &config).unwrap_err();
        assert_eq!(price, "spec.hourlyPrice: is 0.1: give a text, in quotes");
    }

    #[test]
    fn a_field_that_is_null_is_none() {
        let read = pool(&json!({ "autosize": null, "minSize": null })).unwrap();
        assert_eq!(read, pool(&json!({})).unwrap());
    }
}
