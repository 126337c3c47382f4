//! A list of namespaces, with exactly the permissions that are needed for it.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, PoolClaim, PoolMember};
use bullpen_plan::operator::permissions::{Mode, Names, Place, rules};
use bullpen_simcloud::ledger::Method;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::harness::objects::{Kind, LAUNCH_CONFIG, POOL, condition, machine_of, member_of, phase};
use crate::harness::{Ledger, Operator, SCOPED, Scoped, Walk, cluster_rules, eventually, lease_rules};

fn pool_of(walk: &Walk) -> Value {
    json!({ "poolRef": { "name": POOL, "namespace": walk.namespace } })
}

fn allows(from: &str) -> Value {
    json!({ "claims": { "allowedNamespaces": { "from": from } } })
}

fn is_about(rule: &PolicyRule, resource: &str) -> bool {
    rule.resources.as_ref().is_some_and(|resources| resources.iter().any(|other| other == resource))
}

/// Waits until a condition of an object is as described, and gives its message.
async fn says<K: Kind>(walk: &Walk, name: &str, type_: &str, reason: &str) -> String {
    let holds = |object: &K| condition(object, type_).1 == reason;
    condition(&walk.until(name, &format!("says {reason}"), holds).await, type_).2
}

/// Three namespaces, of which the first two are watched.
struct Scene {
    red: Walk,
    blue: Walk,
    green: Walk,
    scoped: Scoped,
}

impl Scene {
    async fn begin(name: &str) -> Self {
        let red = Walk::begin(&format!("{name}-red")).await;
        let scoped = Scoped::begin(&red).await;
        let blue = Walk::begin(&format!("{name}-blue")).await;
        let green = Walk::begin(&format!("{name}-green")).await;
        for walk in [&red, &blue] {
            scoped.grant(&walk.namespace, Place::Watched).await;
        }
        Self { red, blue, green, scoped }
    }

    fn both(&self) -> [&str; 2] {
        [&self.red.namespace, &self.blue.namespace]
    }
}

#[tokio::test]
async fn two_of_three_namespaces_are_watched_and_nothing_is_asked_of_the_third() {
    let scene = Scene::begin("scope").await;
    let Scene { red, blue, green, scoped } = &scene;
    let audit = scoped.audit(red);
    let mut operator = scoped.operator(red, &scene.both()).await;
    assert!(operator.says("bullpen runs").await.contains(&format!("namespaces {}", blue.namespace)));
    green.launch_config(LAUNCH_CONFIG, json!({})).await;
    green.pool(POOL, allows("All")).await;
    green.claim("own", json!({})).await;
    red.ready_pool(2, allows("All")).await;
    blue.ready_pool(1, json!({})).await;
    for (walk, name, spec) in [(red, "own", json!({})), (blue, "own", json!({})), (blue, "across", pool_of(red))] {
        walk.claim(name, spec).await;
        walk.bound(name).await;
    }
    red.claim("nowhere", pool_of(green)).await;
    let words = says::<PoolClaim>(red, "nowhere", "Bound", "NamespaceNotWatched").await;
    assert!(words.contains(&green.namespace) && words.contains("--namespace"), "{words}");

    a_machine_of_the_third_is_not_swept(&scene).await;
    red.pool_has_ready(2).await;
    blue.pool_has_ready(1).await;
    let before = [red.simcloud.ledger().await, blue.simcloud.ledger().await].map(|ledger| ledger.living().len());
    operator.kill_9();
    operator.start_again().await;
    operator.is_ready().await;
    for (walk, name) in [(red, "own"), (blue, "own"), (blue, "across")] {
        assert_eq!(phase(&walk.get(name).await), ClaimPhase::Bound, "{name}");
    }
    red.claim("after", json!({})).await;
    red.bound("after").await;
    red.pool_has_ready(2).await;
    let after = [red.simcloud.ledger().await, blue.simcloud.ledger().await].map(|ledger| ledger.living().len());
    assert_eq!(after, [before[0] + 1, before[1]], "all that was there stays");

    assert!(!is_untouched(&red.get::<InstancePool>(POOL).await), "else this would prove nothing");
    assert!(is_untouched(&green.get::<InstancePool>(POOL).await));
    assert!(is_untouched(&green.get::<LaunchConfig>(LAUNCH_CONFIG).await));
    assert!(is_untouched(&green.get::<PoolClaim>("own").await));
    assert_eq!((green.list::<PoolMember>().await.len(), green.simcloud.ledger().await.bought()), (0, 0));
    assert_eq!(audit.forbidden(), Vec::<String>::new(), "nothing forbidden is ever asked");
}

