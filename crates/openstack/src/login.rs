//! Who logs in: an entry of a `clouds.yaml`, or an application credential.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};

/// Who logs in, and what it says about where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// URL of the Identity API, if the file names it.
    pub auth_url: Option<String>,
    /// Which of the catalog's endpoints are called: `public`, `internal` or `admin`.
    pub interface: String,
    /// How it proves who it is.
    pub how: How,
}

/// How a login proves who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum How {
    /// By an application credential, which is of one project.
    ApplicationCredential {
        /// Its id.
        id: String,
        /// Its secret.
        secret: String,
    },
    /// By a user's password, for a project.
    Password {
        /// The user.
        user: Named,
        /// The password.
        password: String,
        /// The project.
        project: Named,
    },
}

/// Leaves out what is secret.
impl fmt::Debug for How {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApplicationCredential { id, .. } => {
                formatter.debug_struct("ApplicationCredential").field("id", id).finish_non_exhaustive()
            }
            Self::Password { user, project, .. } => {
                formatter.debug_struct("Password").field("user", user).field("project", project).finish_non_exhaustive()
            }
        }
    }
}

/// A user or project, by its id, or by its name in a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// Its id.
    Id(String),
    /// Its name.
    Name {
        /// The name.
        name: String,
        /// The domain's id or name, as the Identity API writes it.
        domain: (&'static str, String),
    },
}

impl Named {
    fn json(&self) -> Value {
        match self {
            Self::Id(id) => json!({ "id": id }),
            Self::Name { name, domain: (kind, domain) } => json!({ "name": name, "domain": { *kind: domain } }),
        }
    }
}

#[derive(Deserialize)]
struct File {
    clouds: BTreeMap<String, Cloud>,
}

#[derive(Deserialize)]
struct Cloud {
    #[serde(default)]
    auth: Auth,
    auth_type: Option<String>,
    interface: Option<String>,
    cacert: Option<String>,
    verify: Option<bool>,
}

#[derive(Default, Deserialize)]
struct Auth {
    #[serde(rename = "auth_url")]
    url: Option<String>,
    application_credential_id: Option<String>,
    application_credential_secret: Option<String>,
    username: Option<String>,
    user_id: Option<String>,
    password: Option<String>,
    user_domain_id: Option<String>,
    user_domain_name: Option<String>,
    project_id: Option<String>,
    project_name: Option<String>,
    project_domain_id: Option<String>,
    project_domain_name: Option<String>,
}

impl Login {
    /// An application credential.
    pub fn application_credential(id: &str, secret: &str) -> Self {
        let how = How::ApplicationCredential { id: id.trim().to_owned(), secret: secret.trim().to_owned() };
        Self { auth_url: None, interface: "public".to_owned(), how }
    }

    /// The entry `cloud` of a `clouds.yaml`, or its only entry.
    ///
    /// # Errors
    /// What is wrong with the file, without repeating what may be secret.
    pub fn from_clouds_yaml(text: &str, cloud: Option<&str>) -> Result<Self, String> {
        // The parser's message may quote the file.
        let file: File = serde_saphyr::from_str(text)
            .map_err(|_| "clouds.yaml cannot be read: it is no YAML, or a field of a cloud is no text")?;
        let names = || file.clouds.keys().cloned().collect::<Vec<_>>().join(", ");
        let entry = match cloud {
            Some(name) => {
                file.clouds.get(name).ok_or_else(|| format!("clouds.yaml has no cloud {name}: it has {}", names()))
            }
            None if file.clouds.len() == 1 => file.clouds.values().next().ok_or_else(String::new),
            None => {
                Err(format!("clouds.yaml has {} clouds: say in openstack.cloud which ({})", file.clouds.len(), names()))
            }
        }?;
        entry.login()
    }

    /// The request for a token.
    pub(crate) fn request(&self) -> Value {
        match &self.how {
            How::ApplicationCredential { id, secret } => json!({ "auth": { "identity": {
                "methods": ["application_credential"],
                "application_credential": { "id": id, "secret": secret },
            } } }),
            How::Password { user, password, project } => {
                let mut user = user.json();
                user["password"] = json!(password);
                json!({ "auth": {
                    "identity": { "methods": ["password"], "password": { "user": user } },
                    "scope": { "project": project.json() },
                } })
            }
        }
    }
}

