//! `kubectl bullpen claim`: a machine for as long as a command runs.

use std::collections::BTreeMap;
use std::fs;

use bullpen_api::{ClaimPhase, PoolClaim, PoolMember};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::harness::objects::{POOL, machine_of, member_of, phase};
use crate::harness::{Operator, Walk, ctrl_c, eventually};

/// A script that notes that it runs, and ends at SIGINT with code 3.
pub(crate) const ENDS_WHEN_TOLD: &str = "trap 'exit 3' INT; echo runs > \"$0\"; while :; do sleep 0.05; done";
/// A script that notes that it runs, and hears nothing.
const DEAF: &str = "trap '' INT TERM; echo runs > \"$0\"; while :; do sleep 0.05; done";

/// Waits until the script has noted that it runs.
pub(crate) async fn runs(walk: &Walk) {
    let note = walk.folder().join("runs");
    eventually("the command runs", async || if note.exists() { Ok(()) } else { Err("it does not".to_owned()) }).await;
}

pub(crate) fn note(walk: &Walk) -> String {
    walk.folder().join("runs").display().to_string()
}

async fn is_over(walk: &Walk, machine: &str) {
    walk.ledger_until("the machine is ended", |ledger| ledger.ended(machine)).await;
}

#[tokio::test]
async fn a_command_finds_its_machine_in_its_environment_and_its_exit_code_is_passed_on_and_the_machine_released() {
    let walk = Walk::begin("plugin-claim").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let file = walk.folder().join("environment").display().to_string();
    let script =
        ["claim", POOL, "--name", "build", "--for", "nightly", "--", "sh", "-c", "env > \"$0\"; exit 7", &file];
    let answer = walk.plugin(&script).await;
    assert_eq!(answer.code, Some(7), "{answer:?}");
    assert!(answer.stdout.is_empty(), "the output is the command's: {answer:?}");
    assert!(answer.stderr.contains("poolclaim.bullpen.dev/build released"), "{answer:?}");
    let text = fs::read_to_string(&file).expect("the command ran");
    let environment: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once('=')).collect();
    assert_eq!(environment["BULLPEN_CLAIM"], "build");
    assert_eq!(environment["BULLPEN_NAMESPACE"], walk.namespace);
    assert_eq!(environment["BULLPEN_POOL"], POOL);
    assert!(environment["BULLPEN_MEMBER"].starts_with("ci-"), "{environment:?}");
    assert_eq!(environment["BULLPEN_HOST"], environment["BULLPEN_ADDRESSES"].split(',').next().expect("an address"));
    walk.none_left::<PoolClaim>().await;
    is_over(&walk, environment["BULLPEN_INSTANCE_ID"]).await;
}

#[tokio::test]
async fn a_claim_is_made_in_the_users_name_with_what_was_asked_for_and_nothing_else() {
    let walk = Walk::begin("plugin-made").await;
    walk.pool(POOL, json!({})).await;
    let answer =
        walk.plugin_says(&["claim", POOL, "--for", "a test", "--priority", "-5", "--ttl", "2h", "-o", "json"]).await;
    let made: PoolClaim = serde_json::from_str(&answer).expect("a claim");
    let spec = serde_json::to_value(&walk.get::<PoolClaim>(&made.name_any()).await.spec).expect("JSON");
    let asked = json!({ "poolRef": { "name": POOL }, "ttlSeconds": 7200, "priority": -5, "acquiredBy": "bullpen", "acquiredFor": "a test" });
    assert_eq!(spec, asked, "acquiredBy is the kubeconfig's user");
    let name = walk.plugin_says(&["claim", POOL, "-o", "name"]).await;
    let name = name.trim();
    assert!(name.starts_with("poolclaim.bullpen.dev/bullpen-"), "{name}");
    let released = walk.plugin_says(&["release", name, &made.name_any()]).await;
    assert_eq!(released.lines().count(), 2, "{released}");
    walk.none_left::<PoolClaim>().await;
}

#[tokio::test]
async fn ctrl_c_reaches_the_command_and_the_machine_is_released_at_its_end() {
    let walk = Walk::begin("plugin-ctrl-c").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let mut plugin =
        walk.start_plugin(&["claim", POOL, "--name", "build", "--", "sh", "-c", ENDS_WHEN_TOLD, &note(&walk)]);
    runs(&walk).await;
    let machine = machine_of(&walk.bound("build").await).to_owned();
    ctrl_c(&plugin);
    assert_eq!(plugin.exit_code().await, Some(3), "{}", plugin.output());
    walk.none_left::<PoolClaim>().await;
    is_over(&walk, &machine).await;
}

