//! Credentials that change while the operator runs: exec plugins and token files of kubeconfigs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::{Answer, Operator, PLUGIN, Walk, eventually};

fn read(kubeconfig: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(kubeconfig).expect("a kubeconfig")).expect("it is JSON")
}

/// A kubeconfig as `original`, with this user.
fn with_user(walk: &Walk, name: &str, original: &Path, user: Value) -> PathBuf {
    let mut whole = read(original);
    whole["users"][0]["user"] = user;
    let path = walk.folder().join(format!("{name}.kubeconfig"));
    fs::write(&path, whole.to_string()).expect("written");
    path
}

/// An exec plugin beside the kubeconfigs, that notes each of its runs in `NAME.runs` and then does what `script` says. Its
/// command is relative to the kubeconfig.
fn exec(walk: &Walk, name: &str, script: &str) -> Value {
    let path = walk.folder().join(name);
    fs::write(&path, format!("#!/bin/sh\ncd '{}'\necho run >> {name}.runs\n{script}\n", walk.folder().display()))
        .expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": format!("./{name}"),
        "interactiveMode": "IfAvailable",
        "provideClusterInfo": true,
    }})
}

fn runs(walk: &Walk, name: &str) -> usize {
    fs::read_to_string(walk.folder().join(format!("{name}.runs"))).unwrap_or_default().lines().count()
}

/// Prints the credential in `FILE`, whose `UNTIL` is some seconds from now.
fn prints(file: &str, seconds: u32) -> String {
    format!("until=$(date -u -d '+{seconds} seconds' +%Y-%m-%dT%H:%M:%SZ)\nsed \"s/UNTIL/$until/\" {file}")
}

