//! What is left of an installation, by the two commands that say so, and the way to nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bullpen_api::{InstancePool, LaunchConfig, PoolMember};
use bullpen_devkit::control_plane::{ControlPlane, Options};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::harness::objects::{POOL, machine};
use crate::harness::{Ground, Operator, Walk, eventually};

/// How a program ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn run(mut command: tokio::process::Command) -> Ended {
    let output = command.env_remove("KUBECONFIG").stdin(Stdio::null()).output().await.expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs `bullpen uninstall` with a kubeconfig.
async fn uninstall(kubeconfig: &Path, arguments: &[&str]) -> Ended {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_bullpen"));
    command.arg("uninstall").args(arguments).arg("--kubeconfig").arg(kubeconfig);
    run(command).await
}

async fn check(walk: &Walk, more: &[&str]) -> Ended {
    uninstall(walk.kubeconfig(), &[&["--check"], more].concat()).await
}

/// What is left, for programs.
async fn report(walk: &Walk) -> Value {
    let ended = check(walk, &["-o", "json"]).await;
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// The steps of a report: what each does, and its commands.
fn steps(report: &Value) -> Vec<(String, Vec<String>)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let commands = |step: &Value| step["commands"].as_array().expect("a list").iter().map(text).collect();
    report["steps"].as_array().expect("a list").iter().map(|step| (text(&step["what"]), commands(step))).collect()
}

/// A folder with `kubectl` and `bullpen` in it, as a user has them in the path.
fn path_of_a_user(walk: &Walk) -> PathBuf {
    let folder = walk.folder().join("bin");
    fs::create_dir_all(&folder).expect("a folder");
    let kubectl = walk.bare_kubectl();
    for (program, at) in
        [("kubectl", kubectl.as_std().get_program()), ("bullpen", env!("CARGO_BIN_EXE_bullpen").as_ref())]
    {
        std::os::unix::fs::symlink(at, folder.join(program)).expect("a link");
    }
    folder
}

/// Runs a command as it was printed.
async fn sh(folder: &Path, command: &str) -> Ended {
    let mut shell = tokio::process::Command::new("/bin/sh");
    let path = std::env::join_paths([folder, Path::new("/usr/bin"), Path::new("/bin")]).expect("a path");
    shell.args(["-c", command]).env("PATH", path);
    run(shell).await
}

/// A pool of three in one namespace, with claims of another on two of them, and one member that a person holds.
async fn full(ground: &Ground) -> (Walk, Walk, Operator) {
    let (infra, red) = (Walk::begin_at(ground, "infra", &[]).await, Walk::begin_at(ground, "red", &[]).await);
    let operator = Operator::start_everywhere(&infra).await;
    infra.ready_pool(3, json!({ "claims": { "allowedNamespaces": { "from": "All" } } })).await;
    for name in ["build-1", "build-2"] {
        red.claim(name, json!({ "poolRef": { "name": POOL, "namespace": infra.namespace } })).await;
        red.bound(name).await;
    }
    red.claim("waits", json!({ "poolRef": { "name": "no-such-pool" } })).await;
    infra.pool_has_ready(3).await;
    let ready = |member: &PoolMember| member.status.as_ref().is_some_and(|status| status.claim_ref.is_none());
    let held = infra.list::<PoolMember>().await.into_iter().find(ready).expect("an unclaimed member");
    let held = held.metadata.name.expect("a name");
    infra.set::<PoolMember>(&held, json!({ "hold": true })).await;
    infra
        .pool_until(POOL, "has replaced the held one", |status| {
            status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (3, 2, 6))
        })
        .await;
    (infra, red, operator)
}

