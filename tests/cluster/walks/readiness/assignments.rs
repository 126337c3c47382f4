//! Machines that learn whose job they are, over HTTP: the agent of `examples/runner` as a process, and single calls.

use std::path::PathBuf;
use std::process::Stdio;

use bullpen_api::{ClaimPhase, PoolClaim, PoolMember};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::phone_home::{operator, pool};
use crate::harness::objects::{POOL, condition, machine, machine_of, member_of};
use crate::harness::{Operator, Walk, eventually};

const AGENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/runner/bullpen-runner.sh");

/// A ready machine of a pool with these rules for claims, and the URLs that its user data has.
struct Machine {
    _operator: Operator,
    walk: Walk,
    member: PoolMember,
    /// The lines of its file.
    env: String,
    folder: PathBuf,
}

impl Machine {
    async fn begin(name: &str, claims: Value) -> Self {
        let walk = Walk::begin(name).await;
        let operator = operator(&walk).await;
        pool(&walk, 1, json!({})).await;
        walk.set::<bullpen_api::InstancePool>(POOL, json!({ "claims": claims })).await;
        walk.pool_has_ready(1).await;
        let member = walk.list::<PoolMember>().await.remove(0);
        let user_data = walk.simcloud.user_data(machine(&member).expect("a machine")).await.expect("text");
        let lines = user_data.lines().map(str::trim).filter(|line| line.starts_with("BULLPEN_"));
        let env = lines.collect::<Vec<_>>().join("\n");
        let folder = walk.folder().to_owned();
        Self { _operator: operator, walk, member, env, folder }
    }

    fn url(&self, name: &str) -> &str {
        let after = self.env.split(&format!("{name}='")).nth(1).expect("the URL");
        after.split('\'').next().expect("its end")
    }

    /// Starts the agent with this job.
    fn agent(&self, job: &str) -> Child {
        let env = self.folder.join("env");
        std::fs::write(&env, &self.env).expect("written");
        let mut command = Command::new("sh");
        command.arg(AGENT).env("BULLPEN_ENV", env).env("BULLPEN_JOB", job).env("BULLPEN_RETRY_SECONDS", "1");
        command.env("OUT", &self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command.spawn().expect("a shell")
    }

    async fn says(&self, file: &str, text: &str) {
        eventually(&format!("{file} says {text}"), async || {
            let found = std::fs::read_to_string(self.folder.join(file)).unwrap_or_default();
            if found.trim() == text { Ok(()) } else { Err(found) }
        })
        .await;
    }

    async fn call(&self, method: reqwest::Method, url: &str) -> (u16, String) {
        let answer = reqwest::Client::new().request(method, url).body("exit 0").send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    }

    async fn asks(&self, query: &str) -> (u16, Value) {
        let url = format!("{}{query}", self.url("BULLPEN_ASSIGNMENT_URL"));
        let (status, text) = self.call(reqwest::Method::GET, &url).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn done(&self) -> (u16, String) {
        self.call(reqwest::Method::POST, self.url("BULLPEN_DONE_URL")).await
    }
}

async fn input(client: &Client, namespace: &str, name: &str, content: Value) {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret =
        serde_json::from_value(json!({ "metadata": { "name": name }, "stringData": content })).expect("a Secret");
    secrets.create(&PostParams::default(), &secret).await.expect("a Secret");
}

#[tokio::test]
async fn an_agent_runs_the_job_of_the_claim_that_gets_its_machine_and_the_claim_is_released() {
    let machine = Machine::begin("runner", json!({ "releaseOnDone": true })).await;
    let walk = &machine.walk;
    let script = "cat \"$BULLPEN_INPUT/words\" > \"$OUT/heard\"\nexit 3\n";
    input(&walk.client, &walk.namespace, "job-7", json!({ "script": script, "words": "build 4711, please" })).await;
    let mut agent = machine.agent("sh -e \"$BULLPEN_INPUT/script\"");
    walk.claim("job-7", json!({ "inputSecretRef": { "name": "job-7" } })).await;
    machine.says("heard", "build 4711, please").await;
    let released = |claim: &PoolClaim| claim.status.as_ref().is_some_and(|it| it.phase == ClaimPhase::Released);
    let claim: PoolClaim = walk.until("job-7", "is Released", released).await;
    assert_eq!(member_of(&claim), machine.member.name_any());
    let (status, reason, message) = condition(&claim, "Bound");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "JobDone"));
    assert_eq!(message, "its machine reported that the job is done: exit 3");
    assert!(agent.wait().await.expect("it ends").success());
    walk.has_event("JobDone").await;
    walk.gone::<PoolMember>(member_of(&claim)).await;
    assert!(walk.simcloud.ledger().await.ended(machine_of(&claim)));
    walk.pool_has_ready(1).await;
    assert_eq!(machine.done().await.0, 404, "its token is of no use any more");
    let why = walk.plugin_says(&["why", "pclaim/job-7"]).await;
    assert!(why.contains("its job is done"), "{why}");
}

