//! Tests of the document, and of what it hits.

use serde_json::{Value, json};

use super::{at, cloud, request, set};
use crate::Options;
use crate::cloud::{Ask, Cloud, ListQuery};
use crate::faults::FaultSet;
use crate::wire::{CreateInstance, ErrorClass, Refusal};

#[test]
fn yaml_and_json_give_the_same_document_and_it_is_returned_unchanged() {
    let yaml = "
# The cloud is away for two seconds, then creates fail at times.
calls:
  - when: {untilMilliseconds: 2000}
    fault: {hang: {}}
  - on: [create]
    percent: 10
    where: {instanceTypes: [large], tags: {team: web}}
    fault:
      error: {class: Capacity, scope: Zone}
machines:
  - fault: {dies: {milliseconds: 50, since: Running}}
limits:
  - machines: 10
rates:
  - on: [create]
    everyMilliseconds: 5
pageSize: 3
";
    let read = FaultSet::from_yaml(yaml).unwrap();
    let shown = serde_json::to_vec(&read).unwrap();
    assert_eq!(FaultSet::from_json(&shown).unwrap(), read);
    assert_eq!((read.calls[1].percent, read.page_size, read.rates[0].burst), (10, Some(3), 1));
    assert_eq!(FaultSet::from_yaml("# nothing\n").unwrap(), FaultSet::default());
    assert_eq!(FaultSet::from_yaml("{}").unwrap(), FaultSet::default());
}

#[test]
fn the_example_in_the_documentation_is_valid() {
    let page = include_str!("../../../../../docs/use/simcloud-faults.md");
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let read = FaultSet::from_yaml(example).unwrap();
    assert_eq!((read.calls.len(), read.machines.len(), read.limits.len(), read.rates.len()), (4, 2, 1, 1));
}

#[test]
fn an_invalid_document_is_refused_and_the_field_is_named() {
    let call = |rule: Value| json!({"calls": [rule]});
    let machine = |rule: Value| json!({"machines": [rule]});
    let hang = json!({"hang": {}});
    let wrong = [
        ("colour", json!({"colour": "red"})),
        ("calls[0]", call(json!({"percent": 10}))),
        ("calls[0].percent", call(json!({"percent": 101, "fault": hang}))),
        ("calls[0].percent", call(json!({"percent": -1, "fault": hang}))),
        ("calls[0].on", call(json!({"on": ["reboot"], "fault": hang}))),
        ("calls[0].on", call(json!({"on": ["create"], "fault": {"stale": {"milliseconds": 5}}}))),
        ("calls[0].fault", call(json!({"fault": {"explode": {}}}))),
        ("calls[0].fault.hang.milliseconds", call(json!({"fault": {"hang": {"milliseconds": 600_001}}}))),
        ("calls[0].fault.slow", call(json!({"fault": {"slow": {}}}))),
        ("colour", call(json!({"fault": {"empty": {"colour": "red"}}}))),
        ("calls[0].fault.error.scope", call(json!({"fault": {"error": {"class": "Capacity"}}}))),
        ("calls[0].fault.error.class", call(json!({"fault": {"error": {"class": "Bad"}}}))),
        (
            "calls[0].fault.error.retryAfterMilliseconds",
            call(json!({"fault": {"error": {"class": "Auth", "retryAfterMilliseconds": 1}}})),
        ),
        ("calls[0].fault.omit.percent", call(json!({"fault": {"omit": {"percent": 200}}}))),
        ("calls[0].fault.asAccount.account", call(json!({"fault": {"asAccount": {"account": ""}}}))),
        ("calls[0].fault.foreign.count", call(json!({"fault": {"foreign": {"count": 0}}}))),
        ("calls[0].where", call(json!({"where": {"zones": ["z"]}, "fault": hang}))),
        ("calls[0].where.zones", call(json!({"on": ["create"], "where": {"zones": [""]}, "fault": hang}))),
        (
            "calls[0].when.untilMilliseconds",
            call(json!({"when": {"fromMilliseconds": 5, "untilMilliseconds": 5}, "fault": hang})),
        ),
        ("calls[0].when.laterPages", call(json!({"when": {"laterPages": true}, "fault": hang}))),
        ("machines[0].on", machine(json!({"on": ["create"], "fault": {"neverBoots": {}}}))),
        (
            "machines[0].fault.flaps.readyMilliseconds",
            machine(json!({"fault": {"flaps": {"readyMilliseconds": 1, "notReadyMilliseconds": 10}}})),
        ),
        (
            "machines[0].fault.hidden.from",
            machine(json!({"fault": {"hidden": {"milliseconds": 1, "from": ["create"]}}})),
        ),
        ("machines[0].fault.dies.milliseconds", machine(json!({"fault": {"dies": {"milliseconds": 86_400_001}}}))),
        ("limits[0].machines", json!({"limits": [{"machines": -1}]})),
        ("limits[0].where.tags", json!({"limits": [{"machines": 1, "where": {"tags": {"a=b": ""}}}]})),
        ("rates[0].everyMilliseconds", json!({"rates": [{"everyMilliseconds": 0}]})),
        ("rates[0].burst", json!({"rates": [{"everyMilliseconds": 1, "burst": 0}]})),
        ("pageSize", json!({"pageSize": 1001})),
    ];
    for (field, document) in wrong {
        let texts = [FaultSet::from_json(document.to_string().as_bytes()), FaultSet::from_yaml(&document.to_string())];
        for text in texts {
            let Refusal { class, message, .. } = text.unwrap_err();
            assert!(class == ErrorClass::Invalid && message.contains(field), "{field}: {message}");
        }
    }
    let wrong = FaultSet::from_yaml("calls: [").unwrap_err();
    assert_eq!(wrong.class, ErrorClass::Invalid);
}