/// Whether no operator ever wrote it: neither finalizers nor status.
fn is_untouched<K: Kind>(object: &K) -> bool {
    let managers = object.meta().managed_fields.as_ref().expect("the server notes who wrote it");
    object.finalizers().is_empty() && managers.iter().all(|entry| entry.manager.as_deref() != Some("bullpen"))
}

async fn a_machine_of_the_third_is_not_swept(scene: &Scene) {
    let Scene { red, blue, green, .. } = scene;
    let mut bought = Vec::new();
    for walk in [red, blue, green] {
        let tags = [
            ("bullpen.dev/installation", red.namespace.as_str()),
            ("bullpen.dev/namespace", &walk.namespace),
            ("bullpen.dev/name", "ci-gone"),
            ("bullpen.dev/member-uid", "00000000-0000-0000-0000-000000000000"),
        ];
        bought.push(red.simcloud.buy(&walk.namespace, &tags).await);
    }
    let swept = |ledger: &Ledger| bought[..2].iter().all(|id| ledger.ended(id));
    red.ledger_until("the orphans of the two are ended", swept).await;
    red.simcloud.is_called(Method::List, 2).await;
    assert!(!red.simcloud.ledger().await.ended(&bought[2]), "it may have a member");
}

#[tokio::test]
async fn a_member_held_from_a_namespace_that_is_no_longer_watched_is_kept_until_it_is_watched_again() {
    let scene = Scene::begin("narrowed").await;
    let Scene { red, blue, scoped, .. } = &scene;
    let mut operator = scoped.operator(red, &scene.both()).await;
    red.ready_pool(1, allows("All")).await;
    blue.ready_pool(1, allows("All")).await;
    blue.claim("across", pool_of(red)).await;
    red.claim("across", pool_of(blue)).await;
    let (held, kept) = (blue.bound("across").await, red.bound("across").await);
    red.pool_has_ready(1).await;
    assert_eq!(operator.stop().await, Some(0));

    let audit = scoped.audit(red);
    operator.start_again_for(&[&red.namespace]).await;
    let words = says::<InstancePool>(red, POOL, "ClaimsWatched", "NamespaceNotWatched").await;
    assert!(words.ends_with(member_of(&held)), "{words}");
    blue.delete::<PoolClaim>("across").await;
    blue.gone::<PoolClaim>("across").await;
    red.claim("meanwhile", json!({})).await;
    red.bound("meanwhile").await;
    let member: PoolMember = red.get(member_of(&held)).await;
    assert!(member.metadata.deletion_timestamp.is_none(), "nobody watched, so nothing is proved");
    assert_eq!(phase(&red.get("across").await), ClaimPhase::Bound, "its member is not proved to be gone");
    assert_eq!(audit.forbidden(), Vec::<String>::new());
    assert_eq!(operator.stop().await, Some(0));

    operator.start_again_for(&scene.both()).await;
    red.gone::<PoolMember>(member_of(&held)).await;
    says::<InstancePool>(red, POOL, "ClaimsWatched", "ClaimsWatched").await;
    assert_eq!(phase(&red.get("across").await), ClaimPhase::Bound);
    assert!(blue.get::<PoolMember>(member_of(&kept)).await.metadata.deletion_timestamp.is_none());
}

