//! The installation secret: one Secret in the operator's namespace, created once, from which every SSH key is derived.

use std::collections::BTreeMap;

use bullpen_api::Reason;
use bullpen_plan::member::ssh_keys::{InstallationSecret, SECRET_BYTES};
use bullpen_plan::member::user_data::KeyTrouble;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use ring::rand::{SecureRandom as _, SystemRandom};
use tracing::info;
use zeroize::Zeroizing;

use crate::state::ObjectKey;

/// The key in the Secret's data.
const ENTRY: &str = "secret";

/// Reads the secret. `None` if it does not exist.
///
/// # Errors
/// Why it is not known, and what to do about it.
pub async fn read(client: &Client, key: &ObjectKey) -> Result<Option<InstallationSecret>, KeyTrouble> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &key.namespace);
    let found = api.get_opt(&key.name).await.map_err(|error| trouble(key, "get", &error))?;
    found.map(|found| judge(key, &found)).transpose()
}

/// Reads the secret, and creates it if it does not exist. Operators that do so at the same time agree on one.
///
/// # Errors
/// Why there is none, and what to do about it.
pub async fn read_or_make(client: &Client, key: &ObjectKey) -> Result<InstallationSecret, KeyTrouble> {
    if let Some(found) = read(client, key).await? {
        return Ok(found);
    }
    let api: Api<Secret> = Api::namespaced(client.clone(), &key.namespace);
    let bytes = random()?;
    match api.create(&PostParams::default(), &new(key, bytes.as_slice())).await {
        Ok(made) => {
            info!(secret = %key, "the secret that SSH keys are made from was made: keep a backup of it");
            judge(key, &made)
        }
        Err(kube::Error::Api(status)) if status.code == 409 => {
            judge(key, &api.get(&key.name).await.map_err(|error| trouble(key, "get", &error))?)
        }
        Err(error) => Err(trouble(key, "create", &error)),
    }
}

fn random() -> Result<Zeroizing<[u8; SECRET_BYTES]>, KeyTrouble> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    SystemRandom::new().fill(bytes.as_mut_slice()).map_err(|_| KeyTrouble::unread("there is no randomness"))?;
    Ok(bytes)
}

fn new(key: &ObjectKey, bytes: &[u8]) -> Secret {
    Secret {
        metadata: ObjectMeta {
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(ENTRY.to_owned(), ByteString(bytes.to_vec()))])),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

fn judge(key: &ObjectKey, found: &Secret) -> Result<InstallationSecret, KeyTrouble> {
    let bytes = found.data.as_ref().and_then(|data| data.get(ENTRY));
    bytes.and_then(|bytes| InstallationSecret::from_bytes(&bytes.0)).ok_or_else(|| KeyTrouble {
        reason: Reason::InstallationSecretInvalid,
        message: format!(
            "Secret {key}, which SSH keys are made from, has no {SECRET_BYTES} bytes under the key {ENTRY}: restore it, \
             or delete it to have another made, and with it other keys"
        ),
    })
}

fn trouble(key: &ObjectKey, verb: &str, error: &kube::Error) -> KeyTrouble {
    match error {
        kube::Error::Api(status) if status.code == 403 => KeyTrouble {
            reason: Reason::InstallationSecretForbidden,
            message: format!(
                "not allowed to {verb} Secret {key}, which SSH keys are made from: grant {verb} on it to the operator's \
                 service account, by a Role in namespace {} (the Helm chart has one)",
                key.namespace
            ),
        },
        error => KeyTrouble::unread(format!("no {verb} of Secret {key}, which SSH keys are made from: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::key_ring::KeyRing;

    fn key() -> ObjectKey {
        ObjectKey::new("bullpen", "bullpen-installation")
    }

    #[test]
    fn a_created_secret_can_be_read_and_is_not_shown_by_debug() {
        let made = new(&key(), &[b'k'; SECRET_BYTES]);
        let mut ring = KeyRing::default();
        assert_eq!(ring.id().unwrap_err().reason.as_str(), "InstallationSecretNotRead");
        ring.take(judge(&key(), &made));
        assert_eq!(ring.id().ok().as_deref(), ring.secret().unwrap().id().as_deref());
        assert_eq!(format!("{ring:?}"), "KeyRing(known)");
    }

    #[test]
    fn a_secret_with_other_content_is_named_with_what_to_do() {
        let mut ring = KeyRing::default();
        ring.take(judge(&key(), &new(&key(), b"short")));
        let trouble = ring.id().unwrap_err();
        assert_eq!(trouble.reason.as_str(), "InstallationSecretInvalid");
        assert!(
            trouble.message.starts_with("Secret bullpen/bullpen-installation,") && !trouble.message.contains("short")
        );
        assert!(ring.failed_for().is_some());
    }

    #[test]
    fn a_missing_permission_is_named() {
        let forbidden = kube::Error::Api(Box::new(serde_json::from_value(serde_json::json!({"code": 403})).unwrap()));
        let trouble = trouble(&key(), "create", &forbidden);
        assert_eq!(trouble.reason.as_str(), "InstallationSecretForbidden");
        assert!(trouble.message.contains("grant create on it"));
    }
}
