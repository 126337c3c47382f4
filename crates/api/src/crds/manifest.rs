//! Checks manifests that no API server has seen.

use std::fmt::Display;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::Value;

/// Refuses unknown fields of a spec, and texts and numbers out of their bounds, as the API server would. Types are left to
/// serde, and the rules between fields to the caller.
///
/// # Errors
/// What is wrong with it, naming the field.
pub fn check_spec(definition: &CustomResourceDefinition, spec: &Value) -> Result<(), String> {
    let schema = definition.spec.versions.first().and_then(|version| version.schema.as_ref());
    let fields = schema.and_then(|schema| schema.open_api_v3_schema.as_ref()?.properties.as_ref());
    fields.and_then(|fields| fields.get("spec")).map_or(Ok(()), |schema| within("spec", spec, schema))
}

fn within(path: &str, value: &Value, schema: &JSONSchemaProps) -> Result<(), String> {
    match value {
        Value::Object(fields) => {
            let Some(known) = &schema.properties else { return Ok(()) };
            fields.iter().try_for_each(|(name, value)| {
                if let Some(schema) = known.get(name) {
                    return within(&format!("{path}.{name}"), value, schema);
                }
                let names: Vec<_> = known.keys().map(String::as_str).collect();
                Err(format!("{path}.{name}: there is no such field; there are {}", names.join(", ")))
            })
        }
        Value::Array(items) => {
            let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items else { return Ok(()) };
            let mut numbered = items.iter().enumerate();
            numbered.try_for_each(|(index, item)| within(&format!("{path}[{index}]"), item, schema))
        }
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

fn between<T: Copy + PartialOrd + Display>((least, most): (Option<T>, Option<T>), value: T) -> Result<(), String> {
    match (least, most) {
        (Some(least), _) if value < least => Err(format!("and must be at least {least}")),
        (_, Some(most)) if value > most => Err(format!("and may be at most {most}")),
        _ => Ok(()),
    }
}
