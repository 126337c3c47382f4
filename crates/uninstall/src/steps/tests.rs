//! Tests from objects to the report and its commands.

use crate::left::Facts;
use crate::report::Report;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::*;

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

fn pool(namespace: &str, name: &str, state: &str) -> DynamicObject {
    object(json!({
        "metadata": { "namespace": namespace, "name": name, "uid": format!("uid-{name}"), "finalizers": ["bullpen.dev/members"] },
        "spec": { "state": state },
    }))
}

fn member(namespace: &str, name: &str, pool: &str, status: &Value) -> DynamicObject {
    object(json!({
        "metadata": { "namespace": namespace, "name": name, "finalizers": ["bullpen.dev/instance"] },
        "spec": { "poolRef": { "name": pool, "uid": format!("uid-{pool}") } },
        "status": status,
    }))
}

fn claimed(claim: &str) -> Value {
    json!({ "state": "Claimed", "claimRef": { "namespace": "red", "name": claim }, "instance": { "id": "i-1" } })
}

fn claim(name: &str, phase: &str) -> DynamicObject {
    object(json!({ "metadata": { "namespace": "red", "name": name }, "spec": {}, "status": { "phase": phase } }))
}

fn facts(pools: &[DynamicObject], members: &[DynamicObject], claims: &[DynamicObject]) -> Facts {
    Facts {
        namespaces: Vec::new(),
        pools: pools.iter().map(Facts::pool).collect(),
        members: members.iter().map(Facts::member).collect(),
        claims: claims.iter().map(Facts::claim).collect(),
        launch_configs: Vec::new(),
    }
}

fn report(facts: &Facts) -> Report {
    Report::new(Leftovers::of(facts), &Commands::new("bullpen", &[], &Scope::default()))
}

/// The commands of the steps before the operator itself is removed.
fn commands(report: &Report) -> Vec<&str> {
    let all = report.steps.iter().flat_map(|step| &step.commands).map(String::as_str);
    all.take_while(|command| !command.starts_with("helm")).collect()
}

#[test]
fn an_empty_cluster_has_nothing_left_and_only_the_operator_to_remove() {
    let report = report(&Facts::default());
    assert!(!report.leftovers.left);
    assert!(commands(&report).is_empty());
    assert!(report.text().starts_with("Nothing is left in all namespaces: no member, no machine, no finalizer.\n"));
}

#[test]
fn claims_without_a_machine_do_not_count_as_left() {
    let report = report(&facts(&[], &[], &[claim("old", "Expired"), claim("waits", "Pending")]));
    assert!(!report.leftovers.left);
    assert_eq!((report.leftovers.claims.waiting, report.leftovers.claims.ended), (1, 1));
    assert!(report.text().contains("2 claims hold nothing"), "{}", report.text());
}

#[test]
fn the_command_that_keeps_the_installation_is_named_only_where_something_is_left() {
    let keep = || Some("helm rollback bullpen 3".to_owned());
    let left = report(&facts(&[pool("infra", "ci", "Draining")], &[], &[])).kept_by(keep());
    assert!(left.text().ends_with("\n\nTo keep it after all:\n     helm rollback bullpen 3"), "{}", left.text());
    assert_eq!(serde_json::to_value(&left).unwrap()["toKeep"], "helm rollback bullpen 3");
    let nothing = report(&Facts::default()).kept_by(keep());
    assert!(!nothing.text().contains("To keep"), "{}", nothing.text());
    assert_eq!(serde_json::to_value(&nothing).unwrap().get("toKeep"), None);
}

#[test]
fn a_pool_without_members_is_left_because_of_its_finalizer() {
    let report = report(&facts(&[pool("infra", "ci", "Draining")], &[], &[]));
    assert!(report.leftovers.left);
    assert_eq!(
        commands(&report),
        ["kubectl delete instancepools.bullpen.dev -n infra ci", "bullpen uninstall --check"]
    );
}

#[test]
fn everything_that_is_left_is_counted_named_and_removed_in_order() {
    let members = [
        member("infra", "ci-a", "ci", &claimed("build-1")),
        member("infra", "ci-b", "ci", &json!({ "state": "Ready", "instance": { "id": "i-2" } })),
        member("infra", "ci-c", "ci", &json!({})),
        member("infra", "lost-a", "lost", &json!({ "state": "Ready", "instance": { "id": "i-3" } })),
    ];
    let report = report(&facts(&[pool("infra", "ci", "Active")], &members, &[claim("build-1", "Bound")]));
    let left = &report.leftovers;
    assert_eq!((left.machines, left.members.len(), left.claims.holding.len()), (3, 4, 1));
    assert_eq!(left.finalizers["bullpen.dev/instance"], 4);
    let text = report.text();
    for line in [
        "Left in all namespaces: 1 pool, 4 members, 3 machines, 1 claim that holds one.",
        "pool infra/ci (Active), 3 members: 1 claimed, 1 pending, 1 ready; held by red/build-1",
        "member infra/lost-a without a pool: ready, machine i-3",
        "claims that hold a machine: red/build-1",
    ] {
        assert!(text.lines().any(|has| has == line), "{line}\n{text}");
    }
    assert_eq!(
        commands(&report),
        [
            r#"kubectl patch instancepools.bullpen.dev -n infra --type=merge -p '{"spec":{"state":"Draining"}}' ci"#,
            "kubectl delete poolclaims.bullpen.dev -n red build-1",
            "kubectl wait poolmembers.bullpen.dev -n infra --all --for=delete --timeout=30m",
            "kubectl delete instancepools.bullpen.dev -n infra ci",
            "bullpen uninstall --check",
        ]
    );
}

