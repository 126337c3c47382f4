//! Definitions that are missing, older or newer than the operator.

use std::process::Command;
use std::time::{Duration, Instant};

use bullpen_api::crds;
use bullpen_devkit::control_plane::{ControlPlane, Options};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::harness::definitions::install_these;
use crate::harness::objects::machine_of;
use crate::harness::{BULLPEN, Ground, Operator, Walk, eventually, eventually_within};

/// While all is well the operator looks twice a minute, and once more before it stops.
const NOTICED: Duration = Duration::from_mins(2);

const APPLY: &str = "run `bullpen crds | kubectl apply --server-side -f -`";

/// Our definitions, changed at this place of the schema of pools.
fn changed(place: &str, change: impl FnOnce(&mut Value)) -> Vec<CustomResourceDefinition> {
    let mut all = crds::all();
    let pools = all.iter_mut().find(|crd| crd.spec.names.plural == "instancepools").expect("there are pools");
    let mut crd = serde_json::to_value(&*pools).expect("JSON");
    // Of another version, which has another digest or none.
    crd["metadata"]["annotations"] = json!({});
    let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties{place}");
    change(crd.pointer_mut(&path).unwrap_or_else(|| panic!("there is no {path}")));
    *pools = serde_json::from_value(crd).expect("a definition");
    all
}

/// From before `status.deficit`.
fn older() -> Vec<CustomResourceDefinition> {
    changed("/status/properties", |fields| drop(fields.as_object_mut().expect("fields").remove("deficit")))
}

/// From after `spec.hibernation` will have been added.
fn newer() -> Vec<CustomResourceDefinition> {
    changed("/spec/properties", |fields| fields["hibernation"] = json!({ "type": "boolean" }))
}

/// The exit code of `bullpen crds --check`, and all that it says.
fn check(walk: &Walk, kubeconfig: &str) -> (Option<i32>, String) {
    let mut command = Command::new(BULLPEN);
    command.args(["crds", "--check", "--kubeconfig"]).arg(walk.folder().join(kubeconfig));
    let output = command.output().expect("it runs");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    (output.status.code(), said)
}

/// Asserts what a check says, asked with the operator's permissions and with none at all.
fn checks(walk: &Walk, code: i32, words: &[&str]) {
    for kubeconfig in ["operator.kubeconfig", "nobody.kubeconfig"] {
        let (exit_code, said) = check(walk, kubeconfig);
        assert_eq!(exit_code, Some(code), "{kubeconfig}: {said}");
        assert!(words.iter().all(|words| said.contains(words)), "{kubeconfig}: {said}");
    }
}

/// A control plane without definitions, and a walk on it, with an account that may do nothing.
async fn bare_walk(name: &str) -> (ControlPlane, Ground, Walk) {
    let mut options = Options::default();
    options.controller_manager = false;
    let control_plane = ControlPlane::start(options).await.expect("a control plane");
    let ground = Ground::without_definitions(&control_plane).await;
    let walk = Walk::begin_at(&ground, name, &[]).await;
    walk.create::<ServiceAccount>(json!({ "metadata": { "name": "nobody" } })).await;
    walk.write_kubeconfig(&walk.folder().join("nobody.kubeconfig"), &walk.namespace, "nobody").await;
    (control_plane, ground, walk)
}

/// Asserts that the operator waits for the definitions: alive, not ready, without the lease, and said once.
async fn waits(walk: &Walk, operator: &mut Operator, why: &str) {
    operator.says(&format!("waits, and writes nothing: {why}")).await;
    operator.is_held(&format!("[-]definitions: waits, and writes nothing: {why}")).await;
    operator.stops_leading().await;
    eventually("another operator may have the lease", async || {
        let holder = walk.try_lease().await.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
        if holder.is_empty() { Ok(()) } else { Err(holder) }
    })
    .await;
    assert_eq!(operator.output().matches(why).count(), 1, "{}", operator.output());
}

