//! What stands in Git stays in sync: what was applied has no diff after a life of the pool, and who owns targetSize.

use std::fs;
use std::path::PathBuf;

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, PoolClaim};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::harness::objects::{POOL, phase};
use crate::harness::{Operator, Walk};

/// As Argo CD applies: by its name, and by force.
const ARGO: [&str; 4] = ["apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller"];
/// As Argo CD and Flux find drift: a server-side apply that is only tried. Exit code 0 is no diff.
const DIFF: [&str; 4] = ["diff", "--server-side", "--force-conflicts", "--field-manager=argocd-controller"];

/// What stands in Git: a launch config, a pool and claims.
struct Git {
    path: PathBuf,
    documents: Vec<Value>,
}

impl Git {
    /// The project's own examples, with the walk's cloud.
    fn examples(walk: &Walk) -> Self {
        let mut documents = Vec::new();
        for name in ["launch-config", "instance-pool", "claims", "nightly-claim"] {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).with_extension("yaml");
            let text = fs::read_to_string(path).expect("an example");
            documents.extend(serde_saphyr::from_multiple::<Value>(&text).expect("YAML"));
        }
        documents[0]["spec"]["simulated"]["endpoint"] = json!(format!("http://{}", walk.simcloud.address()));
        documents[0]["spec"]["simulated"]["bootMilliseconds"] = json!(200);
        Self::of(walk, documents)
    }

    /// A launch config and a pool that says no more than it has to.
    fn small(walk: &Walk) -> Self {
        let meta = |name: &str| json!({ "name": name, "namespace": walk.namespace });
        let simulated = json!({
            "endpoint": format!("http://{}", walk.simcloud.address()),
            "bootMilliseconds": 200,
        });
        let config = json!({ "region": "r1", "zone": "r1-a", "instanceType": "small", "image": "img-1", "simulated": simulated });
        let pool = json!({ "targetSize": 2, "maxSize": 10, "launchConfigs": [{ "name": "sim" }] });
        let documents = [("LaunchConfig", "sim", config), ("InstancePool", POOL, pool)].map(|(kind, name, spec)| {
            json!({ "apiVersion": "bullpen.dev/v1alpha1", "kind": kind, "metadata": meta(name), "spec": spec })
        });
        Self::of(walk, documents.into())
    }

    fn of(walk: &Walk, documents: Vec<Value>) -> Self {
        let git = Self { path: walk.folder().join("git.yaml"), documents };
        git.write();
        git
    }

    fn write(&self) {
        let text: Vec<String> = self.documents.iter().map(Value::to_string).collect();
        fs::write(&self.path, text.join("\n---\n")).expect("written");
    }

    fn spec(&mut self, kind: &str) -> &mut Value {
        let found = self.documents.iter_mut().find(|document| document["kind"] == kind);
        &mut found.unwrap_or_else(|| panic!("no {kind}"))["spec"]
    }

    /// Changes the pool's spec.
    fn pool(&mut self, change: impl FnOnce(&mut Value)) {
        change(self.spec("InstancePool"));
        self.write();
    }

    /// Runs kubectl with what stands in Git.
    async fn run(&self, walk: &Walk, command: &[&str]) -> (bool, String) {
        let path = self.path.display().to_string();
        walk.try_kubectl(&[command, &["-f", &path]].concat()).await
    }

    /// The resource versions of all objects.
    async fn versions(&self, walk: &Walk) -> String {
        let path = self.path.display().to_string();
        walk.kubectl(&["get", "-f", &path, "-o", "jsonpath={.items[*].metadata.resourceVersion}"]).await
    }

    async fn succeeds(&self, walk: &Walk, command: &[&str]) -> String {
        let (succeeded, output) = self.run(walk, command).await;
        assert!(succeeded, "{command:?}: {output}");
        output
    }

    /// Sees that nothing differs. kubectl reads each object twice for that, so the operator is not to write in between.
    async fn has_no_diff(&self, walk: &Walk) {
        let is_observed = |pool: &InstancePool| {
            pool.status.as_ref().map(|status| status.observed_generation) == pool.metadata.generation
        };
        walk.until(POOL, "is observed", is_observed).await;
        walk.audit().is_settled().await;
        self.succeeds(walk, &DIFF).await;
    }
}

async fn target_size(walk: &Walk) -> i32 {
    walk.get::<InstancePool>(POOL).await.spec.target_size
}

