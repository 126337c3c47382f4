//! Tokens: what Identity v3 answers, and which endpoints its catalog names.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::error::{CallError, clip};
use crate::login::Login;

/// A token is renewed so long before it expires: longer than any call takes.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(2);

/// A token, and what it is for.
#[derive(Clone)]
pub(crate) struct Session {
    /// Who logged in.
    pub(crate) login: Login,
    /// The token itself, which is secret.
    pub(crate) token: String,
    /// When it expires.
    pub(crate) expires_at: Timestamp,
    /// The project's id.
    pub(crate) project: String,
    /// Base URL of the Compute API, up to and with its version.
    pub(crate) compute: String,
    /// Base URL of the Image API, without a version, where there is one.
    pub(crate) image: Option<String>,
}

/// Leaves out the token.
impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Session")
            .field("project", &self.project)
            .field("compute", &self.compute)
            .finish_non_exhaustive()
    }
}

/// The body of an answer to a request for a token, or to one about a token.
#[derive(Deserialize)]
pub(crate) struct Told {
    token: Token,
}

#[derive(Deserialize)]
struct Token {
    expires_at: Timestamp,
    project: Option<Project>,
    #[serde(default)]
    catalog: Vec<Service>,
}

#[derive(Deserialize)]
struct Project {
    id: String,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    interface: String,
    region_id: Option<String>,
    url: String,
}

impl Told {
    /// The session of a new token.
    ///
    /// # Errors
    /// `NoToken` if it is of no project, `Unusable` if the catalog does not have the Compute API of the region.
    pub(crate) fn session(self, login: Login, token: String, region: &str) -> Result<Session, CallError> {
        let project = self.project()?.to_owned();
        let compute = self.endpoint("compute", &login.interface, region).ok_or_else(|| {
            let regions: Vec<_> =
                self.endpoints("compute", &login.interface).filter_map(|(region, _)| region).collect();
            CallError::Unusable(clip(&format!(
                "the catalog has no compute endpoint of region {region} (interface {}): it has [{}]",
                login.interface,
                regions.join(", ")
            )))
        })?;
        let image = self.endpoint("image", &login.interface, region);
        let image = image.map(|url| url.trim_end_matches("/v2").to_owned());
        Ok(Session { login, token, expires_at: self.token.expires_at, project, compute, image })
    }

    /// The id of the token's project.
    ///
    /// # Errors
    /// `NoToken` if it has none.
    pub(crate) fn project(&self) -> Result<&str, CallError> {
        let project = self.token.project.as_ref().map(|project| project.id.as_str());
        project.ok_or_else(|| CallError::NoToken("the login is of no project: name one beside the user".to_owned()))
    }

    fn endpoint(&self, kind: &str, interface: &str, region: &str) -> Option<String> {
        let of_region = self.endpoints(kind, interface).find(|(of, _)| *of == Some(region));
        of_region.map(|(_, url)| url.trim_end_matches('/').to_owned())
    }

    fn endpoints<'a>(&'a self, kind: &'a str, interface: &'a str) -> impl Iterator<Item = (Option<&'a str>, &'a str)> {
        let services = self.token.catalog.iter().filter(move |service| service.kind == kind);
        let endpoints = services.flat_map(|service| &service.endpoints);
        let endpoints = endpoints.filter(move |endpoint| endpoint.interface == interface);
        endpoints.map(|endpoint| (endpoint.region_id.as_deref(), endpoint.url.as_str()))
    }
}

impl Session {
    /// Whether the token still lasts for a call.
    pub(crate) fn lasts(&self, now: Timestamp) -> bool {
        self.expires_at.duration_since(now) > RENEW_BEFORE
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told() -> Told {
        let endpoint = |interface: &str, region: &str, url: &str| json!({ "interface": interface, "region_id": region, "url": url });
        let catalog = json!([
            { "type": "compute", "endpoints": [endpoint("public", "r1", "https://nova.r1/v2.1/"), endpoint("internal", "r1", "http://10.0.0.1/v2.1")] },
            { "type": "image", "endpoints": [endpoint("public", "r1", "https://glance.r1/v2")] },
        ]);
        let token = json!({ "expires_at": "2026-11-28T08:58:23.000000Z", "project": { "id": "p1", "name": "builds" }, "catalog": catalog });
        serde_json::from_value(json!({ "token": token })).unwrap()
    }

    #[test]
    fn a_token_leads_to_the_endpoints_of_its_region_and_interface() {
        let login = Login::application_credential("ac", "hush");
        let session = told().session(login.clone(), "gAAAA".into(), "r1").unwrap();
        assert_eq!((session.project.as_str(), session.compute.as_str()), ("p1", "https://nova.r1/v2.1"));
        assert_eq!(session.image.as_deref(), Some("https://glance.r1"));
        assert!(!format!("{session:?}").contains("gAAAA"));
        let internal = Login { interface: "internal".into(), ..login };
        let session = told().session(internal, "gAAAA".into(), "r1").unwrap();
        assert_eq!((session.compute.as_str(), session.image), ("http://10.0.0.1/v2.1", None));
    }

    #[test]
    fn a_region_that_the_catalog_does_not_have_is_named_with_those_that_it_has() {
        let error = told().session(Login::application_credential("ac", "hush"), String::new(), "r2").unwrap_err();
        assert!(
            matches!(&error, CallError::Unusable(message) if message.contains("r2") && message.contains("[r1]")),
            "{error}"
        );
    }

    #[test]
    fn a_token_is_renewed_before_it_expires() {
        let session = told().session(Login::application_credential("ac", "hush"), String::new(), "r1").unwrap();
        assert!(session.lasts("2026-11-28T08:50:00Z".parse().unwrap()));
        assert!(!session.lasts("2026-11-28T08:57:00Z".parse().unwrap()));
    }
}
