//! The content of Secrets and ConfigMaps that users refer to. It is read by name, one object at a time, and never
//! logged.

use bullpen_api::{KeyRef, Reason, UserDataSource};
use bullpen_plan::member::first_boot::MAX_USER_DATA;
use bullpen_plan::member::user_data::UserData;
use bullpen_plan::operator::permissions::grant_in;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

/// Reads what `source` refers to. `None` when nothing was proved: no answer, or no reliable one.
pub async fn read(client: &Client, namespace: &str, source: &UserDataSource) -> Option<UserData> {
    if let Some(reference) = &source.secret_key_ref {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let found = api.get_opt(&reference.name).await;
        judge("Secret", namespace, reference, found, |secret| {
            Some(secret.data.as_ref()?.get(&reference.key)?.0.clone())
        })
    } else if let Some(reference) = &source.config_map_key_ref {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let found = api.get_opt(&reference.name).await;
        judge("ConfigMap", namespace, reference, found, |map| {
            Some(map.data.as_ref()?.get(&reference.key)?.clone().into_bytes())
        })
    } else {
        Some(UserData::Known(None))
    }
}

fn judge<K>(
    kind: &str,
    namespace: &str,
    reference: &KeyRef,
    found: kube::Result<Option<K>>,
    content: impl FnOnce(&K) -> Option<Vec<u8>>,
) -> Option<UserData> {
    let KeyRef { name, key } = reference;
    let missing = |reason, message| Some(UserData::Missing { reason, message });
    let object = match found {
        Ok(Some(object)) => object,
        Ok(None) => {
            let message = format!("there is no {kind} {name} in this namespace: create it with the key {key}");
            return missing(Reason::UserDataNotFound, message);
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let resource = format!("{}s", kind.to_lowercase());
            let message = format!("not allowed to read {kind} {name}: {}", grant_in(namespace, "get", &resource));
            return missing(Reason::UserDataForbidden, message);
        }
        Err(error) => {
            tracing::debug!(kind, name, %error, "user data was not read");
            return None;
        }
    };
    let Some(bytes) = content(&object) else {
        return missing(Reason::UserDataNotFound, format!("{kind} {name} has no key {key}: add it"));
    };
    if bytes.len() > MAX_USER_DATA {
        let message = format!("{kind} {name} has {} bytes in key {key}: at most {MAX_USER_DATA} fit", bytes.len());
        return missing(Reason::UserDataInvalid, message);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(UserData::of(Some(&text))),
        Err(_) => missing(Reason::UserDataInvalid, format!("key {key} of {kind} {name} is no UTF-8 text")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state::contents::Contents;

    fn reference() -> KeyRef {
        KeyRef { name: "boot".into(), key: "script".into() }
    }

    fn of(bytes: Option<Vec<u8>>) -> UserData {
        judge("Secret", "ci", &reference(), Ok(Some(())), |()| bytes).unwrap()
    }

    #[test]
    fn a_missing_object_is_named_with_what_to_do() {
        let message = |content: &UserData| match content {
            UserData::Missing { message, .. } => message.clone(),
            _ => panic!("it is known"),
        };
        let none = judge::<()>("Secret", "ci", &reference(), Ok(None), |()| None).unwrap();
        assert_eq!(message(&none), "there is no Secret boot in this namespace: create it with the key script");
        assert_eq!(message(&of(None)), "Secret boot has no key script: add it");
        assert!(message(&of(Some(vec![b'x'; MAX_USER_DATA + 1]))).contains("16385 bytes"));
        assert!(message(&of(Some(vec![0xff]))).contains("no UTF-8"));
        assert_eq!(of(Some(b"true".to_vec())), UserData::Known(Some(Arc::from("true"))));
    }

    #[test]
    fn a_missing_permission_is_named_and_any_other_error_proves_nothing() {
        let error =
            |code| kube::Error::Api(Box::new(serde_json::from_value(serde_json::json!({"code": code})).unwrap()));
        let forbidden = judge::<()>("ConfigMap", "ci", &reference(), Err(error(403)), |()| None);
        let Some(UserData::Missing { reason, message }) = forbidden else { panic!("{forbidden:?}") };
        assert_eq!(reason.as_str(), "UserDataForbidden");
        for part in ["get on configmaps in namespace ci", "by a Role", "secrets.namespaces"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(judge::<()>("ConfigMap", "ci", &reference(), Err(error(503)), |()| None), None);
    }

    #[test]
    fn debug_output_does_not_show_the_content() {
        let mut contents = Contents::default();
        let source = UserDataSource { secret_key_ref: Some(reference()), config_map_key_ref: None };
        let text = UserData::Known(Some(Arc::from("hunter2")));
        assert!(contents.put("ns", &source, &text));
        assert!(!contents.put("ns", &source, &text));
        assert!(!format!("{contents:?} {:?}", contents.get("ns", &source)).contains("hunter2"));
    }
}