#[tokio::test]
async fn ctrl_c_in_a_terminal_ends_the_command_itself_and_the_machine_is_released_all_the_same() {
    let walk = Walk::begin("plugin-terminal").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    // It is gone before the plugin has read its own SIGINT.
    let endless = "echo runs > \"$0\"; exec sleep 600";
    let script = ["claim", POOL, "--name", "build", "--", "sh", "-c", endless, &note(&walk)];
    let mut plugin = walk.start_plugin_on_a_terminal(&script);
    runs(&walk).await;
    let machine = machine_of(&walk.bound("build").await).to_owned();
    ctrl_c(&plugin);
    assert_eq!(plugin.exit_code().await, Some(130), "{}", plugin.output());
    walk.none_left::<PoolClaim>().await;
    is_over(&walk, &machine).await;
}

#[tokio::test]
async fn a_second_ctrl_c_kills_a_command_that_does_not_hear() {
    let walk = Walk::begin("plugin-deaf").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let mut plugin = walk.start_plugin(&["claim", POOL, "--name", "build", "--", "sh", "-c", DEAF, &note(&walk)]);
    runs(&walk).await;
    ctrl_c(&plugin);
    // Both at once would be one.
    assert!(plugin.is_running());
    eventually("it is killed", async || {
        ctrl_c(&plugin);
        if plugin.output().contains("the command is killed") { Ok(()) } else { Err(plugin.output()) }
    })
    .await;
    assert_eq!(plugin.exit_code().await, Some(137), "128 and SIGKILL: {}", plugin.output());
    walk.none_left::<PoolClaim>().await;
}

#[tokio::test]
async fn ctrl_c_while_it_waits_takes_the_claim_back() {
    let walk = Walk::begin("plugin-waits").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(0, json!({ "targetSize": 0, "state": "Paused" })).await;
    let mut plugin = walk.start_plugin(&["claim", POOL, "--name", "build", "--", "true"]);
    plugin.says("waiting: ").await;
    ctrl_c(&plugin);
    assert_eq!(plugin.exit_code().await, Some(130), "{}", plugin.output());
    walk.none_left::<PoolClaim>().await;
}

#[tokio::test]
async fn a_wait_that_is_too_long_fails_and_a_command_that_is_not_there_releases_its_machine() {
    let walk = Walk::begin("plugin-fails").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "maxSize": 1 })).await;
    let answer = walk.plugin(&["claim", POOL, "--", "/no/such/command"]).await;
    assert_eq!(answer.code, Some(127), "{answer:?}");
    assert!(answer.stderr.contains("error: /no/such/command: No such file"), "{answer:?}");
    walk.none_left::<PoolClaim>().await;
    walk.pool_has_ready(1).await;
    let bound = walk.plugin_says(&["claim", POOL, "--name", "one", "--wait"]).await;
    let one = walk.bound("one").await;
    assert_eq!(
        bound.split(" at ").next(),
        Some(format!("poolclaim.bullpen.dev/one bound to {} ({}", member_of(&one), machine_of(&one)).as_str())
    );
    let answer = walk.plugin(&["claim", POOL, "--name", "two", "--timeout", "2s", "--", "true"]).await;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("error: ") && answer.stderr.contains("poolclaims/two"), "{answer:?}");
    let claims = walk.list::<PoolClaim>().await;
    assert_eq!(claims.iter().map(PoolClaim::name_any).collect::<Vec<_>>(), ["one"]);
    let answer = walk.plugin(&["claim", "nowhere", "--timeout", "1s", "--wait", "--wait-for-pool"]).await;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_eq!(walk.list::<PoolClaim>().await.len(), 2, "the claim that was to wait stays as a record");
}

