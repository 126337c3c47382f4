//! OpenStack as a kind of provider.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bullpen_api::LaunchConfigSpec;
use bullpen_openstack::{Client, Login, LoginSource, Settings};
use reqwest::Url;

use super::OpenStackProvider;
use super::errors::provider_error;
use crate::provider::registry::{ProviderFlags, ProviderKey, ProviderKind};
use crate::provider::{EndpointFlag, Endpoints, Provider, ProviderError};

/// The file in a Secret that `openstack.cloud` names an entry of.
const CLOUDS_YAML: &str = "clouds.yaml";

/// OpenStack, for launch configs with a block `openstack`.
#[derive(Clone, Copy, Debug)]
pub struct OpenStack;

/// Reads the Secrets that launch configs name.
#[async_trait]
pub trait Secrets: fmt::Debug + Send + Sync {
    /// The entries of this Secret that are text.
    ///
    /// # Errors
    /// Why they are not known, and what to do.
    async fn read(&self, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, String>;
}

/// Which hosts of OpenStack may be called, and where credentials come from.
#[derive(Clone, Debug)]
pub struct OpenStackClouds {
    endpoints: Endpoints,
    secrets: Option<Arc<dyn Secrets>>,
}

impl OpenStackClouds {
    /// These hosts, with credentials from these Secrets.
    pub fn new(endpoints: Endpoints, secrets: Option<Arc<dyn Secrets>>) -> Self {
        Self { endpoints, secrets }
    }

    /// These hosts, with a `clouds.yaml` that stands for that of every Secret.
    pub fn of_file(endpoints: Endpoints, clouds_yaml: String) -> Self {
        Self::new(endpoints, Some(Arc::new(OneFile(clouds_yaml))))
    }
}

impl Default for OpenStackClouds {
    fn default() -> Self {
        Self::new(Endpoints::none(EndpointFlag::OpenStack), None)
    }
}

/// A `clouds.yaml` instead of a Secret.
struct OneFile(String);

/// Leaves out what is secret.
impl fmt::Debug for OneFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OneFile")
    }
}

#[async_trait]
impl Secrets for OneFile {
    async fn read(&self, _namespace: &str, _name: &str) -> Result<BTreeMap<String, String>, String> {
        Ok([(CLOUDS_YAML.to_owned(), self.0.clone())].into())
    }
}

/// Who logs in, by the Secret of a launch config.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SecretName {
    namespace: String,
    name: String,
    cloud: Option<String>,
}

#[derive(Debug)]
struct OfSecret {
    secret: SecretName,
    secrets: Option<Arc<dyn Secrets>>,
}

#[async_trait]
impl LoginSource for OfSecret {
    async fn login(&self) -> Result<Login, String> {
        let SecretName { namespace, name, cloud } = &self.secret;
        let secrets = self.secrets.as_ref().ok_or("no Secrets can be read here: name a file with --clouds-yaml")?;
        login(&secrets.read(namespace, name).await?, cloud.as_deref()).map_err(|why| format!("Secret {name}: {why}"))
    }
}

/// The login of a Secret's entries.
fn login(entries: &BTreeMap<String, String>, cloud: Option<&str>) -> Result<Login, String> {
    if let Some(file) = entries.get(CLOUDS_YAML) {
        return Login::from_clouds_yaml(file, cloud);
    }
    match (entries.get("applicationCredentialId"), entries.get("applicationCredentialSecret")) {
        (Some(id), Some(secret)) => Ok(Login::application_credential(id, secret)),
        _ => {
            Err("it has no clouds.yaml, and not both of applicationCredentialId and applicationCredentialSecret"
                .to_owned())
        }
    }
}

impl SecretName {
    /// In the form of a provider key. Neither names of objects nor of clouds have a slash.
    fn text(&self) -> String {
        format!("{}/{}/{}", self.namespace, self.name, self.cloud.as_deref().unwrap_or_default())
    }