#[tokio::test]
async fn an_agent_stops_its_job_when_the_claim_is_deleted() {
    let machine = Machine::begin("runner-stops", json!({})).await;
    let walk = &machine.walk;
    let job = "trap 'echo stopped > \"$OUT/job\"; exit 1' TERM; echo runs > \"$OUT/job\"; for i in $(seq 600); do sleep 0.1; done";
    let mut agent = machine.agent(job);
    walk.claim("job", json!({})).await;
    machine.says("job", "runs").await;
    walk.delete::<PoolClaim>("job").await;
    machine.says("job", "stopped").await;
    agent.wait().await.expect("it ends");
}

#[tokio::test]
async fn a_machine_is_told_of_its_claim_once_its_input_is_there_which_is_read_once() {
    let machine = Machine::begin("input", json!({})).await;
    let walk = &machine.walk;
    assert_eq!(machine.done().await.0, 409, "no claim has it");
    walk.claim(
        "job",
        json!({ "inputSecretRef": { "name": "token" }, "acquiredBy": "me", "acquiredFor": "a \"test\"" }),
    )
    .await;
    let claim = walk.bound("job").await;
    let (status, why) = machine.asks("").await;
    assert_eq!(status, 503);
    assert!(why.as_str().expect("a text").contains("there is no Secret token in this namespace"), "{why}");
    walk.has_event("InputNotRead").await;
    input(&walk.client, &walk.namespace, "token", json!({ "token": "s3cret" })).await;
    let (status, told) = machine.asks("").await;
    assert_eq!(status, 200, "{told}");
    let uid = claim.uid().expect("a uid");
    assert_eq!(told["claim"], json!({ "namespace": walk.namespace, "name": "job", "uid": uid }));
    assert_eq!((&told["acquiredBy"], &told["acquiredFor"]), (&json!("me"), &json!("a \"test\"")));
    assert_eq!(told["input"], json!({ "token": "czNjcmV0" }));
    let secrets: Api<Secret> = Api::namespaced(walk.client.clone(), &walk.namespace);
    secrets.delete("token", &DeleteParams::default()).await.expect("deleted");
    assert_eq!(machine.asks("").await, (200, told), "it was read once");

    assert_eq!(machine.done().await, (200, "recorded\n".to_owned()));
    let member: PoolMember = walk.get(member_of(&claim)).await;
    let done = member.status.and_then(|status| status.reported).and_then(|reported| reported.done).expect("done");
    assert_eq!((done.claim_uid, done.result), (uid.clone(), "exit 0".to_owned()));
    let query = format!("?claim={uid}");
    let (asked, deleted) = tokio::join!(machine.asks(&query), async {
        // Without releaseOnDone the claim goes on: the machine is told only when it ends.
        walk.get::<PoolClaim>("job").await;
        walk.delete::<PoolClaim>("job").await;
    });
    let ((status, over), ()) = (asked, deleted);
    assert_eq!((status, &over["reason"]), (410, &json!("Released")));
}
