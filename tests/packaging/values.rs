//! `values.yaml` and `values.schema.json`: nothing dead, nothing unsaid, nothing unknown.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::rendering::{Wanted, sets};
use crate::tools::chart;

const MONITORS: [&str; 2] = ["monitoring.coreos.com/v1/ServiceMonitor", "monitoring.coreos.com/v1/PodMonitor"];

fn values() -> Value {
    let text = std::fs::read_to_string(chart().join("values.yaml")).expect("values");
    serde_saphyr::from_str(&text).expect("YAML")
}

fn schema() -> Value {
    let text = std::fs::read_to_string(chart().join("values.schema.json")).expect("a schema");
    serde_json::from_str(&text).expect("JSON")
}

/// Every value by its path; maps that users fill are values.
fn leaves(path: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value.as_object() {
        Some(map) if !map.is_empty() => {
            for (name, value) in map {
                leaves(&format!("{path}{}{name}", if path.is_empty() { "" } else { "." }), value, found);
            }
        }
        _ => drop(found.insert(path.to_owned(), value.clone())),
    }
}

/// The names on the way to a value. Of a map with dots in its keys there is one.
fn names(path: &str) -> Vec<&str> {
    match path.strip_prefix("nodeSelector.") {
        Some(label) => vec!["nodeSelector", label],
        None => path.split('.').collect(),
    }
}

/// `{a: {b: value}}` for `a.b`.
fn nested(path: &str, value: Value) -> Value {
    names(path).into_iter().rev().fold(value, |value, name| json!({ name: value }))
}

fn merge(into: &mut Value, from: &Value) {
    match (into.as_object_mut(), from.as_object()) {
        (Some(into), Some(from)) => {
            for (name, value) in from {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        _ => *into = from.clone(),
    }
}

#[test]
fn every_entry_of_the_values_has_one_comment_right_above() {
    let text = std::fs::read_to_string(chart().join("values.yaml")).expect("values");
    let lines: Vec<&str> = text.lines().collect();
    let mut comments = BTreeSet::new();
    let mut entries = 0;
    for (index, line) in
        lines.iter().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with('#'))
    {
        let indent = line.len() - line.trim_start().len();
        let said: Vec<&str> =
            lines[..index].iter().rev().take_while(|above| above.trim().starts_with('#')).copied().collect();
        assert!(!said.is_empty(), "no comment above {line:?}");
        assert!(said.iter().all(|above| above.len() - above.trim_start().len() == indent), "{line:?}: {said:?}");
        comments.insert(said.concat());
        entries += 1;
    }
    assert!(entries > 90, "{entries}");
    assert!(comments.len() > 60, "they say something each");
}

#[test]
fn the_schema_knows_exactly_the_values_and_no_others() {
    fn compare(path: &str, schema: &Value, definitions: &Value, value: &Value) {
        let schema = match schema.get("$ref").and_then(Value::as_str) {
            Some(name) => &definitions[name.trim_start_matches("#/definitions/")],
            None => schema,
        };
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        assert_eq!(schema["additionalProperties"], json!(false), "{path}: unknown values have to be refused");
        let known: BTreeSet<&String> = properties.keys().filter(|name| *name != "global").collect();
        let given: BTreeSet<&String> = value.as_object().expect("a map").keys().collect();
        // What a user fills has no entries of its own.
        if given.is_empty() || path.ends_with(".requests") || path.ends_with(".limits") {
            return;
        }
        assert_eq!(known, given, "{path}");
        for name in known {
            compare(&format!("{path}.{name}"), &properties[name], definitions, &value[name]);
        }
    }
    let schema = schema();
    compare("", &schema, &schema["definitions"], &values());
}

#[test]
fn no_object_of_the_schema_takes_what_it_does_not_know() {
    fn look(path: &str, schema: &Value) {
        if let Some(map) = schema.as_object() {
            if map.contains_key("properties") && map.contains_key("type") && map["type"] == "object" {
                assert_eq!(map.get("additionalProperties"), Some(&json!(false)), "{path}");
            }
            for (name, value) in map {
                look(&format!("{path}/{name}"), value);
            }
        } else if let Some(list) = schema.as_array() {
            for value in list {
                look(path, value);
            }
        }
    }
    look("", &schema());
}

/// Another value for each, that the chart takes beside all that `values/everything.yaml` gives.
fn another(path: &str, value: &Value) -> Value {
    match path {
        "image.digest" | "simcloud.image.digest" => json!(format!("sha256:{}", "1".repeat(64))),
        "image.tag" | "simcloud.image.tag" => json!("other"),
        "image.pullPolicy" | "simcloud.image.pullPolicy" => json!("Always"),
        "log.format" => json!("text"),
        "scope.mode" => json!("Namespaces"),
        "scope.namespaces" | "secrets.namespaces" => json!(["team-b"]),
        "metrics.address" | "machines.address" => json!("[::]"),
        "machines.port" => json!(9_090),
        "machines.url" => json!("https://other.example.org"),
        "machines.service.type" => json!("NodePort"),
        "topologySpread.whenUnsatisfiable" => json!("DoNotSchedule"),
        "serviceMonitor.interval" | "podMonitor.interval" => json!("7s"),
        "affinity" => json!({ "podAffinity": {} }),
        "tolerations" => json!([{ "operator": "Exists" }]),
        "imagePullSecrets" => json!([{ "name": "other" }]),
        "extraEnv" => json!([{ "name": "OTHER", "value": "x" }]),
        "simulatedEndpoints" => json!(["http://other.example.org"]),
        "machines.from"
        | "networkPolicy.metricsFrom"
        | "networkPolicy.egress.apiServerTo"
        | "networkPolicy.egress.cloudTo" => {
            json!([{ "podSelector": {} }])
        }
        "networkPolicy.egress.apiServerPorts" | "networkPolicy.egress.cloudPorts" => json!([8443]),
        "resources.requests.cpu" | "simcloud.resources.requests.cpu" => json!("7m"),
        _ if path.ends_with(".memory") => json!("77Mi"),
        _ if path.starts_with("nodeSelector.") => json!("other"),
        "simcloud.examplePool.targetSize" => json!(4),
        _ => match value {
            Value::Bool(value) => json!(!value),
            Value::Number(value) => json!(value.as_i64().expect("an integer") + 1),
            Value::String(_) => json!("other"),
            Value::Object(_) => json!({ "example.org/other": "x" }),
            other => panic!("{path}: no other value known for {other}"),
        },
    }
}

/// What is given before, because the other value would be refused without, or would mean nothing.
fn before(path: &str) -> &'static str {
    match path {
        "scope.mode" => "{secrets: {clusterWide: false}, simcloud: {examplePool: {enabled: false}}}",
        "scope.namespaces" => {
            "{scope: {mode: Namespaces, namespaces: [team-a]}, secrets: {clusterWide: false}, simcloud: {enabled: false, \
             examplePool: {enabled: false}}}"
        }
        "secrets.namespaces" => "{secrets: {clusterWide: false}}",
        "topologySpread.minNodes" => "{topologySpread: {whenUnsatisfiable: DoNotSchedule}}",
        "image.tag" => "{image: {digest: ''}}",
        "serviceAccount.create" => "{serviceAccount: {name: somebody}}",
        "metrics.service.enabled" => "{serviceMonitor: {enabled: false}}",
        "simcloud.enabled" => "{simcloud: {examplePool: {enabled: false}}}",
        _ if path.starts_with("podMonitor") => "{serviceMonitor: {enabled: false}, podMonitor: {enabled: true}}",
        _ => "{}",
    }
}

