//! One control plane for all tests of this process, with the definitions and the namespaces that value sets name.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use bullpen_devkit::control_plane::{ControlPlane, Options};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::sync::OnceCell;

use crate::rendering::{Objects, Wanted};
use crate::tools::{Said, run};

/// How long anything may take before a test fails: many times what it takes on two busy cores.
const PATIENCE: Duration = Duration::from_mins(1);

/// A client of the shared control plane, for a test's own runtime.
pub(crate) struct Ground {
    pub(crate) client: Client,
    control_plane: &'static ControlPlane,
}

/// The control plane itself. It lives on a runtime of its own, because each test ends its runtime.
fn control_plane() -> &'static ControlPlane {
    static SHARED: OnceLock<ControlPlane> = OnceLock::new();
    SHARED.get_or_init(|| {
        let (tell, started) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            let outcome = runtime.block_on(ControlPlane::start(Options::default()));
            tell.send(outcome).expect("somebody waits for the control plane");
            runtime.block_on(std::future::pending::<()>());
        });
        let outcome = started.recv().expect("the thread of the control plane lives");
        outcome.unwrap_or_else(|error| panic!("{error}"))
    })
}

impl Ground {
    pub(crate) async fn begin() -> Self {
        static PREPARED: OnceCell<()> = OnceCell::const_new();
        let control_plane = control_plane();
        let client = Client::try_from(control_plane.client_config()).expect("a client");
        let ground = Self { client, control_plane };
        PREPARED.get_or_init(|| ground.prepare()).await;
        ground
    }

    async fn prepare(&self) {
        for name in ["bullpen", "team-a", "team-b"] {
            let mut namespace = Namespace::default();
            namespace.metadata.name = Some(name.to_owned());
            let namespaces: Api<Namespace> = Api::all(self.client.clone());
            namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace");
        }
        let mut definitions = Wanted::default().objects().await;
        definitions.retain(|key, _| key.starts_with("CustomResourceDefinition"));
        assert_eq!(definitions.len(), 4);
        self.apply(&definitions).await;
        let names = ["instancepools", "launchconfigs", "poolclaims", "poolmembers"];
        for name in names {
            self.kubectl(&["wait", "--for=condition=Established", &format!("crd/{name}.bullpen.dev")], None)
                .await
                .output();
        }
        eventually("the four kinds are served", async || {
            let said = self.kubectl(&["get", &names.join(","), "-A"], None).await;
            if said.succeeded { Ok(()) } else { Err(said.stderr) }
        })
        .await;
    }

    /// kubectl as an administrator, with this on its standard input.
    pub(crate) async fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> Said {
        let kubeconfig = self.control_plane.kubeconfig_path();
        let kubeconfig = kubeconfig.to_str().expect("UTF-8");
        run(self.control_plane.kubectl_path(), &[&["--kubeconfig", kubeconfig][..], arguments].concat(), input).await
    }

    pub(crate) async fn apply(&self, objects: &Objects) {
        let list = serde_json::json!({
            "apiVersion": "v1", "kind": "List", "items": objects.values().cloned().collect::<Vec<Value>>()
        });
        let arguments = ["apply", "--server-side", "--validate=strict", "-f", "-"];
        self.kubectl(&arguments, Some(&list.to_string())).await.output();
    }

    /// A client that the API server takes for this user.
    pub(crate) fn as_user(&self, name: &str) -> Client {
        let mut config = self.control_plane.client_config();
        config.auth_info.impersonate = Some(name.to_owned());
        Client::try_from(config).expect("a client")
    }

    /// A client with the token of a service account.
    pub(crate) fn with_token(&self, token: &str) -> Client {
        let mut config = self.control_plane.client_config();
        config.auth_info = kube::config::AuthInfo { token: Some(token.to_owned().into()), ..Default::default() };
        Client::try_from(config).expect("a client")
    }

    /// A new namespace.
    pub(crate) async fn namespace(&self, prefix: &str) -> String {
        let mut namespace = Namespace::default();
        namespace.metadata.generate_name = Some(format!("{prefix}-"));
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace").name_any()
    }
}

/// Looks again and again until there is an answer, and gives it. `look` says otherwise what it saw instead.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match look().await {
            Ok(answer) => return answer,
            Err(seen) if began.elapsed() > PATIENCE => panic!("not within {PATIENCE:?}: {what}\n  last seen: {seen}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