/// Runs the pool through claims, an expiry, a release, recycling and a rollout.
async fn live(walk: &Walk, git: &mut Git, apply: &[&str]) {
    git.pool(|spec| spec["recycle"] = json!({ "readyTtlSeconds": 3 }));
    let short = json!({ "poolRef": { "name": POOL }, "ttlSeconds": 1, "renewTime": "2026-01-01T00:00:00Z" });
    git.documents.push(json!({
        "apiVersion": "bullpen.dev/v1alpha1", "kind": "PoolClaim", "metadata": { "name": "short" }, "spec": short,
    }));
    git.write();
    git.succeeds(walk, apply).await;
    for name in ["build-1", "build-2", "nightly"] {
        walk.bound(name).await;
    }
    let expired = |claim: &PoolClaim| phase(claim) == ClaimPhase::Expired;
    walk.until("short", "is Expired", expired).await;
    // One that nobody wrote down in Git.
    walk.claim("by-hand", json!({})).await;
    walk.bound("by-hand").await;
    walk.delete::<PoolClaim>("by-hand").await;
    walk.gone::<PoolClaim>("by-hand").await;
    let bought = walk.simcloud.ledger().await.bought();
    walk.ledger_until("every ready machine was replaced for its age", |ledger| ledger.bought() >= bought + 6).await;

    git.pool(|spec| {
        spec["recycle"] = json!({ "readyTtlSeconds": 3600 });
        spec["template"]["userData"] = json!("#!/bin/sh\necho another template\n");
    });
    git.succeeds(walk, apply).await;
    walk.pool_until(POOL, "is rolled out", |status| {
        status.updated_ready == 5 && status.rollout_progress_time.is_none() && status.deficit == 0
    })
    .await;
    // What was replaced is still being ended, and counted.
    walk.audit().is_settled().await;
}

#[tokio::test]
async fn what_was_applied_server_side_has_no_diff_after_a_life_of_the_pool() {
    let walk = Walk::begin("git-server").await;
    let _operator = Operator::start_with(&walk, &[("--expiry-grace-seconds", "1")]).await;
    let mut git = Git::examples(&walk);
    live(&walk, &mut git, &ARGO).await;
    git.has_no_diff(&walk).await;

    let before = git.versions(&walk).await;
    git.succeeds(&walk, &ARGO).await;
    assert_eq!(git.versions(&walk).await, before, "applied again, nothing is written");

    let output = walk.kubectl(&["get", "ipool,lc,pclaim", "-o", "json", "--show-managed-fields"]).await;
    let list: Value = serde_json::from_str(&output).expect("JSON");
    let objects = list["items"].as_array().expect("objects");
    assert_eq!(objects.len(), 7);
    for object in objects {
        let fields = object["metadata"]["managedFields"].as_array().expect("managed fields");
        let others = fields.iter().filter(|entry| entry["manager"] != "argocd-controller");
        for entry in others {
            let written = entry["fieldsV1"].as_object().expect("fields").keys().map(String::as_str);
            let written: Vec<&str> = written.collect();
            let metadata =
                entry["fieldsV1"]["f:metadata"].as_object().into_iter().flatten().map(|(key, _)| key.as_str());
            let status_only = written == ["f:status"] && entry["subresource"] == "status";
            let finalizers_only = written == ["f:metadata"] && metadata.eq(["f:finalizers"]);
            assert!(status_only || finalizers_only, "the operator writes status and finalizers only: {entry}");
        }
    }
}

#[tokio::test]
async fn what_was_applied_client_side_has_no_diff_after_a_life_of_the_pool() {
    let walk = Walk::begin("git-client").await;
    let _operator = Operator::start_with(&walk, &[("--expiry-grace-seconds", "1")]).await;
    let mut git = Git::examples(&walk);
    live(&walk, &mut git, &["apply"]).await;
    git.succeeds(&walk, &["diff"]).await;
    let before = git.versions(&walk).await;
    git.succeeds(&walk, &["apply"]).await;
    assert_eq!(git.versions(&walk).await, before, "applied again, nothing is written");

    // A client compares lists as a whole, and does not know what the server puts where nothing is said.
    let output = git.succeeds(&walk, &["apply"]).await;
    let changed: Vec<&str> = output.lines().filter(|line| !line.ends_with(" unchanged")).collect();
    assert_eq!(changed, ["instancepool.bullpen.dev/ci configured"], "it says so, though nothing is written");
    git.pool(|spec| spec["launchConfigs"][0]["weight"] = json!(100));
    git.succeeds(&walk, &["apply"]).await;
    let output = git.succeeds(&walk, &["apply"]).await;
    assert!(output.lines().all(|line| line.ends_with(" unchanged")), "{output}");
}

#[tokio::test]
async fn a_target_size_in_git_takes_back_what_kubectl_scale_set() {
    let walk = Walk::begin("git-scale").await;
    let _operator = Operator::start(&walk).await;
    let git = Git::small(&walk);
    git.succeeds(&walk, &ARGO).await;
    walk.kubectl(&["scale", "ipool", POOL, "--replicas=4"]).await;
    walk.pool_has_ready(4).await;
    let (same, diff) = git.run(&walk, &DIFF).await;
    assert!(!same && diff.contains("-  targetSize: 4") && diff.contains("+  targetSize: 2"), "{diff}");
    let (applied, conflict) = git.run(&walk, &["apply", "--server-side", "--field-manager=argocd-controller"]).await;
    assert!(!applied && conflict.contains(".spec.targetSize"), "without force it is a conflict: {conflict}");
    git.succeeds(&walk, &ARGO).await;
    assert_eq!(target_size(&walk).await, 2);
}

