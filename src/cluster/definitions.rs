//! Checks again and again whether the API server serves the definitions that this program was built with.
//!
//! If the `CustomResourceDefinition`s may be read, their content decides: it is never late, and shows edits by hand.
//! Otherwise the `OpenAPI` document does, which every authenticated user may read, and which follows a change within
//! seconds.

use std::fmt;
use std::time::Duration;

use bullpen_access::causes::causes;
use bullpen_api::{PoolClaim, crds};
use bullpen_plan::claim::vanished::ClaimsDefinition;
use bullpen_plan::operator::skew::{Finding, Skew, judge, judge_document};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use k8s_openapi::Resource as _;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::{Api, Client, CustomResourceExt as _, Resource as _, ResourceExt};
use serde_json::Value;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::client::Clients;
use crate::telemetry::Health;

/// Health check: this process can work with the served definitions.
const CHECK: &str = "definitions";
/// Shortest and longest delay between two checks while something is wrong.
const SOON: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// The same while all is well.
const LATER: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(30));
/// How long after a change of a definition the document may be outdated. 0.2 s was measured; this leaves room for slow
/// servers.
const DOCUMENT_DELAY: Duration = Duration::from_secs(2);
/// The document has about 300 kB.
const LONGEST_DOCUMENT: usize = 8 << 20;
/// How long reading the document may take.
const DOCUMENT_CAP: Duration = Duration::from_secs(15);
const DOCUMENT: &str = "/openapi/v3/apis/bullpen.dev/v1alpha1";

/// Why nothing is known of the definitions.
#[derive(Debug, Error)]
pub enum LookError {
    /// The API server did not answer, or answered with an error.
    #[error("the API server cannot be asked for the CustomResourceDefinitions: {0}")]
    NoAnswer(String),
    /// Neither the definitions nor the document may be read.
    #[error(
        "not allowed to get customresourcedefinitions.apiextensions.k8s.io nor to read {DOCUMENT}: grant one of them"
    )]
    Forbidden,
}

impl From<kube::Error> for LookError {
    fn from(error: kube::Error) -> Self {
        Self::NoAnswer(causes(&error))
    }
}

/// Reads and compares the definitions once. If only the document can be read and shows a problem, it is read twice.
///
/// # Errors
/// When they could not be read.
pub async fn look(clients: &Clients) -> Result<Finding, LookError> {
    if let Some(crds) = read(&clients.direct).await? {
        return Ok(judge(&crds));
    }
    let finding = look_at_document(&clients.watching).await?;
    if finding.skew.is_usable() {
        return Ok(finding);
    }
    sleep(DOCUMENT_DELAY).await;
    look_at_document(&clients.watching).await
}

/// The definitions; `None` if they may not be read. The permission is checked first, so that nothing forbidden is
/// tried.
async fn read(client: &Client) -> Result<Option<Vec<CustomResourceDefinition>>, LookError> {
    if !may_read(client).await? {
        return Ok(None);
    }
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut found = Vec::new();
    for ours in crds::all() {
        match api.get_opt(&ours.name_any()).await {
            Ok(crd) => found.extend(crd),
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(found))
}

/// Whether the definitions may be read; asked for the first of them.
///
/// # Errors
/// When the API server does not answer.
pub async fn may_read(client: &Client) -> Result<bool, LookError> {
    let question = ResourceAttributes {
        group: Some(CustomResourceDefinition::GROUP.to_owned()),
        resource: Some(CustomResourceDefinition::URL_PATH_SEGMENT.to_owned()),
        verb: Some("get".to_owned()),
        name: crds::all().first().map(ResourceExt::name_any),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(question), non_resource_attributes: None };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// What the API server says of the definition of claims at this moment, by its name. Without the permission to read it,
/// the list of resources says it: a definition that is being deleted takes no creates.
pub async fn of_claims(client: &Client, may_read: bool) -> ClaimsDefinition {
    if !may_read {
        return of_claims_by_discovery(client).await;
    }
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    match api.get_opt(PoolClaim::crd_name()).await {
        Ok(None) => ClaimsDefinition::Missing,
        Ok(Some(crd)) if crd.metadata.deletion_timestamp.is_some() => ClaimsDefinition::Going,
        Ok(Some(crd)) => ClaimsDefinition::Served { since: crd.metadata.creation_timestamp.map(|time| time.0) },
        Err(error) => {
            debug!(%error, "the definition of claims cannot be read");
            ClaimsDefinition::Unknown
        }
    }
}

async fn of_claims_by_discovery(client: &Client) -> ClaimsDefinition {
    let version = format!("{}/{}", PoolClaim::group(&()), PoolClaim::version(&()));
    match client.list_api_group_resources(&version).await {
        Ok(list) => match list.resources.iter().find(|found| found.name == PoolClaim::plural(&())) {
            None => ClaimsDefinition::Missing,
            Some(found) if !found.verbs.iter().any(|verb| verb == "create") => ClaimsDefinition::Going,
            Some(_) => ClaimsDefinition::Served { since: None },
        },
        Err(kube::Error::Api(status)) if status.code == 404 => ClaimsDefinition::Missing,
        Err(error) => {
            debug!(%error, "the resources of the API server cannot be listed");
            ClaimsDefinition::Unknown
        }
    }
}

async fn look_at_document(client: &Client) -> Result<Finding, LookError> {
    let document = timeout(DOCUMENT_CAP, document(client)).await;
    let document = document.map_err(|_| LookError::NoAnswer(format!("no {DOCUMENT} within {DOCUMENT_CAP:?}")))??;
    Ok(judge_document(&document))
}

/// The `OpenAPI` document of our group and version; null if it has none.
async fn document(client: &Client) -> Result<Value, LookError> {
    let broken = |error: &dyn fmt::Display| LookError::NoAnswer(format!("{DOCUMENT}: {error}"));
    let request = Request::get(DOCUMENT).header(http::header::ACCEPT, "application/json");
    let request = request.body(kube::client::Body::empty()).map_err(|error| broken(&error))?;
    let answer = client.send(request).await?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(Value::Null),
        StatusCode::FORBIDDEN => return Err(LookError::Forbidden),
        status => return Err(broken(&status)),
    }
    let body = Limited::new(answer.into_body(), LONGEST_DOCUMENT).collect().await.map_err(|error| broken(&error))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| broken(&error))
}