/// The one walk over a whole installation: it needs a control plane of its own, for it asks about all namespaces and takes
/// the definitions away at the end.
#[tokio::test]
async fn the_printed_commands_lead_from_a_full_installation_to_nothing_and_nothing_hangs() {
    let control_plane = ControlPlane::start(Options::default()).await.expect("a control plane of its own");
    let ground = Ground::on(&control_plane).await;
    let (infra, red, mut operator) = full(&ground).await;
    what_is_left_is_listed(&infra, &red).await;

    let folder = path_of_a_user(&infra);
    let steps = steps(&report(&infra).await);
    let (last, before): (Vec<_>, Vec<_>) =
        steps.iter().partition(|(_, commands)| commands[0].starts_with("helm") || commands[0].contains(" delete crd "));
    for (what, commands) in before {
        for command in commands {
            let ended = sh(&folder, command).await;
            assert_eq!(ended.code, Some(0), "{what}\n{command}\n{ended:?}");
            eprintln!("$ {command}\n{}", ended.stdout.trim_end());
        }
    }
    infra.no_machine_left().await;
    for walk in [&infra, &red] {
        walk.none_left::<InstancePool>().await;
        walk.none_left::<PoolMember>().await;
        walk.none_left::<LaunchConfig>().await;
    }
    let nothing = check(&infra, &[]).await;
    assert_eq!(nothing.code, Some(0), "{nothing:?}");
    assert!(nothing.stdout.starts_with("Nothing is left in all namespaces"), "{nothing:?}");

    assert_eq!(operator.stop().await, Some(0), "{}", operator.output());
    let (what, commands) = last.last().expect("the definitions go last");
    let ended = sh(&folder, &commands[0]).await;
    assert_eq!(ended.code, Some(0), "{what}: {ended:?}");
    no_definition_is_left(&infra).await;
    let nothing = check(&infra, &[]).await;
    assert_eq!(nothing.code, Some(0), "without definitions there is nothing to be left: {nothing:?}");
    control_plane.stop().await;
}

/// That both programs say the same, and all of it.
async fn what_is_left_is_listed(infra: &Walk, red: &Walk) {
    let left = check(infra, &[]).await;
    assert_eq!(left.code, Some(1), "{left:?}");
    let (pool, holders) = (&infra.namespace, format!("{0}/build-1, {0}/build-2", red.namespace));
    for words in [
        "Left in all namespaces: 1 pool, 6 members, 6 machines, 2 claims that hold one, 1 launch config.".to_owned(),
        format!("pool {pool}/ci (Active), 6 members: 2 claimed, 1 held, 3 ready; held by {holders}"),
        format!("launch config {pool}/sim"),
        format!("claims that hold a machine: {holders}"),
        "finalizer bullpen.dev/instance on 6: only a running operator takes it off".to_owned(),
    ] {
        assert!(left.stdout.lines().any(|line| line == words), "{words}\n{}", left.stdout);
    }
    eprintln!("{}", left.stdout);
    let report = report(infra).await;
    assert_eq!((&report["left"], &report["machines"]), (&json!(true), &json!(6)));
    let mut listed: Vec<&str> =
        report["members"].as_array().expect("a list").iter().filter_map(|member| member["machine"].as_str()).collect();
    let members = infra.list::<PoolMember>().await;
    let mut theirs: Vec<&str> = members.iter().filter_map(machine).collect();
    listed.sort_unstable();
    theirs.sort_unstable();
    assert_eq!(listed, theirs);

    let of_another = check(infra, &["--namespace", &format!("default,{}", red.namespace)]).await;
    assert_eq!(of_another.code, Some(1), "its claims hold machines: {of_another:?}");
    assert!(of_another.stdout.contains("2 claims that hold one"), "{of_another:?}");
    assert_eq!(check(infra, &["--namespace", "default"]).await.code, Some(0), "nothing is there");
    #[cfg(feature = "kubectl")]
    the_plugin_says_the_same(infra, &left.stdout).await;
}

