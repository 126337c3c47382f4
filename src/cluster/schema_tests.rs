//! Whatever a definition accepts is read: objects are generated from its schema.

use std::collections::BTreeMap;

use bullpen_access::lean::Lean;
use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember, crds};
use kube::Resource;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::tolerant_read::Guarded;

/// Texts that the API server accepts as a date-time, or has in metadata.
fn date_time() -> BoxedStrategy<String> {
    let odd = [
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59.999999999-23:59",
        "0000-01-01T00:00:00Z",
        "0000-01-01T00:00:00+99:99",
        "2026-02-28t23:59:59,123456789012345678901234567890z",
        "1969-12-31T23:59:59.5+00:00",
    ];
    let usual = (0..=9_999, 1..=12, 1..=28, 0..=23, 0..=59, 0..=59, "(\\.[0-9]{1,30})?", "Z|z|[+-][0-9]{2}:[0-9]{2}");
    let usual = usual.prop_map(|(year, month, day, hour, minute, second, fraction, zone)| {
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}")
    });
    prop_oneof![prop::sample::select(odd.to_vec()).prop_map(str::to_owned), usual].boxed()
}

fn text(schema: &Value) -> BoxedStrategy<Value> {
    if let Some(values) = schema["enum"].as_array() {
        return prop::sample::select(values.clone()).boxed();
    }
    if schema["format"] == "date-time" {
        return date_time().prop_map(Value::from).boxed();
    }
    let longest = usize::try_from(schema["maxLength"].as_u64().unwrap_or(300)).unwrap_or(usize::MAX);
    let odd = ["\u{0}", "\u{feff}é", "𝔘", "\"\\", "managedFields", "null", "\u{202e}"];
    let odd = prop::sample::select(odd.to_vec()).prop_map(move |text| text.chars().take(longest).collect::<String>());
    let longest_one = Just("é".repeat(longest));
    prop_oneof![4 => any::<String>(), 2 => odd, 1 => longest_one]
        .prop_map(move |text| text.chars().take(longest).collect::<String>().into())
        .boxed()
}

/// A value that this schema accepts, apart from patterns and rules, which only refuse more.
fn value(schema: &Value) -> BoxedStrategy<Value> {
    let bound = |name: &str, other| schema[name].as_i64().unwrap_or(other);
    match schema["type"].as_str().expect("structural schemas have types") {
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "integer" => {
            let (least, most) =
                if schema["format"] == "int32" { (i32::MIN.into(), i32::MAX.into()) } else { (i64::MIN, i64::MAX) };
            let (least, most) = (bound("minimum", least), bound("maximum", most));
            prop_oneof![Just(least), Just(most), least..=most].prop_map(Value::from).boxed()
        }
        "string" => text(schema),
        "array" => {
            let most = usize::try_from(bound("maxItems", 4)).expect("a size").min(4);
            prop::collection::vec(value(&schema["items"]), 0..=most).prop_map(Value::from).boxed()
        }
        "object" if schema["additionalProperties"].is_object() => {
            let entries = prop::collection::btree_map(any::<String>(), value(&schema["additionalProperties"]), 0..4);
            entries.prop_map(|entries| entries.into_iter().collect::<Map<_, _>>().into()).boxed()
        }
        "object" => object(schema).prop_map(Value::from).boxed(),
        other => panic!("no generator for {other}"),
    }
}

fn object(schema: &Value) -> BoxedStrategy<Map<String, Value>> {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut fields: BoxedStrategy<Map<String, Value>> = Just(Map::new()).boxed();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let (name, default) = (name.clone(), property.get("default").cloned());
        let field = if required.contains(&name.as_str()) {
            value(property).prop_map(Some).boxed()
        } else {
            // The API server fills in defaults.
            prop::option::of(value(property)).prop_map(move |value| value.or_else(|| default.clone())).boxed()
        };
        fields = (fields, field)
            .prop_map(move |(mut fields, value)| {
                fields.extend(value.map(|value| (name.clone(), value)));
                fields
            })
            .boxed();
    }
    fields
}

fn metadata() -> impl Strategy<Value = Value> {
    let annotations = prop_oneof![
        prop::collection::btree_map(any::<String>(), any::<String>(), 0..3),
        // Together at most 256 KiB.
        Just(BTreeMap::from([("a".to_owned(), "\u{1}".repeat(256 * 1_024 - 1))])),
    ];
    let entry = (date_time(), value(&json!({"type": "object", "additionalProperties": {"type": "string"}})));
    let managed = entry.prop_map(|(time, fields)| {
        json!({"manager": "kubectl", "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields})
    });
    (annotations, prop::collection::vec(managed, 0..3)).prop_map(|(annotations, managed)| {
        json!({
            "name": "build", "namespace": "ci", "uid": "u-1", "resourceVersion": "7", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": annotations, "managedFields": managed,
        })
    })
}

/// The text of an object of this kind, as the API server sends it.
fn texts<K: Resource<DynamicType = ()>>() -> impl Strategy<Value = String> {
    let definition = crds::all().into_iter().find(|it| it.spec.names.kind == K::kind(&())).expect("one of four");
    let definition = serde_json::to_value(definition).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let parts = (metadata(), value(&schema["spec"]), prop::option::of(value(&schema["status"])));
    parts.prop_map(|(metadata, spec, status)| {
        let mut object = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": metadata, "spec": spec,
        });
        if let Some(status) = status {
            object["status"] = status;
        }
        object.to_string()
    })
}

fn is_read<K: Resource<DynamicType = ()> + DeserializeOwned>(text: &str) -> Result<(), TestCaseError> {
    let guarded: Guarded<K> = serde_json::from_slice(&Lean::default().pass(text.as_bytes())).unwrap();
    prop_assert_eq!(guarded.meta().name.as_deref(), Some("build"));
    if let Err(broken) = guarded.0 {
        return Err(TestCaseError::fail(format!("{}: {text}", broken.error)));
    }
    // Not only behind the guard, as the plugin reads single objects.
    let plain: Result<K, _> = serde_json::from_slice(&Lean::default().pass(text.as_bytes()));
    prop_assert!(plain.is_ok(), "{:?}", plain.err());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_claim_that_its_definition_accepts_is_read(text in texts::<PoolClaim>()) {
        is_read::<PoolClaim>(&text)?;
    }

    #[test]
    fn every_member_that_its_definition_accepts_is_read(text in texts::<PoolMember>()) {
        is_read::<PoolMember>(&text)?;
    }

    #[test]
    fn every_pool_that_its_definition_accepts_is_read(text in texts::<InstancePool>()) {
        is_read::<InstancePool>(&text)?;
    }

    #[test]
    fn every_launch_config_that_its_definition_accepts_is_read(text in texts::<LaunchConfig>()) {
        is_read::<LaunchConfig>(&text)?;
    }
}
