use serde_json::json;

use super::*;

/// A definition with this spec and nothing else.
fn definition(spec: &Value) -> Definition {
    Definition {
        resource: "things".into(),
        schema: json!({ "type": "object", "properties": { "spec": spec, "status": { "type": "object" } } }),
        subresources: BTreeSet::from(["status".to_owned()]),
        other_versions: BTreeSet::new(),
        digest: None,
    }
}

fn object(properties: Value) -> Value {
    let mut schema = json!({ "type": "object" });
    schema["properties"] = properties;
    schema
}

fn between(ours: &Value, served: &Value) -> Skew {
    compare(&[definition(ours)], &[definition(served)])
}

fn older(place: &str) -> Skew {
    Skew::Older { resource: "things".into(), place: place.into() }
}

fn newer(place: &str) -> Skew {
    Skew::Newer { resource: "things".into(), place: place.into() }
}

fn rules_differ() -> Skew {
    Skew::RulesDiffer { resource: "things".into() }
}

#[test]
fn a_field_that_only_we_have_makes_them_older_wherever_it_is() {
    let leaf = || json!({ "type": "string" });
    let (with, without) = (object(json!({ "a": leaf(), "b": leaf() })), object(json!({ "a": leaf() })));
    let list = |items: &Value| object(json!({ "list": { "type": "array", "items": items } }));
    let map = |values: &Value| object(json!({ "map": { "type": "object", "additionalProperties": values } }));
    let deep = |inner: &Value| object(json!({ "deep": inner }));
    for (ours, served, place) in [
        (with.clone(), without.clone(), "spec.b"),
        (deep(&with), deep(&without), "spec.deep.b"),
        (list(&with), list(&without), "spec.list[].b"),
        (map(&with), map(&without), "spec.map{}.b"),
        (map(&with), object(json!({ "map": { "type": "object" } })), "spec.map{}"),
    ] {
        assert_eq!(between(&ours, &served), older(place));
        assert_eq!(between(&served, &ours), newer(place));
        assert_eq!(between(&ours, &ours), Skew::Same);
    }
}

#[test]
fn a_missing_status_field_counts_because_it_would_be_dropped_silently() {
    let mut ours = definition(&object(json!({})));
    ours.schema["properties"]["status"] = object(json!({ "phase": { "type": "string" } }));
    let served = definition(&object(json!({})));
    assert_eq!(compare(&[ours], &[served]), older("status.phase"));
}

#[test]
fn a_value_that_is_not_served_makes_them_older_and_one_that_we_do_not_know_newer() {
    let of = |values: &[&str]| object(json!({ "state": { "type": "string", "enum": values } }));
    let any = object(json!({ "state": { "type": "string" } }));
    assert_eq!(between(&of(&["A", "B"]), &of(&["A"])), older("the value B of spec.state"));
    assert_eq!(between(&of(&["A"]), &of(&["A", "B"])), newer("the value B of spec.state"));
    assert_eq!(between(&of(&["B", "A"]), &of(&["A", "B"])), Skew::Same);
    assert_eq!(between(&any, &of(&["A"])), older("other values of spec.state"));
    assert_eq!(between(&of(&["A"]), &any), newer("other values of spec.state"));
}

#[test]
fn another_type_or_a_field_that_only_they_require_would_refuse_what_we_write() {
    let typed = |type_: &str| object(json!({ "size": { "type": type_ } }));
    assert_eq!(between(&typed("integer"), &typed("string")), older("the type integer of spec.size"));
    let requires =
        |names: &[&str]| json!({ "type": "object", "required": names, "properties": { "a": { "type": "string" } } });
    assert_eq!(between(&requires(&[]), &requires(&["a"])), older("an optional spec.a, which it requires"));
    assert_eq!(between(&requires(&["a"]), &requires(&[])), rules_differ());
}

#[test]
fn a_missing_subresource_makes_them_older_and_another_version_newer() {
    let ours = definition(&object(json!({})));
    let mut served = ours.clone();
    served.subresources.clear();
    assert_eq!(compare(std::slice::from_ref(&ours), &[served]), older("the subresource status"));
    let mut served = ours.clone();
    served.other_versions.insert("v1beta1".into());
    assert_eq!(compare(&[ours], &[served]), newer("version v1beta1"));
}

#[test]
fn older_is_worse_than_newer_and_missing_is_worst() {
    let ours = object(json!({ "b": { "type": "string" } }));
    let served = object(json!({ "a": { "type": "string" } }));
    assert_eq!(between(&ours, &served), older("spec.b"));
    let named = |name: &str, spec: &Value| Definition { resource: name.into(), ..definition(spec) };
    let all = [named("first", &ours), named("second", &ours), named("third", &ours)];
    let found = [named("first", &served), named("second", &ours)];
    assert_eq!(compare(&all, &found), Skew::Missing { resource: "third".into() });
    let found = [named("first", &ours), named("second", &served), named("third", &served)];
    assert_eq!(compare(&all, &found), Skew::Older { resource: "second".into(), place: "spec.b".into() });
}