#[tokio::test]
async fn a_namespace_that_comes_and_goes_keeps_nothing_from_the_others() {
    let walk = Walk::begin("comes-and-goes").await;
    let scoped = Scoped::begin(&walk).await;
    scoped.grant(&walk.namespace, Place::Watched).await;
    let later = format!("{}-later", walk.namespace);
    let mut operator = scoped.operator(&walk, &[&walk.namespace, &later]).await;
    operator.says("it is watched once they are granted").await;
    walk.ready_pool(1, json!({})).await;
    operator.is_ready().await;

    for round in ["first", "second"] {
        make_namespace(&walk, &later).await;
        scoped.grant(&later, Place::Watched).await;
        pool_in(&walk, &later).await;
        walk.claim(round, json!({})).await;
        walk.bound(round).await;
        empty(&walk, &later).await;
        let namespaces: Api<Namespace> = Api::all(walk.client.clone());
        namespaces.delete(&later, &DeleteParams::default()).await.expect("deleted");
        eventually("the namespace is gone", async || match namespaces.get_opt(&later).await.expect("an answer") {
            None => Ok(()),
            Some(namespace) => Err(format!("{:?}", namespace.status)),
        })
        .await;
        operator.kill_9();
        operator.start_again().await;
    }
    walk.claim("at-last", json!({})).await;
    walk.bound("at-last").await;
    assert!(operator.endpoint("/livez").await.ends_with("ok\n"));
}

async fn make_namespace(walk: &Walk, name: &str) {
    let namespaces: Api<Namespace> = Api::all(walk.client.clone());
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace");
}

/// A pool of one in this namespace, when its machine is ready.
async fn pool_in(walk: &Walk, namespace: &str) {
    let copy = |object: Value| {
        let mut object = object;
        object["metadata"] = json!({ "name": object["metadata"]["name"] });
        object
    };
    let config = serde_json::to_value(walk.get::<LaunchConfig>(LAUNCH_CONFIG).await).expect("JSON");
    let pool = serde_json::to_value(walk.get::<InstancePool>(POOL).await).expect("JSON");
    let configs: Api<LaunchConfig> = Api::namespaced(walk.client.clone(), namespace);
    let config = serde_json::from_value(copy(config)).expect("a launch config");
    configs.create(&PostParams::default(), &config).await.expect("a launch config");
    let pools: Api<InstancePool> = Api::namespaced(walk.client.clone(), namespace);
    pools.create(&PostParams::default(), &serde_json::from_value(copy(pool)).expect("a pool")).await.expect("a pool");
    eventually("the pool of the other namespace is ready", async || {
        let status = pools.get(POOL).await.expect("the pool").status.unwrap_or_default();
        let ready = status.members.unwrap_or_default().ready;
        if ready == 1 { Ok(()) } else { Err(format!("{ready} ready")) }
    })
    .await;
}

/// Deletes what is in this namespace, and waits until it is gone: its Role would not outlast it.
async fn empty(walk: &Walk, namespace: &str) {
    let out = ["-n", namespace, "delete", "--all", "--wait", "--timeout", "60s"];
    for kind in ["instancepools", "launchconfigs"] {
        walk.kubectl(&[&out[..3], &[kind], &out[3..]].concat()).await;
    }
}

#[tokio::test]
async fn a_pool_whose_user_data_may_not_be_read_says_so_and_goes_on_once_it_may() {
    let walk = Walk::begin("scope-user-data").await;
    let scoped = Scoped::begin(&walk).await;
    scoped.grant(&walk.namespace, Place::Watched).await;
    let _operator = scoped.operator(&walk, &[&walk.namespace]).await;
    walk.create::<Secret>(json!({ "metadata": { "name": "boot" }, "stringData": { "script": "true" } })).await;
    walk.launch_config(LAUNCH_CONFIG, json!({})).await;
    let source = json!({ "secretKeyRef": { "name": "boot", "key": "script" } });
    walk.pool(POOL, json!({ "targetSize": 1, "template": { "userDataFrom": source } })).await;
    let words = says::<InstancePool>(&walk, POOL, "Stalled", "UserDataForbidden").await;
    let grant = format!("grant get on secrets in namespace {}", walk.namespace);
    assert!(words.contains(&grant) && words.contains("secrets.namespaces"), "{words}");
    scoped.grant(&walk.namespace, Place::Secrets).await;
    walk.pool_has_ready(1).await;
}

