//! Secrets of claims: created, changed only when the machine has another address, never deleted.

use bullpen_plan::claim::{Answer, Found};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Status;
use serde_json::Value;
use tracing::debug;

use super::{Writes, answer_of, is_namespace_terminating};
use crate::state::ObjectKey;
use crate::telemetry::labels::{WriteKind, WriteOutcome, WriteVerb};

/// How the API server answered the create of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was created.
    Made,
    /// A Secret of that name exists.
    Exists,
    /// Its namespace is being deleted.
    NamespaceEnds,
    /// The operator is not allowed to create it.
    Forbidden,
    /// It was refused for another reason, such as a quota. This is the API server's message.
    Refused(String),
    /// Nothing is proved: it may have been created or not.
    Unproved,
}

/// A permission is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAllowed;

impl Writes {
    /// Creates a Secret; an existing one is not changed.
    pub async fn create_secret(&self, secret: &Secret) -> Made {
        let key = ObjectKey::of(secret);
        let api: Api<Secret> = Api::namespaced(self.client(), &key.namespace);
        let answer = api.create(&PostParams::default(), secret).await;
        let outcome = match &answer {
            Ok(_) => WriteOutcome::Ok,
            Err(error) if answer_of(error, &key.name) == Answer::Conflict => WriteOutcome::Conflict,
            Err(_) => WriteOutcome::Error,
        };
        self.metrics.api_write(WriteKind::Secret, WriteVerb::Create, outcome);
        match answer {
            Ok(_) => Made::Made,
            Err(error) => judge(&error, &key.name),
        }
    }

    /// Changes this version of a Secret by a merge patch. A Secret that is gone, or another one by now, is not changed.
    ///
    /// # Errors
    /// When the operator is not allowed to.
    pub async fn patch_secret(&self, found: &Secret, mut patch: Value) -> Result<Found<()>, NotAllowed> {
        let key = ObjectKey::of(found);
        let api: Api<Secret> = Api::namespaced(self.client(), &key.namespace);
        patch["metadata"]["uid"] = found.metadata.uid.clone().into();
        patch["metadata"]["resourceVersion"] = found.metadata.resource_version.clone().into();
        let answer = api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        let outcome = match &answer {
            Ok(_) => WriteOutcome::Ok,
            Err(error) if answer_of(error, &key.name) == Answer::Conflict => WriteOutcome::Conflict,
            Err(_) => WriteOutcome::Error,
        };
        self.metrics.api_write(WriteKind::Secret, WriteVerb::Patch, outcome);
        match answer {
            Ok(_) => Ok(Found::Object(())),
            Err(error) if answer_of(&error, &key.name) == Answer::NotFound => Ok(Found::Missing),
            Err(kube::Error::Api(status)) if status.code == 403 => Err(NotAllowed),
            Err(error) => {
                debug!(secret = %key, %error, "a Secret was not changed");
                Ok(Found::Unproved)
            }
        }
    }

    /// Reads a Secret.
    ///
    /// # Errors
    /// When the operator is not allowed to.
    pub async fn get_secret(&self, key: &ObjectKey) -> Result<Found<Secret>, NotAllowed> {
        let api: Api<Secret> = Api::namespaced(self.client(), &key.namespace);
        match api.get(&key.name).await {
            Ok(found) => Ok(Found::Object(found)),
            Err(error) if answer_of(&error, &key.name) == Answer::NotFound => Ok(Found::Missing),
            Err(kube::Error::Api(status)) if status.code == 403 => Err(NotAllowed),
            Err(error) => {
                debug!(secret = %key, %error, "reading a Secret proved nothing");
                Ok(Found::Unproved)
            }
        }
    }
}

fn judge(error: &kube::Error, name: &str) -> Made {
    match (answer_of(error, name), error) {
        (Answer::Conflict, _) => Made::Exists,
        _ if is_namespace_terminating(error) => Made::NamespaceEnds,
        (Answer::Refused, kube::Error::Api(status)) if is_unauthorized(status) => Made::Forbidden,
        (Answer::Refused, kube::Error::Api(status)) => Made::Refused(status.message.clone()),
        _ => Made::Unproved,
    }
}

/// Whether a create was refused because of a missing permission. A refusal by admission, such as a quota, is a 403 too
/// but names the object; authorization comes earlier, when a create has no name yet.
fn is_unauthorized(status: &Status) -> bool {
    status.code == 403 && status.details.as_ref().is_some_and(|details| details.name.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: serde_json::Value) -> Made {
        judge(&kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())), "x-binding")
    }

    #[test]
    fn only_a_definite_refusal_is_reported_with_the_message_of_the_api_server() {
        assert_eq!(answer(json!({"code": 409, "reason": "AlreadyExists"})), Made::Exists);
        let quota = json!({"code": 403, "message": "exceeded quota: few", "details": {"name": "x-binding"}});
        assert_eq!(answer(quota), Made::Refused("exceeded quota: few".into()));
        let unauthorized = json!({"code": 403, "message": "secrets is forbidden", "details": {"kind": "secrets"}});
        assert_eq!(answer(unauthorized), Made::Forbidden);
        let ends = json!({"code": 403, "details": {"causes": [{"reason": "NamespaceTerminating", "message": "", "field": ""}]}});
        assert_eq!(answer(ends), Made::NamespaceEnds);
        for code in [404, 429, 500, 504] {
            assert_eq!(answer(json!({"code": code})), Made::Unproved, "{code}");
        }
    }
}
