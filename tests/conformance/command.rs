//! `bullpen conformance` as a program: its output, its exit codes, and its ends.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::cloud::Cloud;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(1);

fn command(file: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bullpen"));
    command.arg("conformance").arg("--launch-config").arg(file).args(options);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Its exit code and both of its outputs.
async fn said(child: Child) -> (Option<i32>, String, String) {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

async fn ran(file: &Path, options: &[&str]) -> (Option<i32>, String, String) {
    said(command(file, options).spawn().unwrap()).await
}

/// Waits for a line of the output that begins so.
async fn line(child: &mut Child, check: &str) {
    let mut lines = BufReader::new(child.stdout.take().expect("an output")).lines();
    let found = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(check) {
                return;
            }
        }
        panic!("no line with {check}");
    };
    tokio::time::timeout(PATIENCE, found).await.expect("a line in time");
}

fn signal(child: &Child, name: &str) {
    let id = child.id().expect("it runs").to_string();
    let status = std::process::Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
    assert!(status.success());
}

async fn nothing_is_left(cloud: &Cloud) {
    let begun = Instant::now();
    loop {
        let (living, _) = cloud.living().await;
        if living.is_empty() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{living:?} are left");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_line_for_each_check_and_0_if_none_failed() {
    let cloud = Cloud::start().await;
    let (code, stdout, stderr) = ran(&cloud.file(50), &[]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!((lines.len(), *lines.last().unwrap()), (28, "23 ok, 0 failed, 4 skipped"), "{stdout}");
    assert!(lines[0].starts_with("ok       identity "), "{stdout}");
    nothing_is_left(&cloud).await;
}

#[tokio::test]
async fn as_json_it_is_one_document_and_1_if_a_check_failed() {
    let cloud = Cloud::with(&json!({ "machines": [{ "fault": { "neverReady": {} } }] })).await;
    let (code, stdout, _) = ran(&cloud.file(50), &["--output", "json", "--timeout", "2"]).await;
    let report: Value = serde_json::from_str(&stdout).expect("JSON and nothing else");
    assert_eq!(code, Some(1), "{stdout}");
    assert_eq!(
        (&report["provider"], &report["account"], &report["left"]),
        (&json!("simulated"), &json!("sim-1"), &json!([]))
    );
    let checks = report["checks"].as_array().unwrap();
    let failed: Vec<_> = checks.iter().filter(|check| check["outcome"] == "failed").collect();
    // It boots, and starts and goes on again, without ever being ready.
    assert_eq!((checks.len(), failed.len()), (27, 3), "{stdout}");
    assert_eq!(
        (&failed[0]["check"], &failed[0]["seen"]),
        (&json!("boots"), &json!("not within 2 s: Running, ready: false"))
    );
}

#[tokio::test]
async fn a_file_or_an_endpoint_that_cannot_be_used_is_2_and_nothing_is_bought() {
    let cloud = Cloud::start().await;
    let path = cloud.file(50);
    let mut elsewhere = cloud.launch_config(50);
    elsewhere["spec"]["simulated"]["endpoint"] = json!("http://169.254.169.254");
    let mut no_block = cloud.launch_config(50);
    no_block["spec"].as_object_mut().unwrap().remove("simulated");
    for (text, expected) in [
        ("kind: Pod".to_owned(), "it is no LaunchConfig"),
        (elsewhere.to_string(), "--simulated-endpoints"),
        (no_block.to_string(), "no provider block"),
    ] {
        std::fs::write(&path, &text).unwrap();
        let (code, stdout, stderr) = ran(&path, &[]).await;
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains("launch-config.json (--launch-config): ") && stderr.contains(expected), "{stderr}");
    }
    let (code, _, stderr) = ran(Path::new("/nowhere.yaml"), &[]).await;
    assert!(code == Some(2) && stderr.contains("cannot read /nowhere.yaml"), "{stderr}");
    assert_eq!(cloud.living().await.1, 0);
}

#[tokio::test]
async fn a_cloud_that_does_not_answer_or_lists_nothing_is_told_in_seconds_whatever_the_timeout() {
    let cloud = Cloud::start().await;
    let path = cloud.file(50);
    let refused = json!({ "error": { "class": "Auth" } });
    cloud.faults(&json!({ "calls": [{ "on": ["list"], "fault": refused }] })).await;
    let (code, stdout, _) = ran(&path, &["--timeout", "3600"]).await;
    assert!(code == Some(1) && stdout.contains("FAILED   left-over"), "{stdout}");

    let mut nobody = cloud.launch_config(50);
    nobody["spec"]["simulated"]["endpoint"] = json!("http://127.0.0.1:9");
    std::fs::write(&path, nobody.to_string()).unwrap();
    let (code, stdout, _) = ran(&path, &["--timeout", "3600"]).await;
    assert!(code == Some(1) && stdout.contains("FAILED   identity"), "{stdout}");
    assert!(stdout.contains("skipped  clean-up"), "{stdout}");
    assert_eq!(cloud.living().await.1, 0);
}

#[tokio::test]
async fn what_a_killed_run_left_is_ended_by_the_next_one() {
    let cloud = Cloud::start().await;
    let file = cloud.file(3_600_000);
    let mut killed = command(&file, &[]).spawn().unwrap();
    line(&mut killed, " find ").await;
    signal(&killed, "KILL");
    killed.wait().await.unwrap();
    let (left, _) = cloud.living().await;
    assert_eq!(left.len(), 1, "{left:?}");

    let (code, stdout, stderr) = ran(&cloud.file(50), &[]).await;
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let ended = stdout.lines().find(|line| line.contains(" left-over ")).expect("a line");
    assert!(ended.starts_with("ok") && left.iter().all(|id| ended.contains(id)), "{ended}");
    nothing_is_left(&cloud).await;
}

#[tokio::test]
async fn ctrl_c_ends_the_machines_and_then_the_run_with_1() {
    let cloud = Cloud::start().await;
    let mut child = command(&cloud.file(3_600_000), &[]).spawn().unwrap();
    line(&mut child, " find ").await;
    signal(&child, "INT");
    let (code, _, stderr) = said(child).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("the machines of this run are being ended"), "{stderr}");
    nothing_is_left(&cloud).await;
}