#[test]
fn many_holders_are_named_in_part_and_counted() {
    let holders: Vec<_> = (0..22).map(|number| format!("build-{number:02}")).collect();
    let members: Vec<_> =
        holders.iter().map(|holder| member("infra", &format!("ci-{holder}"), "ci", &claimed(holder))).collect();
    let report = report(&facts(&[pool("infra", "ci", "Draining")], &members, &[]));
    assert!(report.text().contains("red/build-09 and 12 more"), "{}", report.text());
    let deletes = commands(&report).into_iter().filter(|command| command.contains("delete poolclaims")).count();
    assert_eq!(deletes, 2, "twenty in one command");
}

#[test]
fn a_step_has_no_more_commands_than_a_person_reads() {
    let pools: Vec<_> = (0..30).map(|number| pool(&format!("team-{number:02}"), "ci", "Draining")).collect();
    let report = report(&facts(&pools, &[], &[]));
    assert_eq!(report.steps[0].commands.len(), MOST_COMMANDS + 1);
    assert!(report.steps[0].commands[MOST_COMMANDS].starts_with("# and 10 more commands"));
}

#[test]
fn held_and_quarantined_members_have_commands_of_their_own() {
    let mut held = member("infra", "ci-a", "ci", &json!({ "state": "Ready" }));
    held.data["spec"]["hold"] = true.into();
    let condition = json!([{ "type": "Quarantined", "status": "True" }]);
    let quarantined = member("infra", "ci-b", "ci", &json!({ "state": "Ready", "conditions": condition }));
    let report = report(&facts(&[pool("infra", "ci", "Draining")], &[held, quarantined], &[]));
    let commands = commands(&report);
    assert_eq!(
        commands[..2],
        [
            r#"kubectl patch poolmembers.bullpen.dev -n infra --type=merge -p '{"spec":{"hold":false}}' ci-a"#,
            "kubectl delete poolmembers.bullpen.dev -n infra --wait=false ci-b",
        ]
    );
}

#[test]
fn commands_name_the_cluster_that_was_checked() {
    let scope = Scope { namespaces: vec!["a".to_owned(), "b".to_owned()] };
    let commands = Commands::new("kubectl bullpen", &[("--context", "it's prod"), ("--kubeconfig", "/etc/k")], &scope);
    assert_eq!(commands.kubectl, r"kubectl --context 'it'\''s prod' --kubeconfig /etc/k");
    assert_eq!(commands.helm, r"helm --kube-context 'it'\''s prod' --kubeconfig /etc/k");
    assert_eq!(
        commands.check,
        r"kubectl bullpen uninstall --check --context 'it'\''s prod' --kubeconfig /etc/k --namespace a,b"
    );
}

#[test]
fn objects_of_older_definitions_are_read_as_far_as_possible() {
    let bare = object(json!({ "metadata": { "namespace": "a", "name": "b", "finalizers": ["x"] } }));
    let facts = Facts {
        pools: vec![Facts::pool(&bare)],
        members: vec![Facts::member(&bare)],
        claims: vec![Facts::claim(&bare)],
        launch_configs: vec![Facts::launch_config(&bare)],
        ..Facts::default()
    };
    let left = Leftovers::of(&facts);
    assert!(left.left);
    assert_eq!((left.pools[0].state.as_str(), left.members[0].state.as_str()), ("Active", "pending"));
    assert_eq!(left.finalizers["x"], 4);
}

#[test]
fn what_objects_contain_neither_adds_lines_nor_drives_a_terminal_nor_ends_a_command() {
    let mut stray = claimed("x; reboot\nfinalizer forged on 1");
    stray["instance"]["id"] = json!("i-1\nleft: nothing\u{1b}[2J\u{9b}\u{2028}\u{202e}");
    let report = report(&facts(&[], &[member("red", "ci-1", "gone", &stray)], &[]));
    let text = report.text();
    assert!(text.chars().all(|sign| sign == '\n' || !bullpen_access::shown::is_hidden(sign)), "{text:?}");
    let line = r"member red/ci-1 without a pool: claimed, machine i-1\nleft: nothing^[[2J\u009b\u2028\u202e";
    assert!(text.lines().any(|shown| shown == line), "{text}");
    assert!(!text.lines().any(|shown| shown.starts_with("left: ") || shown.starts_with("finalizer forged")), "{text}");
    assert!(text.contains(r"delete poolclaims.bullpen.dev -n red 'x; reboot\nfinalizer forged on 1'"), "{text}");
}