#[tokio::test]
async fn what_is_mistyped_is_told_at_once_and_takes_no_machine() {
    let walk = Walk::begin("plugin-typos").await;
    walk.pool(POOL, json!({})).await;
    let place = &walk.namespace;
    let typo = walk.plugin(&["claim", "typo", "--", "true"]).await;
    let told =
        format!("error: there is no pool typo in namespace {place}; to wait until there is one: --wait-for-pool\n");
    assert_eq!((typo.code, typo.stderr.as_str()), (Some(1), told.as_str()));
    let program = walk.plugin(&["claim", POOL, "--", "nosuchcommand"]).await;
    let told = "error: nosuchcommand: command not found; nothing was claimed\n";
    assert_eq!((program.code, program.stderr.as_str()), (Some(127), told));
    let dashes = walk.plugin(&["claim", POOL, "echo", "hi"]).await;
    assert_eq!(dashes.code, Some(1), "{dashes:?}");
    assert!(dashes.stderr.contains(" claim ci -- echo hi\n"), "{dashes:?}");
    let claims = walk.plugin(&["claims", "typo"]).await;
    let told = "Error from server (NotFound): instancepools.bullpen.dev \"typo\" not found\n";
    assert_eq!((claims.code, claims.stderr.as_str()), (Some(1), told));
    assert!(walk.list::<PoolClaim>().await.is_empty(), "nothing was claimed");
}

#[tokio::test]
async fn a_command_whose_machine_is_gone_is_stopped_and_its_claim_stays_as_a_record() {
    let walk = Walk::begin("plugin-lost").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let endless = "echo runs > \"$0\"; exec sleep 600";
    let mut plugin = walk.start_plugin(&["claim", POOL, "--name", "build", "--", "sh", "-c", endless, &note(&walk)]);
    runs(&walk).await;
    let build = walk.bound("build").await;
    walk.simcloud.end(machine_of(&build)).await;
    assert_eq!(plugin.exit_code().await, Some(143), "SIGTERM ended it: {}", plugin.output());
    assert!(plugin.output().contains("error: the claim is lost: it is Lost"), "{}", plugin.output());
    assert_eq!(phase(&walk.get("build").await), ClaimPhase::Lost);
    walk.gone::<PoolMember>(member_of(&build)).await;
    let story = walk.plugin_says(&["why", "claim/build"]).await;
    assert!(story.starts_with("claim/build: its machine is gone"), "{story}");
}

#[tokio::test]
async fn a_command_whose_machine_is_announced_to_go_runs_on_and_its_user_is_warned_once_with_the_time() {
    let walk = Walk::begin("plugin-notice").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let mut plugin =
        walk.start_plugin(&["claim", POOL, "--name", "build", "--", "sh", "-c", ENDS_WHEN_TOLD, &note(&walk)]);
    runs(&walk).await;
    let build = walk.bound("build").await;
    let notice = json!({ "interrupted": { "notice": {}, "milliseconds": 120_000, "reason": "Maintenance" } });
    walk.simcloud.strike(machine_of(&build), notice).await;
    plugin.says("warning: the cloud has announced that it takes the machine away at 20").await;
    let story = walk.plugin_says(&["why", "claim/build"]).await;
    assert!(story.contains("the cloud has announced that it takes the machine away at 20"), "{story}");
    ctrl_c(&plugin);
    assert_eq!(plugin.exit_code().await, Some(3), "the command ran on: {}", plugin.output());
    let output = plugin.output();
    let warnings: Vec<_> = output.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].ends_with("Z, for maintenance; the command runs on until then"), "{warnings:?}");
}

#[tokio::test]
async fn a_command_whose_claim_somebody_deletes_is_stopped() {
    let walk = Walk::begin("plugin-deleted").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let done = "trap 'exit 0' TERM; echo runs > \"$0\"; while :; do sleep 0.05; done";
    let mut plugin = walk.start_plugin(&["claim", POOL, "--name", "build", "--", "sh", "-c", done, &note(&walk)]);
    runs(&walk).await;
    walk.delete::<PoolClaim>("build").await;
    assert_eq!(plugin.exit_code().await, Some(1), "it did not do what it was for: {}", plugin.output());
    assert!(plugin.output().contains("error: the claim is lost: it was deleted"), "{}", plugin.output());
}

#[tokio::test]
async fn kubectl_finds_the_plugin_in_the_path() {
    let walk = Walk::begin("plugin-path").await;
    walk.pool(POOL, json!({})).await;
    let folder = std::path::Path::new(crate::harness::PLUGIN).parent().expect("a folder");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let mut kubectl = walk.bare_kubectl();
    kubectl.env("PATH", path).args(["bullpen", "pools", "-o", "json", "-n", &walk.namespace, "--kubeconfig"]);
    let output = kubectl.arg(walk.kubeconfig()).output().await.expect("kubectl runs");
    let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(list["items"][0]["metadata"]["name"], POOL);
    assert_eq!((&list["kind"], &list["items"][0]["kind"]), (&json!("List"), &json!("InstancePool")));
}