#[tokio::test]
async fn a_claim_whose_secret_may_not_be_made_says_so_and_goes_on_once_it_may() {
    let walk = Walk::begin("scope-binding").await;
    let scoped = Scoped::begin(&walk).await;
    scoped.grant(&walk.namespace, Place::Watched).await;
    let _operator = scoped.operator(&walk, &[&walk.namespace]).await;
    walk.ready_pool(1, json!({})).await;
    walk.claim("build", json!({ "binding": "Secret" })).await;
    let words = says::<PoolClaim>(&walk, "build", "Bound", "BindingSecretForbidden").await;
    let grant = format!("grant create on secrets in namespace {}", walk.namespace);
    assert!(words.contains(&grant) && words.contains("secrets.namespaces"), "{words}");
    let creates = |rule: &PolicyRule| rule.verbs.iter().any(|verb| verb == "create");
    scoped.grant_but(&walk.namespace, Place::Secrets, creates).await;
    walk.bound("build").await;

    // One that is there already has to be read.
    walk.create::<Secret>(json!({ "metadata": { "name": "again-binding" } })).await;
    walk.claim("again", json!({ "binding": "Secret" })).await;
    let words = says::<PoolClaim>(&walk, "again", "Bound", "BindingSecretForbidden").await;
    assert!(words.contains("grant get on secrets"), "{words}");
    scoped.grant(&walk.namespace, Place::Secrets).await;
    says::<PoolClaim>(&walk, "again", "Bound", "BindingSecretExists").await;
    walk.delete::<Secret>("again-binding").await;
    walk.bound("again").await;
}

#[tokio::test]
async fn a_pool_that_may_not_read_the_labels_of_a_namespace_names_it_and_serves_it_once_it_may() {
    let scene = Scene::begin("labels").await;
    let Scene { red, blue, scoped, .. } = &scene;
    let but_namespaces = |rule: &PolicyRule| !is_about(rule, "namespaces");
    scoped.grant_but(&blue.namespace, Place::Watched, but_namespaces).await;
    let mut operator = scoped.operator(red, &scene.both()).await;
    let labelled = json!({ "metadata": { "labels": { "machines": "yes" } } });
    let namespaces: Api<Namespace> = Api::all(red.client.clone());
    namespaces.patch(&blue.namespace, &PatchParams::default(), &Patch::Merge(labelled)).await.expect("a label");
    let selector = json!({ "from": "Selector", "selector": { "matchLabels": { "machines": "yes" } } });
    red.ready_pool(1, json!({ "claims": { "allowedNamespaces": selector } })).await;
    blue.claim("across", pool_of(red)).await;
    let words = says::<InstancePool>(red, POOL, "NamespacesReadable", "NamespaceForbidden").await;
    assert!(words.contains("grant get on the namespace") && words.ends_with(&blue.namespace), "{words}");
    says::<PoolClaim>(blue, "across", "Bound", "PoolNotFound").await;
    scoped.grant(&blue.namespace, Place::Watched).await;
    blue.bound("across").await;
    says::<InstancePool>(red, POOL, "NamespacesReadable", "LabelsRead").await;
    let warned = operator.output().lines().filter(|line| line.contains("its labels cannot be read")).count();
    assert_eq!(warned, 1, "{}", operator.output());
}