impl Cloud {
    fn login(&self) -> Result<Login, String> {
        if self.cacert.is_some() || self.verify == Some(false) {
            return Err(
                "clouds.yaml: cacert and verify are not used; add the authority to the operator's own (SSL_CERT_FILE)"
                    .to_owned(),
            );
        }
        let auth = &self.auth;
        let given = |value: &Option<String>, field: &str| {
            value
                .clone()
                .filter(|value| !value.is_empty())
                .ok_or_else(|| format!("clouds.yaml: auth.{field} is missing"))
        };
        let how = match self.auth_type.as_deref().unwrap_or(if auth.application_credential_id.is_some() {
            "v3applicationcredential"
        } else {
            "password"
        }) {
            "v3applicationcredential" => How::ApplicationCredential {
                id: given(&auth.application_credential_id, "application_credential_id")?,
                secret: given(&auth.application_credential_secret, "application_credential_secret")?,
            },
            "password" | "v3password" => How::Password {
                user: named(
                    "username",
                    "user_domain_name",
                    (&auth.user_id, &auth.username),
                    (&auth.user_domain_id, &auth.user_domain_name),
                )?,
                password: given(&auth.password, "password")?,
                project: named(
                    "project_name",
                    "project_domain_name",
                    (&auth.project_id, &auth.project_name),
                    (&auth.project_domain_id, &auth.project_domain_name),
                )?,
            },
            other => {
                return Err(format!(
                    "clouds.yaml: auth_type {other:?} is not known: password or v3applicationcredential"
                ));
            }
        };
        let interface = self.interface.as_deref().unwrap_or("public").trim_end_matches("URL").to_owned();
        Ok(Login { auth_url: auth.url.clone(), interface, how })
    }
}

/// A user or project by id, or by name and domain.
fn named(
    name_field: &str,
    domain_field: &str,
    (id, name): (&Option<String>, &Option<String>),
    (domain_id, domain_name): (&Option<String>, &Option<String>),
) -> Result<Named, String> {
    if let Some(id) = id {
        return Ok(Named::Id(id.clone()));
    }
    let name = name.clone().ok_or_else(|| format!("clouds.yaml: auth.{name_field} is missing"))?;
    let domain = match (domain_id, domain_name) {
        (Some(id), _) => ("id", id.clone()),
        (None, Some(name)) => ("name", name.clone()),
        (None, None) => return Err(format!("clouds.yaml: auth.{domain_field} is missing")),
    };
    Ok(Named::Name { name, domain })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
clouds:
  ours:
    auth: {auth_url: 'https://identity.example:5000', username: ci, password: hush, user_domain_name: Default,
      project_name: builds, project_domain_id: default}
    region_name: r1
    interface: internal
    identity_api_version: 3
  robot:
    auth_type: v3applicationcredential
    auth: {application_credential_id: ac-1, application_credential_secret: hush}
";

    #[test]
    fn a_user_s_entry_becomes_a_request_for_a_token_of_its_project() {
        let login = Login::from_clouds_yaml(FILE, Some("ours")).unwrap();
        assert_eq!(
            (login.auth_url.as_deref(), login.interface.as_str()),
            (Some("https://identity.example:5000"), "internal")
        );
        assert_eq!(
            login.request(),
            json!({ "auth": {
                "identity": { "methods": ["password"], "password": { "user": {
                    "name": "ci", "domain": { "name": "Default" }, "password": "hush" } } },
                "scope": { "project": { "name": "builds", "domain": { "id": "default" } } },
            } })
        );
    }

    #[test]
    fn an_application_credential_names_no_project() {
        let login = Login::from_clouds_yaml(FILE, Some("robot")).unwrap();
        assert_eq!(login.how, Login::application_credential("ac-1", "hush\n").how);
        assert!(login.request()["auth"].get("scope").is_none());
    }

    #[test]
    fn what_is_missing_or_not_used_is_named_and_no_secret_is_shown() {
        let error = |text: &str, cloud| Login::from_clouds_yaml(text, cloud).unwrap_err();
        assert_eq!(error(FILE, Some("theirs")), "clouds.yaml has no cloud theirs: it has ours, robot");
        assert_eq!(error(FILE, None), "clouds.yaml has 2 clouds: say in openstack.cloud which (ours, robot)");
        let password = "clouds: {a: {auth: {username: ci, user_domain_id: default, password: hush}}}";
        assert_eq!(error(password, None), "clouds.yaml: auth.project_name is missing");
        assert!(error("clouds: {a: {verify: false}}", None).contains("SSL_CERT_FILE"));
        assert!(error("clouds: {a: {auth_type: v3token}}", None).contains("v3token"));
        assert!(!error("clouds: {a: {auth: {password: [hush]}}}", None).contains("hush"));
        let shown = format!("{:?}", Login::from_clouds_yaml(FILE, Some("ours")).unwrap());
        assert!(shown.contains("builds") && !shown.contains("hush"), "{shown}");
    }
}
