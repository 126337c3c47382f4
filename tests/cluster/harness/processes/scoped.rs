//! An operator with exactly the permissions of the program's own table. Each can be revoked.

use std::path::PathBuf;

use bullpen_plan::operator::permissions::{Mode, Names, Place, rules};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::harness::{Audit, Operator, SCOPED, Walk, of};

/// A service account that has only the permissions granted here.
pub(crate) struct Scoped {
    client: Client,
    account: String,
    kubeconfig: PathBuf,
}

impl Scoped {
    /// An account named after the walk, with the permissions for its lease.
    pub(crate) async fn begin(walk: &Walk) -> Self {
        let client = walk.client.clone();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace: Namespace = of(json!({ "metadata": { "name": SCOPED } }));
        let apply = PatchParams::apply("bullpen-tests");
        namespaces.patch(SCOPED, &apply, &Patch::Apply(&namespace)).await.expect("a namespace for it");
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), SCOPED);
        let account = of(json!({ "metadata": { "name": walk.namespace } }));
        accounts.create(&PostParams::default(), &account).await.expect("a service account");
        let kubeconfig = walk.folder().join("scoped.kubeconfig");
        walk.write_kubeconfig(&kubeconfig, SCOPED, &walk.namespace).await;
        let scoped = Self { client, account: walk.namespace.clone(), kubeconfig };
        scoped.grant(SCOPED, Place::Home).await;
        scoped
    }

    /// Grants the table's permissions for this place by a Role in the namespace.
    pub(crate) async fn grant(&self, namespace: &str, place: Place) {
        self.grant_but(namespace, place, |_| true).await;
    }

    /// The same, but only the rules that `keeps` keeps.
    pub(crate) async fn grant_but(&self, namespace: &str, place: Place, keeps: impl Fn(&PolicyRule) -> bool) {
        let names = Names { namespace, lease: &self.account, installation_secret: "bullpen-installation" };
        let rules: Vec<_> = rules(Mode::RolesOnly, place, &names).into_iter().filter(keeps).collect();
        let name = self.role(place);
        let role: Role = of(json!({ "metadata": { "name": name }, "rules": rules }));
        let binding: RoleBinding = of(json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": self.account, "namespace": SCOPED }],
        }));
        let apply = PatchParams::apply("bullpen-tests").force();
        let all_roles: Api<Role> = Api::namespaced(self.client.clone(), namespace);
        all_roles.patch(&name, &apply, &Patch::Apply(&role)).await.expect("a role");
        let bindings: Api<RoleBinding> = Api::namespaced(self.client.clone(), namespace);
        bindings.patch(&name, &apply, &Patch::Apply(&binding)).await.expect("and it has it");
    }

    /// Revokes what was granted for this place.
    pub(crate) async fn revoke(&self, namespace: &str, place: Place) {
        self.grant_but(namespace, place, |_| false).await;
    }

    /// Waits until the API server allows a verb on a resource, or does not: it hears of a changed Role a moment later.
    pub(crate) async fn may(&self, walk: &Walk, verb: &str, resource: &str, allowed: bool) {
        let user = format!("--as=system:serviceaccount:{SCOPED}:{}", self.account);
        walk.may(&[&user], verb, resource, allowed).await;
    }

    fn role(&self, place: Place) -> String {
        format!("{}-{place:?}", self.account).to_lowercase()
    }

    /// Starts an operator with this account for these namespaces, and waits until it listens.
    pub(crate) async fn operator(&self, walk: &Walk, namespaces: &[&str]) -> Operator {
        let (kubeconfig, namespaces) = (self.kubeconfig.display().to_string(), namespaces.join(","));
        let mut options = options(&kubeconfig, &namespaces).to_vec();
        options.push(("--sweep-grace-seconds", "1"));
        Operator::start_with(walk, &options).await
    }

    /// The same, and waits for nothing.
    pub(crate) fn try_operator(&self, walk: &Walk, namespaces: &[&str]) -> Operator {
        let (kubeconfig, namespaces) = (self.kubeconfig.display().to_string(), namespaces.join(","));
        Operator::try_with(walk, &options(&kubeconfig, &namespaces))
    }

    /// Its requests from now on.
    pub(crate) fn audit(&self, walk: &Walk) -> Audit {
        walk.audit_of(format!("system:serviceaccount:{SCOPED}:{}", self.account))
    }
}

/// The options of an operator with this kubeconfig, for these namespaces.
fn options<'a>(kubeconfig: &'a str, namespaces: &'a str) -> [(&'a str, &'a str); 3] {
    [("--kubeconfig", kubeconfig), ("--lease-namespace", SCOPED), ("--namespace", namespaces)]
}