#[tokio::test]
async fn a_second_ctrl_c_names_what_is_left() {
    let cloud = Cloud::with(&json!({ "calls": [{ "on": ["terminate"], "fault": { "ignored": {} } }] })).await;
    let mut child = command(&cloud.file(3_600_000), &["-o", "json"]).spawn().unwrap();
    let begun = Instant::now();
    while cloud.living().await.0.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "nothing was bought");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    signal(&child, "INT");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time").unwrap();
    assert!(first.is_some_and(|line| line.contains("once more to leave them")));
    signal(&child, "INT");
    let (code, stdout, _) = said(child).await;
    let report: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, &report["interrupted"]), (Some(1), &json!(true)), "{stdout}");
    let left: Vec<_> = report["left"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    let (living, _) = cloud.living().await;
    assert_eq!(left, living.into_iter().collect::<Vec<_>>(), "{stdout}");
}

#[tokio::test]
async fn a_run_whose_output_nobody_reads_any_more_still_ends_its_machines() {
    let cloud = Cloud::start().await;
    let mut child = command(&cloud.file(50), &[]).spawn().unwrap();
    line(&mut child, "create").await;
    let (code, _, stderr) = said(child).await;
    assert_eq!(code, Some(0), "{stderr}");
    nothing_is_left(&cloud).await;
}

#[tokio::test]
async fn an_error_that_nobody_can_read_ends_with_its_code_all_the_same() {
    for arguments in [
        ["simulate", "--pool", "none.yaml", "--trace", "none.csv"].as_slice(),
        &["conformance", "--launch-config", "none.yaml"],
        &["run", "--kubeconfig", "/dev/null/none"],
        &["uninstall", "--check", "--kubeconfig", "/dev/null/none"],
        &["crds", "--check", "--kubeconfig", "/dev/null/none"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bullpen"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(full).kill_on_drop(true);
        let status = tokio::time::timeout(PATIENCE, command.status()).await.expect("it ends").unwrap();
        // A panic ends with 101.
        assert!(matches!(status.code(), Some(1 | 2)), "{arguments:?}: {status}");
    }
}
