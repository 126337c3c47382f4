//! Tokens and requests: who logs in, when anew, and what is sent where.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bullpen_cloud_http::{Answer, Http, Method, Request};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::error::{CallError, clip, read};
use crate::identity::{Session, Told};
use crate::login::Login;

/// The version of the Compute API that requests are written for: of Stein, 2019. Tags of a create need 2.52, user data of a
/// rebuild 2.57, and the type of a boot volume 2.67.
/// <https://docs.openstack.org/nova/latest/reference/api-microversion-history.html>
const MICROVERSION: (u32, u32) = (2, 67);

/// Where a client sends its calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// URL of the Identity API, with or without `/v3`.
    pub auth_url: String,
    /// The region, as the catalog writes it.
    pub region: String,
}

/// Who logs in. It is asked at each login, so that credentials may change at any time.
#[async_trait]
pub trait LoginSource: fmt::Debug + Send + Sync {
    /// Who logs in now.
    ///
    /// # Errors
    /// Why there is nobody, without anything that is secret.
    async fn login(&self) -> Result<Login, String>;
}

/// One project in one region.
#[derive(Debug)]
pub struct Client {
    http: Http,
    settings: Settings,
    source: Arc<dyn LoginSource>,
    /// One login at a time: tasks that wait share its token.
    session: Mutex<Option<Arc<Session>>>,
}

/// A service of OpenStack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Compute,
    Image,
}

/// One request.
pub(crate) struct Call<'a> {
    pub(crate) service: Service,
    pub(crate) method: Method,
    /// Path and query, from the slash after the base URL.
    pub(crate) path: String,
    pub(crate) body: Option<&'a Value>,
}

impl Client {
    /// A client. Nothing is sent yet.
    ///
    /// # Errors
    /// `Unusable` if no HTTP client can be made.
    pub fn new(settings: Settings, source: Arc<dyn LoginSource>) -> Result<Self, CallError> {
        let http = Http::new().map_err(CallError::Unusable)?;
        Ok(Self { http, settings, source, session: Mutex::default() })
    }

    /// The region that it calls.
    pub fn region(&self) -> &str {
        &self.settings.region
    }

    /// The id of the project that the credentials are of. They are read anew, and the Identity API is asked.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn project(&self) -> Result<String, CallError> {
        let login = self.source.login().await.map_err(|why| CallError::NoToken(clip(&why)))?;
        let mut held = self.session.lock().await;
        if let Some(session) = held.as_ref().filter(|session| session.login == login && session.lasts(Timestamp::now()))
        {
            let request = Request::get(self.identity_url())
                .header("x-auth-token", &session.token)
                .header("x-subject-token", &session.token);
            let answer = self.send(request, None).await?;
            match read(&answer) {
                Ok(told) => return typed::<Told>(told)?.project().map(str::to_owned),
                // Revoked: log in anew.
                Err(CallError::Refused { status: 401 | 404, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        *held = None;
        let session = Arc::new(self.log_in(login).await?);
        let project = session.project.clone();
        *held = Some(session);
        Ok(project)
    }

    /// Sends a call and returns the JSON of its answer, as this type.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub(crate) async fn call<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, CallError> {
        let session = self.session(None).await?;
        let answer = self.send_as(call, &session).await?;
        let answer = if answer.status == 401 {
            // The token was revoked, or its service forgot it. The call had no effect.
            let session = self.session(Some(&session.token)).await?;
            self.send_as(call, &session).await?
        } else {
            answer
        };
        typed(read(&answer)?)
    }

    async fn send_as(&self, call: &Call<'_>, session: &Session) -> Result<Answer, CallError> {
        let base = match call.service {
            Service::Compute => &session.compute,
            Service::Image => session.image.as_ref().ok_or_else(|| {
                CallError::Unusable(format!("the catalog has no image endpoint of region {}", self.settings.region))
            })?,
        };
        let (major, minor) = MICROVERSION;
        let request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{base}{}", call.path))
            .header("x-auth-token", &session.token)
            .header("openstack-api-version", format!("compute {major}.{minor}"));
        self.send(request, call.body).await
    }

    async fn send(&self, request: bullpen_cloud_http::Builder, body: Option<&Value>) -> Result<Answer, CallError> {
        let request = request.header("accept", "application/json").header("content-type", "application/json");
        let request = request.body(body.map(Value::to_string).unwrap_or_default());
        let request = request.map_err(|error| CallError::Unusable(clip(&error.to_string())))?;
        self.http.send(request).await.map_err(CallError::unknown)
    }

    /// The session, or a new one if its token ends soon or is the refused one.
    async fn session(&self, refused: Option<&str>) -> Result<Arc<Session>, CallError> {
        let mut held = self.session.lock().await;
        if let Some(session) = held.as_ref()
            && session.lasts(Timestamp::now())
            && refused != Some(session.token.as_str())
        {
            return Ok(session.clone());
        }
        *held = None;
        let login = self.source.login().await.map_err(|why| CallError::NoToken(clip(&why)))?;
        let session = Arc::new(self.log_in(login).await?);
        *held = Some(session.clone());
        Ok(session)
    }

    async fn log_in(&self, login: Login) -> Result<Session, CallError> {
        let own = |url: &str| url.trim_end_matches('/').trim_end_matches("/v3").to_owned();
        if let Some(named) = login.auth_url.as_ref().filter(|named| own(named) != own(&self.settings.auth_url)) {
            // The password is for that one only.
            let message = format!("clouds.yaml names {named}, and the launch config {}", self.settings.auth_url);
            return Err(CallError::NoToken(clip(&message)));
        }
        let answer = self.send(Request::post(self.identity_url()), Some(&login.request())).await?;
        let token = answer.headers.get("x-subject-token").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let told = match read(&answer) {
            Ok(told) => typed::<Told>(told)?,
            Err(CallError::Refused { status: 401 | 403, kind, message, .. }) => {
                return Err(CallError::NoToken(format!("{kind}: {message}")));
            }
            Err(error) => return Err(error),
        };
        let token = token.ok_or_else(|| CallError::unknown("the Identity API sent no token"))?;
        let session = told.session(login, token, &self.settings.region)?;
        self.negotiate(session).await
    }

    /// Checks that the Compute API of a session speaks the version of the requests.
    async fn negotiate(&self, session: Session) -> Result<Session, CallError> {
        // Old catalogs have the project behind the version.
        let base = match session.compute.find("/v2.1") {
            Some(at) => session.compute[..at + "/v2.1".len()].to_owned(),
            None => session.compute.clone(),
        };
        let request = Request::get(format!("{base}/")).header("x-auth-token", &session.token);
        let told = read(&self.send(request, None).await?)?;
        let newest = told["version"]["version"].as_str().unwrap_or_default();
        let parts = newest.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        match parts {
            Some(parts) if parts >= MICROVERSION => Ok(session),
            _ => Err(CallError::Unusable(format!(
                "the Compute API at {base} speaks versions up to {newest:?}, and Bullpen needs {}.{}",
                MICROVERSION.0, MICROVERSION.1
            ))),
        }
    }

    fn identity_url(&self) -> String {
        let base = self.settings.auth_url.trim_end_matches('/').trim_end_matches("/v3");
        format!("{base}/v3/auth/tokens")
    }
}

/// An answer as this type.
fn typed<T: DeserializeOwned>(value: Value) -> Result<T, CallError> {
    serde_json::from_value(value).map_err(|error| CallError::unknown(format!("the answer cannot be read: {error}")))
}
