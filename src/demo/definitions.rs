//! The CustomResourceDefinitions, applied and established.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use tokio::time::{sleep, timeout};

use super::failure::{Failure, causes};
use super::narrate::Narrator;
use crate::api::crds;

pub(super) const FIELD_MANAGER: &str = "bullpen-demo";

const ESTABLISHED: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(25);

/// Applies the definitions server-side, in a cluster of somebody else only those that are missing, and waits until
/// they are established.
pub(super) async fn apply(client: &Client, only_missing: bool, say: &Narrator) -> Result<(), Failure> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut applied = Vec::new();
    for crd in crds::all() {
        let name = crd.name_any();
        let failed = |error: kube::Error| Failure::because(format!("can't apply the CRD {name}"), causes(&error));
        if only_missing && api.get_opt(&name).await.map_err(failed)?.is_some() {
            continue;
        }
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        api.patch(&name, &parameters, &Patch::Apply(&crd)).await.map_err(failed)?;
        applied.push(name);
    }
    for crd in crds::all() {
        established(&api, &crd).await?;
    }
    let kinds = crds::all().iter().map(|crd| crd.spec.names.kind.clone()).collect::<Vec<_>>().join(", ");
    match applied.len() {
        0 => say.now("the CRDs are in the cluster already, and are used as they are"),
        _ if only_missing => {
            say.now("CRDs that were missing, applied and established; they stay. To remove them:");
            say.note(format_args!("kubectl delete crd {}", applied.join(" ")));
        }
        _ => say.now(format_args!("CRDs applied and established: {kinds}")),
    }
    Ok(())
}

/// Waits until objects of the kind can be listed, which is a moment after the condition says so.
async fn established(api: &Api<CustomResourceDefinition>, crd: &CustomResourceDefinition) -> Result<(), Failure> {
    let name = crd.name_any();
    let waiting = async {
        await_condition(api.clone(), &name, conditions::is_crd_established()).await.map_err(|error| causes(&error))?;
        let version = crd.spec.versions.first().map_or("", |version| version.name.as_str());
        let path = format!("/apis/{}/{version}/{}?limit=1", crd.spec.group, crd.spec.names.plural);
        loop {
            let request = http::Request::get(&path).body(Vec::new()).map_err(|error| causes(&error))?;
            match api.clone().into_client().request_text(request).await {
                Err(kube::Error::Api(status)) if status.code == 404 => sleep(POLL).await,
                Err(error) => return Err(causes(&error)),
                Ok(_) => return Ok(()),
            }
        }
    };
    let expected = format!("the CRD {name} can't be used");
    match timeout(ESTABLISHED, waiting).await {
        Ok(outcome) => outcome.map_err(|seen| Failure::because(expected, seen)),
        Err(_) => Err(Failure::because(expected, format!("not established within {} s", ESTABLISHED.as_secs()))),
    }
}
