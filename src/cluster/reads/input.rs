//! The input of a claim: a Secret in the claim's namespace, for the claim's machine. It is read by name and never logged.

use std::collections::BTreeMap;

use bullpen_plan::claim::assignment::input;
use bullpen_plan::operator::permissions::grant_in;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::super::api_error::Brief;

/// Reads the Secret with this name.
///
/// # Errors
/// Why its content cannot be handed over, for the claimant.
pub async fn read(client: &Client, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match api.get_opt(name).await {
        Ok(Some(secret)) => input(&secret).map_err(|why| format!("Secret {name}: {why}")),
        Ok(None) => Err(format!("there is no Secret {name} in this namespace (spec.inputSecretRef): create it")),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Err(format!("not allowed to read Secret {name}: {}", grant_in(namespace, "get", "secrets")))
        }
        Err(error) => Err(format!("Secret {name} was not read: {}", Brief(&error))),
    }
}
