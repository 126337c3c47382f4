//! `kubectl bullpen` with what the operator makes of a claim: its Secret, its term, its place in the queue.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bullpen_api::{ClaimPhase, PoolClaim, PoolClaimStatus, PoolMember};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::harness::objects::{POOL, member_of, phase};
use crate::harness::{Operator, Walk, ctrl_c};
use crate::walks::claims::queue::{place, says};
use crate::walks::plugin::claim::{ENDS_WHEN_TOLD, note, runs};

/// Under which claims expire as soon as their time is over.
const NO_GRACE: (&str, &str) = ("--expiry-grace-seconds", "0");
/// A script that notes its environment, and ends at SIGINT with code 3.
const NOTES_ITS_ENVIRONMENT: &str =
    "trap 'exit 3' INT; env > \"$0.part\"; mv \"$0.part\" \"$0\"; while :; do sleep 0.05; done";

fn status(claim: &PoolClaim) -> PoolClaimStatus {
    claim.status.clone().expect("a status")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// The cells of the row that begins with `name`, by their header.
fn cells(table: &str, name: &str) -> BTreeMap<String, String> {
    let split = |line: &str| -> Vec<String> {
        line.split("   ").map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
    };
    let header = split(table.lines().next().expect("a header"));
    let row = table.lines().map(split).find(|row| row.first().is_some_and(|first| first == name));
    header.into_iter().zip(row.unwrap_or_else(|| panic!("no {name} in\n{table}"))).collect()
}

#[tokio::test]
async fn a_command_finds_the_secret_of_its_claim_in_files_that_only_its_user_reads_and_that_go_with_it() {
    let walk = Walk::begin("plugin-binding").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "template": { "ssh": { "user": "ci", "generateKey": true } } })).await;
    let script = ["claim", POOL, "--name", "build", "--binding", "--", "sh", "-c", NOTES_ITS_ENVIRONMENT, &note(&walk)];
    let mut plugin = walk.start_plugin(&script);
    runs(&walk).await;
    let text = fs::read_to_string(note(&walk)).expect("the command ran");
    let environment: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let root = PathBuf::from(environment["SERVICE_BINDING_ROOT"]);
    let folder = root.join("build");
    assert_eq!((mode(&root), mode(&folder)), (0o700, 0o700), "nobody else looks into them");

    let secret: Secret = walk.get("build-binding").await;
    let entries: BTreeMap<_, _> = secret.data.unwrap_or_default().into_iter().map(|(key, it)| (key, it.0)).collect();
    let mut files = BTreeMap::new();
    for file in fs::read_dir(&folder).expect("a folder") {
        let path = file.expect("a file").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        files.insert(name, fs::read(&path).expect("it is read"));
    }
    assert_eq!(files, entries, "a file for each entry");
    for (variable, entry) in [("BULLPEN_HOST", "host"), ("BULLPEN_PORT", "port"), ("BULLPEN_USERNAME", "username")] {
        assert_eq!(environment[variable].as_bytes(), entries[entry], "{variable}");
    }
    assert_eq!(environment["BULLPEN_USERNAME"], "ci");
    let key = Path::new(environment["BULLPEN_SSH_KEY_FILE"]);
    assert_eq!(fs::read(key).expect("the key"), entries["ssh-privatekey"]);
    assert!(!plugin.output().contains("PRIVATE KEY"), "it is not told");

    ctrl_c(&plugin);
    assert_eq!(plugin.exit_code().await, Some(3), "{}", plugin.output());
    assert!(!root.exists(), "the files go with the command");
    walk.none_left::<PoolClaim>().await;
}

#[tokio::test]
async fn a_command_whose_claim_expires_is_stopped_and_told_why_and_the_claim_stays_as_a_record() {
    let walk = Walk::begin("plugin-expires").await;
    let _operator = Operator::start_with(&walk, &[NO_GRACE]).await;
    walk.ready_pool(1, json!({ "claims": { "maxHoldSeconds": 3 } })).await;
    let done = "trap 'exit 0' TERM; echo runs > \"$0\"; while :; do sleep 0.05; done";
    let mut plugin = walk.start_plugin(&["claim", POOL, "--name", "build", "--", "sh", "-c", done, &note(&walk)]);
    runs(&walk).await;
    let story = walk.plugin_says(&["why", "claim/build"]).await;
    assert!(story.contains("however it is renewed: the pool lets no claim hold longer"), "{story}");
    assert_eq!(plugin.exit_code().await, Some(1), "it did not do what it was for: {}", plugin.output());
    let ended: PoolClaim = walk.get("build").await;
    assert_eq!(phase(&ended), ClaimPhase::Expired);
    let said = plugin.output();
    assert!(
        said.contains("error: the claim is lost: it is Expired: ") && said.contains("for longer than 3 s"),
        "{said}"
    );
    let renewals = ended.metadata.generation.expect("a generation") - 1;
    assert!(renewals <= 4, "one a second, and no storm towards the end: {renewals}");
    walk.gone::<PoolMember>(member_of(&ended)).await;
    let story = walk.plugin_says(&["why", "claim/build"]).await;
    assert!(story.starts_with("claim/build: its time is over, and its machine was taken back"), "{story}");
    assert!(story.contains("for longer than 3 s") && story.contains("which is gone"), "{story}");
    assert_eq!(cells(&walk.plugin_says(&["claims"]).await, "build")["PHASE"], "Expired");
}