const MISSING: &str = "the CustomResourceDefinition of instancepools is not installed";
const OLDER: &str = "the CustomResourceDefinition of instancepools is older than this version: it lacks status.deficit";

#[tokio::test]
async fn without_definitions_or_with_older_ones_it_waits_alive_and_goes_on_by_itself() {
    let (control_plane, _, walk) = bare_walk("skew-start").await;
    let mut operator = Operator::start(&walk).await;
    waits(&walk, &mut operator, MISSING).await;
    assert!(operator.output().contains(APPLY), "{}", operator.output());
    checks(&walk, 1, &[MISSING, APPLY]);
    let told = Instant::now();
    assert_eq!(operator.stop().await, Some(0), "{}", operator.output());
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());

    operator.start_again().await;
    install_these(&walk.client, &older()).await;
    waits(&walk, &mut operator, OLDER).await;
    assert!(walk.try_lease().await.is_none(), "it never stood for it");
    checks(&walk, 1, &[OLDER, APPLY]);

    let applied = Instant::now();
    install_these(&walk.client, &crds::all()).await;
    operator.is_ready().await;
    operator.comes_to_lead().await;
    eprintln!("leads {:.1} s after the definitions were applied", applied.elapsed().as_secs_f64());
    checks(&walk, 0, &["are those of this version"]);
    walk.ready_pool(1, json!({})).await;
    control_plane.stop().await;
}

#[tokio::test]
async fn while_a_definition_is_gone_it_is_alive_and_not_ready_and_says_so_once() {
    let (control_plane, _, walk) = bare_walk("skew-gone").await;
    install_these(&walk.client, &crds::all()).await;
    let mut operator = Operator::start(&walk).await;
    operator.is_ready().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(walk.client.clone());
    definitions.delete("poolclaims.bullpen.dev", &DeleteParams::default()).await.expect("deleted");
    operator.is_held("[-]definition:poolclaims: ").await;
    install_these(&walk.client, &crds::all()).await;
    operator.is_ready().await;
    let output = operator.output();
    assert_eq!(output.matches("its definition is missing").count(), 1, "{output}");
    control_plane.stop().await;
}

#[tokio::test]
async fn with_newer_definitions_it_warns_and_works_and_with_older_ones_it_stops_in_good_order() {
    let (control_plane, _, walk) = bare_walk("skew-run").await;
    install_these(&walk.client, &newer()).await;
    let mut operator = Operator::start(&walk).await;
    let newer = "the CustomResourceDefinition of instancepools is newer than this version, which does not know spec.hibernation";
    operator.says(newer).await;
    operator.is_ready().await;
    checks(&walk, 0, &[newer]);
    walk.ready_pool(2, json!({})).await;
    walk.claim("held", json!({})).await;
    let held = walk.bound("held").await;
    walk.pool_has_ready(2).await;

    install_these(&walk.client, &older()).await;
    eventually_within(NOTICED, "it stops", async || {
        let said = operator.endpoint("/readyz").await;
        if said.contains(OLDER) { Ok(()) } else { Err(said) }
    })
    .await;
    waits(&walk, &mut operator, OLDER).await;
    let mark = walk.simcloud.ledger().await.last();
    walk.claim("later", json!({})).await;

    install_these(&walk.client, &crds::all()).await;
    operator.comes_to_lead().await;
    operator.is_ready().await;
    let later = walk.bound("later").await;
    walk.pool_has_ready(2).await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!(ledger.since(mark).bought(), 1, "for the claim that waited");
    assert!(!ledger.ended(machine_of(&held)) && !ledger.ended(machine_of(&later)));
    assert_eq!(walk.bound("held").await.uid(), held.uid());
    control_plane.stop().await;
}

