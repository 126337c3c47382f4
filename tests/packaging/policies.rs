//! The admission policies, on a real API server.

use bullpen_api::{InstancePool, LaunchConfig};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::ground::{Ground, eventually};
use crate::rendering::{Wanted, key};

const POOL: &str = "ci";

/// The policies for this namespace alone, in force: other tests of the process are not held up by them.
async fn policies(ground: &Ground, namespace: &str, more: &str) {
    let values = format!(
        "{{fullnameOverride: {namespace}, scope: {{mode: Namespaces, namespaces: [{namespace}]}}, admissionPolicies: {{enabled: \
         true, {more}}}}}"
    );
    let mut rendered = Wanted::of(&values).objects().await;
    rendered.retain(|key, _| key.starts_with("ValidatingAdmission") || key.ends_with("raise-max-size"));
    assert!(rendered.len() >= 3, "{rendered:?}");
    ground.apply(&rendered).await;
}

fn pool(max_size: i32) -> InstancePool {
    let pool = json!({
        "metadata": { "name": POOL },
        "spec": { "targetSize": 1, "maxSize": max_size, "launchConfigs": [{ "name": "sim" }] },
    });
    serde_json::from_value(pool).expect("a pool")
}

fn launch_config() -> LaunchConfig {
    let config = json!({
        "metadata": { "name": "sim" },
        "spec": {
            "region": "r", "zone": "z", "instanceType": "t", "image": "i", "simulated": { "endpoint": "http://127.0.0.1:1" },
        },
    });
    serde_json::from_value(config).expect("a launch config")
}

fn refusal<T>(answer: kube::Result<T>) -> Result<String, String> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(status.message.clone()),
        Err(error) => Err(error.to_string()),
        Ok(_) => Err("it was not refused".to_owned()),
    }
}

/// A policy is in force a moment after it was made: what is refused is tried as a dry run until it is.
async fn refused_deletion<K>(what: &str, api: &Api<K>, name: &str) -> String
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
    eventually(what, async || refusal(api.delete(name, &dry).await)).await
}

async fn status<K>(api: &Api<K>, name: &str, status: Value)
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let patch = Patch::Merge(json!({ "status": status }));
    api.patch_status(name, &PatchParams::default(), &patch).await.expect("a status");
}

#[tokio::test]
async fn what_is_in_use_is_not_deleted_but_by_the_end_of_its_namespace() {
    let ground = Ground::begin().await;
    let namespace = ground.namespace("in-use").await;
    let pools: Api<InstancePool> = Api::namespaced(ground.client.clone(), &namespace);
    let configs: Api<LaunchConfig> = Api::namespaced(ground.client.clone(), &namespace);
    pools.create(&PostParams::default(), &pool(5)).await.expect("a pool");
    configs.create(&PostParams::default(), &launch_config()).await.expect("a launch config");
    status(&pools, POOL, json!({ "members": { "claimed": 2, "total": 3 } })).await;
    status(&configs, "sim", json!({ "instances": 3 })).await;
    policies(&ground, &namespace, "protectDeletion: {enabled: true}").await;

    let said = refused_deletion("a pool with claimed members", &pools, POOL).await;
    assert!(said.contains("pool ci has 2 claimed member(s)") && said.contains("delete their claims first"), "{said}");
    let said = refused_deletion("a launch config with members", &configs, "sim").await;
    assert!(said.contains("launch config sim has 3 member(s)"), "{said}");
    assert!(said.contains("bullpen.dev/launch-config=sim"), "it says how to find them: {said}");

    // With nothing in use they go as ever.
    status(&configs, "sim", json!({ "instances": 0 })).await;
    configs.delete("sim", &DeleteParams::default()).await.expect("it is not in use");

    let namespaces: Api<Namespace> = Api::all(ground.client.clone());
    namespaces.delete(&namespace, &DeleteParams::default()).await.expect("a namespace may end");
    eventually("the namespace is gone, with the pool in it", async || match namespaces.get_opt(&namespace).await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// Lets a user write pools, and more if it is said.
async fn grant(ground: &Ground, namespace: &str, user: &str, verbs: &[&str]) {
    let group = "rbac.authorization.k8s.io";
    let metadata = json!({ "name": user, "namespace": namespace });
    let role = json!({
        "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata,
        "rules": [{ "apiGroups": ["bullpen.dev"], "resources": ["instancepools"], "verbs": verbs }],
    });
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata,
        "roleRef": { "apiGroup": group, "kind": "Role", "name": user },
        "subjects": [{ "apiGroup": group, "kind": "User", "name": user }],
    });
    ground.apply(&[role, binding].into_iter().map(|object| (key(&object), object)).collect()).await;
}

async fn set_max_size(client: &Client, namespace: &str, size: i32) -> kube::Result<InstancePool> {
    let pools: Api<InstancePool> = Api::namespaced(client.clone(), namespace);
    let patch = json!({ "spec": { "maxSize": size } });
    pools.patch(POOL, &PatchParams::default(), &Patch::Merge(patch)).await
}

#[tokio::test]
async fn only_who_has_the_verb_raises_the_ceiling_of_a_bill() {
    let ground = Ground::begin().await;
    let namespace = ground.namespace("max-size").await;
    policies(&ground, &namespace, "protectDeletion: {enabled: false}, raiseMaxSize: {enabled: true, freeUpTo: 10}")
        .await;
    let writes = ["get", "create", "update", "patch", "delete"];
    grant(&ground, &namespace, "editor", &writes).await;
    grant(&ground, &namespace, "owner", &[&writes[..], &["raise-max-size"]].concat()).await;
    let (editor, owner) = (ground.as_user("editor"), ground.as_user("owner"));
    let pools: Api<InstancePool> = Api::namespaced(editor.clone(), &namespace);

    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let said = eventually("a pool above the free size", async || refusal(pools.create(&dry, &pool(11)).await)).await;
    for words in ["spec.maxSize: 11 is above 10", "user editor may not raise it", "-raise-max-size"] {
        assert!(said.contains(words), "{said}");
    }
    pools.create(&PostParams::default(), &pool(5)).await.expect("below it anybody may");
    set_max_size(&editor, &namespace, 10).await.expect("up to it, too");
    refusal(set_max_size(&editor, &namespace, 12).await).expect("beyond it nobody without the verb");
    set_max_size(&owner, &namespace, 50).await.expect("whoever has it");
    set_max_size(&editor, &namespace, 40).await.expect("lowering is free");
    let said = refusal(set_max_size(&editor, &namespace, 50).await).expect("but not raising again");
    assert!(said.contains("50 is above 40"), "{said}");
}