#[test]
fn rules_limits_and_defaults_count_as_rules_and_descriptions_do_not_count() {
    let of = |extra: Value| {
        let mut size = json!({ "type": "integer" });
        size.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        object(json!({ "size": size }))
    };
    let plain = of(json!({ "minimum": 0, "description": "old" }));
    assert_eq!(between(&plain, &of(json!({ "minimum": 0.0, "description": "new" }))), Skew::Same);
    for other in [
        json!({ "minimum": 1 }),
        json!({}),
        json!({ "minimum": 0, "default": 3 }),
        json!({ "minimum": 0, "x-kubernetes-validations": [{ "rule": "self > 1" }] }),
    ] {
        assert_eq!(between(&plain, &of(other)), rules_differ());
    }
}

#[test]
fn digests_that_differ_are_other_rules_where_all_fields_are_the_same() {
    let spec = object(json!({}));
    let with = |digest: &str| Definition { digest: Some(digest.into()), ..definition(&spec) };
    assert_eq!(compare(&[with("1")], &[with("1")]), Skew::Same);
    assert_eq!(compare(&[with("1")], &[with("2")]), rules_differ());
    assert_eq!(compare(&[with("1")], &[definition(&spec)]), Skew::Same, "unknown is not different");
}

#[test]
fn a_part_that_preserves_unknown_fields_has_every_field() {
    let ours = object(json!({ "deep": object(json!({ "b": { "type": "string" } })) }));
    let served = object(json!({ "deep": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } }));
    assert_eq!(between(&ours, &served), rules_differ());
}

#[test]
fn our_own_definitions_are_the_same_as_themselves_and_nonsense_is_never_usable() {
    let ours = Definition::ours();
    assert_eq!(ours.len(), 4);
    assert_eq!(compare(&ours, &ours), Skew::Same);
    for document in [json!(null), json!(7), json!({ "paths": [], "components": 3 }), json!({ "paths": {} })] {
        assert!(!compare(&ours, &from_openapi(&document)).is_usable(), "{document}");
    }
    for schema in [json!(null), json!([]), json!({ "properties": [] }), json!({ "properties": { "spec": 7 } })] {
        let served: Vec<_> =
            ours.iter().map(|own| Definition { schema: schema.clone(), digest: None, ..own.clone() }).collect();
        assert!(matches!(compare(&ours, &served), Skew::Older { .. }), "{schema}");
    }
}

/// The `OpenAPI` document of a server that has PoolClaim with this spec.
fn document(spec: &Value) -> Value {
    let path = "/apis/bullpen.dev/v1alpha1/namespaces/{namespace}/poolclaims";
    json!({
        "paths": { path: {}, format!("{path}/{{name}}"): {}, format!("{path}/{{name}}/status"): {} },
        "components": { "schemas": {
            "any.name": {
                "type": "object",
                "properties": { "spec": spec },
                "x-kubernetes-group-version-kind":
                    [{ "group": "bullpen.dev", "kind": "PoolClaim", "version": "v1alpha1" }],
            },
            "a.part": object(json!({ "b": { "type": "string" } })),
            "a.circle": { "$ref": "#/components/schemas/a.circle" },
        } },
    })
}

#[test]
fn a_document_has_the_schema_with_resolved_references_and_the_subresources() {
    let wrapped = json!({ "default": {}, "allOf": [{ "$ref": "#/components/schemas/a.part" }] });
    let direct = json!({ "$ref": "#/components/schemas/a.part" });
    let found = from_openapi(&document(&object(json!({ "wrapped": wrapped, "direct": direct }))));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].resource.as_str(), found[0].digest.as_ref()), ("poolclaims", None));
    assert_eq!(found[0].subresources, BTreeSet::from(["status".to_owned()]));
    for part in ["wrapped", "direct"] {
        let properties = &found[0].schema["properties"]["spec"]["properties"];
        assert_eq!(properties[part]["properties"]["b"]["type"], "string");
    }
}

#[test]
fn circular_and_broken_references_do_not_loop_forever() {
    for target in ["#/components/schemas/a.circle", "#/components/schemas/none", "elsewhere#/a", ""] {
        let spec = object(json!({ "a": { "$ref": target } }));
        assert_eq!(from_openapi(&document(&spec)).len(), 1, "{target}");
    }
}
