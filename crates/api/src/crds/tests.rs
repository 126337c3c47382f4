use std::collections::BTreeMap;
use std::path::Path;

use kube::ResourceExt;

use super::*;

/// Calls `visit` with path and schema of every value in `schema`, itself included.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for (part, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = schema.get(part) {
            walk(inner, &format!("{path}{suffix}"), visit);
        }
    }
}

/// All that `complaint` finds wrong with the values under `roots` (`spec`, `status`) of the four definitions.
fn complaints(roots: &[&str], complaint: impl Fn(&str, &Value) -> Option<&'static str>) -> Vec<String> {
    let mut found = Vec::new();
    for crd in all() {
        let crd = serde_json::to_value(&crd).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for root in roots {
            let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
            walk(&schema["properties"][root], &format!("{kind}.{root}"), &mut |path, schema| {
                found.extend(complaint(path, schema).map(|what| format!("{path}: {what}")));
            });
        }
    }
    found
}

fn is_empty(found: &[String]) {
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_walk_reaches_lists_maps_and_what_is_in_them() {
    let mut reached = complaints(&["spec", "status"], |_, _| Some("reached"));
    reached.retain(|line| line.contains("InstancePool"));
    for path in
        ["spec.launchConfigs[].weight", "spec.template.labels{}", "status.conditions[].reason", "status.members.ready"]
    {
        assert!(reached.contains(&format!("InstancePool.{path}: reached")), "{path}: {reached:#?}");
    }
}

#[test]
fn the_committed_files_match_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    let committed: BTreeMap<String, String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap()))
        .collect();
    let generated = all().iter().map(|crd| (format!("{}.yaml", crd.name_any()), to_yaml(crd).unwrap())).collect();
    assert!(committed == generated, "crds/ is stale: run `make crds` and commit it");
}

#[test]
fn the_yaml_equals_the_definition() {
    for crd in all() {
        let read: Value = serde_saphyr::from_str(&to_yaml(&crd).unwrap()).unwrap();
        assert_eq!(read, serde_json::to_value(&crd).unwrap());
    }
}

#[test]
fn every_string_list_and_map_of_a_spec_and_a_status_is_bounded() {
    is_empty(&complaints(&["spec", "status"], |_, schema| match schema["type"].as_str() {
        Some("string") => {
            let bounded = ["maxLength", "enum"].iter().any(|bound| schema.get(bound).is_some());
            (!bounded && schema["format"] != "date-time").then_some("a string without maxLength")
        }
        Some("array") => schema.get("maxItems").is_none().then_some("a list without maxItems"),
        Some("object") if schema.get("additionalProperties").is_some() => {
            schema.get("maxProperties").is_none().then_some("a map without maxProperties")
        }
        Some("object" | "integer" | "boolean") => None,
        _ => Some("of an unknown type"),
    }));
}

#[test]
fn every_number_of_a_spec_that_a_person_writes_has_a_range() {
    is_empty(&complaints(&["spec"], |path, schema| {
        let set_by_the_operator = path == "PoolMember.spec.placement.generation";
        let ranged = schema.get("minimum").is_some() && schema.get("maximum").is_some();
        (schema["type"] == "integer" && !ranged && !set_by_the_operator).then_some("a number without a range")
    }));
}

#[test]
fn nothing_is_nullable_unsigned_of_no_type_or_open() {
    is_empty(&complaints(&["spec", "status"], |_, schema| {
        if schema.get("nullable").is_some() {
            return Some("nullable");
        }
        if schema["format"].as_str().is_some_and(|format| format.starts_with("uint")) {
            return Some("a format that kubectl warns about");
        }
        ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string", "oneOf", "anyOf", "allOf"]
            .iter()
            .any(|open| schema.get(open).is_some())
            .then_some("open to anything")
    }));
}

#[test]
fn every_field_is_described_for_kubectl_explain() {
    is_empty(&complaints(&["spec", "status"], |path, schema| {
        // Items and values are described by their list or map.
        let is_field = !path.ends_with("[]") && !path.ends_with("{}");
        let described = schema["description"].as_str().is_some_and(|description| description.len() > 3);
        (is_field && !described).then_some("no description")
    }));
}

#[test]
fn every_list_of_named_things_is_a_map_by_their_name() {
    is_empty(&complaints(&["spec", "status"], |_, schema| {
        let named = schema.pointer("/items/properties/name").is_some();
        (named && schema["x-kubernetes-list-map-keys"] != json!(["name"])).then_some("a list that merges by position")
    }));
}