#[tokio::test]
async fn events_that_may_not_be_published_are_no_trouble() {
    let walk = Walk::begin("scope-events").await;
    let scoped = Scoped::begin(&walk).await;
    scoped.grant(&walk.namespace, Place::Watched).await;
    let mut operator = scoped.operator(&walk, &[&walk.namespace]).await;
    walk.ready_pool(1, json!({})).await;
    scoped.grant_but(&walk.namespace, Place::Watched, |rule| !is_about(rule, "events")).await;
    let audit = scoped.audit(&walk);
    walk.claim("lost", json!({})).await;
    let claim = walk.bound("lost").await;
    walk.simcloud.strike(machine_of(&claim), json!({ "vanishes": {} })).await;
    walk.until("lost", "is Lost", |claim: &PoolClaim| phase(claim) == ClaimPhase::Lost).await;
    walk.pool_has_ready(1).await;
    eventually("an event is refused", async || {
        if operator.output().contains("an event was not published") { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let output = operator.output();
    let said: Vec<_> = output.lines().filter(|line| line.contains("an event was not published")).collect();
    assert!(said.iter().all(|line| line.contains("DEBUG")), "{said:?}");
    let refused = audit.forbidden();
    assert!(refused.len() <= 4 && refused.iter().all(|line| line.contains("events.k8s.io")), "{refused:?}");
}

#[tokio::test]
async fn a_permission_that_is_always_needed_is_named_at_the_start_with_its_namespace() {
    let scene = Scene::begin("lacking").await;
    let Scene { red, blue, scoped, .. } = &scene;
    for (resource, expected) in [
        ("instancepools/finalizers", "not allowed to update instancepools/finalizers.bullpen.dev"),
        ("events", "not allowed to create events.events.k8s.io"),
        ("poolclaims/status", "not allowed to update poolclaims/status.bullpen.dev"),
    ] {
        scoped.grant_but(&blue.namespace, Place::Watched, |rule| !is_about(rule, resource)).await;
        let mut operator = scoped.try_operator(red, &scene.both());
        assert_eq!(operator.exit_code().await, Some(1));
        let output = operator.output();
        let words = output.lines().last().unwrap_or_default();
        assert!(words.contains(&format!("{expected} in namespace {}:", blue.namespace)), "{words}");
    }
    scoped.grant(&blue.namespace, Place::Watched).await;
    scoped.revoke(SCOPED, Place::Home).await;
    let mut operator = scoped.try_operator(red, &scene.both());
    assert_eq!(operator.exit_code().await, Some(1));
    let output = operator.output();
    assert!(output.contains("not allowed to create leases.coordination.k8s.io"), "{output}");
}

#[tokio::test]
async fn fifty_namespaces_are_asked_about_and_listed_in_a_moment() {
    let walk = Walk::begin("fifty").await;
    let others = (1..50).map(|number| format!("{}-{number}", walk.namespace));
    let all: Vec<_> = std::iter::once(walk.namespace.clone()).chain(others).collect();
    let began = Instant::now();
    let operator = Operator::start_with(&walk, &[("--namespace", &all.join(","))]).await;
    let asked = began.elapsed();
    operator.is_ready().await;
    eprintln!("50 namespaces: listens after {asked:?}, is ready after {:?}", began.elapsed());
    walk.ready_pool(1, json!({})).await;
    let text = operator.endpoint("/metrics").await;
    let series = text.lines().filter(|line| line.starts_with("bullpen_watch_last_answer_timestamp_seconds{"));
    assert_eq!(series.count(), 200, "one for each kind and namespace");
}

#[test]
fn a_namespace_from_the_environment_is_read_as_one_from_the_command_line() {
    for (value, words) in [("a,B", "is no name of a namespace"), ("", "it names no namespace")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bullpen"));
        let output = command.arg("run").env("BULLPEN_NAMESPACE", value).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("--namespace") && said.contains(words), "{said}");
    }
}

/// Each permission by itself.
fn single(rules: &[PolicyRule]) -> BTreeSet<(String, String, String, String)> {
    let mut all = BTreeSet::new();
    for rule in rules {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    let names = rule.resource_names.as_deref().unwrap_or_default().join(",");
                    all.insert((group.clone(), resource.clone(), verb.clone(), names));
                }
            }
        }
    }
    all
}

#[test]
fn what_is_deployed_is_what_the_table_of_permissions_names() {
    let names = Names { namespace: "team-a", lease: "bullpen", installation_secret: "bullpen-installation" };
    let of = |mode, place| rules(mode, place, &names);
    let deployed = |rules: Value| single(&serde_json::from_value::<Vec<PolicyRule>>(rules).expect("rules"));
    // That the ClusterRole may get all namespaces covers kube-system.
    let beside = of(Mode::Cluster, Place::Cluster).into_iter().filter(|rule| !is_about(rule, "namespaces"));
    let in_all = [of(Mode::Cluster, Place::Watched), of(Mode::Cluster, Place::Secrets), beside.collect()].concat();
    assert_eq!(deployed(cluster_rules()), single(&in_all));
    assert_eq!(deployed(lease_rules("bullpen")), single(&of(Mode::Cluster, Place::Home)));
    let role = include_str!("../../../../deploy/overlays/namespaced/role-team-a-bullpen.yaml");
    let role: Value = serde_saphyr::from_str(role).expect("the role is YAML");
    assert_eq!(deployed(role["rules"].clone()), single(&of(Mode::Namespaces, Place::Watched)));
}
