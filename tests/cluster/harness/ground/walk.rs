//! The environment of one walk: a namespace, a simulated cloud, and access to both.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{Ground, definitions, lease_rules};
use crate::harness::{Audit, OPERATORS, Simcloud, eventually, of};

/// One test's own namespace and cloud.
pub(crate) struct Walk {
    pub(crate) namespace: String,
    pub(crate) client: Client,
    pub(crate) simcloud: Simcloud,
    ground: Ground,
    folder: PathBuf,
}

impl Walk {
    /// A new namespace on the shared control plane, named after the walk.
    pub(crate) async fn begin(name: &str) -> Self {
        Self::begin_in(name, &[]).await
    }

    /// Like [`Walk::begin`], with options for the simulated cloud.
    pub(crate) async fn begin_in(name: &str, simcloud: &[&str]) -> Self {
        Self::begin_at(&Ground::shared().await, name, simcloud).await
    }

    /// Like [`Walk::begin_in`], on another control plane.
    pub(crate) async fn begin_at(ground: &Ground, name: &str, simcloud: &[&str]) -> Self {
        let client = ground.client.clone();
        let namespace = definitions::fresh_namespace(&client, &format!("{name}-")).await;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("walks").join(&namespace);
        fs::create_dir_all(&folder).expect("a folder for logs");
        let simcloud = Simcloud::start(&folder, simcloud).await;
        let walk = Self { namespace, client, simcloud, ground: ground.clone(), folder };
        walk.grant_operator().await;
        walk
    }

    /// The folder with logs and kubeconfigs, which is not removed if the test fails.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A service account for the operator, so that its writes can be told from those of others.
    async fn grant_operator(&self) {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), OPERATORS);
        let account = of(json!({ "metadata": { "name": self.namespace } }));
        accounts.create(&PostParams::default(), &account).await.expect("a service account");
        let role = json!({ "metadata": { "name": self.namespace }, "rules": lease_rules(&self.namespace) });
        let binding = json!({
            "metadata": { "name": self.namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": self.namespace },
            "subjects": [{ "kind": "ServiceAccount", "name": self.namespace, "namespace": OPERATORS }],
        });
        let roles: Api<Role> = Api::namespaced(self.client.clone(), OPERATORS);
        roles.create(&PostParams::default(), &of(role)).await.expect("a role for its lease");
        let bindings: Api<RoleBinding> = Api::namespaced(self.client.clone(), OPERATORS);
        bindings.create(&PostParams::default(), &of(binding)).await.expect("and it has it");
        self.write_kubeconfig(&self.operator_kubeconfig(), OPERATORS, &self.namespace).await;
    }

    /// The spec of the lease of the walk's operators.
    pub(crate) async fn lease(&self) -> LeaseSpec {
        self.try_lease().await.expect("the lease").spec.unwrap_or_default()
    }

    /// The lease of the walk's operators, if there is one.
    pub(crate) async fn try_lease(&self) -> Option<Lease> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), OPERATORS);
        leases.get_opt(&self.namespace).await.expect("an answer")
    }

    /// The kubeconfig of the operator.
    pub(crate) fn operator_kubeconfig(&self) -> PathBuf {
        self.folder.join("operator.kubeconfig")
    }

    /// Writes the kubeconfig of a service account.
    pub(crate) async fn write_kubeconfig(&self, path: &Path, namespace: &str, account: &str) {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec { expiration_seconds: Some(6 * 3_600), ..TokenRequestSpec::default() }),
            ..TokenRequest::default()
        };
        let token = accounts.create_token_request(account, &PostParams::default(), &request).await.expect("a token");
        let admin = fs::read_to_string(&self.ground.kubeconfig).expect("the administrator's kubeconfig");
        let mut kubeconfig: Value = serde_json::from_str(&admin).expect("it is JSON");
        kubeconfig["users"][0]["user"] = json!({ "token": token.status.expect("a token").token });
        fs::write(path, kubeconfig.to_string()).expect("written");
    }

    /// Takes one permission from all operators of this control plane, such as `("update", "poolmembers/status")`, and
    /// waits until the API server has heard of it. With `None` they have all of theirs again. Only for walks with a
    /// control plane of their own.
    pub(crate) async fn operators_lack(&self, lost: Option<(&str, &str)>, of: (&str, &str)) {
        self.ground.grant_all_but(lost).await;
        let account = format!("--as=system:serviceaccount:{OPERATORS}:{}", self.namespace);
        let group = format!("--as-group=system:serviceaccounts:{OPERATORS}");
        let (verb, resource) = of;
        self.may(&[&account, &group], verb, resource, lost.is_none()).await;
    }

    /// Waits until the API server allows a user a verb on a resource, or does not: it hears of a changed role a moment
    /// later.
    pub(in crate::harness) async fn may(&self, user: &[&str], verb: &str, resource: &str, allowed: bool) {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let resource = format!("{resource}.bullpen.dev");
        let subresource = format!("--subresource={subresource}");
        let mut arguments = vec!["auth", "can-i", verb, resource.as_str(), subresource.as_str()];
        arguments.extend(user);
        eventually(&format!("{verb} of {resource} is allowed: {allowed}"), async || {
            let (may, said) = self.try_kubectl(&arguments).await;
            if may == allowed { Ok(()) } else { Err(said) }
        })
        .await;
    }

    /// The operator's writes from now on.
    pub(crate) fn audit(&self) -> Audit {
        let user = format!("system:serviceaccount:{OPERATORS}:{}", self.namespace);
        Audit::of(user, self.ground.audit_log.clone())
    }

    /// The requests of this user from now on.
    pub(in crate::harness) fn audit_of(&self, user: String) -> Audit {
        Audit::of(user, self.ground.audit_log.clone())
    }

    /// Runs kubectl as an administrator in the walk's namespace; it must succeed.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        let (succeeded, output) = self.try_kubectl(arguments).await;
        assert!(succeeded, "kubectl {arguments:?}: {output}");
        output
    }

    /// Whether kubectl succeeded, and what it wrote to both of its outputs.
    pub(crate) async fn try_kubectl(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = tokio::process::Command::from(self.kubectl_command());
        let output = command.args(arguments).output().await.expect("kubectl runs");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// An administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.ground.kubeconfig
    }

    /// kubectl without any option.
    pub(crate) fn bare_kubectl(&self) -> tokio::process::Command {
        tokio::process::Command::new(&self.ground.kubectl)
    }

    fn kubectl_command(&self) -> Command {
        let mut command = Command::new(&self.ground.kubectl);
        command.arg("--kubeconfig").arg(&self.ground.kubeconfig);
        command.args(["--namespace", &self.namespace, "--cache-dir"]).arg(self.folder.join("kubectl"));
        command
    }

    /// Prints, for the reader of a failure, the objects and the end of the cloud's ledger.
    fn show(&self) {
        let mut command = self.kubectl_command();
        let output = command.args(["get", "ipool,lc,pclaim,pm", "-o", "wide"]).output();
        let objects = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        eprintln!("\n--- objects in {} ---\n{objects}", self.namespace);
        let ledger = || -> std::io::Result<String> {
            let mut connection = TcpStream::connect(self.simcloud.address())?;
            connection.write_all(b"GET /ledger HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            connection.read_to_string(&mut text)?;
            Ok(text)
        };
        let ledger = ledger().unwrap_or_else(|error| error.to_string());
        let lines: Vec<&str> = ledger.lines().filter(|line| line.contains("sequence")).collect();
        eprintln!("--- the end of the ledger ---\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        eprintln!("--- all logs are in {} ---", self.folder.display());
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show();
        } else {
            // Remains are in the target folder.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