/// Which of 200 creates fail.
fn failing(seed: u64, document: &Value, before: impl Fn(&mut Cloud, i64)) -> Vec<bool> {
    let mut cloud = Cloud::new(Options { seed, faults: set(document), ..Options::default() }, at(0));
    let failing = (0..200).map(|n| {
        before(&mut cloud, n);
        let request = request(&format!("t{n}"));
        cloud.meet(at(n), &Ask::Create(&request)).is_err()
    });
    failing.collect()
}

#[test]
fn hits_depend_only_on_the_seed_and_the_order_of_the_calls_that_the_rule_matches() {
    let errors = json!({"calls": [{"on": ["create"], "percent": 10, "fault": {"error": {"class": "Transient"}}}]});
    let first = failing(1, &errors, |_, _| {});
    let hits = first.iter().filter(|hit| **hit).count();
    assert!((8..=35).contains(&hits), "{hits} of 200");
    let with_lists = failing(1, &errors, |cloud, n| drop(cloud.meet(at(n), &Ask::List(&ListQuery::default()))));
    assert_eq!(first, with_lists);
    assert_ne!(first, failing(2, &errors, |_, _| {}));
    assert!(failing(1, &json!({"calls": [{"percent": 0, "fault": {"hang": {}}}]}), |_, _| {}).iter().all(|hit| !hit));
}

#[test]
fn the_same_set_activated_again_hits_other_calls() {
    let errors = json!({"calls": [{"percent": 50, "fault": {"error": {"class": "Auth"}}}]});
    let mut cloud = cloud(&errors);
    let mut round = |now| {
        let hits: Vec<_> = (0..64).map(|_| cloud.meet(at(now), &Ask::Identity("r1")).is_err()).collect();
        cloud.set_faults(at(now), set(&errors));
        hits
    };
    assert_ne!(round(0), round(1));
}

#[test]
fn a_rule_is_restricted_by_time_skip_count_and_match() {
    let rule = json!({"on": ["create"], "where": {"zones": ["r1-a"]}, "fault": {"error": {"class": "Transient"}},
        "when": {"fromMilliseconds": 100, "untilMilliseconds": 200, "skip": 1, "times": 2}});
    let mut cloud = cloud(&json!({"calls": [rule]}));
    let mut fails = |now, zone: &str| {
        let request = CreateInstance { zone: zone.to_owned(), ..request("a") };
        cloud.meet(at(now), &Ask::Create(&request)).is_err()
    };
    assert!(!fails(99, "r1-a"), "too early");
    assert!(!fails(100, "r1-b"), "another zone");
    assert!(!fails(101, "r1-a"), "skipped");
    assert!(fails(102, "r1-a") && fails(103, "r1-a"));
    assert!(!fails(104, "r1-a"), "twice is enough");
    cloud.set_faults(at(1000), cloud.faults().clone());
    let mut fails = |now| cloud.meet(at(now), &Ask::Create(&request("a"))).is_err();
    assert!(!fails(1150) && fails(1199) && !fails(1200), "time and counts begin anew with the set");
}

#[test]
fn the_ledger_records_each_fault_and_each_change_of_the_set() {
    let document = json!({"calls": [{"on": ["create"], "fault": {"error": {"class": "Auth"}}}]});
    let mut cloud = cloud(&document);
    assert!(cloud.meet(at(5), &Ask::Create(&request("a"))).is_err());
    cloud.set_faults(at(6), FaultSet::default());
    let (_, text) = cloud.ledger().read(1, u64::MAX, usize::MAX).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["kind"], &lines[0]["set"]["calls"][0]["on"]), (&json!("faults"), &json!(["create"])));
    let of = |line: &Value| ["kind", "rule", "fault", "method", "outcome", "token"].map(|key| line[key].clone());
    assert_eq!(
        of(&lines[1]),
        ["fault".into(), "calls[0]".into(), "error".into(), "create".into(), Value::Null, "a".into()]
    );
    assert_eq!(of(&lines[2]), ["call".into(), Value::Null, Value::Null, "create".into(), "Auth".into(), "a".into()]);
    assert_eq!((&lines[3]["kind"], &lines[3]["set"]), (&json!("faults"), &json!({})));
}