#[tokio::test]
async fn every_value_changes_what_is_rendered() {
    let everything = std::fs::read_to_string(sets().join("everything.yaml")).expect("values");
    let everything: Value = serde_saphyr::from_str(&everything).expect("YAML");
    let mut all = BTreeMap::new();
    leaves("", &values(), &mut all);
    assert!(all.len() > 80, "{}", all.len());
    for path in all.keys() {
        let mut before: Value = serde_saphyr::from_str(before(path)).expect("YAML");
        let mut present = values();
        merge(&mut present, &everything);
        merge(&mut present, &before);
        let present = names(path).into_iter().fold(&present, |value, name| &value[name]);
        let render =
            async |values: &Value| Wanted::set("everything").and(&values.to_string()).serving(&MONITORS).text().await;
        let as_it_is = render(&before).await;
        merge(&mut before, &nested(path, another(path, present)));
        if path == "scope.mode" {
            merge(&mut before, &json!({ "scope": { "namespaces": ["team-a"] } }));
        }
        assert!(as_it_is != render(&before).await, "{path} does nothing: {before}");
    }
}

/// What follows `--set` in the pages, up to the first index or the equals sign.
fn set_in_pages() -> BTreeSet<String> {
    let root = chart().join("../..");
    let mut pages = vec![root.join("README.md")];
    for folder in ["docs/operate", "docs/use", "docs/develop"] {
        let entries = std::fs::read_dir(root.join(folder)).expect("a folder of pages");
        pages.extend(entries.map(|entry| entry.expect("a page").path()));
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    let texts = pages.into_iter().map(|page| std::fs::read_to_string(page).expect("a page"));
    let name = |rest: &str| rest.chars().take_while(|at| at.is_ascii_alphanumeric() || *at == '.').collect();
    texts.flat_map(|text| text.split("--set ").skip(1).map(name).collect::<Vec<String>>()).collect()
}

#[test]
fn what_the_pages_set_is_a_value_of_the_chart() {
    let (values, set) = (values(), set_in_pages());
    let unknown = |path: &&String| values.pointer(&format!("/{}", path.replace('.', "/"))).is_none();
    assert!(!set.is_empty());
    assert_eq!(set.iter().filter(unknown).collect::<Vec<_>>(), Vec::<&String>::new());
}