/// Checks the definitions until the process ends, and decides whether the operator may work.
#[derive(Debug)]
pub struct Watch {
    clients: Clients,
    health: Health,
    usable: watch::Sender<bool>,
    /// The last check found a reason to stop working. A second one in a row is needed to stop.
    doubtful: bool,
    /// The last reason that was logged.
    logged: String,
}

impl Watch {
    /// A watch that has not checked yet. The receiver gets whether this process may work: not while a definition is
    /// older than this program, and not before all of them exist.
    pub fn new(clients: Clients, health: Health) -> (Self, watch::Receiver<bool>) {
        let (usable, receiver) = watch::channel(false);
        health.await_check(CHECK);
        (Self { clients, health, usable, doubtful: false, logged: String::new() }, receiver)
    }

    /// Checks again and again.
    pub async fn run(mut self) {
        loop {
            let (least, most) = match look(&self.clients).await {
                Ok(finding) => self.act_on(&finding),
                // Nothing new is known of the definitions: an operator that works continues.
                Err(error) => {
                    if !*self.usable.borrow() {
                        self.report_not_ready(format!("waits, and writes nothing: {error}"));
                    }
                    SOON
                }
            };
            sleep(least + most.saturating_sub(least).mul_f64(rand::random())).await;
        }
    }

    /// Acts on what was found. Returns the shortest and longest delay before the next check.
    fn act_on(&mut self, finding: &Finding) -> (Duration, Duration) {
        let works = *self.usable.borrow();
        match &finding.skew {
            Skew::Same | Skew::RulesDiffer { .. } | Skew::Newer { .. } => {
                self.doubtful = false;
                self.resume(finding);
                return if finding.ending.is_none() { LATER } else { SOON };
            }
            // Objects of the other kinds may be being deleted, and machines with them, so work continues.
            Skew::Missing { .. } if works => self.report_not_ready(finding.to_string()),
            Skew::Older { .. } if works && !self.doubtful => self.doubtful = true,
            Skew::Older { .. } | Skew::Missing { .. } => {
                self.report_not_ready(format!("waits, and writes nothing: {finding}"));
                self.usable.send_replace(false);
            }
        }
        SOON
    }

    fn resume(&mut self, finding: &Finding) {
        let line = finding.to_string();
        if finding.ending.is_some() {
            self.report_not_ready(line);
        } else {
            self.health.pass(CHECK);
            if line != self.logged {
                if finding.skew == Skew::Same {
                    info!("{line}");
                } else {
                    warn!("{line}");
                }
                self.logged = line;
            }
        }
        self.usable.send_if_modified(|usable| !std::mem::replace(usable, true));
    }

    /// Sets the process to not ready, with a reason that is logged once.
    fn report_not_ready(&mut self, why: String) {
        self.health.not_ready(CHECK, why.clone());
        if why != self.logged {
            warn!("{why}");
            self.logged = why;
        }
    }
}
