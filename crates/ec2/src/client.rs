//! Signing requests, sending them, and reading answers as far as telling an answer from an error.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sdk_sts::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bullpen_cloud_http::{Answer, Http, Request as HttpRequest};
use tokio::sync::OnceCell;
use url::Url;

use crate::credentials::{AssumeRole, Source, config};
use crate::error::{CallError, causes, clip};
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
    /// Where the calls go, if not to AWS's own endpoints.
    pub endpoint: Option<Endpoint>,
    /// The role to take on, if it is not the operator's own identity.
    pub role: Option<AssumeRole>,
    /// Machines of a page of a list, 5 to 1,000. `None`: 500.
    pub page: Option<u32>,
}

/// A URL that calls go to instead of AWS's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// For EC2 alone, such as a VPC endpoint: other services have others.
    Ec2(String),
    /// For all services: a server that plays AWS.
    All(String),
}

/// One account in one region.
#[derive(Debug)]
pub struct Client {
    http: Http,
    settings: Settings,
    source: Source,
    /// AWS's own endpoint of STS, which those of the others follow from.
    sts: OnceCell<String>,
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
        let endpoint = match &settings.endpoint {
            Some(Endpoint::All(url)) => Some(url.as_str()),
            Some(Endpoint::Ec2(_)) | None => None,
        };
        let source = Source::new(&settings.region, endpoint, settings.role.clone());
        Ok(Self { http: http()?, settings, source, sts: OnceCell::new() })
    }

    /// A client with these credentials instead of the chain's: an access key and its secret.
    ///
    /// # Errors
    /// `Unknown` if no HTTP client can be made.
    pub fn with_access_key(settings: Settings, key: &str, secret: &str) -> Result<Self, CallError> {
        let source = Source::of_access_key(key, secret);
        Ok(Self { http: http()?, settings, source, sts: OnceCell::new() })
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
        let request = Request { service, content_type, target: None, body: query.body() };
        let (credentials, answer) = self.send(&request).await?;
        let (status, retry_after, body) = (answer.status, answer.retry_after(), answer.body);
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let Some((code, message)) = xml::error(&body) else {
            return Err(CallError::unknown(format!("HTTP {status} without an error of AWS")));
        };
        self.source.refused(&code, &credentials).await;
        Err(CallError::Refused { code, message: clip(&message), status, retry_after })
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
        let (credentials, answer) = self.send(&request).await?;
        let (status, retry_after, body) = (answer.status, answer.retry_after(), answer.body);
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
        self.source.refused(code, &credentials).await;
        let message = answer["message"].as_str().or(answer["Message"].as_str()).unwrap_or_default();
        Err(CallError::Refused { code: code.to_owned(), message: clip(message), status, retry_after })
    }

    /// Returns with the answer the credentials that were used.
    async fn send(&self, request: &Request) -> Result<(Credentials, Answer), CallError> {
        let credentials = self.source.get().await?;
        let url = self.url(request.service).await?;
        let mut headers = vec![("content-type".to_owned(), request.content_type.to_owned())];
        headers.extend(self.signature(request, &url, &credentials)?);
        let mut call = HttpRequest::post(url.as_str());
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let call = call.body(request.body.clone()).map_err(|error| CallError::unknown(causes(&error)))?;
        let answer = self.http.send(call).await.map_err(CallError::unknown)?;
        Ok((credentials, answer))
    }

    /// The URL of a service. AWS's own follow from the SDK's rules for STS, which know partitions, FIPS and dual stack:
    /// the others have the same names with another first label.
    async fn url(&self, service: Service) -> Result<Url, CallError> {
        let own = match (&self.settings.endpoint, service) {
            (Some(Endpoint::All(url)), _) | (Some(Endpoint::Ec2(url)), Service::Ec2) => url.clone(),
            (Some(Endpoint::Ec2(_)) | None, _) => {
                let sts = self.sts.get_or_try_init(|| sts_endpoint(&self.settings.region)).await?;
                sts.replacen("://sts", &format!("://{}", service.name()), 1)
            }
        };
        Url::parse(&own).map_err(|error| no_endpoint(&error))
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

fn http() -> Result<Http, CallError> {
    Http::new().map_err(CallError::unknown)
}

fn no_endpoint(error: &dyn std::error::Error) -> CallError {
    CallError::NoCredentials(format!("endpoint: {}", causes(error)))
}

/// The endpoint of STS in a region, with what environment and profile say of FIPS and dual stack.
async fn sts_endpoint(region: &str) -> Result<String, CallError> {
    let config = config(region, None).await;
    let params = Params::builder()
        .region(region)
        .use_fips(config.use_fips().unwrap_or_default())
        .use_dual_stack(config.use_dual_stack().unwrap_or_default())
        .build()
        .map_err(|error| no_endpoint(&error))?;
    let endpoint = DefaultResolver::new().resolve_endpoint(&params).await;
    endpoint.map(|endpoint| endpoint.url().to_owned()).map_err(|error| no_endpoint(error.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn host(region: &str, endpoint: Option<Endpoint>, service: Service) -> String {
        let settings = Settings { region: region.into(), endpoint, ..Settings::default() };
        let client = Client::new(settings).expect("a client");
        client.url(service).await.expect("a URL").authority().to_owned()
    }

    #[tokio::test]
    async fn each_service_has_the_endpoint_of_its_region_and_partition() {
        for (region, service, expected) in [
            ("eu-central-1", Service::Ec2, "ec2.eu-central-1.amazonaws.com"),
            ("us-east-1", Service::Sts, "sts.us-east-1.amazonaws.com"),
            ("eu-west-1", Service::Ssm, "ssm.eu-west-1.amazonaws.com"),
            ("us-gov-west-1", Service::Ec2, "ec2.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", Service::Sqs, "sqs.cn-north-1.amazonaws.com.cn"),
        ] {
            assert_eq!(host(region, None, service).await, expected);
        }
    }

    #[tokio::test]
    async fn a_vpc_endpoint_of_ec2_gets_no_calls_of_other_services_and_a_server_that_plays_aws_gets_all() {
        let vpce = || Some(Endpoint::Ec2("https://vpce-1.ec2.eu-central-1.vpce.amazonaws.com".into()));
        let own = "vpce-1.ec2.eu-central-1.vpce.amazonaws.com";
        assert_eq!(host("eu-central-1", vpce(), Service::Ec2).await, own);
        assert_eq!(host("eu-central-1", vpce(), Service::Sts).await, "sts.eu-central-1.amazonaws.com");
        let all = || Some(Endpoint::All("http://127.0.0.1:5000".into()));
        for service in [Service::Ec2, Service::Sts, Service::Ssm, Service::Sqs] {
            assert_eq!(host("eu-central-1", all(), service).await, "127.0.0.1:5000");
        }
    }

    #[test]
    fn a_signature_covers_what_is_sent() {
        let client = Client::with_access_key(Settings { region: "r1".into(), ..Settings::default() }, "AK", "secret");
        let request = Request {
            service: Service::Ssm,
            content_type: "application/x-amz-json-1.1",
            target: Some("AmazonSSM.GetParameter"),
            body: "{}".into(),
        };
        let credentials = Credentials::new("AK", "secret", Some("session".into()), None, "test");
        let url = Url::parse("https://ssm.r1.amazonaws.com").unwrap();
        let headers = client.unwrap().signature(&request, &url, &credentials).unwrap();
        let value = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let authorization = value("authorization").expect("a signature");
        assert!(authorization.contains("/r1/ssm/aws4_request"), "{authorization}");
        let signed = "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target";
        assert!(authorization.contains(signed), "{authorization}");
        assert_eq!(value("x-amz-security-token"), Some("session"));
        assert_eq!(value("x-amz-target"), Some("AmazonSSM.GetParameter"));
        assert!(!authorization.contains("secret"));
    }
}
