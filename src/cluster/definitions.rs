//! Whether the API server serves the definitions that this program was built with: read, compared and watched.
//!
//! Where the `CustomResourceDefinition`s may be read, their content decides: it is never late, and an edit by hand shows.
//! Else the `OpenAPI` document does, which every authenticated user may read, and which follows a change within seconds.

use std::fmt;
use std::time::Duration;

use bullpen_access::causes::causes;
use bullpen_api::crds;
use bullpen_plan::operator::skew::{Finding, Skew, judge, judge_document};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use k8s_openapi::Resource as _;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::client::Clients;
use crate::telemetry::Health;

/// The definitions are such that this process can work with them.
const CHECK: &str = "definitions";
/// Between two looks while something is wrong: at least, and at most.
const SOON: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// And while all is well.
const LATER: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(30));
/// From the change of a definition until the document shows it, with room for slow servers: 0.2 s was seen.
const DOCUMENT_DELAY: Duration = Duration::from_secs(2);
/// The document has some 300 kB.
const LONGEST_DOCUMENT: usize = 8 << 20;
/// How long the document may take.
const DOCUMENT_CAP: Duration = Duration::from_secs(15);
const DOCUMENT: &str = "/openapi/v3/apis/bullpen.dev/v1alpha1";

/// Why nothing is known of the definitions.
#[derive(Debug, Error)]
pub enum LookError {
    /// The API server did not answer, or with an error.
    #[error("the API server cannot be asked for the CustomResourceDefinitions: {0}")]
    NoAnswer(String),
    /// Neither way is allowed.
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

/// Reads and compares them once. Where only the document can be read, what is bad in it is looked at twice.
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

/// The definitions that are there; nothing if they may not be read. That is asked first: nothing is tried that is not
/// allowed.
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

/// Whether the definitions may be read, by the first of them.
async fn may_read(client: &Client) -> Result<bool, LookError> {
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

/// What the operator does about the definitions.
#[derive(Debug)]
pub struct Watch {
    clients: Clients,
    health: Health,
    usable: watch::Sender<bool>,
    /// The last look found what ends the work; one look alone ends nothing that is under way.
    doubtful: bool,
    /// What was last said in the log.
    said: String,
}

impl Watch {
    /// A watch that has not looked yet. The receiver is told whether this process may work: not while a definition is
    /// older, and not before all of them were there.
    pub fn new(clients: Clients, health: Health) -> (Self, watch::Receiver<bool>) {
        let (usable, receiver) = watch::channel(false);
        health.await_check(CHECK);
        (Self { clients, health, usable, doubtful: false, said: String::new() }, receiver)
    }

    /// Looks again and again.
    pub async fn run(mut self) {
        loop {
            let (least, most) = match look(&self.clients).await {
                Ok(finding) => self.take(&finding),
                // Of what is served nothing new is known: who works goes on.
                Err(error) => {
                    if !*self.usable.borrow() {
                        self.hold(format!("waits, and writes nothing: {error}"));
                    }
                    SOON
                }
            };
            sleep(least + most.saturating_sub(least).mul_f64(rand::random())).await;
        }
    }

    /// Acts on what was found, and says how soon to look again.
    fn take(&mut self, finding: &Finding) -> (Duration, Duration) {
        let works = *self.usable.borrow();
        match &finding.skew {
            Skew::Same | Skew::RulesDiffer { .. } | Skew::Newer { .. } => {
                self.doubtful = false;
                self.go_on(finding);
                return if finding.ending.is_none() { LATER } else { SOON };
            }
            // Objects of the other kinds may be on their way out, and machines with them.
            Skew::Missing { .. } if works => self.hold(finding.to_string()),
            Skew::Older { .. } if works && !self.doubtful => self.doubtful = true,
            Skew::Older { .. } | Skew::Missing { .. } => {
                self.hold(format!("waits, and writes nothing: {finding}"));
                self.usable.send_replace(false);
            }
        }
        SOON
    }

    fn go_on(&mut self, finding: &Finding) {
        let line = finding.to_string();
        if finding.ending.is_some() {
            self.hold(line);
        } else {
            self.health.pass(CHECK);
            if line != self.said {
                if finding.skew == Skew::Same {
                    info!("{line}");
                } else {
                    warn!("{line}");
                }
                self.said = line;
            }
        }
        self.usable.send_if_modified(|usable| !std::mem::replace(usable, true));
    }

    /// Not ready, for this reason, which is said once.
    fn hold(&mut self, why: String) {
        self.health.hold(CHECK, why.clone());
        if why != self.said {
            warn!("{why}");
            self.said = why;
        }
    }
}
