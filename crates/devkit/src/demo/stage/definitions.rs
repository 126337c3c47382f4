//! The CustomResourceDefinitions, applied and established.

use std::time::Duration;

use bullpen_api::crds;
use bullpen_plan::operator::skew::judge;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use tokio::time::{sleep, timeout};

use crate::demo::failure::{Failure, causes};
use crate::demo::narrate::Narrator;

pub(in crate::demo) const FIELD_MANAGER: &str = "bullpen-demo";

const ESTABLISHED: Duration = Duration::from_secs(20);
/// An API server delays creates while the definition was established less than this ago, for other API servers that may
/// not have seen it yet. The demo waits for that here, so that the delay is not taken for the operator's.
const HELD_BACK: SignedDuration = SignedDuration::from_secs(2);
const POLL: Duration = Duration::from_millis(25);

/// Applies the definitions server-side and waits until they are established. In a foreign cluster it applies only
/// missing ones.
pub(in crate::demo) async fn apply(client: &Client, only_missing: bool, say: &Narrator) -> Result<(), Failure> {
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
    let (mut wait, mut served) = (Duration::ZERO, Vec::new());
    for crd in crds::all() {
        let (since, crd) = established(&api, &crd).await?;
        wait = wait.max((since + HELD_BACK).duration_since(Timestamp::now()).try_into().unwrap_or_default());
        served.push(crd);
    }
    let finding = judge(&served);
    if !finding.skew.is_usable() {
        return Err(Failure::because("the CRDs of this cluster can't be used", finding.to_string()));
    }
    match applied.len() {
        0 => say.now("the CRDs are in the cluster already, and are used as they are"),
        _ if only_missing => {
            say.now("CRDs that were missing, applied and established; they stay. To remove them:");
            say.note(format_args!("kubectl delete crd {}", applied.join(" ")));
        }
        count => say.now(format_args!("{count} CRDs of bullpen.dev applied and established")),
    }
    if !wait.is_zero() {
        say.now("waiting: an API server holds back creates of a kind in its first 2 seconds");
        sleep(wait.min(HELD_BACK.unsigned_abs())).await;
    }
    Ok(())
}

/// Waits until objects of the kind can be listed, which is shortly after the condition Established is true. Returns
/// since when it is true, and the definition.
async fn established(
    api: &Api<CustomResourceDefinition>,
    crd: &CustomResourceDefinition,
) -> Result<(Timestamp, CustomResourceDefinition), Failure> {
    let name = crd.name_any();
    let waiting = async {
        let object = await_condition(api.clone(), &name, conditions::is_crd_established()).await;
        let object = object.map_err(|error| causes(&error))?.unwrap_or_else(|| crd.clone());
        let mut conditions = object.status.iter().flat_map(|status| &status.conditions).flatten();
        let since = conditions.find(|condition| condition.type_ == "Established");
        let since = since
            .and_then(|condition| condition.last_transition_time.as_ref())
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let version = crd.spec.versions.first().map_or("", |version| version.name.as_str());
        let path = format!("/apis/{}/{version}/{}?limit=1", crd.spec.group, crd.spec.names.plural);
        loop {
            let request = http::Request::get(&path).body(Vec::new()).map_err(|error| causes(&error))?;
            match api.clone().into_client().request_text(request).await {
                Err(kube::Error::Api(status)) if status.code == 404 => sleep(POLL).await,
                Err(error) => return Err(causes(&error)),
                Ok(_) => return Ok((since, object)),
            }
        }
    };
    let expected = format!("the CRD {name} can't be used");
    match timeout(ESTABLISHED, waiting).await {
        Ok(outcome) => outcome.map_err(|seen| Failure::because(expected, seen)),
        Err(_) => Err(Failure::because(expected, format!("not established within {} s", ESTABLISHED.as_secs()))),
    }
}