/// `RespectIgnoreDifferences=true` puts the live value of an ignored field in the place of Git's before it applies.
#[tokio::test]
async fn with_respect_ignore_differences_a_sync_leaves_target_size_to_its_owner() {
    let walk = Walk::begin("git-respect").await;
    let _operator = Operator::start(&walk).await;
    let mut git = Git::small(&walk);
    git.succeeds(&walk, &ARGO).await;
    for size in [4, 3] {
        walk.kubectl(&["scale", "ipool", POOL, &format!("--replicas={size}")]).await;
        git.pool(|spec| spec["targetSize"] = json!(size));
        git.has_no_diff(&walk).await;
        git.succeeds(&walk, &ARGO).await;
        // Both own it now, and the other one may still change it.
        assert_eq!(target_size(&walk).await, size);
    }
    walk.pool_has_ready(3).await;
}

#[tokio::test]
async fn a_target_size_left_out_of_git_needs_another_owner_first() {
    let walk = Walk::begin("git-without").await;
    let _operator = Operator::start(&walk).await;
    let mut git = Git::small(&walk);
    let whole = git.documents.clone();
    let without = |spec: &mut Value| drop(spec.as_object_mut().expect("a spec").remove("targetSize"));
    git.pool(without);
    let (applied, refusal) = git.run(&walk, &ARGO).await;
    assert!(!applied && refusal.contains("spec.targetSize: Required value"), "a new pool needs one: {refusal}");

    git = Git::of(&walk, whole);
    git.succeeds(&walk, &ARGO).await;
    git.pool(without);
    let (applied, refusal) = git.run(&walk, &ARGO).await;
    assert!(!applied && refusal.contains("spec.targetSize: Required value"), "nobody else owns it: {refusal}");
    assert_eq!(target_size(&walk).await, 2, "and nothing changes");

    // The same number again is no change, and makes nobody an owner.
    walk.kubectl(&["scale", "ipool", POOL, "--replicas=2"]).await;
    let (applied, _) = git.run(&walk, &ARGO).await;
    assert!(!applied);
    walk.kubectl(&["scale", "ipool", POOL, "--replicas=4"]).await;
    git.has_no_diff(&walk).await;
    git.succeeds(&walk, &ARGO).await;
    walk.kubectl(&["scale", "ipool", POOL, "--replicas=3"]).await;
    git.has_no_diff(&walk).await;
    assert_eq!(target_size(&walk).await, 3);
    // Everything else is Git's as before.
    walk.set::<InstancePool>(POOL, json!({ "maxSize": 20 })).await;
    assert!(!git.run(&walk, &DIFF).await.0);
    git.succeeds(&walk, &ARGO).await;
    let pool: InstancePool = walk.get(POOL).await;
    assert_eq!((pool.spec.target_size, pool.spec.max_size), (3, 10));
}

#[tokio::test]
async fn a_finished_claim_that_is_applied_again_takes_no_second_machine() {
    let walk = Walk::begin("git-claim").await;
    let _operator = Operator::start_with(&walk, &[("--expiry-grace-seconds", "1")]).await;
    let mut git = Git::small(&walk);
    let spec = json!({ "poolRef": { "name": POOL }, "ttlSeconds": 1 });
    git.documents.push(json!({
        "apiVersion": "bullpen.dev/v1alpha1", "kind": "PoolClaim", "metadata": { "name": "short" }, "spec": spec,
    }));
    git.write();
    git.succeeds(&walk, &ARGO).await;
    let expired = |claim: &PoolClaim| phase(claim) == ClaimPhase::Expired;
    let before = walk.until("short", "is Expired", expired).await;
    walk.pool_has_ready(2).await;
    let bought = walk.simcloud.ledger().await.bought();
    git.succeeds(&walk, &ARGO).await;
    git.has_no_diff(&walk).await;
    walk.request_a_pass(POOL, "after").await;
    assert_eq!(walk.get::<PoolClaim>("short").await.resource_version(), before.resource_version());
    assert_eq!(walk.simcloud.ledger().await.bought(), bought);
    assert!(walk.get::<LaunchConfig>("sim").await.metadata.deletion_timestamp.is_none());
}

/// A user's own settings of Argo CD stay when the health checks are added, and the checks are there.
#[tokio::test]
async fn the_health_checks_are_added_to_an_argocd_cm_that_is_there() {
    let walk = Walk::begin("argocd-cm").await;
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/argocd/argocd-cm");
    walk.kubectl(&["create", "configmap", "argocd-cm", "--from-literal=url=https://argocd.example.com"]).await;
    let rendered = walk.kubectl(&["kustomize", ours]).await.replace("namespace: argocd\n", "");
    let file = walk.folder().join("argocd-cm.yaml");
    fs::write(&file, rendered).expect("written");
    let file = file.display().to_string();
    walk.kubectl(&["apply", "--server-side", "--field-manager=bullpen-health", "-f", &file]).await;
    let output = walk.kubectl(&["get", "configmap", "argocd-cm", "-o", "json"]).await;
    let config_map: Value = serde_json::from_str(&output).expect("JSON");
    let data = config_map["data"].as_object().expect("data");
    assert_eq!(data.len(), 5);
    assert_eq!(data["url"], "https://argocd.example.com");
}