    fn parse(text: &str) -> Option<Self> {
        let (namespace, rest) = text.split_once('/')?;
        let (name, cloud) = rest.split_once('/')?;
        let cloud = Some(cloud.to_owned()).filter(|cloud| !cloud.is_empty());
        Some(Self { namespace: namespace.to_owned(), name: name.to_owned(), cloud })
    }
}

impl ProviderKind for OpenStack {
    fn name(&self) -> &'static str {
        "openstack"
    }

    fn key(&self, spec: &LaunchConfigSpec, namespace: &str) -> Option<ProviderKey> {
        let block = spec.openstack.as_ref()?;
        let secret = SecretName {
            namespace: namespace.to_owned(),
            name: block.secret_ref.name.clone(),
            cloud: block.cloud.clone(),
        };
        Some(ProviderKey {
            kind: self.name(),
            endpoint: block.auth_url.clone(),
            credentials: Some(secret.text()),
            region: spec.region.clone(),
        })
    }

    fn may_call(&self, key: &ProviderKey, flags: &ProviderFlags) -> Result<(), EndpointFlag> {
        // What cannot be parsed is not called either: `connect` says what is wrong with it.
        Url::parse(&key.endpoint).map_or(Ok(()), |url| flags.openstack.endpoints.allow(&url))
    }

    fn connect(&self, key: &ProviderKey, flags: &ProviderFlags) -> Result<Arc<dyn Provider>, ProviderError> {
        let url =
            Url::parse(&key.endpoint).map_err(|error| ProviderError::invalid(format!("openstack.authUrl: {error}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ProviderError::invalid("openstack.authUrl: must have no user and no password"));
        }
        let secret = key.credentials.as_deref().and_then(SecretName::parse);
        let secret = secret.ok_or_else(|| ProviderError::invalid("openstack.secretRef: no Secret is named"))?;
        let source = Arc::new(OfSecret { secret, secrets: flags.openstack.secrets.clone() });
        let settings = Settings { auth_url: key.endpoint.clone(), region: key.region.clone() };
        let client = Client::new(settings, source).map_err(provider_error)?;
        Ok(Arc::new(OpenStackProvider::new(client)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(url: &str, secret: &str, namespace: &str) -> ProviderKey {
        let spec = serde_json::json!({ "region": "r1", "zone": "nova", "instanceType": "small", "image": "i",
            "openstack": { "authUrl": url, "secretRef": { "name": secret } } });
        OpenStack.key(&serde_json::from_value(spec).unwrap(), namespace).unwrap()
    }

    #[test]
    fn launch_configs_share_a_provider_only_if_they_have_the_same_secret() {
        let own = key("https://identity:5000", "cloud", "ci");
        assert_eq!(own, key("https://identity:5000", "cloud", "ci"));
        assert_ne!(own, key("https://identity:5000", "other", "ci"));
        assert_ne!(own, key("https://identity:5000", "cloud", "web"), "a Secret of another namespace is another one");
        let secret = SecretName::parse(own.credentials.as_deref().unwrap()).unwrap();
        assert_eq!(secret, SecretName { namespace: "ci".into(), name: "cloud".into(), cloud: None });
    }

    #[test]
    fn only_this_machine_and_allowed_hosts_are_called() {
        let endpoints = Endpoints::parse(EndpointFlag::OpenStack, "https://identity.example:5000").unwrap();
        let flags = ProviderFlags { openstack: OpenStackClouds::new(endpoints, None), ..ProviderFlags::default() };
        let may_call = |url: &str| OpenStack.may_call(&key(url, "cloud", "ci"), &flags).is_ok();
        assert!(may_call("http://127.0.0.1:5000/v3") && may_call("https://identity.example:5000/v3"));
        for elsewhere in ["http://169.254.169.254", "https://identity.example", "http://identity.example:5000"] {
            assert!(!may_call(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_secret_without_credentials_says_what_it_should_have() {
        assert!(login(&BTreeMap::new(), None).unwrap_err().contains("clouds.yaml"));
        let entries = [("applicationCredentialId", "ac"), ("applicationCredentialSecret", "hush")];
        let entries = entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(login(&entries, None), Ok(Login::application_credential("ac", "hush")));
    }
}