#[tokio::test]
async fn a_command_that_takes_longer_than_the_ttl_of_its_claim_keeps_its_machine() {
    let walk = Walk::begin("plugin-renews").await;
    let _operator = Operator::start_with(&walk, &[NO_GRACE]).await;
    walk.ready_pool(1, json!({})).await;
    let script = ["claim", POOL, "--name", "build", "--ttl", "6s", "--", "sh", "-c", ENDS_WHEN_TOLD, &note(&walk)];
    let mut plugin = walk.start_plugin(&script);
    let end: Timestamp = status(&walk.bound("build").await).expires_at.expect("an end").0;
    let outlived = |claim: &PoolClaim| {
        let status = status(claim);
        phase(claim) != ClaimPhase::Bound || status.renewed_at.is_some_and(|renewed| renewed.0 > end)
    };
    let claim = walk.until("build", "was renewed after its first end", outlived).await;
    assert_eq!(phase(&claim), ClaimPhase::Bound, "a third of the ttl is left over each time");
    assert!(status(&claim).expires_at.is_some_and(|at| at.0 > end));
    assert!(plugin.is_running(), "{}", plugin.output());
    ctrl_c(&plugin);
    assert_eq!(plugin.exit_code().await, Some(3), "{}", plugin.output());
    let answer = walk.plugin(&["renew", "build"]).await;
    assert_eq!(
        (answer.code, answer.stderr.as_str()),
        (Some(1), "Error from server (NotFound): poolclaims.bullpen.dev \"build\" not found\n")
    );
}

#[tokio::test]
async fn a_waiting_claim_is_shown_with_its_place_and_what_the_operator_says_of_it() {
    let walk = Walk::begin("plugin-queue").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "maxSize": 1, "claims": { "perNamespace": 1 } })).await;
    walk.claim("one", json!({ "ttlSeconds": 7200 })).await;
    walk.bound("one").await;
    walk.claim("two", json!({ "priority": 7 })).await;
    says(&walk, "two", "may hold 1 members of pool ci").await;
    let story = walk.plugin_says(&["why", "two"]).await;
    assert!(story.contains("the operator says: namespace ") && story.contains("may hold 1 members"), "{story}");
    assert!(story.contains("next: it is served when another claim of its namespace ends"), "{story}");
    assert!(!story.contains("go first by priority"), "{story}");

    walk.set::<bullpen_api::InstancePool>(POOL, json!({ "claims": { "perNamespace": null } })).await;
    let two = says(&walk, "two", "position 1 of 1; pool at maxSize 1: 1 claimed").await;
    assert_eq!((place(&two).position, place(&two).reason.as_str()), (Some(1), "AtMaxSize"));
    let story = walk.plugin_says(&["why", "two"]).await;
    assert!(story.contains("the operator says: position 1 of 1; pool at maxSize 1: 1 claimed"), "{story}");
    assert_eq!(story.matches("position").count(), 1, "once is enough:\n{story}");
    assert!(story.contains("it asks for priority 7"), "{story}");
    let claims = walk.plugin_says(&["claims", "-o", "wide"]).await;
    let (one, two) = (cells(&claims, "one"), cells(&claims, "two"));
    assert!(["2h", "120m", "119m"].contains(&one["EXPIRES"].as_str()), "{claims}");
    assert_eq!((two["PRIORITY"].as_str(), two["POSITION"].as_str()), ("7", "1"), "{claims}");
    assert_eq!(two["WAITS FOR"], "position 1 of 1; pool at maxSize 1: 1 claimed", "{claims}");
    let top = walk.plugin_says(&["top"]).await;
    let line = top.lines().find(|line| line.contains(" two ")).unwrap_or_else(|| panic!("no two in\n{top}"));
    assert!(
        line.ends_with("   pool at maxSize 1: 1 claimed") && line.contains("   1   "),
        "its place has a column:\n{top}"
    );
}
