//! Signing requests, sending them, and reading answers as far as telling an answer from an error.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use url::Url;

use crate::credentials::{AssumeRole, Source, config};
use crate::error::{CallError, causes, clip};
use crate::http::{Answer, Http};
use crate::query::Query;
use crate::xml;

/// Version of EC2's API that requests are written for.
const EC2_VERSION: &str = "2016-11-15";
/// Version of STS's API.
const STS_VERSION: &str = "2011-06-15";

/// Where a client sends its calls, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The region.
    pub region: String,
    /// URL of the API instead of AWS's own: a VPC endpoint, or a server that speaks EC2's API.
    pub endpoint: Option<String>,
    /// The role to take on, if it is not the operator's own identity.
    pub role: Option<AssumeRole>,
    /// Machines of a page of a list, 5 to 1,000. `None`: 500.
    pub page: Option<u32>,
}

/// One account in one region.
#[derive(Debug)]
pub struct Client {
    http: Http,
    settings: Settings,
    source: Source,
}

/// A service of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Ec2,
    Sts,
    Ssm,
    Sqs,
}

impl Service {
    /// Its name in endpoints and signatures.
    const fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Sts => "sts",
            Self::Ssm => "ssm",
            Self::Sqs => "sqs",
        }
    }
}

/// What is sent.
struct Request {
    service: Service,
    content_type: &'static str,
    target: Option<&'static str>,
    body: String,
}

impl Client {
    /// A client. Nothing is sent yet, not even for credentials.
    ///
    /// # Errors
    /// `Unknown` if no HTTP client can be made.
    pub fn new(settings: Settings) -> Result<Self, CallError> {
        let source = Source::new(&settings.region, settings.endpoint.as_deref(), settings.role.clone());
        Ok(Self { http: Http::new()?, settings, source })
    }

    /// A client with these credentials instead of the chain's: an access key and its secret.
    ///
    /// # Errors
    /// `Unknown` if no HTTP client can be made.
    pub fn with_access_key(settings: Settings, key: &str, secret: &str) -> Result<Self, CallError> {
        let source = Source::of_access_key(key, secret);
        Ok(Self { http: Http::new()?, settings, source })
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The region that it calls.
    pub fn region(&self) -> &str {
        &self.settings.region
    }

    /// A request of EC2.
    pub(crate) fn ec2(action: &str) -> Query {
        Query::new(action, EC2_VERSION)
    }

    /// A request of STS.
    pub(crate) fn sts(action: &str) -> Query {
        Query::new(action, STS_VERSION)
    }

    /// Sends a query and returns the body of its answer, which is XML.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub(crate) async fn query(&self, service: Service, query: &Query) -> Result<Vec<u8>, CallError> {
        let content_type = "application/x-www-form-urlencoded; charset=utf-8";
        let Answer { status, retry_after, body } =
            self.send(&Request { service, content_type, target: None, body: query.body() }).await?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        Err(match xml::error(&body) {
            Some((code, message)) => CallError::Refused { code, message: clip(&message), status, retry_after },
            None => CallError::unknown(format!("HTTP {status} without an error of AWS")),
        })
    }

    /// Sends a request of a service that speaks JSON.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub(crate) async fn json(
        &self,
        service: Service,
        target: &'static str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, CallError> {
        let content_type = match service {
            Service::Sqs => "application/x-amz-json-1.0",
            Service::Ec2 | Service::Sts | Service::Ssm => "application/x-amz-json-1.1",
        };
        let request = Request { service, content_type, target: Some(target), body: body.to_string() };
        let Answer { status, retry_after, body } = self.send(&request).await?;
        // Calls without a result may answer with nothing.
        let whole: &[u8] = if body.is_empty() { b"{}" } else { &body };
        let answer: serde_json::Value = serde_json::from_slice(whole)
            .map_err(|error| CallError::unknown(format!("HTTP {status}, and the answer cannot be read: {error}")))?;
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        // The type may have a namespace before it.
        let code = answer["__type"].as_str().and_then(|code| code.rsplit('#').next()).unwrap_or_default();
        if code.is_empty() {
            return Err(CallError::unknown(format!("HTTP {status} without an error of AWS")));
        }
        let message = answer["message"].as_str().or(answer["Message"].as_str()).unwrap_or_default();
        Err(CallError::Refused { code: code.to_owned(), message: clip(message), status, retry_after })
    }

    async fn send(&self, request: &Request) -> Result<Answer, CallError> {
        let credentials = self.source.get().await?;
        let url = self.url(request.service).await?;
        let mut headers = vec![("content-type".to_owned(), request.content_type.to_owned())];
        headers.extend(self.signature(request, &url, &credentials)?);
        let answer = self.http.post(url.as_str(), &headers, request.body.clone()).await?;
        if matches!(answer.status, 401 | 403) {
            self.source.refused(&credentials).await;
        }
        Ok(answer)
    }

    /// The URL of a service. AWS's own follow from the SDK's rules for STS, which know partitions, FIPS and dual stack:
    /// EC2 and SSM have the same names with another first label.
    async fn url(&self, service: Service) -> Result<Url, CallError> {
        use aws_sdk_sts::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
        let wrong = |error: &dyn std::error::Error| CallError::NoCredentials(format!("endpoint: {}", causes(error)));
        if let Some(endpoint) = &self.settings.endpoint {
            return Url::parse(endpoint).map_err(|error| wrong(&error));
        }
        let config = config(&self.settings.region, None).await;
        let params = Params::builder()
            .region(self.settings.region.clone())
            .use_fips(config.use_fips().unwrap_or_default())
            .use_dual_stack(config.use_dual_stack().unwrap_or_default())
            .build()
            .map_err(|error| wrong(&error))?;
        let endpoint = DefaultResolver::new().resolve_endpoint(&params).await.map_err(|error| wrong(error.as_ref()))?;
        let url = endpoint.url().replacen("://sts", &format!("://{}", service.name()), 1);
        Url::parse(&url).map_err(|error| wrong(&error))
    }

    fn signature(
        &self,
        request: &Request,
        url: &Url,
        credentials: &Credentials,
    ) -> Result<Vec<(String, String)>, CallError> {
        let wrong = |error: &dyn std::error::Error| CallError::NoCredentials(format!("signing: {}", causes(error)));
        let identity = credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.settings.region)
            .name(request.service.name())
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| wrong(&error))?
            .into();
        let own = [("content-type", request.content_type)].into_iter();
        let headers: Vec<_> = own.chain(request.target.map(|target| ("x-amz-target", target))).collect();
        let body = SignableBody::Bytes(request.body.as_bytes());
        let signable = SignableRequest::new("POST", url.as_str(), headers.iter().copied(), body);
        let (instructions, _) =
            sign(signable.map_err(|error| wrong(&error))?, &params).map_err(|error| wrong(&error))?.into_parts();
        let target = request.target.map(|target| ("x-amz-target".to_owned(), target.to_owned()));
        let signed = instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(signed.chain(target).collect())
    }
}
