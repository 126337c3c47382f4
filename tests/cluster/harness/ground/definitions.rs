//! Installs the four definitions on an API server, and names namespaces for tests.

use std::time::{Duration, Instant};

use bullpen_api::crds;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Error, ResourceExt};
use tokio::sync::OnceCell;
use tokio::time::sleep;

use super::shared;

/// Timeout: ten times what the server takes on two busy cores.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of the shared server, after that serves the four resources.
pub(crate) async fn client_with_crds() -> Client {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let client = Client::try_from(shared::control_plane().client_config()).expect("a client");
    INSTALLED.get_or_init(|| install(&client)).await;
    client
}

/// The name of a new namespace that begins with `prefix`.
pub(crate) async fn fresh_namespace(client: &Client, prefix: &str) -> String {
    let mut namespace = Namespace::default();
    namespace.metadata.generate_name = Some(prefix.to_owned());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace").name_any()
}

/// Installs the definitions and waits until they are served.
pub(crate) async fn install(client: &Client) {
    install_these(client, &crds::all()).await;
}

/// Installs these definitions, replacing others of the same names, and waits until they are served.
pub(crate) async fn install_these(client: &Client, crds: &[CustomResourceDefinition]) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds {
        let name = crd.name_any();
        let parameters = PatchParams::apply("bullpen-tests").force();
        let answer = definitions.patch(&name, &parameters, &Patch::Apply(crd)).await;
        answer.unwrap_or_else(|error| panic!("the server refuses {name}: {error}"));
    }
    for crd in crds {
        wait_until_served(client, crd).await;
    }
}

/// A definition is Established shortly before its resource is served, and that is before it is in the discovery
/// document.
async fn wait_until_served(client: &Client, crd: &CustomResourceDefinition) {
    let (group, kind, plural) = (&crd.spec.group, &crd.spec.names.kind, &crd.spec.names.plural);
    let version = &crd.spec.versions[0].name;
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let group_version = format!("{group}/{version}");
    let served = async || -> Result<bool, Error> {
        objects.list(&ListParams::default()).await?;
        let groups = client.list_api_groups().await?.groups;
        let resources = client.list_api_group_resources(&group_version).await?.resources;
        Ok(groups.iter().any(|found| found.name == *group) && resources.iter().any(|found| found.name == *plural))
    };
    let began = Instant::now();
    loop {
        match served().await {
            Ok(true) => return,
            answer if began.elapsed() > PATIENCE => panic!("{plural} is not served after {PATIENCE:?}: {answer:?}"),
            _ => sleep(Duration::from_millis(25)).await,
        }
    }
}