#[cfg(feature = "kubectl")]
async fn the_plugin_says_the_same(infra: &Walk, said: &str) {
    let mut command = tokio::process::Command::new(crate::harness::PLUGIN);
    let plugin = run({
        command.args(["uninstall", "--check", "--kubeconfig"]).arg(infra.kubeconfig());
        command
    })
    .await;
    assert_eq!(plugin.code, Some(1), "{plugin:?}");
    let of_plugin = plugin.stdout.replace("kubectl bullpen uninstall", "bullpen uninstall");
    assert_eq!(of_plugin, said, "one answer");
    // The harness names a namespace.
    let named = infra.plugin(&["uninstall", "--check", "-o", "name"]).await;
    assert_eq!(named.code, Some(1), "{named:?}");
    assert_eq!(named.stdout.lines().count(), 1 + 6 + 2 + 1, "{named:?}");
    let without = infra.plugin(&["uninstall"]).await;
    assert_eq!(without.code, Some(2), "{without:?}");
    assert!(without.stderr.contains("run `kubectl bullpen uninstall --check`"), "{without:?}");
}

async fn no_definition_is_left(walk: &Walk) {
    let definitions: Api<CustomResourceDefinition> = Api::all(walk.client.clone());
    eventually("the definitions go", async || {
        let left = definitions.list(&ListParams::default()).await.expect("a list").items;
        let names: Vec<_> = left.into_iter().filter_map(|definition| definition.metadata.name).collect();
        if names.is_empty() { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_said_with_the_permission_that_is_missing() {
    let walk = Walk::begin("uninstall-forbidden").await;
    let kubeconfig = walk.folder().join("nobody.kubeconfig");
    walk.write_kubeconfig(&kubeconfig, &walk.namespace, "default").await;
    let refused = uninstall(&kubeconfig, &["--check", "--namespace", &walk.namespace]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let words = format!("not allowed to list instancepools.bullpen.dev in namespace {}", walk.namespace);
    assert!(refused.stderr.contains(&words), "{refused:?}");
    let everywhere = uninstall(&kubeconfig, &["--check"]).await;
    assert!(
        everywhere.stderr.contains("not allowed to list instancepools.bullpen.dev in all namespaces"),
        "{everywhere:?}"
    );

    let nowhere = walk.folder().join("nowhere.kubeconfig");
    let text = fs::read_to_string(walk.kubeconfig()).expect("a kubeconfig");
    let mut config: Value = serde_json::from_str(&text).expect("it is JSON");
    config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
    fs::write(&nowhere, config.to_string()).expect("written");
    let unreachable = uninstall(&nowhere, &["--check"]).await;
    assert_eq!(unreachable.code, Some(2), "{unreachable:?}");
    let without = uninstall(walk.kubeconfig(), &[]).await;
    assert_eq!(without.code, Some(2), "{without:?}");
    assert!(without.stderr.contains("uninstall removes nothing, it only checks"), "{without:?}");

    // A name that no namespace can have would look like a namespace with nothing in it.
    for program in [env!("CARGO_BIN_EXE_bullpen"), env!("CARGO_BIN_EXE_kubectl-bullpen")] {
        let mut command = tokio::process::Command::new(program);
        command.args(["uninstall", "--check", "--namespace", "infra,Team_A", "--kubeconfig"]).arg(walk.kubeconfig());
        let mistyped = run(command).await;
        assert_eq!(mistyped.code, Some(2), "{mistyped:?}");
        let named = mistyped.stderr.contains("--namespace") && mistyped.stderr.contains("\"Team_A\" is no name of a");
        assert!(named && mistyped.stdout.is_empty(), "{mistyped:?}");
    }
}

#[tokio::test]
async fn more_objects_than_a_page_holds_are_all_counted() {
    let walk = Walk::begin("uninstall-pages").await;
    let made = (0..620).map(|number| walk.claim_of_nobody(number));
    futures::future::join_all(made).await;
    let ended = check(&walk, &["--namespace", &walk.namespace, "-o", "json"]).await;
    assert_eq!(ended.code, Some(0), "claims that wait keep nothing: {ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(report["claims"]["waiting"], 620);
}

impl Walk {
    async fn claim_of_nobody(&self, number: usize) {
        self.claim(&format!("waits-{number}"), json!({ "poolRef": { "name": "no-such-pool" } })).await;
    }
}