/// What the rules of a definition make the API server copy at each write, at most: each read of an object's field copies
/// the schemas of all of that object's fields, and comparing two objects reads each field of both.
fn copies(kind: &str) -> usize {
    let mut copies = 0;
    let crd = all().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let crd = serde_json::to_value(&crd).unwrap();
    walk(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], kind, &mut |_, schema| {
        let fields = schema["properties"].as_object().map_or(0, Map::len);
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let rule = rule["rule"].as_str().unwrap().replace("oldSelf.hasValue()", "");
            let reads = rule.matches("self.").count() + rule.matches("oldSelf.").count();
            let whole = rule.matches("self == oldSelf").count() * 2 * fields;
            copies += (reads + whole) * fields;
        }
    });
    copies
}

#[test]
fn the_rules_of_what_is_written_for_each_claim_read_few_fields_of_large_objects() {
    // More than this is found out by `make check-cost`, too, on an API server. Put a rule about one field on that field.
    for (kind, most) in [("PoolMember", 142), ("PoolClaim", 673)] {
        assert!(copies(kind) <= most, "{kind}: {} instead of {most}", copies(kind));
    }
}

#[test]
fn a_fresh_object_is_not_current_and_a_status_requires_nothing_beside_that_default() {
    for crd in all() {
        let crd = serde_json::to_value(&crd).unwrap();
        let status = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
        assert_eq!(status["default"]["observedGeneration"], -1);
        assert_eq!(status.get("required"), None);
    }
}

#[test]
fn every_definition_has_its_digest_and_the_annotations_that_keep_helm_and_argo_cd_from_deleting_it() {
    let mut digests = std::collections::BTreeSet::new();
    for crd in all() {
        let annotations = crd.annotations();
        assert_eq!(annotations["helm.sh/resource-policy"], "keep");
        assert_eq!(annotations["argocd.argoproj.io/sync-options"], "Prune=false,Delete=false");
        assert_eq!(annotations["bullpen.dev/schema-digest"], digest(&crd), "it is of the finished definition");
        digests.insert(digest(&crd));
    }
    assert_eq!(digests.len(), 4);
    assert!(digests.iter().all(|digest| digest.len() == 32), "{digests:?}");
}

/// The digest of the first definition after a change in its JSON.
fn digest_after(change: impl FnOnce(&mut Value)) -> String {
    let mut crd = serde_json::to_value(all().remove(0)).unwrap();
    change(&mut crd);
    digest(&serde_json::from_value(crd).unwrap())
}

#[test]
fn a_digest_changes_only_with_what_the_api_server_serves() {
    let before = digest_after(|_| {});
    let drop_of_spec = |crd: &mut Value, within: &str, field: &str| {
        let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties/spec{within}");
        let removed = crd.pointer_mut(&path).and_then(Value::as_object_mut).and_then(|part| part.remove(field));
        assert!(removed.is_some(), "{path} has {field}");
    };
    for (what, other) in [
        ("a field", digest_after(|crd| drop_of_spec(crd, "/properties", "targetSize"))),
        ("a rule", digest_after(|crd| drop_of_spec(crd, "", "x-kubernetes-validations"))),
        ("a limit", digest_after(|crd| drop_of_spec(crd, "/properties/targetSize", "maximum"))),
        ("a column", digest_after(|crd| crd["spec"]["versions"][0]["additionalPrinterColumns"] = json!([]))),
        ("a subresource", digest_after(|crd| crd["spec"]["versions"][0]["subresources"]["scale"] = Value::Null)),
        ("a short name", digest_after(|crd| crd["spec"]["names"]["shortNames"] = json!(["other"]))),
        ("the scope", digest_after(|crd| crd["spec"]["scope"] = json!("Cluster"))),
    ] {
        assert_ne!(before, other, "{what}");
    }
    for (what, same) in [
        ("a description", digest_after(|crd| drop_of_spec(crd, "/properties/targetSize", "description"))),
        ("an annotation", digest_after(|crd| crd["metadata"]["annotations"] = json!({ "a": "b" }))),
        // As the API server adds it.
        ("a default", digest_after(|crd| crd["spec"]["names"]["listKind"] = json!("InstancePoolList"))),
        ("a default", digest_after(|crd| crd["spec"]["conversion"] = json!({ "strategy": "None" }))),
    ] {
        assert_eq!(before, same, "{what}");
    }
}

#[test]
fn a_property_may_be_called_description() {
    let with = |name: &str| {
        digest_after(|crd| {
            let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
            spec["properties"][name] = json!({ "type": "string" });
        })
    };
    assert_ne!(with("description"), digest_after(|_| {}));
}

#[test]
fn a_digest_is_the_same_in_every_version_of_this_program() {
    let crd = json!({
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "things", "kind": "Thing" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "description": "A thing." } },
            }],
        },
    });
    assert_eq!(digest(&serde_json::from_value(crd).unwrap()), "37e76ade1677bfa78d41d7ec89999d81");
}