fn write_credential(walk: &Walk, file: &str, mut status: Value) {
    status["expirationTimestamp"] = json!("UNTIL");
    let credential =
        json!({ "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status });
    fs::write(walk.folder().join(file), credential.to_string()).expect("written");
}

async fn plugin(walk: &Walk, kubeconfig: &Path) -> Answer {
    let mut command = tokio::process::Command::new(PLUGIN);
    command.arg("--kubeconfig").arg(kubeconfig).args(["pools", "--namespace", &walk.namespace]);
    let output = command.stdin(std::process::Stdio::null()).output().await.expect("the plugin runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Answer { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[tokio::test]
async fn a_plugin_that_gives_short_lived_tokens_is_asked_again_and_the_operator_goes_on() {
    let walk = Walk::begin("exec-token").await;
    let token = read(&walk.operator_kubeconfig())["users"][0]["user"]["token"].clone();
    write_credential(&walk, "credential", json!({ "token": token }));
    let user = exec(
        &walk,
        "login",
        &format!(
            "grep -q certificate-authority-data <<E || exit 7\n$KUBERNETES_EXEC_INFO\nE\n{}",
            prints("credential", 8)
        ),
    );
    let kubeconfig = with_user(&walk, "exec", &walk.operator_kubeconfig(), user);
    let mut operator = Operator::start_in(&walk, &kubeconfig, &[]);
    operator.says("bullpen runs").await;
    walk.ready_pool(1, json!({})).await;
    let first = runs(&walk, "login");
    assert!((1..=20).contains(&first), "all clients share what it gives: {first} runs");
    eventually("it is asked again", async || {
        let now = runs(&walk, "login");
        if now >= first + 3 { Ok(()) } else { Err(format!("{now} runs, {first} at first")) }
    })
    .await;
    walk.claim("build", json!({})).await;
    walk.bound("build").await;
    assert_eq!(operator.stop().await, Some(0), "{}", operator.output());

    let before = runs(&walk, "login");
    let answer = plugin(&walk, &kubeconfig).await;
    assert_eq!((answer.code, answer.stdout.lines().count()), (Some(0), 2), "{answer:?}");
    assert_eq!(runs(&walk, "login"), before + 1, "once for a command");
}

#[tokio::test]
async fn a_plugin_that_gives_client_certificates_is_asked_again_and_new_ones_are_used() {
    let walk = Walk::begin("exec-certificate").await;
    let user = read(walk.kubeconfig())["users"][0]["user"].clone();
    let pem = |field: &str| {
        let bytes = STANDARD.decode(user[field].as_str().expect("base64")).expect("base64");
        String::from_utf8(bytes).expect("PEM")
    };
    let (certificate, key) = (pem("client-certificate-data"), pem("client-key-data"));
    write_credential(&walk, "credential", json!({ "clientCertificateData": certificate, "clientKeyData": key }));
    let kubeconfig = with_user(&walk, "exec", walk.kubeconfig(), exec(&walk, "login", &prints("credential", 8)));
    let mut operator = Operator::start_in(&walk, &kubeconfig, &[]);
    operator.says("bullpen runs").await;
    walk.ready_pool(1, json!({})).await;
    // Another text is another certificate, though it is of the same user.
    let other = json!({ "clientCertificateData": format!("{certificate}\n"), "clientKeyData": key });
    write_credential(&walk, "credential", other);
    let first = runs(&walk, "login");
    eventually("it is asked again", async || {
        let now = runs(&walk, "login");
        if now >= first + 2 { Ok(()) } else { Err(format!("{now} runs, {first} at first")) }
    })
    .await;
    walk.claim("build", json!({})).await;
    walk.bound("build").await;
    assert_eq!(operator.stop().await, Some(0), "{}", operator.output());
    let answer = plugin(&walk, &kubeconfig).await;
    assert_eq!((answer.code, answer.stdout.lines().count()), (Some(0), 2), "{answer:?}");
}

#[tokio::test]
async fn a_token_file_with_a_line_end_is_taken() {
    let walk = Walk::begin("token-file").await;
    let token = read(&walk.operator_kubeconfig())["users"][0]["user"]["token"].as_str().expect("a token").to_owned();
    fs::write(walk.folder().join("token"), format!("{token}\n")).expect("written");
    let kubeconfig = with_user(&walk, "file", &walk.operator_kubeconfig(), json!({ "tokenFile": "token" }));
    let answer = plugin(&walk, &kubeconfig).await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let mut operator = Operator::start_in(&walk, &kubeconfig, &[]);
    operator.says("bullpen runs").await;
    walk.ready_pool(1, json!({})).await;
}

#[tokio::test]
async fn a_user_that_cannot_be_proved_ends_operator_and_plugin_with_one_line_that_names_it() {
    let walk = Walk::begin("no-credential").await;
    let always = {
        let mut user = exec(&walk, "asks", "exit 0");
        user["exec"]["interactiveMode"] = json!("Always");
        user
    };
    for (name, user, expected) in [
        (
            "failing",
            exec(&walk, "fails", "echo secret; echo 'your session is over: run login' >&2; exit 3"),
            "fails\" of user \"bullpen\" of the kubeconfig: exit status: 3: your session is over: run login",
        ),
        (
            "talking",
            exec(&walk, "talks", "echo hello secret"),
            "talks\" of user \"bullpen\" of the kubeconfig: it did not print an",
        ),
        ("always", always, "its interactiveMode is Always, and standard input is no terminal"),
        (
            "provider",
            json!({ "auth-provider": { "name": "gcp", "config": { "access-token": "secret" } } }),
            "auth-provider \"gcp\" of user \"bullpen\" of the kubeconfig is not supported: use an exec plugin",
        ),
        ("file", json!({ "tokenFile": "nowhere" }), "nowhere of user \"bullpen\" of the kubeconfig: No such file"),
    ] {
        let kubeconfig = with_user(&walk, name, walk.kubeconfig(), user);
        let mut operator = Operator::start_in(&walk, &kubeconfig, &[]);
        assert_eq!(operator.exit_code().await, Some(1), "{}", operator.output());
        let output = operator.output();
        let last = output.lines().last().unwrap_or_default();
        let answer = plugin(&walk, &kubeconfig).await;
        assert_eq!((answer.code, answer.stderr.lines().count()), (Some(1), 1), "{answer:?}");
        for said in [last, &answer.stderr] {
            assert!(said.starts_with("error: ") && said.contains(expected), "{name}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
        eprintln!("{last}\n{}", answer.stderr);
    }
}
