//! Credentials of clouds: Secrets that launch configs name. They are read by name at each login, and never kept or logged.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bullpen_plan::operator::permissions::grant_in;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::super::api_error::Brief;
use crate::provider::Secrets;

/// Reads Secrets from the API server.
#[derive(Clone)]
pub struct CloudSecrets {
    client: Client,
}

impl std::fmt::Debug for CloudSecrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("CloudSecrets")
    }
}

impl CloudSecrets {
    /// By this client.
    pub const fn new(client: Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl Secrets for CloudSecrets {
    async fn read(&self, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, String> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        match api.get_opt(name).await {
            Ok(Some(secret)) => {
                let entries = secret.data.unwrap_or_default().into_iter();
                // What is no text is nothing that a login could be made of.
                Ok(entries.filter_map(|(key, value)| Some((key, String::from_utf8(value.0).ok()?))).collect())
            }
            Ok(None) => Err(format!("there is no Secret {namespace}/{name} (openstack.secretRef): create it")),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                Err(format!("not allowed to read Secret {name}: {}", grant_in(namespace, "get", "secrets")))
            }
            Err(error) => Err(format!("Secret {namespace}/{name} was not read: {}", Brief(&error))),
        }
    }
}
