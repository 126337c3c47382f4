//! The control planes that walks use, and the operators' permissions there.

mod control_plane;
pub(crate) mod definitions;
pub(crate) mod shared;
mod walk;

use std::fmt::Debug;
use std::path::PathBuf;

use bullpen_devkit::control_plane::ControlPlane;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub(crate) use self::walk::Walk;
use crate::harness::{AUDIT_LOG, OPERATORS, of};

/// Whether operators have their permissions.
static GRANTED: OnceCell<()> = OnceCell::const_new();

/// A control plane for walks: it has the definitions and the operators' permissions.
#[derive(Clone)]
pub(crate) struct Ground {
    client: Client,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    audit_log: PathBuf,
}

impl Ground {
    /// The shared one.
    pub(in crate::harness) async fn shared() -> Self {
        let client = definitions::client_with_crds().await;
        GRANTED.get_or_init(|| grant(client.clone(), rules())).await;
        Self::of(shared::control_plane(), client)
    }

    /// Prepares a test's own control plane for walks.
    pub(crate) async fn on(control_plane: &ControlPlane) -> Self {
        let ground = Self::without_definitions(control_plane).await;
        definitions::install(&ground.client).await;
        ground
    }

    /// The same, for walks that install the definitions themselves.
    pub(crate) async fn without_definitions(control_plane: &ControlPlane) -> Self {
        let client = Client::try_from(control_plane.client_config()).expect("a client");
        grant(client.clone(), rules()).await;
        Self::of(control_plane, client)
    }

    /// Takes away the operators' permission to read the definitions.
    pub(crate) async fn forbid_definitions(&self) {
        let mut rules = rules();
        let rules_left = rules.as_array_mut().expect("a list");
        let before = rules_left.len();
        rules_left.retain(|rule| rule["apiGroups"] != json!(["apiextensions.k8s.io"]));
        assert_eq!(rules_left.len() + 1, before, "there was such a rule");
        grant(self.client.clone(), rules).await;
    }

    /// Grants operators their permissions; all but this verb on this resource, if one is named.
    pub(in crate::harness) async fn grant_all_but(&self, lost: Option<(&str, &str)>) {
        let rules = lost.map_or_else(rules, |(verb, resource)| without(&rules(), verb, resource));
        grant(self.client.clone(), rules).await;
    }

    fn of(control_plane: &ControlPlane, client: Client) -> Self {
        Self {
            client,
            kubectl: control_plane.kubectl_path().to_owned(),
            kubeconfig: control_plane.kubeconfig_path(),
            audit_log: control_plane.work_folder().join(AUDIT_LOG),
        }
    }
}

/// Grants operators these permissions.
async fn grant(client: Client, rules: Value) {
    async fn apply<K>(client: &Client, object: Value) -> kube::Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let object: K = of(object);
        let api: Api<K> = Api::all(client.clone());
        api.patch(OPERATORS, &PatchParams::apply("bullpen-tests"), &Patch::Apply(&object)).await.map(drop)
    }
    let group = "rbac.authorization.k8s.io";
    let namespace = json!({ "metadata": { "name": OPERATORS } });
    let role = json!({ "metadata": { "name": OPERATORS }, "rules": rules });
    let binding = json!({
        "metadata": { "name": OPERATORS },
        "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": OPERATORS },
        "subjects": [{ "apiGroup": group, "kind": "Group", "name": format!("system:serviceaccounts:{OPERATORS}") }],
    });
    apply::<Namespace>(&client, namespace).await.expect("a namespace for operators");
    apply::<ClusterRole>(&client, role).await.expect("a role for operators");
    apply::<ClusterRoleBinding>(&client, binding).await.expect("and they have it");
}

/// Exactly the permissions of the chart's operator that serves all namespaces and may read Secrets in all of them.
pub(crate) fn rules() -> Value {
    let role = include_str!("../../../../deploy/base/clusterrole-bullpen.yaml");
    let mut role: Value = serde_saphyr::from_str(role).expect("the role is YAML");
    let secrets = include_str!("../../../../deploy/overlays/namespaced/role-team-a-bullpen-secrets.yaml");
    let mut secrets: Value = serde_saphyr::from_str(secrets).expect("the role is YAML");
    let more = secrets["rules"].as_array_mut().expect("rules");
    role["rules"].as_array_mut().expect("rules").append(more);
    role["rules"].take()
}

/// These rules without one verb on one resource. Its other verbs stay, and so do the other resources of its rule.
fn without(rules: &Value, verb: &str, resource: &str) -> Value {
    let mut left = Vec::new();
    let mut found = false;
    for rule in rules.as_array().expect("rules") {
        let others = |key: &str, one: &str| -> Option<Vec<Value>> {
            let all = rule[key].as_array()?;
            let others: Vec<_> = all.iter().filter(|value| *value != one).cloned().collect();
            (others.len() < all.len()).then_some(others)
        };
        let (Some(resources), Some(verbs)) = (others("resources", resource), others("verbs", verb)) else {
            left.push(rule.clone());
            continue;
        };
        found = true;
        let with = |key: &str, values: Value| {
            let mut rule = rule.clone();
            rule[key] = values;
            rule
        };
        if !resources.is_empty() {
            left.push(with("resources", Value::Array(resources)));
        }
        if !verbs.is_empty() {
            let mut of_resource = with("resources", json!([resource]));
            of_resource["verbs"] = Value::Array(verbs);
            left.push(of_resource);
        }
    }
    assert!(found, "operators may {verb} {resource}");
    Value::Array(left)
}

/// Exactly the permissions of the chart's operator in the lease's namespace, for a lease of this name.
pub(crate) fn lease_rules(name: &str) -> Value {
    let role = include_str!("../../../../deploy/base/role-bullpen-leader.yaml");
    let mut role: Value = serde_saphyr::from_str(role).expect("the role is YAML");
    assert_eq!(role["rules"][1]["resourceNames"], json!(["bullpen"]));
    role["rules"][1]["resourceNames"] = json!([name]);
    role["rules"].take()
}