#[tokio::test]
async fn an_operator_that_may_not_read_the_definitions_knows_them_by_the_openapi_document() {
    let (control_plane, ground, walk) = bare_walk("skew-openapi").await;
    ground.forbid_definitions().await;
    let mut operator = Operator::start(&walk).await;
    waits(&walk, &mut operator, MISSING).await;
    install_these(&walk.client, &older()).await;
    waits(&walk, &mut operator, OLDER).await;
    install_these(&walk.client, &newer()).await;
    operator.says("which does not know spec.hibernation").await;
    operator.is_ready().await;
    operator.comes_to_lead().await;
    control_plane.stop().await;
}

#[tokio::test]
async fn it_says_which_definition_was_deleted_under_it_and_goes_on_once_it_is_back() {
    let (control_plane, _, walk) = bare_walk("skew-deleted").await;
    install_these(&walk.client, &crds::all()).await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(walk.client.clone());
    definitions.delete("poolclaims.bullpen.dev", &DeleteParams::default()).await.expect("it is deleted");
    let missing = "the CustomResourceDefinition of poolclaims is not installed";
    eventually_within(NOTICED, "it is not ready", async || {
        let said = operator.endpoint("/readyz").await;
        if said.contains(missing) { Ok(()) } else { Err(said) }
    })
    .await;
    assert!(operator.leads_now().await, "objects of other kinds may be on their way out, and machines with them");
    checks(&walk, 1, &[missing]);
    install_these(&walk.client, &crds::all()).await;
    operator.is_ready().await;
    assert_eq!(operator.output().matches(missing).count(), 1, "{}", operator.output());
    walk.pool_has_ready(1).await;
    control_plane.stop().await;
}

#[tokio::test]
async fn a_check_knows_an_edit_by_hand_and_helm_and_says_when_it_cannot_ask() {
    let (control_plane, _, walk) = bare_walk("skew-check").await;
    install_these(&walk.client, &crds::all()).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(walk.client.clone());
    let name = "poolmembers.bullpen.dev";
    let hold = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/hold";
    let release = "/metadata/annotations/meta.helm.sh~1release-name";
    for (edit, command) in [
        (
            json!({ "op": "remove", "path": hold }),
            "run `bullpen crds | kubectl apply --server-side --force-conflicts -f -`",
        ),
        (
            json!({ "op": "add", "path": release, "value": "bullpen" }),
            "run `helm upgrade` with the chart of this version",
        ),
    ] {
        let edit: Patch<()> = Patch::Json(serde_json::from_value(json!([edit])).expect("a patch"));
        definitions.patch(name, &PatchParams::default(), &edit).await.expect("it is edited");
        let (code, said) = check(&walk, "operator.kubeconfig");
        assert_eq!(code, Some(1), "{said}");
        for words in [
            "of poolmembers is older than this version: it lacks spec.hold",
            "that of poolmembers was changed after it was applied",
            command,
        ] {
            assert!(said.contains(words), "{said}");
        }
    }
    let rules =
        changed("/spec", |spec| drop(spec.as_object_mut().expect("a schema").remove("x-kubernetes-validations")));
    install_these(&walk.client, &rules).await;
    checks(&walk, 0, &["of instancepools has all fields of this version, and other rules or columns"]);

    let nowhere = json!({
        "apiVersion": "v1",
        "kind": "Config",
        // Nobody listens on port 1.
        "clusters": [{ "name": "nowhere", "cluster": { "server": "http://127.0.0.1:1" } }],
        "contexts": [{ "name": "nowhere", "context": { "cluster": "nowhere", "user": "" } }],
        "current-context": "nowhere",
    });
    std::fs::write(walk.folder().join("nowhere.kubeconfig"), nowhere.to_string()).expect("written");
    let (code, said) = check(&walk, "nowhere.kubeconfig");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.starts_with("error: the API server cannot be asked for the CustomResourceDefinitions"), "{said}");
    let (code, said) = check(&walk, "none.kubeconfig");
    assert_eq!(code, Some(2), "{said}");
    control_plane.stop().await;
}
